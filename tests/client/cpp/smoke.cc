// A dialer in C++: claims, a denial, a batch of 10,000, an error. Prints one word for each.
//
// Usage: smoke ADDRESS LIST_ID; with ADDRESS,ADDRESS it makes one claim at whichever server leads, by
// the recipe of docs/dial.md.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "ownerd/v1/dial.grpc.pb.h"

namespace {

void set_deadline(grpc::ClientContext *context) {
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
}

std::string claim(ownerd::v1::DialService::Stub *stub, const std::string &list_id,
                  const std::string &campaign_id) {
    grpc::ClientContext context;
    set_deadline(&context);
    ownerd::v1::ClaimRequest request;
    request.set_list_id(list_id);
    request.set_record_id("42");
    request.set_campaign_id(campaign_id);
    ownerd::v1::ClaimResponse response;
    const grpc::Status status = stub->Claim(&context, request, &response);
    if (!status.ok()) return "code=" + std::to_string(status.error_code());
    return ownerd::v1::ClaimDecision_Name(response.decision()) +
           (response.has_holder() ? "/" + response.holder().campaign_id() : "");
}

std::string claim_batch(ownerd::v1::DialService::Stub *stub, const std::string &list_id, int count) {
    grpc::ClientContext context;
    set_deadline(&context);
    ownerd::v1::ClaimBatchRequest request;
    request.set_list_id(list_id);
    request.set_campaign_id("A");
    for (int number = 0; number < count; number++)
        request.add_record_ids("record " + std::to_string(number));
    ownerd::v1::ClaimBatchResponse response;
    const grpc::Status status = stub->ClaimBatch(&context, request, &response);
    if (!status.ok()) return "code=" + std::to_string(status.error_code());
    int granted = 0;
    for (const int decision : response.decisions())
        granted += decision == ownerd::v1::CLAIM_DECISION_GRANTED;
    return std::to_string(granted);
}

using Stub = ownerd::v1::DialService::Stub;

std::vector<std::unique_ptr<Stub>> stubs_of(const std::string &addresses) {
    std::vector<std::unique_ptr<Stub>> stubs;
    grpc::ChannelArguments options;
    options.SetInt("grpc.enable_retries", 0);
    options.SetInt("grpc.initial_reconnect_backoff_ms", 100);
    options.SetInt("grpc.max_reconnect_backoff_ms", 400);
    std::istringstream left(addresses);
    for (std::string each; std::getline(left, each, ',');)
        stubs.push_back(ownerd::v1::DialService::NewStub(
            grpc::CreateCustomChannel(each, grpc::InsecureChannelCredentials(), options)));
    return stubs;
}

bool is_passing(grpc::StatusCode code) {
    return code == grpc::UNAVAILABLE || code == grpc::DEADLINE_EXCEEDED || code == grpc::CANCELLED;
}

// Claims at the address that leads, from `at` on, which is where it was answered then.
grpc::Status claim_at_leader(const std::vector<std::unique_ptr<Stub>> &stubs, size_t *at,
                             const ownerd::v1::ClaimRequest &request,
                             ownerd::v1::ClaimResponse *response) {
    using std::chrono::milliseconds;
    using Clock = std::chrono::system_clock;
    const auto end = Clock::now() + milliseconds(15000);
    for (size_t tries = 1;; tries++) {
        grpc::ClientContext context;
        context.set_deadline(std::min(Clock::now() + milliseconds(2500), end));
        const grpc::Status status = stubs[*at]->Claim(&context, request, response);
        const auto pause = milliseconds(tries % stubs.size() ? 0 : 100);
        if (!is_passing(status.error_code()) || Clock::now() + pause >= end) return status;
        *at = (*at + 1) % stubs.size();
        std::this_thread::sleep_for(pause);
    }
}

}  // namespace

int main(int, char **arguments) {
    if (std::string(arguments[1]).find(',') != std::string::npos) {
        const auto stubs = stubs_of(arguments[1]);
        size_t at = 0;
        ownerd::v1::ClaimRequest request;
        request.set_list_id(arguments[2]);
        request.set_record_id("42");
        request.set_campaign_id("A");
        ownerd::v1::ClaimResponse response;
        const grpc::Status status = claim_at_leader(stubs, &at, request, &response);
        std::cout << at << " code=" << status.error_code() << " "
                  << ownerd::v1::ClaimDecision_Name(response.decision()) << std::endl;
        return 0;
    }
    const auto channel = grpc::CreateChannel(arguments[1], grpc::InsecureChannelCredentials());
    const auto stub = ownerd::v1::DialService::NewStub(channel);
    std::cout << claim(stub.get(), arguments[2], "A") << "\n"
              << claim(stub.get(), arguments[2], "B") << "\n"
              << claim(stub.get(), "no such list", "A") << "\n"
              << claim_batch(stub.get(), arguments[2], 10000) << "\n"
              << claim_batch(stub.get(), arguments[2], 10001) << std::endl;
    return 0;
}
