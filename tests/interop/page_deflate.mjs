// A browser's own WebSocket, which always offers to take messages deflated.
//
// WALCAST_ORIGIN: where the gateway listens, http://….

import assert from "node:assert/strict";
import { launch } from "./browser.mjs";

const origin = process.env.WALCAST_ORIGIN;

setTimeout(() => {
  console.error("not finished in time");
  process.exit(1);
}, 60_000).unref();

const browser = await launch();
const page = await browser.newPage();
page.on("console", (message) => console.log(message.text()));
await page.goto(`${origin}/healthz`);
const seen = await page.evaluate(async () => {
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/socket/websocket?vsn=2.0.0`);
  const next = () => new Promise((resolve) => (socket.onmessage = ({ data }) => resolve(JSON.parse(data))));
  await new Promise((resolve) => (socket.onopen = resolve));
  socket.send(JSON.stringify(["1", "1", "updates:feed", "phx_join", { note: "x".repeat(10_000) }]));
  const status = (await next())[4].status;
  const updates = next();
  console.log("joined");
  return { extensions: socket.extensions, status, updates: (await updates)[4].updates.length };
});
assert.match(seen.extensions, /^permessage-deflate/);
assert.deepEqual([seen.status, seen.updates], ["ok", 100]);
await browser.close();
