// A dialer in C++: claims, a denial, a batch of 10,000, an error. Prints one word for each.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <iostream>
#include <string>

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

}  // namespace

int main(int, char **arguments) {
    const auto channel = grpc::CreateChannel(arguments[1], grpc::InsecureChannelCredentials());
    const auto stub = ownerd::v1::DialService::NewStub(channel);
    std::cout << claim(stub.get(), arguments[2], "A") << "\n"
              << claim(stub.get(), arguments[2], "B") << "\n"
              << claim(stub.get(), "no such list", "A") << "\n"
              << claim_batch(stub.get(), arguments[2], 10000) << "\n"
              << claim_batch(stub.get(), arguments[2], 10001) << std::endl;
    return 0;
}
