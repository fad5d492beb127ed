// Claims records one after the other at whichever server leads, by the recipe of docs/dial.md.
//
// Usage: node fail_over.js PROTOS_DIRECTORY ADDRESS,ADDRESS LIST_ID COUNT ATTEMPT_MS
//
// Prints the decision of each claim, a line each, as it comes; exits 1 when one fails.
"use strict";

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const { Leader } = require("./recipe.js"); // the block of the documentation

async function main([protosDirectory, addresses, list_id, count, attemptMs]) {
  const definition = protoLoader.loadSync("ownerd/v1/dial.proto", {
    includeDirs: [protosDirectory],
    keepCase: true,
    enums: String,
  });
  const { DialService } = grpc.loadPackageDefinition(definition).ownerd.v1;
  const leader = new Leader(DialService, addresses.split(","), grpc.credentials.createInsecure());
  for (let record = 0; record < Number(count); record++) {
    const request = { list_id, record_id: String(record), campaign_id: "node" };
    const { decision } = await leader.call("Claim", request, Number(attemptMs));
    console.log(decision);
  }
  leader.clients.forEach((client) => client.close());
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
