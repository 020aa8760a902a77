// A client that went away comes back with the last cursor that it saw, and gets what it missed, once.

import assert from "node:assert/strict";
import { connect, replied, say, updatesOf } from "./client.mjs";

const first = connect();
const channel = first.channel("updates:feed");
const feed = updatesOf(channel);
assert.equal((await replied(channel.join())).response.resumed, false);
say("joined");
const { cursor } = await feed.next();
assert.equal(typeof cursor, "string");
first.disconnect(() => say("away"));

// The test commits two transactions now, then says so on standard input.
await new Promise((resolve) => process.stdin.once("data", resolve));
const second = connect();
const resumed = second.channel("updates:feed", { cursor });
const rest = updatesOf(resumed);
const { status, response } = await replied(resumed.join());
assert.deepEqual([status, response.resumed], ["ok", true]);
for (const title of ["missed", "missed too"]) {
  assert.deepEqual((await rest.next()).updates.map(({ record }) => record.title), [title]);
}
say("caught up");
assert.deepEqual((await rest.next()).updates.map(({ record }) => record.title), ["live"]);
second.disconnect();

// A cursor of nobody's.
const third = connect();
const refused = await replied(third.channel("updates:feed", { cursor: "no cursor of ours" }).join());
assert.deepEqual(refused, { status: "error", response: { reason: "resync_required" } });
third.disconnect();
say("done");
process.exit(0);
