// A small client for walcast: Phoenix Channels 2.0.0 over a WebSocket, resuming by cursor.
//
// It does what the official `phoenix` client does for a page like this one, and two things more: it gives the last
// cursor when it joins again, so that nothing is missed while the connection was away, and it begins anew where the
// gateway says `resync_required`.

const HEARTBEAT_MS = 25_000;
const REPLY_MS = 10_000;
const BACKOFF_FIRST_MS = 250;
const BACKOFF_MOST_MS = 8_000;

/** Doubles each time, with up to a half of jitter so that clients of a restarted gateway don't come back as one. */
function backoff(attempt) {
  const longest = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** attempt);
  return longest * (0.5 + Math.random() / 2);
}

/**
 * One connection, any number of subscriptions.
 *
 * `onState` is told `{state: "connecting"}`, `{state: "live"}` or `{state: "waiting", retryMs}`.
 */
export class Connection {
  #url;
  #onState;
  #socket = null;
  #ref = 0;
  #attempt = 0;
  #retry = null;
  #heartbeat = null;
  #unanswered = null;
  #subscriptions = new Map();

  constructor(url, onState = () => {}) {
    this.#url = `${url}/websocket?vsn=2.0.0`;
    this.#onState = onState;
    addEventListener("online", () => this.#connectNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.#connectNow());
    this.#connect();
  }

  /**
   * Joins `topic` now and after every reconnection.
   *
   * `onJoined({cursor, resumed})`: what follows continues what was seen before only where `resumed` is true.
   * `onUpdates(payload)`: a `new_updates`. `onRefused(reason)`: the gateway does not let us in.
   */
  subscribe(topic, handlers) {
    if (this.#subscriptions.has(topic)) throw new Error(`already subscribed to ${topic}`);
    const subscription = new Subscription(topic, handlers, this);
    this.#subscriptions.set(topic, subscription);
    if (this.open) subscription.join();
    return subscription;
  }

  forget(subscription) {
    this.#subscriptions.delete(subscription.topic);
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  nextRef() {
    this.#ref += 1;
    return String(this.#ref);
  }

  send(joinRef, ref, topic, event, payload) {
    if (this.open) this.#socket.send(JSON.stringify([joinRef, ref, topic, event, payload]));
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#retry = null;
    this.#onState({ state: "connecting" });
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    // A handler of a socket that was replaced has nothing to say any more.
    const current = (handle) => (event) => socket === this.#socket && handle(event);
    socket.onopen = current(() => this.#opened());
    socket.onmessage = current(({ data }) => this.#received(data));
    socket.onclose = current(() => this.#closed());
  }

  #connectNow() {
    if (this.#retry !== null) this.#connect();
  }

  #opened() {
    this.#attempt = 0;
    this.#unanswered = null;
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
    this.#onState({ state: "live" });
    for (const subscription of this.#subscriptions.values()) subscription.join();
  }

  #beat() {
    if (this.#unanswered !== null) return this.#abandon();
    this.#unanswered = this.nextRef();
    this.send(null, this.#unanswered, "phoenix", "heartbeat", {});
  }

  // close() alone may wait long for a peer that is gone.
  #abandon() {
    const socket = this.#socket;
    socket.onclose = null;
    socket.close();
    this.#closed();
  }

  #closed() {
    clearInterval(this.#heartbeat);
    for (const subscription of this.#subscriptions.values()) subscription.disconnected();
    const retryMs = backoff(this.#attempt);
    this.#attempt += 1;
    this.#retry = setTimeout(() => this.#connect(), retryMs);
    this.#onState({ state: "waiting", retryMs });
  }

  #received(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      // Text that is no JSON: nothing after it can be trusted to follow what came before.
      return this.#abandon();
    }
    const [joinRef, ref, topic, event, payload] = message;
    if (topic === "phoenix" && ref === this.#unanswered) this.#unanswered = null;
    this.#subscriptions.get(topic)?.received(joinRef, ref, event, payload);
  }
}

class Subscription {
  #connection;
  #handlers;
  #joinRef = null;
  #cursor = null;
  #attempt = 0;
  #timer = null;

  constructor(topic, handlers, connection) {
    this.topic = topic;
    this.#handlers = handlers;
    this.#connection = connection;
  }

  join() {
    clearTimeout(this.#timer);
    this.#joinRef = this.#connection.nextRef();
    const params = this.#cursor === null ? {} : { cursor: this.#cursor };
    this.#connection.send(this.#joinRef, this.#joinRef, this.topic, "phx_join", params);
    this.#timer = setTimeout(() => this.#joinLater(), REPLY_MS);
  }

  leave() {
    clearTimeout(this.#timer);
    this.#connection.send(this.#joinRef, this.#connection.nextRef(), this.topic, "phx_leave", {});
    this.#connection.forget(this);
  }

  disconnected() {
    clearTimeout(this.#timer);
    this.#joinRef = null;
  }

  received(joinRef, ref, event, payload) {
    // What a former join of this topic still had on its way.
    if (joinRef !== null && joinRef !== this.#joinRef) return;
    if (event === "phx_reply") {
      if (ref === this.#joinRef) this.#joined(payload);
    } else if (event === "phx_error") {
      if (payload?.reason === "resync_required") this.#cursor = null;
      this.#joinLater();
    } else if (event === "phx_close") {
      clearTimeout(this.#timer);
      this.#handlers.onRefused?.("closed by the gateway");
    } else {
      if (typeof payload.cursor === "string") this.#cursor = payload.cursor;
      if (event === "new_updates") this.#handlers.onUpdates(payload);
    }
  }

  #joined({ status, response }) {
    clearTimeout(this.#timer);
    if (status === "ok") {
      this.#attempt = 0;
      if (typeof response.cursor === "string") this.#cursor = response.cursor;
      this.#handlers.onJoined(response);
    } else if (response.reason === "resync_required" && this.#cursor !== null) {
      this.#cursor = null;
      this.join();
    } else {
      this.#handlers.onRefused?.(response.reason);
      this.#joinLater();
    }
  }

  #joinLater() {
    clearTimeout(this.#timer);
    this.#joinRef = null;
    this.#timer = setTimeout(() => this.#connection.open && this.join(), backoff(this.#attempt));
    this.#attempt += 1;
  }
}
