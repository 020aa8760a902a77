// The readme's live table with the official client, in the middle of chaos: every change must fit the rows that are
// there, so that what is lost, repeated or out of order is seen at once. Through SIGSTOP, cuts and restarts alike.
//
// On each line of standard input it prints its rows: `rows [[table, first key, second key, row], …]`.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { connect, say } from "./client.mjs";

const rows = new Map();
let cursor = null;
let snapshots = 0;

/** Compares rows whatever the order of their members. */
const same = (one, other) => sorted(one) === sorted(other);
const sorted = (row) => JSON.stringify(Object.entries(row).sort());

function keyOf(table, row) {
  return JSON.stringify(table === "ledger" ? [table, row.writer, row.seq] : [table, row.id, 0]);
}

function put(table, row, isSnapshot) {
  const key = keyOf(table, row);
  assert(!rows.has(key), `${key} is there already`);
  if (table === "ledger" && row.seq > 1 && !isSnapshot) {
    assert(rows.has(JSON.stringify([table, row.writer, row.seq - 1])), `the transaction before ${key} is missing`);
  }
  rows.set(key, row);
}

function take(table, row) {
  const key = keyOf(table, row);
  assert(rows.has(key) && same(rows.get(key), row), `${key} was ${JSON.stringify(rows.get(key))}`);
  rows.delete(key);
}

function apply({ op, table, record, old_record, unchanged, omitted }) {
  assert(!unchanged && !omitted, "a value is missing");
  if (op === "truncate") {
    for (const key of [...rows.keys()]) if (JSON.parse(key)[0] === table) rows.delete(key);
    return;
  }
  if (op === "update" || op === "delete") take(table, old_record);
  if (op !== "delete") put(table, record, op === "snapshot");
}

const socket = connect();
const channel = socket.channel("everything", () => ({ cursor, snapshot: true }));
channel.on("new_updates", (message) => {
  if (message.snapshot && message.part === 0) {
    rows.clear();
    cursor = null;
    snapshots += 1;
  }
  message.updates.forEach(apply);
  cursor = message.cursor ?? cursor;
});
channel.on("cursor", (message) => {
  cursor = message.cursor;
});
channel.join().receive("ok", () => say("joined"));

createInterface({ input: process.stdin }).on("line", () => {
  say(`snapshots ${snapshots}`);
  say(`rows ${JSON.stringify([...rows].map(([key, row]) => [...JSON.parse(key), row]))}`);
});
