// Follows events with npm's graphql-ws and graphql-sse through a wire that is cut again and again, resumes after the last
// position, and prints the positions that each got as JSON: node subscriptions.mjs PORT AUTHORIZATION TENANT COUNT
import net from "node:net";
import { createClient as overSse } from "graphql-sse";
import { createClient as overWebSocket } from "graphql-ws";
import WebSocket from "ws";

const [port, authorization, tenantId, count] = process.argv.slice(2);
const EVERY = 7; // events between two cuts
const query = `subscription ($after: Position, $tenantId: ID!) {
  events(after: $after, filter: { tenantId: $tenantId }) { position }
}`;

const follow = async (connect) => {
  const wires = new Set();
  let cuts = 0;
  const proxy = net.createServer((near) => {
    const far = net.connect(Number(port), "127.0.0.1");
    for (const [one, other] of [[near, far], [far, near]]) {
      wires.add(one);
      one.pipe(other);
      one.on("error", () => {}).on("close", () => other.destroy());
    }
  });
  await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));
  const client = connect(`127.0.0.1:${proxy.address().port}/graphql`);
  const request = { query, variables: { after: 0, tenantId } };
  const positions = [];
  await new Promise((resolve, reject) => {
    const stop = client.subscribe(request, {
      next: ({ data, errors }) => {
        if (errors) return reject(new Error(JSON.stringify(errors)));
        if (positions.length === Number(count)) return;
        positions.push(data.events.position);
        request.variables.after = data.events.position; // what is sent when the client connects again
        if (positions.length === Number(count)) {
          stop();
          resolve();
        } else if (positions.length % EVERY === 0) {
          cuts += 1;
          for (const wire of wires) wire.destroy();
          wires.clear();
        }
      },
      error: reject,
      complete: resolve,
    });
  });
  await client.dispose();
  for (const wire of wires) wire.destroy();
  proxy.close();
  return { positions, cuts };
};

const soon = { retryAttempts: 1000, retryWait: () => Promise.resolve() };
const [ws, sse] = await Promise.all([
  follow((address) =>
    overWebSocket({
      url: `ws://${address}`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization },
      shouldRetry: () => true,
      ...soon,
    }),
  ),
  follow((address) => overSse({ url: `http://${address}`, headers: { authorization }, ...soon })),
]);
console.log(JSON.stringify({ ws, sse }));
process.exit(0);
