// From the gateway's state to what stands on the page. Text goes in as text, whatever it is.

const element = (id) => document.getElementById(id);
const POINTS = 120;
const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytes(count) {
  if (count == null) return "–";
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  const value = count / 1024 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[power]}`;
}

export function seconds(count) {
  if (count == null) return "–";
  if (count < 10) return `${count.toFixed(1)} s`;
  if (count < 120) return `${Math.round(count)} s`;
  return count < 7200 ? `${Math.round(count / 60)} min` : `${(count / 3600).toFixed(1)} h`;
}

const number = (count) => (count == null ? "–" : Math.round(count).toLocaleString("en"));
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);

// Title, value, how it is written, and when it should worry somebody. A rate is of a counter.
const CHARTS = [
  [
    "Replication lag",
    (it) => it.replication.lag_seconds,
    seconds,
    (lag) => (lag > 30 ? "bad" : lag > 5 ? "warn" : ""),
    (it) => bytes(it.replication.lag_bytes),
  ],
  [
    "Slot holds",
    (it) => it.replication.slot_held_bytes,
    bytes,
    (_, it) => level(it.replication),
    (it) => it.replication.slot_status ?? "no slot",
  ],
  [
    "Log span",
    (it) => it.log.span_seconds,
    seconds,
    () => "",
    (it) => `${number(it.log.entries)} in ${bytes(it.log.bytes)}`,
  ],
  ["Changes / s", (it) => it.changes, number, () => "", (it) => `${number(it.changes)} in all`, "rate"],
  [
    "Messages / s",
    (it) => it.clients.messages,
    number,
    () => "",
    (it) => `${number(it.clients.messages)} in all`,
    "rate",
  ],
  [
    "Connections",
    (it) => sum(it.clients.connections),
    number,
    () => "",
    (it) => `${number(it.clients.subscriptions)} subscriptions`,
  ],
  [
    "Waiting for clients",
    (it) => it.clients.outbox_bytes,
    bytes,
    () => "",
    (it) => `${number(it.clients.behind)} behind, ${number(sum(it.clients.resyncs))} resyncs`,
  ],
];

const level = ({ slot_status }) => ({ extended: "warn", unreserved: "bad", lost: "bad" })[slot_status] ?? "";

const svg = (name, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};

// The last two minutes of each number.
export class Charts {
  constructor(list) {
    this.charts = CHARTS.map(([title, value, write, judge, note, rate]) => {
      const item = document.createElement("li");
      const [heading, strong, small] = ["h3", "strong", "small"].map((name) => document.createElement(name));
      heading.textContent = title;
      const picture = svg("svg", {
        viewBox: `0 0 ${POINTS - 1} 30`,
        preserveAspectRatio: "none",
        "aria-hidden": "true",
      });
      const [area, line] = [svg("polygon", {}), svg("polyline", {})];
      picture.append(area, line);
      item.append(heading, strong, picture, small);
      list.append(item);
      return { item, strong, small, area, line, value, write, judge, note, rate, points: [], last: null };
    });
  }

  add(state) {
    const now = performance.now();
    for (const chart of this.charts) {
      const raw = chart.value(state);
      const before = chart.last;
      chart.last = { raw, now };
      const rate = () => (before ? Math.max(0, ((raw - before.raw) * 1000) / (now - before.now)) : 0);
      const value = chart.rate ? rate() : raw;
      chart.points = [...chart.points, value ?? 0].slice(-POINTS);
      chart.strong.textContent = chart.write(value);
      chart.small.textContent = chart.note(state);
      chart.item.dataset.level = chart.judge(value, state);
      const most = Math.max(...chart.points, 1e-9);
      const first = POINTS - chart.points.length;
      const places = chart.points.map((point, index) => `${first + index},${(29 - (28 * point) / most).toFixed(1)}`);
      chart.line.setAttribute("points", places.join(" "));
      chart.area.setAttribute("points", [`${first},30`, ...places, `${POINTS - 1},30`].join(" "));
    }
  }
}

const cell = (text, name = "") => {
  const td = document.createElement("td");
  td.className = name;
  td.textContent = text;
  return td;
};

// Keeps rows that are there, so that focus and selection stay.
function fill(body, items, key, width, empty, make) {
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const rows = items.map((item) => {
    const row = known.get(String(key(item))) ?? document.createElement("tr");
    row.dataset.key = key(item);
    make(row, item);
    return row;
  });
  if (rows.length === 0) {
    const row = document.createElement("tr");
    row.append(cell(empty, "empty"));
    row.cells[0].colSpan = width;
    rows.push(row);
  }
  rows.forEach((row, index) => body.rows[index] !== row && body.insertBefore(row, body.rows[index] ?? null));
  while (body.rows.length > rows.length) body.lastElementChild.remove();
}

const rates = new Map();

function rate(key, count) {
  const now = performance.now();
  const before = rates.get(key);
  rates.set(key, { count, now });
  return before ? ((count - before.count) * 1000) / (now - before.now) : 0;
}

function route(row, it) {
  row.className = it.problems.length || !it.fed ? "problem" : "";
  const topic = cell(it.topic, "mono");
  const problems = it.fed
    ? it.problems
    : ["the publication does not give this table: run `walcast setup`", ...it.problems];
  for (const text of it.holes ? [...problems, `${number(it.holes)} changes could not be routed`] : problems) {
    const problem = document.createElement("span");
    problem.className = "problem";
    problem.textContent = text;
    topic.append(problem);
  }
  const ops = it.ops.length === 4 ? "all" : it.ops.join(" ");
  row.replaceChildren(
    cell(`${it.config}:${it.line}`, "line mono"),
    cell(it.table, "mono"),
    topic,
    cell(it.guarded ? `${ops}, guarded` : ops),
    cell(number(it.changes), "number"),
    cell(number(rate(it.number, it.changes)), "number"),
  );
}

function topic(row, it, follow) {
  if (row.cells.length === 0) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "topic", textContent: it.topic });
    button.addEventListener("click", () => follow(it.topic));
    const name = cell("");
    name.append(button);
    row.append(name, cell(""), cell("", "number"), cell("", "number"));
  }
  row.cells[1].textContent = it.routes.join(", ") || "channel";
  row.cells[2].textContent = number(it.subscribers);
  row.cells[3].textContent = number(it.messages);
}

function slow(row, it) {
  row.replaceChildren(
    cell(it.client, "mono"),
    cell(it.transport),
    cell(bytes(it.outbox_bytes), "number"),
    cell(`${number(it.behind)} of ${number(it.subscriptions)}`, "number"),
    cell(seconds(it.silent_seconds), "number"),
  );
}

function place({ port, encrypted }) {
  return port ? `on port ${port}${encrypted ? ", encrypted" : ""}` : "on Unix sockets";
}

function warn(warnings) {
  const text = warnings.map((it) => it.message);
  const list = element("warnings");
  if ([...list.children].map((item) => item.textContent).join() === text.join()) return;
  list.replaceChildren(...text.map((textContent) => Object.assign(document.createElement("li"), { textContent })));
}

export function show(state, follow) {
  warn(state.health.warnings ?? []);
  element("version").textContent = state.version;
  document.body.dataset.state = state.health.ready ? "ready" : "waiting";
  const losses = state.replication.losses ? `, the feed was lost ${number(state.replication.losses)} times` : "";
  element("health").textContent = state.health.ready
    ? `Ready: clients are served ${place(state)}${losses}`
    : state.health.reasons.map((it) => it.message).join("; ");

  const config = state.config.split("/").pop();
  const routes = state.routes.map((it) => ({ ...it, config }));
  element("routes-count").textContent = `${number(routes.length)} of ${number(state.routes_total)}`;
  fill(element("routes"), routes, (it) => it.number, 6, "no route has this in its table or topic", route);
  const topics = state.topics ?? [];
  const more = state.topics_incomplete ? "+" : "";
  element("topics-count").textContent = state.topics
    ? `${number(topics.length)} of ${number(state.topics_found)}${more}`
    : "the hub is busy";
  fill(
    element("topics"),
    topics,
    (it) => it.topic,
    4,
    "no topic with subscribers, or with changes in the log",
    (row, it) => topic(row, it, follow),
  );
  element("slow-count").textContent = number(state.slow.length);
  fill(element("slow"), state.slow, (it) => it.client, 5, "nobody: every client takes what it is sent", slow);
}
