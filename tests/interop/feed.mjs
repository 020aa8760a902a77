// Joins `updates:feed` and expects exactly what the test commits: see `tests/it/interop.rs`.

import assert from "node:assert/strict";
import { connect, replied, say, updatesOf } from "./client.mjs";

const socket = connect();
const channel = socket.channel("updates:feed");
const feed = updatesOf(channel);

const { status, response } = await replied(channel.join());
assert.equal(status, "ok");
assert.equal(typeof response, "object");
say("joined");

const article = { schema: "public", table: "articles" };
const transactions = [
  [{ op: "insert", ...article, record: { id: 1, title: "first", body: null } }],
  [{ op: "update", ...article, record: { id: 1, title: "first, edited", body: "text" } }],
  [
    { op: "insert", ...article, record: { id: 2, title: "second", body: null } },
    { op: "insert", ...article, record: { id: 3, title: "third \"quoted\" \u2713", body: null } },
    { op: "delete", ...article, old_record: { id: 1 } },
  ],
  [{ op: "truncate", ...article }],
];
for (const updates of transactions) {
  const payload = await feed.next();
  assert.deepEqual(payload.updates, updates);
  assert.match(payload.commit_timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00$/);
  assert.ok(Math.abs(Date.now() - Date.parse(payload.commit_timestamp)) < 60_000, payload.commit_timestamp);
  assert.equal(typeof payload.cursor, "string");
  assert.ok(Number.isInteger(payload.xid) && payload.xid > 0, `xid ${payload.xid}`);
  assert.ok(!payload.more, "a small transaction comes whole");
}
assert.deepEqual(feed.arrived, []);
socket.disconnect();
say("done");
