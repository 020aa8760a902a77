// What the scripts share: the official client as the test wants it, and a way to tell the test what was seen.
//
// WALCAST_SOCKET: the endpoint, ws://…/socket. WALCAST_CLIENT: `phoenix` (the newest 1.8) or `phoenix-1-7`.
// WALCAST_VSN: the serializer's version. WALCAST_TRANSPORT: `websocket`, or `longpoll` by Node's fetch.

import WebSocket from "ws";

/** For a script that is not told otherwise. */
const DEADLINE_MS = Number(process.env.WALCAST_DEADLINE_MS ?? 25_000);

export const endpoint = process.env.WALCAST_SOCKET;
export const vsn = process.env.WALCAST_VSN ?? "2.0.0";
export const longPolls = process.env.WALCAST_TRANSPORT === "longpoll";
const { LongPoll, Socket } = await import(process.env.WALCAST_CLIENT ?? "phoenix");

setTimeout(() => {
  console.error(`not finished within ${DEADLINE_MS} ms; the last thing said was: ${lastSaid}`);
  process.exit(1);
}, DEADLINE_MS).unref();
process.on("unhandledRejection", (error) => {
  console.error(error);
  process.exit(1);
});

let lastSaid = "nothing";

/** A line that the test waits for. */
export function say(line) {
  lastSaid = line;
  console.log(line);
}

/** The client speaks 2.0.0 by itself; for 1.0.0 it takes a codec, as clients of that time had it. */
const objectFrames = {
  vsn: "1.0.0",
  encode({ topic, event, payload, ref, join_ref }, callback) {
    callback(JSON.stringify({ topic, event, payload, ref, join_ref }));
  },
  decode(text, callback) {
    const { topic, event, payload, ref, ...rest } = JSON.parse(text);
    if (Object.keys(rest).length > 0) throw new Error(`a 1.0.0 frame with ${Object.keys(rest)}`);
    callback({ topic, event, payload, ref, join_ref: null });
  },
};

/** A connecting socket, impatient enough for a test. */
export function connect(options = {}) {
  const socket = new Socket(endpoint, {
    transport: longPolls ? LongPoll : WebSocket,
    reconnectAfterMs: () => 100,
    rejoinAfterMs: () => 100,
    ...(vsn === "1.0.0" ? objectFrames : {}),
    ...options,
  });
  socket.connect();
  return socket;
}

/** The reply to a join or a push: `{status, response}`. */
export function replied(push) {
  return new Promise((resolve, reject) => {
    push
      .receive("ok", (response) => resolve({ status: "ok", response }))
      .receive("error", (response) => resolve({ status: "error", response }))
      .receive("timeout", () => reject(new Error("no reply in time")));
  });
}

/** The updates of one topic, one after the other. */
export function updatesOf(channel) {
  const arrived = [];
  const waiting = [];
  channel.on("new_updates", (payload) => {
    if (waiting.length > 0) waiting.shift()(payload);
    else arrived.push(payload);
  });
  const next = () =>
    arrived.length > 0 ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve));
  return { next, arrived };
}

/** Frames by hand, for what the official client never sends. */
export async function raw(query = `vsn=${vsn}`, protocols = []) {
  const socket = new WebSocket(`${endpoint}/websocket?${query}`, protocols);
  const arrived = [];
  const waiting = [];
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (waiting.length > 0) waiting.shift()(message);
    else arrived.push(message);
  });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  return {
    socket,
    send: (message) => socket.send(JSON.stringify(message)),
    next: () =>
      arrived.length > 0 ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve)),
  };
}
