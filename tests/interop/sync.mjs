// Two devices of one user edit the same note with the official client: see `tests/it/sync/official_client.rs`.

import assert from "node:assert/strict";
import { connect, replied, say } from "./client.mjs";

/** A joined device that keeps the rows it is sent. */
async function device() {
  const socket = connect();
  const channel = socket.channel("sync:7", { snapshot: true });
  const rows = new Map();
  const watchers = new Set();
  channel.on("sync_update", ({ updates }) => {
    for (const { op, record, old_record } of updates) {
      if (op === "delete") rows.delete(old_record.id);
      else rows.set(record.id, record);
    }
    watchers.forEach((look) => look());
  });
  assert.equal((await replied(channel.join())).status, "ok");
  const until = (seen) =>
    new Promise((resolve) => {
      const look = () => seen() && (watchers.delete(look), resolve());
      watchers.add(look);
      look();
    });
  const request = (id, ...changes) => replied(channel.push("sync_request", { id, changes }));
  return { socket, rows, until, request };
}

const phone = await device();
const laptop = await device();
say("joined");

let reply = await phone.request("p1", { op: "insert", record: { id: 1, title: "Groceries", body: "milk" } });
assert.equal(reply.status, "ok");
assert.equal(typeof reply.response.cursor, "string");
assert.equal(phone.rows.get(1).title, "Groceries", "what was written came before the reply");
await laptop.until(() => laptop.rows.has(1));

// Edits of different fields at once: both stay.
const [title, body] = await Promise.all([
  phone.request("p2", { op: "update", key: { id: 1 }, record: { title: "Shopping" }, base: { title: "Groceries" } }),
  laptop.request("l1", { op: "update", key: { id: 1 }, record: { body: "oat milk" }, base: { body: "milk" } }),
]);
assert.deepEqual([title.status, body.status], ["ok", "ok"]);
for (const { rows, until } of [phone, laptop]) {
  await until(() => rows.get(1).title === "Shopping" && rows.get(1).body === "oat milk");
}

// The same field: the second is told what it is now, and asks anew.
const rename = { op: "update", key: { id: 1 }, record: { title: "List" }, base: { title: "Groceries" } };
reply = await laptop.request("l2", rename);
assert.equal(reply.status, "error");
assert.equal(reply.response.reason, "conflict");
const [{ key, columns, current }] = reply.response.conflicts;
assert.deepEqual([key, columns, current.title], [{ id: 1 }, ["title"], "Shopping"]);
reply = await laptop.request("l3", { op: "update", key, record: { title: "List" }, base: { title: current.title } });
assert.equal(reply.status, "ok");

// The same request again: the same outcome, and nothing is done.
const oats = { op: "update", key: { id: 1 }, record: { body: "oat milk" }, base: { body: "milk" } };
reply = await laptop.request("l1", oats);
assert.equal(reply.status, "ok");
reply = await phone.request("p3", { op: "delete", key: { id: 1 }, base: { title: "List" } });
assert.equal(reply.status, "ok");
await laptop.until(() => !laptop.rows.has(1));
phone.socket.disconnect();
laptop.socket.disconnect();
say("done");
