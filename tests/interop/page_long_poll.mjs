// The official client in Chromium, where WebSockets do not get through: it polls from the start
// (WALCAST_MODE=longpoll), or once it has found that out (fallback).
//
// WALCAST_SOCKET: the endpoint, ws://…/socket. WALCAST_PAGE: a page of another origin. WALCAST_CLIENT: the npm package.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";

const { WALCAST_CLIENT: client, WALCAST_MODE: mode, WALCAST_PAGE: address, WALCAST_SOCKET: endpoint } = process.env;

const browser = await launch();
const page = await browser.newPage();
const finished = new Promise((resolve) => {
  page.on("console", (message) => {
    console.log(message.text());
    if (message.text() === "deleted") resolve();
  });
});
const polls = [];
page.on("request", (request) => {
  if (request.url().includes("/socket/longpoll")) polls.push(request.method());
});
await page.goto(address);
await page.addScriptTag({ path: fileURLToPath(import.meta.resolve(client).replace("phoenix.mjs", "phoenix.js")) });
await page.evaluate(
  ({ endpoint, mode }) => {
    // Opens nothing, and says so after a while, as behind a proxy that knows no upgrades.
    class Nowhere extends WebSocket {
      constructor() {
        super("ws://127.0.0.1:9/");
      }
    }
    const { LongPoll, Socket } = window.Phoenix;
    const transport = mode === "longpoll" ? { transport: LongPoll } : { transport: Nowhere, longPollFallbackMs: 500 };
    const socket = new Socket(endpoint, transport);
    socket.connect();
    const channel = socket.channel("updates:feed");
    const seen = [];
    channel.on("new_updates", ({ updates }) => {
      for (const { op, record } of updates) {
        if (op === "insert") seen.push(record.id);
        console.log(op === "delete" ? "deleted" : seen.join());
      }
    });
    channel.join().receive("ok", () => console.log("joined"));
  },
  { endpoint, mode },
);
await finished;
assert.ok(polls.includes("GET") && polls.includes("POST"), polls.join());
await browser.close();
