// A room without a table: what is said is broadcast, and who is there is presence. Nothing of it is kept.

import { Presence, Socket } from "./phoenix.mjs";

const TYPING_SHOWN_MS = 3_000;
const TYPING_SAID_MS = 1_000;

const at = (id) => document.getElementById(id);
/** The same in every window of this browser: they are one person. */
const remembered = (key, make) => (localStorage[key] ??= make());
const me = {
  key: remembered("walcast-chat-key", () => Math.random().toString(36).slice(2)),
  name: remembered("walcast-chat-name", () => `Guest ${Math.floor(Math.random() * 900) + 100}`),
};

const config = await (await fetch("config.json")).json();
const scheme = location.protocol === "https:" ? "wss" : "ws";
const socket = new Socket(`${scheme}://${location.hostname}:${config.port}${config.path}`);
const room = socket.channel("chat:lobby", () => ({ presence: { key: me.key, meta: { name: me.name } } }));
const presence = new Presence(room);

/** The name that a person goes by: the one given last, in whichever window. */
const nameOf = (key) => presence.state[key]?.metas.at(-1).name ?? "Somebody";

function element(tag, text, className = "") {
  return Object.assign(document.createElement(tag), { textContent: text, className });
}

function showPeople() {
  const people = presence.list((key, { metas }) => {
    const windows = metas.length > 1 ? ` (${metas.length} windows)` : "";
    return element("li", nameOf(key) + windows, key === me.key ? "me" : "");
  });
  at("people").replaceChildren(...people);
  at("count").textContent = people.length;
  showTyping();
}
presence.onSync(showPeople);

/** Who types, and until when that is shown: key → timer. */
const typing = new Map();

function showTyping() {
  const names = [...typing.keys()].filter((key) => key in presence.state).map(nameOf);
  at("typing").textContent = names.length > 0 ? `${names.join(", ")} ${names.length > 1 ? "are" : "is"} typing …` : "";
}

function stopsTyping(key) {
  clearTimeout(typing.get(key));
  typing.delete(key);
  showTyping();
}

room.on("typing", ({ key }) => {
  if (key === me.key) return;
  clearTimeout(typing.get(key));
  typing.set(key, setTimeout(() => stopsTyping(key), TYPING_SHOWN_MS));
  showTyping();
});

room.on("message", ({ key, text }) => {
  stopsTyping(key);
  const line = element("li", "", key === me.key ? "me" : "");
  line.append(element("b", nameOf(key)), element("span", text));
  at("messages").append(line);
  line.scrollIntoView({ block: "nearest" });
});

let saidTyping = 0;
at("text").addEventListener("input", () => {
  if (Date.now() - saidTyping < TYPING_SAID_MS) return;
  saidTyping = Date.now();
  room.push("typing", { key: me.key });
});

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  const refused = ({ reason }) => (at("typing").textContent = reason);
  if (text) room.push("message", { key: me.key, text }).receive("error", refused);
  at("text").value = "";
  saidTyping = 0;
});

at("name").value = me.name;
at("name").addEventListener("change", () => {
  me.name = localStorage["walcast-chat-name"] = at("name").value.trim() || me.name;
  room.push("presence_update", { meta: { name: me.name } });
});

const show = (state) => (document.body.dataset.state = at("state").textContent = state);
room.join().receive("ok", () => show("live")).receive("error", ({ reason }) => show(reason));
room.onError(() => show("waiting"));
socket.connect();
