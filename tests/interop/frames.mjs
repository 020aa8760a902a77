// Frames by hand: what the wire looks like, to the last ref.

import assert from "node:assert/strict";
import { raw, say } from "./client.mjs";

const wire = await raw("vsn=2.0.0");
wire.send([null, "1", "phoenix", "heartbeat", {}]);
assert.deepEqual(await wire.next(), [null, "1", "phoenix", "phx_reply", { status: "ok", response: {} }]);

// Refused: the join_ref of the reply is null.
wire.send(["2", "2", "no:such:topic", "phx_join", {}]);
assert.deepEqual(await wire.next(), [
  null, "2", "no:such:topic", "phx_reply", { status: "error", response: { reason: "unmatched topic" } },
]);

// A second join of a joined topic: its reply first, then the close of the old one.
wire.send(["3", "3", "updates:feed", "phx_join", {}]);
let [joinRef, ref, , event, payload] = await wire.next();
assert.deepEqual([joinRef, ref, event, payload.status], ["3", "3", "phx_reply", "ok"]);
wire.send(["4", "4", "updates:feed", "phx_join", {}]);
[joinRef, ref, , event, payload] = await wire.next();
assert.deepEqual([joinRef, ref, event, payload.status], ["4", "4", "phx_reply", "ok"]);
assert.deepEqual(await wire.next(), ["3", "3", "updates:feed", "phx_close", {}]);

// A stale leave is dropped, the current one is answered and followed by the close.
wire.send(["3", "5", "updates:feed", "phx_leave", {}]);
wire.send(["4", "6", "updates:feed", "phx_leave", {}]);
assert.deepEqual(await wire.next(), ["4", "6", "updates:feed", "phx_reply", { status: "ok", response: {} }]);
assert.deepEqual(await wire.next(), ["4", "4", "updates:feed", "phx_close", {}]);

// Refs come back as they went out, whatever they are.
wire.send([null, { any: ["ref", 1.5] }, "phoenix", "heartbeat", {}]);
assert.deepEqual((await wire.next())[1], { any: ["ref", 1.5] });
wire.socket.close();

// Without a version, and with 1.0.0: objects, without join_ref.
for (const query of ["", "vsn=1.0.0", "a%5Bb%5D=1&&vsn=1.0.0"]) {
  const old = await raw(query);
  old.send({ topic: "phoenix", event: "heartbeat", payload: {}, ref: "1" });
  const reply = { topic: "phoenix", event: "phx_reply", payload: { status: "ok", response: {} }, ref: "1" };
  assert.deepEqual(await old.next(), reply);
  old.socket.close();
}

// A version that nobody speaks is refused before the upgrade.
await assert.rejects(raw("vsn=9.9.9"), /403/);
say("done");
