// Broadcasts between clients: everyone hears everything, in one order. See `tests/it/channels.rs`.

import assert from "node:assert/strict";
import { connect, raw, replied, say, vsn } from "./client.mjs";

const SENDERS = 3;
const MESSAGES_EACH = 50;

/** Everything that a channel is sent under an event, and a way to wait for so much of it. */
function heard(channel, event) {
  const payloads = [];
  let wake = () => {};
  channel.on(event, (payload) => {
    payloads.push(payload);
    wake();
  });
  const until = async (count) => {
    while (payloads.length < count) await new Promise((resolve) => (wake = resolve));
    return payloads;
  };
  return { payloads, until };
}

const sockets = Array.from({ length: SENDERS }, () => connect());
const rooms = sockets.map((socket) => socket.channel("rooms:1"));
const ears = rooms.map((room) => heard(room, "message"));
for (const room of rooms) {
  const { status, response } = await replied(room.join());
  assert.equal(status, "ok");
  assert.equal(typeof response.cursor, "string");
}

// All at once: who hears it, hears it in the same order.
const pushes = rooms.flatMap((room, from) =>
  Array.from({ length: MESSAGES_EACH }, (_, number) => room.push("message", { from, number, text: "ü \"✓\"" })),
);
for (const push of pushes) assert.deepEqual(await replied(push), { status: "ok", response: {} });
const [first, ...others] = await Promise.all(ears.map((ear) => ear.until(SENDERS * MESSAGES_EACH)));
for (const other of others) assert.deepEqual(other, first);
for (let from = 0; from < SENDERS; from += 1) {
  const own = first.filter((payload) => payload.from === from).map((payload) => payload.number);
  assert.deepEqual(own, Array.from({ length: MESSAGES_EACH }, (_, number) => number));
}

// Refused: nobody hears it.
assert.deepEqual(await replied(rooms[0].push("shout", {})), {
  status: "error",
  response: { reason: "event not allowed" },
});
const stranger = await raw();
stranger.send(
  vsn === "1.0.0"
    ? { topic: "rooms:1", event: "message", payload: {}, ref: "1" }
    : [null, "1", "rooms:1", "message", {}],
);
const answer = await stranger.next();
assert.equal((answer.payload ?? answer[4]).response.reason, "unmatched topic");
stranger.socket.close();

// The sender is left out where the channel says so.
const quiet = sockets.slice(0, 2).map((socket) => socket.channel("quiet"));
const quietEars = quiet.map((channel) => heard(channel, "typing"));
for (const channel of quiet) assert.equal((await replied(channel.join())).status, "ok");
assert.equal((await replied(quiet[0].push("typing", { number: 1 }))).status, "ok");
await quietEars[1].until(1);
assert.equal((await replied(quiet[1].push("typing", { number: 2 }))).status, "ok");
assert.deepEqual(await quietEars[0].until(1), [{ number: 2 }]);
assert.deepEqual(quietEars[1].payloads, [{ number: 1 }]);

// Bytes stay bytes.
if (vsn !== "1.0.0") {
  const bytes = Uint8Array.from({ length: 1000 }, (_, index) => index % 256);
  assert.equal((await replied(rooms[0].push("message", bytes.buffer))).status, "ok");
  for (const ear of ears) {
    const payload = (await ear.until(SENDERS * MESSAGES_EACH + 1)).at(-1);
    assert.ok(payload instanceof ArrayBuffer);
    assert.deepEqual(new Uint8Array(payload), bytes);
  }
}

// What is routed still comes to who joined a topic with both.
const feed = sockets[0].channel("updates:feed");
const updates = heard(feed, "new_updates");
const messages = heard(feed, "message");
assert.equal((await replied(feed.join())).status, "ok");
assert.equal((await replied(feed.push("message", { number: 1 }))).status, "ok");
say("listening");
await Promise.all([updates.until(1), messages.until(1)]);
for (const socket of sockets) socket.disconnect();
say("done");
