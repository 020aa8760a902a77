// A chat room: messages are rows, so that they stay; who is here is presence; who is typing is a broadcast, which
// nobody keeps.
import { Presence, element, liveTable, myName, write } from "../live.js";

const TYPING_MS = 2000;
const MESSAGES = 50;
const find = (id) => document.getElementById(id);
const me = myName();
/// By name, the timer after which nobody is typing any longer.
const typing = new Map();

find("me").textContent = me;
const { channel } = liveTable("chat:lobby", {
  params: { presence: { key: me, meta: { since: new Date().toISOString() } } },
  changed(rows, { updates }) {
    for (const { record } of updates) typing.delete(record?.name);
    showTyping();
    const latest = [...rows.values()].sort((a, b) => a.id - b.id).slice(-MESSAGES);
    find("messages").replaceChildren(...latest.map(line));
  },
});

const presence = new Presence(channel);
presence.onSync(() => {
  const people = presence.list((name, { metas }) => (metas.length > 1 ? `${name} (${metas.length} windows)` : name));
  find("people").replaceChildren(...people.map((text) => element("li", { textContent: text })));
});

channel.on("typing", ({ name }) => {
  if (name === me) return;
  clearTimeout(typing.get(name));
  typing.set(name, setTimeout(() => { typing.delete(name); showTyping(); }, TYPING_MS));
  showTyping();
});

let told = 0;
find("text").addEventListener("input", () => {
  if (Date.now() - told < TYPING_MS / 2) return;
  told = Date.now();
  channel.push("typing", { name: me });
});

find("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = find("text").value.trim();
  if (!text) return;
  find("text").value = "";
  await write(channel, [{ op: "insert", record: { name: me, text } }]);
});

function line({ name, text, sent_at }) {
  const time = new Date(sent_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const [when, who] = [element("time", { textContent: `${time} ` }), element("b", { textContent: `${name}: ` })];
  return element("li", {}, when, who, text);
}

function showTyping() {
  const names = [...typing.keys()];
  const verb = names.length > 1 ? "are" : "is";
  find("typing").textContent = names.length ? `${names.join(", ")} ${verb} typing …` : "\u00a0";
}
