// The page's own client against a gateway that does what gateways do on bad days.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import WebSocket, { WebSocketServer } from "ws";

setTimeout(() => {
  console.error("not finished in time");
  process.exit(1);
}, 20_000).unref();

// What a browser would give it.
Object.assign(globalThis, { WebSocket, addEventListener() {}, document: { hidden: false, addEventListener() {} } });
const source = await readFile(new URL("../../src/demo/page/walcast-client.js", import.meta.url), "utf8");
const { Connection } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
await once(server, "listening");

/** The next connection: what it sends, one by one, and a way to answer. */
async function accepted() {
  const [socket, request] = await once(server, "connection");
  assert.equal(request.url, "/socket/websocket?vsn=2.0.0");
  const arrived = [];
  const waiting = [];
  socket.on("message", (data) => (waiting.length ? waiting.shift()(JSON.parse(data)) : arrived.push(JSON.parse(data))));
  return {
    socket,
    next: () => (arrived.length ? arrived.shift() : new Promise((resolve) => waiting.push(resolve))),
    send: (...message) => socket.send(JSON.stringify(message)),
  };
}

const seen = [];
const states = [];
let gateway = accepted();
const connection = new Connection(`ws://127.0.0.1:${server.address().port}/socket`, ({ state }) => states.push(state));
connection.subscribe("t", {
  onJoined: ({ resumed }) => seen.push(`joined ${resumed}`),
  onUpdates: ({ updates }) => seen.push(...updates),
  onRefused: (reason) => seen.push(`refused: ${reason}`),
});

// Joined, without a cursor; the connection goes after an update.
let { socket, next, send } = await gateway;
let [join, ref, topic, event, params] = await next();
assert.deepEqual([join, topic, event, params], [ref, "t", "phx_join", {}]);
send(join, ref, "t", "phx_reply", { status: "ok", response: { cursor: "c1", resumed: false } });
send(null, null, "t", "new_updates", { cursor: "c2", updates: ["first"] });
send("of an earlier join", null, "t", "new_updates", { cursor: "c9", updates: ["stale"] });
gateway = accepted();
socket.close(1012);

// It comes back and shows its cursor, which is not taken: it begins anew.
({ socket, next, send } = await gateway);
[join, ref, , event, params] = await next();
assert.deepEqual([event, params], ["phx_join", { cursor: "c2" }]);
send(join, ref, "t", "phx_reply", { status: "error", response: { reason: "resync_required" } });
[join, ref, , event, params] = await next();
assert.deepEqual([event, params], ["phx_join", {}]);
send(join, ref, "t", "phx_reply", { status: "ok", response: { cursor: null, resumed: false } });
send(null, null, "t", "cursor", { cursor: "c3" });

// The topic ends in an error: it joins again, after what it has seen.
send(join, ref, "t", "phx_error", { reason: "channel_crash" });
[join, ref, , event, params] = await next();
assert.deepEqual([event, params], ["phx_join", { cursor: "c3" }]);
send(join, ref, "t", "phx_reply", { status: "ok", response: { cursor: "c3", resumed: true } });

// Told to resync: the cursor is given up.
send(join, ref, "t", "phx_error", { reason: "resync_required" });
[join, ref, , event, params] = await next();
assert.deepEqual([event, params], ["phx_join", {}]);
send(join, ref, "t", "phx_reply", { status: "error", response: { reason: "unauthorized" } });
[join, ref, , event] = await next();
assert.equal(event, "phx_join");
send(join, ref, "t", "phx_reply", { status: "ok", response: { cursor: "c4", resumed: false } });

// No JSON: this connection is not trusted any further.
gateway = accepted();
socket.send("{");
({ socket, next, send } = await gateway);
[join, ref, , event, params] = await next();
assert.deepEqual([event, params], ["phx_join", { cursor: "c4" }]);

const expected = ["joined false", "first", "joined false", "joined true", "refused: unauthorized", "joined false"];
assert.deepEqual(seen, expected);
const round = ["connecting", "live", "waiting"];
assert.deepEqual(states, [...round, ...round, "connecting", "live"]);
console.log("done");
process.exit(0);
