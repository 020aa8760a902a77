// What the example pages share: one socket, and tables that stay as they are in Postgres.
import { Socket } from "./phoenix.mjs";

export { Presence } from "./phoenix.mjs";

const config = await (await fetch("/demo/config.json")).json();
const scheme = location.protocol === "https:" ? "wss" : "ws";

export const socket = new Socket(`${scheme}://${location.hostname}:${config.port}${config.path}`);
socket.connect();

const state = document.querySelector("[data-connection]");
const show = (word) => state && (state.textContent = state.dataset.connection = word);
socket.onOpen(() => show("live"));
socket.onError(() => show("connecting"));

/// Joins a topic and keeps its rows: all of them first, then every change, once. The join's params are a function, so
/// that whenever the client joins again it goes on after the last message that it has seen.
export function liveTable(topic, { key = "id", event = "new_updates", params = {}, changed }) {
  const rows = new Map();
  let cursor = null;
  const channel = socket.channel(topic, () => ({ ...params, cursor, snapshot: true }));
  channel.on(event, (message) => {
    if (message.snapshot && message.part === 0) rows.clear();
    for (const { op, record, old_record: old } of message.updates) {
      if (op === "truncate") rows.clear();
      if (op === "delete" || (old && record && old[key] !== record[key])) rows.delete(old[key]);
      // A column that is missing from `record` did not change.
      if (record) rows.set(record[key], { ...rows.get(record[key]), ...record });
    }
    cursor = message.cursor ?? cursor;
    if (!message.more) changed(rows, message);
  });
  channel.on("cursor", (message) => (cursor = message.cursor));
  channel.join();
  return { channel, rows };
}

/// Writes rows through a topic that allows it. The id makes a retry safe: whatever became of the first attempt, the
/// write happens once.
export function write(channel, changes) {
  const request = { id: crypto.randomUUID(), changes };
  return new Promise((resolve, reject) => {
    const attempt = () =>
      channel.push("sync_request", request).receive("ok", resolve).receive("error", reject).receive("timeout", attempt);
    attempt();
  });
}

/// An element with text and children, never with markup: what comes from others stays text.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/// Who this window is, until it is closed.
export function myName() {
  const names = ["Amara", "Jonas", "Mei", "Sofía", "Luca", "Nadia", "Ewa", "Oisín"];
  const asked = new URLSearchParams(location.search).get("name");
  const random = (below) => Math.floor(Math.random() * below);
  sessionStorage.name ??= asked ?? `${names[random(names.length)]} ${random(99) + 1}`;
  return sessionStorage.name;
}
