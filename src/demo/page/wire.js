// The messages as they come, and how long they took.

import { element } from "./panels.js";

const MESSAGES_SHOWN = 40;
const LATENCIES_KEPT = 48;
const MARKS = { insert: "+", update: "~", delete: "−", truncate: "∅", snapshot: "=" };

/** The newest message first; while one is open to be read, nothing moves. */
export class Wire {
  #list = document.getElementById("wire");
  #note = document.getElementById("wire-note");
  #waiting = [];

  add(topic, payload, latencyMs) {
    this.#waiting.push({ topic, payload, latencyMs, at: new Date() });
    if (this.#waiting.length > MESSAGES_SHOWN) this.#waiting.shift();
  }

  render() {
    const reading = this.#list.querySelector("details[open]") !== null;
    this.#note.textContent = reading ? "standing still while you read" : "open one to read it";
    if (reading) return;
    for (const message of this.#waiting) this.#list.prepend(entry(message));
    this.#waiting = [];
    while (this.#list.childElementCount > MESSAGES_SHOWN) this.#list.lastElementChild.remove();
  }
}

function entry({ topic, payload, latencyMs, at }) {
  const details = element("details");
  const summary = element("summary");
  const time = element("time", "", at.toLocaleTimeString("en-GB"));
  const operations = element("span", "operations");
  for (const [operation, count] of tally(payload.updates)) {
    operations.append(element("b", operation, `${MARKS[operation] ?? "?"}${count}`));
  }
  const [first] = payload.updates;
  const preview = first ? JSON.stringify(first.record ?? first.old_record ?? { table: first.table }) : "";
  const latency = element("span", "latency", latencyMs === null ? "" : `${latencyMs} ms`);
  summary.append(time, element("code", "", topic), operations, element("code", "preview", preview), latency);
  details.append(summary);
  // Written out only for those who look.
  details.addEventListener("toggle", () => {
    if (details.childElementCount === 1) details.append(element("pre", "", JSON.stringify(payload, null, 2)));
  });
  return details;
}

function tally(updates) {
  const counts = new Map();
  for (const { op } of updates) counts.set(op, (counts.get(op) ?? 0) + 1);
  return counts;
}

/** Milliseconds from commit to now; `null` where the two clocks contradict each other. */
export function latencyOf(payload) {
  const latencyMs = Date.now() - Date.parse(payload.commit_timestamp);
  return latencyMs >= 0 ? latencyMs : null;
}

/** The median of the last ones, and a line of them. */
export class Latency {
  #kept = [];
  #text = document.getElementById("latency");
  #line = document.querySelector("#sparkline polyline");

  add(latencyMs) {
    if (latencyMs === null) return;
    this.#kept.push(latencyMs);
    if (this.#kept.length > LATENCIES_KEPT) this.#kept.shift();
  }

  render() {
    if (this.#kept.length === 0) return;
    const sorted = this.#kept.toSorted((left, right) => left - right);
    this.#text.textContent = `${sorted[Math.floor(sorted.length / 2)]} ms`;
    const most = Math.max(20, sorted.at(-1));
    const points = this.#kept.map((latencyMs, index) => `${index * 2},${(22 - (latencyMs / most) * 20).toFixed(1)}`);
    this.#line.setAttribute("points", points.join(" "));
  }
}
