// Puts the page together: three topics, three panels, one connection.

import { articlesPanel, element, ordersPanel, refreshAges, restart, scoresPanel } from "./panels.js";
import { Rows } from "./rows.js";
import { Connection } from "./walcast-client.js";
import { Latency, Wire, latencyOf } from "./wire.js";

const RETRY_ROWS_MS = 1_000;

const wire = new Wire();
const latency = new Latency();
const panels = [];
let changes = 0;
let dirty = false;

/** At most once a frame, however many messages come. */
function renderSoon() {
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => {
    dirty = false;
    for (const panel of panels) panel.render();
    wire.render();
    latency.render();
    document.getElementById("changes").textContent = changes.toLocaleString("en");
  });
}

async function getJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/**
 * A panel's rows: those there were at the join, then what the topic says.
 *
 * Messages that come before the rows wait for them and are applied on top. Some of those are in the rows already;
 * applying a change again, in order, ends in the same rows.
 */
class Panel {
  #waiting = null;

  constructor(connection, { table, topic, list, belongs = () => true }) {
    Object.assign(this, { connection, topic, list, belongs, rows: new Rows(table) });
    this.join();
  }

  join() {
    this.subscription = this.connection.subscribe(this.topic, {
      onJoined: ({ resumed }) => resumed || this.#load(),
      onUpdates: (payload) => this.#received(payload),
      onRefused: (reason) => showState({ state: "refused", reason: `${this.topic}: ${reason}` }),
    });
  }

  /** The same table by another topic. */
  switchTo(topic, belongs) {
    this.subscription.leave();
    this.rows.replace([]);
    this.list.clear();
    Object.assign(this, { topic, belongs });
    this.join();
    renderSoon();
  }

  async #load() {
    const waiting = [];
    this.#waiting = waiting;
    try {
      const rows = (await getJson("rows"))[this.rows.table];
      if (this.#waiting !== waiting) return; // joined again meanwhile
      this.rows.replace(rows.filter(this.belongs));
      this.#waiting = null;
      for (const payload of waiting) this.rows.apply(payload);
      renderSoon();
    } catch (error) {
      console.warn("the rows did not come, asking again:", error);
      setTimeout(() => this.#waiting === waiting && this.#load(), RETRY_ROWS_MS);
    }
  }

  #received(payload) {
    const latencyMs = latencyOf(payload);
    changes += payload.updates.length;
    wire.add(this.topic, payload, latencyMs);
    latency.add(latencyMs);
    if (this.#waiting) this.#waiting.push(payload);
    else this.rows.apply(payload);
    restart(document.querySelector(".path"), "pulse");
    renderSoon();
  }

  render() {
    const hidden = this.list.render(this.rows.values(), this.rows.takeChanges());
    if (this.rows.table === "orders") {
      document.getElementById("orders-more").textContent = hidden > 0 ? `and ${hidden.toLocaleString("en")} more` : "";
    }
  }
}

let countdown = null;

function showState({ state, retryMs, reason }) {
  clearInterval(countdown);
  document.body.dataset.state = state;
  const text = document.getElementById("state");
  if (state === "waiting") {
    const until = Date.now() + retryMs;
    const tell = () => (text.textContent = `trying again in ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s`);
    countdown = setInterval(tell, 250);
    tell();
  } else {
    text.textContent = reason ?? state;
  }
}

function offerCustomers(panel, rows) {
  const select = document.getElementById("customer");
  const customers = new Map(rows.customers.map(({ id, name }) => [String(id), name]));
  select.append(...[...customers].map(([id, name]) => Object.assign(element("option", "", name), { value: id })));
  select.addEventListener("change", () => {
    const id = select.value;
    const topic = id ? `orders:${id}` : "orders";
    document.getElementById("orders-topic").textContent = topic;
    panel.switchTo(topic, id ? (row) => String(row.customer_id) === id : () => true);
  });
}

function showCode(endpoint, databaseUrl) {
  document.getElementById("code-client").textContent = `import { Socket } from "phoenix"

const socket = new Socket("${endpoint}")
socket.connect()

const channel = socket.channel("updates:feed")
channel.on("new_updates", ({ updates }) => {
  for (const { op, table, record, old_record } of updates)
    console.log(op, table, record ?? old_record)
})
channel.join()`;
  document.getElementById("code-psql").textContent =
    `psql ${databaseUrl} -c \\\n  "update articles set title = upper(title)"`;
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", async () => {
      const code = document.getElementById(button.dataset.copy);
      button.textContent = await copy(code);
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }
}

/** Browsers give the clipboard only to https and localhost: elsewhere the text is selected, ready for the keyboard. */
async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    return "Selected";
  }
}

async function start() {
  const config = await getJson("config.json");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const endpoint = `${scheme}://${location.hostname}:${config.port}${config.path}`;
  showCode(endpoint, config.database_url);
  const connection = new Connection(endpoint, showState);
  const orders = new Panel(connection, { table: "orders", topic: "orders", list: ordersPanel() });
  panels.push(
    orders,
    new Panel(connection, { table: "matches", topic: "scores", list: scoresPanel() }),
    new Panel(connection, { table: "articles", topic: "updates:feed", list: articlesPanel() }),
  );
  setInterval(refreshAges, 1_000);
  offerCustomers(orders, await getJson("rows"));
}

start().catch((error) => {
  console.error(error);
  showState({ state: "refused", reason: "the demo does not answer; is it still running?" });
});
