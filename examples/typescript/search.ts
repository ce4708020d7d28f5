// Searches with the caller's own token, over gRPC:
//
//     VECSEC_TOKEN=… node built/search.js localhost:50051 tenant_a "how do we rank?"
//
// Prints a line for each passage that the caller may read, nearest first. A refusal ends it with status 1 and its reason.
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Fallback, GatewayService } from "./gen/vecsec/gateway/v1/gateway_service_pb.js";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";

const [gateway, tenantId, text] = process.argv.slice(2);
const token = process.env.VECSEC_TOKEN ?? "";

// A server of many users has one transport, and gives each call its user's header instead.
const asCaller: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const transport = createGrpcTransport({ baseUrl: `http://${gateway}`, interceptors: [asCaller] });
const client = createClient(GatewayService, transport);

try {
  const answer = await client.searchDocuments(
    // Made-up rows are the contract's default while retrieval is off: a program that feeds a model says NONE.
    { tenantId, query: { kind: { case: "text", value: text } }, k: 5, fallback: Fallback.NONE },
    { timeoutMs: 10_000 },
  );
  for (const { document, score } of answer.results) {
    console.log(`${score.toFixed(3)}  ${document?.documentId}  ${document?.text}`);
  }
} catch (error) {
  const refused = ConnectError.from(error);
  const [info] = refused.findDetails(ErrorInfoSchema);
  console.error(`${Code[refused.code]} ${info?.reason ?? ""}: ${refused.rawMessage}`);
  process.exit(1);
}
