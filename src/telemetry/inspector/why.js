// Which routes would bring a row to a topic for somebody, and which rule decides: the gateway is asked, and says what
// `walcast why` does.

const element = (id) => document.getElementById(id);
const field = (name) => element(`why-${name}`).value.trim();

function show(text, failed) {
  const answer = element("why-answer");
  answer.hidden = false;
  answer.textContent = text;
  answer.classList.toggle("failed", failed);
}

function object(name, what) {
  if (!field(name)) return undefined;
  try {
    return JSON.parse(field(name));
  } catch (error) {
    throw new Error(`${what}: ${error.message}`);
  }
}

async function ask() {
  try {
    const question = {
      topic: field("topic"),
      claims: object("claims", "the claims"),
      row: object("row", "the row"),
      old: object("old", "the row before"),
      table: field("table") || undefined,
    };
    const headers = { "content-type": "application/json" };
    const answer = await fetch("why", { method: "POST", headers, body: JSON.stringify(question) });
    show(answer.ok ? await answer.text() : (await answer.json()).message, !answer.ok);
  } catch (error) {
    show(error.message, true);
  }
}

/** Asks for an update of a topic as it came. */
export function askFor(topic, { schema, table, record, old_record }) {
  const text = (row) => (row ? JSON.stringify(row) : "");
  element("why-topic").value = topic;
  element("why-table").value = `${schema}.${table}`;
  element("why-row").value = text(record ?? old_record);
  // The key alone is no row: what it leaves out would be null.
  const whole = record && old_record && Object.keys(record).every((name) => name in old_record);
  element("why-old").value = whole ? text(old_record) : "";
  element("why-title").scrollIntoView({ block: "nearest" });
  ask();
}

element("why-form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
