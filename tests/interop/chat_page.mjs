// The demo's chat in a real browser: two people and three windows, side by side.
//
// WALCAST_PAGE: the demo's address. WALCAST_SCREENSHOT: where the picture goes. CHROMIUM: the browser, where it is in
// none of the usual places.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

// The pages' client is npm's, to the byte.
const [own, npm] = ["../../src/demo/page/vendor/phoenix.mjs", "node_modules/phoenix/priv/static/phoenix.mjs"];
const text = (path) => readFile(new URL(path, import.meta.url), "utf8");
assert.ok((await text(own)) === (await text(npm)), "the vendored client differs from npm's: copy it anew");

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const PATIENCE = { timeout: 20_000 };
const executablePath = process.env.CHROMIUM ?? NAMES.map((name) => `/usr/bin/${name}`).find((path) => existsSync(path));
assert.ok(executablePath, "no Chromium: install it (Debian: apt-get install chromium) or name it in CHROMIUM");
const address = new URL("chat.html", process.env.WALCAST_PAGE).href;

const browser = await chromium.launch({
  executablePath,
  // As root, in a container, without a GPU: this browser only ever sees our own page.
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
});
const complaints = [];

async function open(context) {
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url()}`));
  await page.goto(address);
  await page.waitForSelector("body[data-state=live]", PATIENCE);
  return page;
}

/** Until the page lists exactly these people, in any order. */
function sees(page, people) {
  const listed = (expected) => {
    const shown = [...document.querySelectorAll("#people li")].map((person) => person.textContent).sort();
    return JSON.stringify(shown) === expected;
  };
  return page.waitForFunction(listed, JSON.stringify([...people].sort()), PATIENCE);
}

async function rename(page, name) {
  await page.fill("#name", name);
  await page.press("#name", "Enter");
}

try {
  const viewport = { width: 900, height: 640 };
  const [anns, bobs] = await Promise.all([browser.newContext({ viewport }), browser.newContext({ viewport })]);
  const [ann, bob] = await Promise.all([open(anns), open(bobs)]);
  await Promise.all([rename(ann, "Ann"), rename(bob, "Bob")]);
  await Promise.all([ann, bob].map((page) => sees(page, ["Ann", "Bob"])));

  await ann.type("#text", "Hello, Bob");
  await bob.waitForFunction(() => document.getElementById("typing").textContent === "Ann is typing …", null, PATIENCE);
  await ann.press("#text", "Enter");
  for (const page of [ann, bob]) await page.waitForSelector("#messages li:has-text('Hello, Bob')", PATIENCE);
  assert.equal(await bob.textContent("#typing"), "");
  await bob.fill("#text", "<b>Hello</b>, Ann");
  await bob.press("#text", "Enter");
  await ann.waitForSelector("#messages li:nth-child(2)", PATIENCE);
  assert.equal(await ann.textContent("#messages li:nth-child(2) span"), "<b>Hello</b>, Ann");
  assert.equal(await ann.textContent("#messages li:nth-child(2) b"), "Bob");

  // A second window of the same browser is the same person.
  const annToo = await open(anns);
  await Promise.all([ann, bob, annToo].map((page) => sees(page, ["Ann (2 windows)", "Bob"])));
  if (process.env.WALCAST_SCREENSHOT) await bob.screenshot({ path: process.env.WALCAST_SCREENSHOT });
  await annToo.close();
  await Promise.all([ann, bob].map((page) => sees(page, ["Ann", "Bob"])));
  await anns.close();
  await sees(bob, ["Bob"]);
  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
}
console.log("done");
