// How the demo's page keeps rows: every shape that a `new_updates` may have.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const source = await readFile(new URL("../../src/demo/page/rows.js", import.meta.url), "utf8");
const { Rows } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const rows = new Rows("orders");
const apply = (...updates) => rows.apply({ updates: updates.map((update) => ({ table: "orders", ...update })) });

apply(
  { op: "insert", record: { id: 1, status: "open", notes: "long" } },
  { op: "insert", record: { id: 2, status: "open", notes: null } },
  { op: "insert", table: "articles", record: { id: 3 } },
);
assert.deepEqual(rows.values().map((row) => row.id), [1, 2]);
assert.deepEqual(rows.takeChanges().get(1), { kind: "insert", columns: [] });

// What did not change may be missing, and stays; what is too large is unknown.
apply({ op: "update", record: { id: 1, status: "paid" }, unchanged: ["notes"] });
assert.deepEqual(rows.values()[0], { id: 1, status: "paid", notes: "long" });
assert.deepEqual(rows.takeChanges().get(1), { kind: "update", columns: ["status"] });
apply({ op: "update", record: { id: 1, status: "paid" }, omitted: ["notes"] });
assert.deepEqual(rows.values()[0], { id: 1, status: "paid" });

// The key changes.
apply({ op: "update", record: { id: 7, status: "paid" }, old_record: { id: 1 } });
assert.deepEqual(rows.values().map((row) => row.id), [2, 7]);

// Deleted, and a delete of a row that is not there.
apply({ op: "delete", old_record: { id: 7 } }, { op: "delete", old_record: { id: 99 } });
assert.deepEqual(rows.values().map((row) => row.id), [2]);

apply({ op: "truncate" });
assert.equal(rows.size, 0);

// A snapshot in parts: the first begins afresh, the others add.
apply({ op: "insert", record: { id: 1 } });
const part = (number, id, more) =>
  rows.apply({ snapshot: true, part: number, more, updates: [{ op: "snapshot", table: "orders", record: { id } }] });
part(0, 10, true);
part(1, 11, false);
assert.deepEqual(rows.values().map((row) => row.id), [10, 11]);
console.log("done");
