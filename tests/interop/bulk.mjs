// A large transaction, in parts, in order and complete; then many writers' transactions, whole and in commit order.
//
// WALCAST_ROWS: the rows of the large one, with the ids 1, 2, 3, … WALCAST_TRANSACTIONS: those of the many, of two rows
// with the same title each.

import assert from "node:assert/strict";
import { connect, replied, say, updatesOf } from "./client.mjs";

const rows = Number(process.env.WALCAST_ROWS);
const transactions = Number(process.env.WALCAST_TRANSACTIONS);

const socket = connect();
const channel = socket.channel("updates:feed");
const feed = updatesOf(channel);
assert.equal((await replied(channel.join())).status, "ok");
say("joined");

let received = 0;
let xid;
for (let part = 0; ; part += 1) {
  const payload = await feed.next();
  xid ??= payload.xid;
  assert.deepEqual([payload.part, payload.xid], [part, xid]);
  for (const { op, record } of payload.updates) {
    received += 1;
    if (op !== "insert" || record.id !== received) assert.fail(`${op} of ${record.id} in place of ${received}`);
  }
  if (!payload.more) break;
}
assert.equal(received, rows);
say("bulk");

const order = [];
while (order.length < transactions) {
  const { xid, updates, more } = await feed.next();
  assert.ok(!more);
  assert.equal(updates.length, 2);
  assert.equal(updates[0].record.title, updates[1].record.title);
  order.push(xid);
}
assert.deepEqual(feed.arrived, []);
say(`order ${order}`);
socket.disconnect();
say("done");
