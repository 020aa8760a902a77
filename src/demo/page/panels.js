// The three panels: which columns they show, in what order, and how a value looks.

import { RowList, restart } from "./rows.js";

const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const STEPS = ["placed", "paid", "packed", "shipped", "delivered"];

/** Text only: whatever a row holds, it never becomes markup. */
function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function column(name, tag, className = "") {
  const made = element(tag, className);
  made.dataset.column = name;
  return made;
}

function set(parent, name, text) {
  const cell = parent.querySelector(`[data-column="${name}"]`);
  if (cell.textContent !== text) cell.textContent = text;
  return cell;
}

/** Brought up to date by `refreshAges`. */
function setTime(parent, name, timestamp) {
  const cell = parent.querySelector(`[data-column="${name}"]`);
  cell.dateTime = timestamp;
  cell.title = timestamp;
  cell.textContent = age(timestamp);
}

function age(timestamp) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(timestamp)) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

export function refreshAges() {
  for (const cell of document.querySelectorAll("time[data-column]")) {
    const text = age(cell.dateTime);
    if (cell.textContent !== text) cell.textContent = text;
  }
}

export function ordersPanel() {
  return new RowList(document.getElementById("orders"), {
    limit: 15,
    compare: (left, right) => right.id - left.id,
    create() {
      const row = element("tr");
      const cells = [
        column("id", "td", "id"), column("customer", "td"), column("item", "td", "item"),
        column("quantity", "td", "number"), column("total", "td", "number"), element("td"), element("td", "number"),
      ];
      cells[5].append(column("status", "span", "status"));
      cells[6].append(column("updated_at", "time"));
      row.append(...cells);
      return row;
    },
    fill(row, order) {
      set(row, "id", String(order.id));
      set(row, "customer", order.customer);
      set(row, "item", order.item);
      set(row, "quantity", String(order.quantity));
      set(row, "total", money.format(order.total));
      const status = set(row, "status", order.status);
      status.dataset.status = order.status;
      status.dataset.step = STEPS.indexOf(order.status) + 1;
      setTime(row, "updated_at", order.updated_at);
    },
  });
}

export function scoresPanel() {
  return new RowList(document.getElementById("scores"), {
    limit: 5,
    compare: (left, right) => left.id - right.id,
    create() {
      const match = element("li", "match");
      const score = element("p", "score");
      score.append(column("home_goals", "b"), element("i", "", ":"), column("away_goals", "b"));
      match.append(column("home", "p", "team home"), score, column("away", "p", "team away"));
      const foot = element("p", "foot");
      foot.append(column("phase", "span", "phase"), column("last_event", "span", "event"));
      match.append(foot);
      return match;
    },
    fill(match, row) {
      set(match, "home", row.home);
      set(match, "away", row.away);
      set(match, "home_goals", String(row.home_goals));
      set(match, "away_goals", String(row.away_goals));
      const playing = row.phase.endsWith(" half");
      match.classList.toggle("playing", playing);
      set(match, "phase", playing ? `${row.minute}′` : row.phase);
      set(match, "last_event", row.last_event ?? "");
    },
  });
}

export function articlesPanel() {
  return new RowList(document.getElementById("articles"), {
    limit: 4,
    compare: (left, right) => Date.parse(right.published_at) - Date.parse(left.published_at),
    create() {
      const article = element("li", "article");
      const head = element("p", "byline");
      head.append(column("section", "b"), column("author", "span"));
      head.append(column("published_at", "time"), column("revision", "em"));
      article.append(head, column("title", "h3"), column("summary", "p"));
      return article;
    },
    fill(article, row) {
      for (const name of ["section", "author", "title", "summary"]) set(article, name, row[name]);
      setTime(article, "published_at", row.published_at);
      set(article, "revision", row.revision > 1 ? `edited, revision ${row.revision}` : "");
    },
  });
}

export { element, restart };
