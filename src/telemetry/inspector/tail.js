// A topic's updates as they come: the gateway's own event stream, as any client has it.

const MESSAGES = 200;
/** Updates of one message that can be asked about at a click. */
const WHYS = 5;

export class Tail {
  constructor({ list, state, stop, ask }) {
    Object.assign(this, { list, state, ask, button: stop, abort: null, topic: "" });
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    this.button.disabled = true;
    this.state.textContent = "";
  }

  async start(topic, filter, token) {
    this.stop();
    this.topic = topic;
    const abort = (this.abort = new AbortController());
    this.button.disabled = false;
    this.list.replaceChildren();
    this.say(`asking for ${topic} …`);
    const query = filter ? `?filter=${encodeURIComponent(filter)}` : "";
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    try {
      const answer = await fetch(`/topics/${encodeURIComponent(topic)}/events${query}`, {
        headers,
        signal: abort.signal,
      });
      if (!answer.ok) {
        const { reason, message } = await answer.json().catch(() => ({ reason: answer.statusText }));
        throw new Error(message ? `${reason}: ${message}` : reason);
      }
      this.say(`following ${topic}`);
      await this.read(answer.body);
      throw new Error("the stream has ended");
    } catch (error) {
      if (this.abort !== abort) return; // stopped, or another topic
      this.stop();
      this.say(`${topic}: ${error.message}`, true);
    }
  }

  say(text, failed = false) {
    this.state.textContent = text;
    this.state.classList.toggle("failed", failed);
  }

  async read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      events.forEach((event) => this.take(event));
    }
  }

  take(text) {
    const field = (name) =>
      text
        .split("\n")
        .filter((line) => line.startsWith(`${name}: `))
        .map((line) => line.slice(name.length + 2))
        .join("\n");
    const data = field("data");
    const event = field("event") || "message";
    if (data && event !== "cursor") this.add(event, data);
  }

  add(event, data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      message = data;
    }
    const item = document.createElement("li");
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    const part = (text, name) => {
      const span = document.createElement("span");
      span.textContent = text;
      span.className = name;
      summary.append(span);
    };
    part(new Date().toLocaleTimeString("en-GB"), "time mono");
    const updates = message.updates ?? [];
    if (updates.length === 0) part(event, event === "phx_error" ? "error" : "");
    const counts = new Map();
    for (const { op, table } of updates) counts.set(`${op} ${table}`, (counts.get(`${op} ${table}`) ?? 0) + 1);
    for (const [what, count] of counts) part(count > 1 ? `${what} ×${count}` : what, `op-${what.split(" ")[0]}`);
    const row = updates.length ? (updates[0].record ?? updates[0].old_record) : message;
    part(JSON.stringify(row) ?? "", "row mono");
    const pre = document.createElement("pre");
    // Written when it is opened: two hundred of them are not.
    details.addEventListener("toggle", () => (pre.textContent = details.open ? JSON.stringify(message, null, 2) : ""));
    details.append(summary, pre);
    const topic = this.topic;
    for (const update of updates.filter(({ record, old_record }) => record ?? old_record).slice(0, WHYS)) {
      const why = document.createElement("button");
      Object.assign(why, { type: "button", className: "why", textContent: `Why ${update.op} ${update.table}?` });
      why.addEventListener("click", () => this.ask(topic, update));
      details.append(why);
    }
    item.append(details);
    this.list.prepend(item);
    while (this.list.children.length > MESSAGES) this.list.lastElementChild.remove();
  }
}
