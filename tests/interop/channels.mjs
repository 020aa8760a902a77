// The life of channels on one connection: refused, joined twice, left, kept alive by heartbeats.

import assert from "node:assert/strict";
import { connect, longPolls, replied, say, updatesOf, vsn } from "./client.mjs";

const HEARTBEATS = 3;

const socket = connect({ heartbeatIntervalMs: 100 });
let heartbeats = 0;
socket.onMessage(({ topic, event, payload }) => {
  if (topic === "phoenix" && event === "phx_reply" && payload.status === "ok") heartbeats += 1;
});
let closes = 0;
socket.onClose(() => (closes += 1));

// A topic that no route feeds.
const refused = socket.channel("no:such:topic");
assert.deepEqual(await replied(refused.join()), { status: "error", response: { reason: "unmatched topic" } });
refused.leave();

/** Everything that the gateway sent before is here. */
const roundTrip = () => new Promise((resolve) => socket.ping(resolve));

// The same topic twice: the second takes the first one's place. Without join_refs, as in 1.0.0, the client would take
// the close of the first for its own, so that it has to leave in good order.
const first = socket.channel("updates:feed");
const firstFeed = updatesOf(first);
assert.equal((await replied(first.join())).status, "ok");
if (vsn === "1.0.0") {
  assert.equal((await replied(first.leave())).status, "ok");
  await roundTrip();
}
const second = socket.channel("updates:feed");
const secondFeed = updatesOf(second);
assert.equal((await replied(second.join())).status, "ok");
say("joined twice");
const payload = await secondFeed.next();
assert.deepEqual(payload.updates.map((update) => update.op), ["insert"]);
assert.deepEqual(firstFeed.arrived, []);
assert.equal(first.state, "closed");
assert.equal(second.state, "joined");

// Left: the other topic still gets what is committed, and this one does not.
const other = socket.channel("updates:all");
const otherFeed = updatesOf(other);
assert.equal((await replied(other.join())).status, "ok");
assert.equal((await replied(second.leave())).status, "ok");
say("left");
assert.deepEqual((await otherFeed.next()).updates.map((update) => update.op), ["insert"]);
assert.deepEqual(secondFeed.arrived, []);

// Joined again after leaving.
await roundTrip();
const again = socket.channel("updates:feed");
assert.equal((await replied(again.join())).status, "ok");

// The client closes the connection by itself where a heartbeat has no answer. Where it polls it sends none by itself.
while (longPolls && heartbeats < HEARTBEATS) await roundTrip();
while (heartbeats < HEARTBEATS) await new Promise((resolve) => setTimeout(resolve, 50));
assert.equal(closes, 0);
assert.ok(socket.isConnected());
socket.disconnect();
say("done");
