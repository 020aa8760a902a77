// The demo's page in a real browser: rows appear and change, it says so, and it asks nobody else for anything.
//
// WALCAST_PAGE: its address. WALCAST_SCREENSHOT: where the picture goes. CHROMIUM: the browser, where it is in none of
// the usual places.

import assert from "node:assert/strict";
import { launch } from "./browser.mjs";

const PATIENCE = { timeout: 20_000 };

const { WALCAST_PAGE: address, WALCAST_SCREENSHOT: screenshot } = process.env;

const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const complaints = [];
  const elsewhere = [];
  const host = new URL(address).hostname;
  const watch = (url) => /^(https?|wss?):/.test(url) && new URL(url).hostname !== host && elsewhere.push(url);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => watch(request.url()));
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url()}`));
  page.on("websocket", (socket) => watch(socket.url()));

  await page.goto(address);
  await page.waitForSelector("body[data-state=live]", PATIENCE);
  await page.waitForSelector("#orders tr:nth-child(5)", PATIENCE);
  await page.waitForSelector("#scores li:nth-child(4)", PATIENCE);
  await page.waitForSelector("#articles li", PATIENCE);

  // A row that was there changes, without the page being loaded again.
  await page.evaluate(() => (globalThis.before = document.getElementById("orders").innerText));
  await page.waitForFunction(() => document.getElementById("orders").innerText !== globalThis.before, null, PATIENCE);
  await page.waitForFunction(() => Number(document.getElementById("changes").textContent) >= 10, null, PATIENCE);
  assert.match(await page.textContent("#latency"), /^\d+ ms$/);

  // A message opens, and is what was sent.
  await page.click("#wire details:nth-child(2) summary");
  const message = JSON.parse(await page.textContent("#wire details[open] pre"));
  assert.ok(message.updates.length > 0);
  await page.click("#wire details[open] summary");

  // One customer's orders, on a topic of their own.
  const customer = await page.textContent("#orders tr [data-column=customer]");
  await page.selectOption("#customer", { label: customer });
  await page.waitForFunction(
    (name) => {
      const names = [...document.querySelectorAll("#orders tr:not(.leaving) [data-column=customer]")];
      return names.length > 0 && names.every((cell) => cell.textContent === name);
    },
    customer,
    PATIENCE,
  );
  assert.match(await page.textContent("#orders-topic"), /^orders:\d+$/);
  await page.selectOption("#customer", "");
  await page.waitForSelector("#orders tr:nth-child(5)", PATIENCE);

  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  assert.equal(await page.getAttribute("body", "data-state"), "live");
  assert.deepEqual(complaints, []);
  assert.deepEqual(elsewhere, []);
} finally {
  await browser.close();
}
console.log("done");
