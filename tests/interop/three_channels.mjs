// Notifications, live updates and synchronisation with the official client, as apps write them: see `tests/it/apps.rs`.

import assert from "node:assert/strict";
import { connect, replied, say } from "./client.mjs";

/** An event's payloads, one after the other. */
function heard(channel, event) {
  const arrived = [];
  const waiting = [];
  channel.on(event, (payload) => (waiting.length > 0 ? waiting.shift()(payload) : arrived.push(payload)));
  return () => (arrived.length > 0 ? Promise.resolve(arrived.shift()) : new Promise((next) => waiting.push(next)));
}

const socket = connect();
const joined = async (topic, params) => {
  const channel = socket.channel(topic, params);
  assert.equal((await replied(channel.join())).status, "ok", topic);
  return channel;
};

// Push notifications: by a client, by an app over HTTP, by SQL.
const notifications = await joined("notifications:lobby", {});
const nextNotification = heard(notifications, "new_notification");
notifications.push("new_notification", { message: "from a client" });
assert.deepEqual(await nextNotification(), { message: "from a client" });
say("notified by a client");
for (const by of ["an app", "SQL"]) {
  assert.deepEqual(await nextNotification(), { message: `from ${by}` });
  say(`notified by ${by}`);
}

// Live updates.
const feed = await joined("updates:feed", {});
const nextUpdates = heard(feed, "new_updates");
feed.push("fetch_updates", {});
const { updates: current, snapshot } = await nextUpdates();
assert.equal(snapshot, true);
assert.ok(current.some(({ record }) => record.title === "The case for slower bread"));
say("fetched");
const { updates } = await nextUpdates();
assert.deepEqual(updates.map(({ op, record }) => [op, record.title]), [["insert", "Fresh"]]);

// Synchronisation across devices.
const device = await joined("sync:home", {});
const nextSync = heard(device, "sync_update");
const other = connect();
const otherDevice = other.channel("sync:home", {});
assert.equal((await replied(otherDevice.join())).status, "ok");
const otherNextSync = heard(otherDevice, "sync_update");
const record = { id: "n1", workspace_id: "home", title: "Groceries", body: "milk" };
const { workspace_id: _theTopicSaysIt, ...written } = record;
const reply = await replied(device.push("sync_request", { id: "m1", changes: [{ op: "insert", record: written }] }));
assert.equal(reply.status, "ok", JSON.stringify(reply));
for (const next of [nextSync, otherNextSync]) {
  const { updates: changes } = await next();
  assert.deepEqual(changes.map(({ op, record }) => [op, record]), [["insert", record]]);
}
for (const each of [socket, other]) each.disconnect();
say("done");
