// One row, edited by several people. A write carries the values that it is based on (`base`): it succeeds if those
// fields still hold them, so that edits of different fields merge and nobody overwrites what they have not seen.
import { liveTable, write } from "../live.js";

const PAUSE_MS = 400;
const id = 1;
const fields = [...document.querySelectorAll("[data-field]")];
const said = document.getElementById("said");
/// The row as the gateway last sent it.
let saved = null;

const { channel } = liveTable("documents", {
  event: "sync_update",
  params: { filter: `id=eq.${id}` },
  changed(rows) {
    const before = saved;
    saved = rows.get(id);
    // A field that this window is editing keeps what was typed.
    for (const field of fields) if (!before || field.value === before[field.dataset.field]) show(field);
  },
});

for (const field of fields) {
  let pause;
  field.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => save(field), PAUSE_MS);
  });
}

async function save(field) {
  const name = field.dataset.field;
  if (field.value === saved[name]) return;
  const change = { op: "update", key: { id }, record: { [name]: field.value }, base: { [name]: saved[name] } };
  try {
    await write(channel, [change]);
    say(`${name} saved`);
  } catch (error) {
    if (error.reason !== "conflict") return say(`${name} was not saved: ${error.reason}`, true);
    saved = { ...saved, ...error.conflicts[0].current };
    say(`someone else changed the ${name} meanwhile: it now reads “${saved[name]}”. Type on to replace it.`, true);
  }
}

function show(field) {
  field.value = saved[field.dataset.field];
}

function say(text, warn = false) {
  said.textContent = text;
  said.className = warn ? "warn" : "soft";
}
