// Messages deflated, by a WebSocket library that knows nothing of us.

import assert from "node:assert/strict";
import { once } from "node:events";
import WebSocket from "ws";
import { endpoint, say } from "./client.mjs";

const ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/** A connection that has joined: what was agreed, and its messages one by one. */
async function joined(perMessageDeflate) {
  const socket = new WebSocket(`${endpoint}/websocket?vsn=2.0.0`, { perMessageDeflate });
  let answer;
  socket.once("upgrade", (response) => (answer = response.headers["sec-websocket-extensions"]));
  const [arrived, waiting] = [[], []];
  socket.on("message", (data) => (waiting.length ? waiting.shift()(data) : arrived.push(data)));
  await once(socket, "open");
  const next = async () =>
    JSON.parse(arrived.length ? arrived.shift() : await new Promise((resolve) => waiting.push(resolve)));
  socket.send(JSON.stringify(["1", "1", "updates:feed", "phx_join", {}]));
  assert.equal((await next())[4].status, "ok");
  return { socket, answer, next };
}

// Each offer, and the answer to it. With a threshold of 0 the client deflates everything that it sends.
const clients = [];
for (const [options, answer, shrinks] of [
  [{ threshold: 0 }, ANSWER, true],
  [{ threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true }, ANSWER, true],
  [{ threshold: 0, clientMaxWindowBits: 10 }, ANSWER, true],
  [{ threshold: 0, serverMaxWindowBits: 15 }, `${ANSWER}; server_max_window_bits=15`, true],
  // Too small to look back in a message as long as the one below.
  [{ threshold: 0, serverMaxWindowBits: 9 }, `${ANSWER}; server_max_window_bits=9`, false],
  [false, undefined, false],
]) {
  const client = await joined(options);
  assert.equal(client.answer, answer);
  clients.push({ ...client, shrinks });
}
say("joined");

const before = clients.map(({ socket }) => socket._socket.bytesRead);
const messages = await Promise.all(clients.map(({ next }) => next()));
for (const [index, { socket, shrinks }] of clients.entries()) {
  assert.deepEqual(messages[index], messages[0]);
  assert.equal(messages[index][4].updates.length, 100);
  const [length, read] = [JSON.stringify(messages[index]).length, socket._socket.bytesRead - before[index]];
  assert.ok(shrinks ? read < length / 4 : read >= length, `${read} bytes for a message of ${length}`);
}

// What they send is taken, too, whatever its length and its fragments.
for (const { socket, next } of clients) {
  for (const pad of ["", "x".repeat(100), "é".repeat(50_000)]) {
    socket.send(JSON.stringify([null, `of ${pad.length}`, "phoenix", "heartbeat", { pad }]));
    assert.equal((await next())[1], `of ${pad.length}`);
  }
  const text = JSON.stringify([null, "in fragments", "phoenix", "heartbeat", {}]);
  socket.send(text.slice(0, 10), { fin: false });
  socket.ping();
  socket.send(text.slice(10, 11), { fin: false });
  socket.send(text.slice(11), { fin: true });
  assert.equal((await next())[1], "in fragments");
}

// A message over the limit, however short it is on the way.
const [{ socket }] = clients;
socket.send("x".repeat(2 << 20));
const [code] = await once(socket, "close");
assert.equal(code, 1009);
say("done");
process.exit(0);
