// Talks to a running ownerd as a dialer written for Node would, with nothing generated.
//
// Usage: node smoke.js PROTOS_DIRECTORY DIAL_ADDRESS ADMIN_ADDRESS LIST_ID [CA_FILE]
//
// With CA_FILE it speaks TLS and trusts that CA.
//
// Creates the list, lets two campaigns go through the main job on it, and prints what the server
// answered as one line of JSON. Judges nothing: the caller does. Exits 1 with the error on stderr
// when a call ends in a way that is not asked for here.
"use strict";

const fs = require("fs");

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const CALL_DEADLINE_MS = 20_000;
const BATCH_COUNT = 1000;

function loadPackage(protosDirectory) {
  const definition = protoLoader.loadSync(["ownerd/v1/dial.proto", "ownerd/v1/admin.proto"], {
    includeDirs: [protosDirectory],
    keepCase: true,
    enums: String,
    longs: String, // a revision may exceed what a JavaScript number holds
    defaults: true,
  });
  return grpc.loadPackageDefinition(definition).ownerd.v1;
}

function call(client, method, request) {
  const deadline = Date.now() + CALL_DEADLINE_MS;
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

async function statusOf(promise) {
  try {
    await promise;
    return { status: "OK", message: "" };
  } catch (error) {
    return { status: grpc.status[error.code], message: error.details };
  }
}

function countByValue(values) {
  const counts = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

async function talk(dial, admin, list_id) {
  const created = await call(admin, "CreateContactList", {
    list_id,
    policy: { enabled: true, duration: { seconds: 7200 } },
    reason: "smoke test",
  });
  const mine = { list_id, record_id: "1001", campaign_id: "node-a" };
  const claim = await call(dial, "Claim", mine);
  const attempt = await call(dial, "ReportAttempt", { ...mine, wrap_up_code: "Busy" });
  const denied = await call(dial, "Claim", { ...mine, campaign_id: "node-b" });
  const holder = await call(dial, "GetHolder", { list_id, record_id: "1001" });
  const record_ids = Array.from({ length: BATCH_COUNT }, (_, index) => String(1001 + index));
  const batch = await call(dial, "ClaimBatch", { list_id, campaign_id: "node-b", record_ids });
  const unknownList = await statusOf(call(dial, "Claim", { ...mine, list_id: `${list_id}-none` }));
  return {
    created,
    claim,
    attempt,
    denied,
    holder,
    batch: { ...batch, decisions: countByValue(batch.decisions) },
    unknownList,
  };
}

async function main([protosDirectory, dialAddress, adminAddress, listId, caFile]) {
  const { DialService, AdminService } = loadPackage(protosDirectory);
  const credentials = caFile
    ? grpc.credentials.createSsl(fs.readFileSync(caFile))
    : grpc.credentials.createInsecure();
  const dial = new DialService(dialAddress, credentials);
  const admin = new AdminService(adminAddress, credentials);
  try {
    console.log(JSON.stringify(await talk(dial, admin, listId)));
  } finally {
    dial.close();
    admin.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
