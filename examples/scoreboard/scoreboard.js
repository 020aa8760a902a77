// A scoreboard: one card a match, which lights up when something happens in it.
import { element, liveTable } from "../live.js";

const matches = document.getElementById("matches");
const cards = new Map();

liveTable("scores", {
  changed(rows, message) {
    for (const id of cards.keys()) if (!rows.has(id)) remove(id);
    for (const match of rows.values()) draw(match);
    if (!message.snapshot) message.updates.forEach(({ record }) => record && light(record.id));
  },
});

function draw(match) {
  const team = (name, goals) => element("li", {}, element("b", { textContent: `${goals} ` }), name);
  const clock = match.phase.endsWith("half") ? `${match.minute}′` : match.phase;
  const card = cards.get(match.id) ?? element("article", { className: "panel" });
  card.replaceChildren(
    element("time", { textContent: clock }),
    element("ul", {}, team(match.home, match.home_goals), team(match.away, match.away_goals)),
    element("span", { className: "soft", textContent: match.last_event ?? "" }),
  );
  if (!cards.has(match.id)) matches.append(card);
  cards.set(match.id, card);
}

function light(id) {
  const card = cards.get(id);
  card.classList.remove("flash");
  requestAnimationFrame(() => card.classList.add("flash"));
}

function remove(id) {
  cards.get(id).remove();
  cards.delete(id);
}
