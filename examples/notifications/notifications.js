// Notifications with preferences. The inbox is a table; its route leaves out what the reader has muted, in the
// database, before anything is sent.
import { element, liveTable, socket, write } from "../live.js";

const KINDS = new Map([["order", "orders"], ["match", "matches"], ["article", "articles"]]);
const SHOWN = 12;
const find = (id) => document.getElementById(id);
const boxes = new Map([...KINDS.keys()].map((kind) => [kind, element("input", { type: "checkbox", checked: true })]));

liveTable("inbox:1", {
  changed(rows) {
    const latest = [...rows.values()].sort((a, b) => b.id - a.id).slice(0, SHOWN);
    find("inbox").replaceChildren(...latest.map(({ kind, text }) => note(kind, text)));
  },
});

const preferences = liveTable("preferences:1", {
  key: "kind",
  event: "sync_update",
  changed(rows) {
    for (const [kind, box] of boxes) box.checked = !rows.get(kind)?.muted;
  },
});

for (const [kind, box] of boxes) {
  find("kinds").append(element("label", {}, box, ` ${KINDS.get(kind)}`));
  box.addEventListener("change", async () => {
    const change = { op: "update", key: { reader: 1, kind }, record: { muted: !box.checked } };
    await write(preferences.channel, [change]);
  });
}

const lobby = socket.channel("notifications:lobby");
lobby.on("new_notification", ({ message }) => find("lobby").prepend(note("now", message)));
lobby.join();

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const message = find("text").value.trim();
  if (message) lobby.push("new_notification", { message });
  find("text").value = "";
});

function note(kind, text) {
  return element("li", { className: "flash" }, element("span", { className: "soft", textContent: `${kind} ` }), text);
}
