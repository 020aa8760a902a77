// A dashboard that is never reloaded: its figures are made from the rows of `orders` as they are now.
import { element, liveTable } from "../live.js";

const POINTS = 120;
const find = (id) => document.getElementById(id);
const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR", maximumFractionDigits: 0 });
const history = [];

liveTable("orders", {
  changed(rows) {
    const open = [...rows.values()].filter((order) => !["delivered", "cancelled"].includes(order.status));
    const worth = sum(open);
    find("open").textContent = open.length;
    find("value").textContent = money.format(worth);
    find("late").textContent = open.filter((order) => order.status === "placed").length;
    history.push(worth);
    if (history.length > POINTS) history.shift();
    drawCurve();
    drawStatuses([...rows.values()]);
  },
});

function sum(orders) {
  return orders.reduce((total, order) => total + Number(order.total), 0);
}

function drawCurve() {
  const top = Math.max(...history) * 1.1 || 1;
  const x = (index) => (history.length > 1 ? (index / (history.length - 1)) * 100 : 0);
  const points = history.map((worth, index) => `${x(index)},${100 - (worth / top) * 100}`).join(" ");
  find("curve").setAttribute("points", points);
  find("area").setAttribute("points", `0,100 ${points} ${x(history.length - 1)},100`);
}

function drawStatuses(orders) {
  const statuses = ["placed", "paid", "packed", "shipped", "delivered", "cancelled"];
  const lines = statuses.map((status) => {
    const of = orders.filter((order) => order.status === status);
    const cell = (text, className = "number") => element("td", { textContent: text, className });
    return element("tr", {}, cell(status, ""), cell(of.length), cell(money.format(sum(of))));
  });
  find("statuses").replaceChildren(...lines);
}
