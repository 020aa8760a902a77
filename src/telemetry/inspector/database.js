// What the gateway has of the database, and what it may keep there and here. Text goes in as text, whatever it is.

import { bytes, seconds } from "./show.js";

const DAY = 86400;
const element = (id) => document.getElementById(id);
const LEVELS = { extended: "warn", unreserved: "bad", lost: "bad", unknown: "warn" };

let filters = [];

/** Which rows the publication gives is asked for now and then: it costs a query. */
export async function askForFilters() {
  try {
    const answer = await fetch("filters");
    if (answer.ok) filters = (await answer.json()).filters;
  } catch {
    // The page says already that the gateway does not answer.
  }
}

function meter(value, max, label) {
  const meter = document.createElement("meter");
  Object.assign(meter, { min: 0, max, high: max, optimum: 0, value: Math.min(value, max) });
  meter.setAttribute("aria-label", label);
  return meter;
}

function slot(it) {
  if (!it.slot_status) return [`${it.slot}: not there, or not looked at yet`, "bad"];
  const lost = it.slot_invalidation ? `: ${it.slot_invalidation}, ${it.slot_lost_because}` : "";
  const idle = it.slot_inactive_seconds == null ? "" : `, nobody has streamed for ${seconds(it.slot_inactive_seconds)}`;
  return [`${it.slot}, ${it.slot_status}${lost}${idle}`, it.slot_invalidation ? "bad" : LEVELS[it.slot_status]];
}

function standbys(it) {
  if (it.slot_synced) return "the slot is a copy that a standby made of the primary's";
  if (it.slot_failover) return "they copy the slot (failover)";
  return "they don't copy the slot: after a failover everyone resyncs";
}

function safe(it) {
  if (it.slot_safe_bytes == null) return "no limit: max_slot_wal_keep_size is not set";
  return `${bytes(it.slot_safe_bytes)} more, then the slot may be lost (max_slot_wal_keep_size)`;
}

function certificate(expiry) {
  const left = expiry - Date.now() / 1000;
  const date = new Date(expiry * 1000).toISOString().slice(0, 10);
  if (left <= 0) return [`expired on ${date}`, "bad"];
  const days = Math.floor(left / DAY);
  return [`until ${date}, ${days === 1 ? "1 day" : `${days} days`}`, days < 7 ? "bad" : days < 21 ? "warn" : ""];
}

function facts({ replication: it, log, certificate_expiry }) {
  const held = it.slot_held_bytes ?? 0;
  const wal = `${bytes(it.slot_held_bytes)} of ${bytes(it.wal_budget)} (replay.wal)`;
  const memory = `${bytes(log.bytes)} of ${bytes(log.memory_limit)} (replay.memory)`;
  const list = [
    ["Publication", [it.publication, "", ...filters.map(({ table, filter }) => `${table} where ${filter}`)]],
    ["Slot", slot(it)],
    ["It holds", [wal, held > it.wal_budget ? "warn" : "", meter(held, it.wal_budget, "WAL held")]],
    ["It may hold", [safe(it)]],
    ["Standbys", [standbys(it)]],
    ["Log reaches back", [`${seconds(log.span_seconds)} of ${seconds(log.window_seconds)} (replay.window)`]],
    ["Log takes", [memory, "", meter(log.bytes, log.memory_limit, "memory of the log")]],
  ];
  if (certificate_expiry != null) list.push(["TLS certificate", certificate(certificate_expiry)]);
  return list;
}

export function showDatabase(state) {
  const { server, in_recovery } = state.replication;
  element("database-server").textContent = in_recovery ? `${server}, a standby` : server;
  const items = facts(state).flatMap(([name, [text, level = "", ...more]]) => {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    value.textContent = text;
    value.dataset.level = level ?? "";
    for (const one of more) {
      if (typeof one !== "string") value.append(one);
      else value.append(Object.assign(document.createElement("code"), { textContent: one }));
    }
    return [term, value];
  });
  const list = element("database");
  // A selection in it stays where nothing is new.
  const drawn = document.createElement("dl");
  drawn.append(...items);
  if (drawn.innerHTML !== list.innerHTML) list.replaceChildren(...items);
}
