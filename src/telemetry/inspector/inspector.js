// Asks the gateway once a second how it is doing, and shows that. Keys: / p t w c Esc, and arrows in the list of
// topics.

import { askForFilters, showDatabase } from "./database.js";
import { Charts, show } from "./show.js";
import { Tail } from "./tail.js";
import { askFor } from "./why.js";

const INTERVAL = 1000;
/** Of what costs the database a query. */
const FILTERS_INTERVAL = 60_000;
const element = (id) => document.getElementById(id);

const charts = new Charts(element("charts"));
const tail = new Tail({ list: element("tail"), state: element("tail-state"), stop: element("tail-stop"), ask: askFor });
let paused = false;
let endpoint = "ws://localhost:4000";
let asksForTokens = false;
let asked = 0;

async function refresh() {
  const search = element("search").value.trim();
  const number = ++asked;
  try {
    const answer = await fetch(`state?search=${encodeURIComponent(search)}`);
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const state = await answer.json();
    if (number !== asked) return; // something else is looked for by now
    endpoint = endpointOf(state);
    asksForTokens = state.tokens;
    charts.add(state);
    show(state, follow);
    showDatabase(state);
    snippet();
  } catch (error) {
    document.body.dataset.state = "failing";
    element("health").textContent = `The gateway does not answer: ${error.message}`;
  }
}

/** Where clients connect: by Unix sockets alone, this page's own address, which serves them, too. */
function endpointOf({ port, encrypted }) {
  return port ? `${encrypted ? "wss" : "ws"}://${location.hostname}:${port}` : `ws://${location.host}`;
}

async function run() {
  if (!paused && !document.hidden) await refresh();
  setTimeout(run, INTERVAL);
}

function follow(topic) {
  element("tail-topic").value = topic;
  snippet();
  tail.start(topic, element("tail-filter").value.trim(), element("tail-token").value.trim());
  element("tail-title").scrollIntoView({ block: "nearest" });
}

function snippet() {
  const topic = element("tail-topic").value || "orders:7";
  const filter = element("tail-filter").value.trim();
  const params = filter ? `{ snapshot: true, filter: ${JSON.stringify(filter)} }` : "{ snapshot: true }";
  const token = asksForTokens ? ', { params: { token: "…" } }' : "";
  const text = `import { Socket } from "phoenix";

const socket = new Socket("${endpoint}/socket"${token});
socket.connect();

const channel = socket.channel(${JSON.stringify(topic)}, ${params});
channel.on("new_updates", ({ cursor, updates }) => {
  for (const { op, table, record, old_record } of updates) console.log(op, table, record ?? old_record);
});
channel.join().receive("error", ({ reason }) => console.error(reason));`;
  if (element("snippet").textContent !== text) element("snippet").textContent = text;
}

async function copy() {
  const button = element("copy");
  const before = button.innerHTML;
  try {
    await navigator.clipboard.writeText(element("snippet").textContent);
    button.textContent = "Copied";
  } catch {
    // No right, or no secure page: it can still be copied by hand.
    getSelection().selectAllChildren(element("snippet"));
    button.textContent = "Selected";
  }
  setTimeout(() => (button.innerHTML = before), 1500);
}

function pause() {
  paused = !paused;
  element("pause").setAttribute("aria-pressed", String(paused));
  if (!paused) refresh();
}

function move(step) {
  const topics = [...document.querySelectorAll("#topics button")];
  const place = topics.indexOf(document.activeElement);
  topics[Math.max(0, Math.min(topics.length - 1, place + step))]?.focus();
}

const KEYS = {
  "/": () => element("search").select(),
  p: pause,
  t: () => element("tail-topic").select(),
  w: () => element("why-topic").select(),
  c: copy,
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    tail.stop();
    return document.activeElement?.blur();
  }
  const typing = event.target instanceof HTMLInputElement;
  if (event.target.id === "search" && event.key === "ArrowDown") return (event.preventDefault(), move(1));
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

element("search").addEventListener("input", refresh);
element("pause").addEventListener("click", pause);
element("copy").addEventListener("click", copy);
element("tail-stop").addEventListener("click", () => tail.stop());
element("tail-form").addEventListener("input", snippet);
element("tail-form").addEventListener("submit", (event) => {
  event.preventDefault();
  follow(element("tail-topic").value);
});

async function filters() {
  if (!document.hidden) await askForFilters();
  setTimeout(filters, FILTERS_INTERVAL);
}

snippet();
filters();
run();
