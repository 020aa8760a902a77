// The example pages in Chromium: each shows what it is for, in two windows where that is the point.
import assert from "node:assert/strict";
import { launch } from "./browser.mjs";

const { WALCAST_PAGE: base, WALCAST_PICTURES: pictures } = process.env;
const browser = await launch();
const errors = [];

async function open(path, query = "") {
  const context = await browser.newContext({ viewport: { width: 900, height: 760 } });
  const page = await context.newPage();
  page.on("pageerror", (error) => errors.push(`${path}: ${error}`));
  page.on("console", (message) => message.type() === "error" && errors.push(`${path}: ${message.text()}`));
  await page.goto(new URL(path ? `/examples/${path}/${query}` : "/examples/", base).href);
  if (path) await page.locator('[data-connection="live"]').waitFor();
  return page;
}

async function picture(page, name) {
  await page.screenshot({ path: `${pictures}/example-${name}.png` });
}

// Waits until the page shows it; the message is what is waited for.
async function shows(page, selector, text) {
  await page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: 20_000 });
}

const dashboard = await open("dashboard");
await shows(dashboard, "#open", /^\d+$/);
await dashboard.waitForFunction(() => document.getElementById("curve").getAttribute("points").split(" ").length >= 4);
await picture(dashboard, "dashboard");

const scoreboard = await open("scoreboard");
await shows(scoreboard, "#matches article", /\d/);
await picture(scoreboard, "scoreboard");

const [amara, jonas] = [await open("chat", "?name=Amara"), await open("chat", "?name=Jonas")];
for (const page of [amara, jonas]) {
  await shows(page, "#people li", "Amara");
  await shows(page, "#people li", "Jonas");
}
await amara.locator("#text").pressSequentially("Is anyone there?");
await shows(jonas, "#typing", "Amara is typing");
await amara.locator("#form button").click();
for (const page of [amara, jonas]) await shows(page, "#messages li", "Is anyone there?");
await picture(jonas, "chat");
await amara.context().close();
await jonas.waitForFunction(() => !document.getElementById("people").textContent.includes("Amara"));
// Who comes later finds the messages.
await shows(await open("chat", "?name=Mei"), "#messages li", "Is anyone there?");

const [left, right] = [await open("document"), await open("document")];
for (const page of [left, right]) await page.waitForFunction(() => document.querySelector("[data-field=title]").value);
await left.locator("[data-field=title]").fill("Opening hours in summer");
await right.locator("[data-field=summary]").fill("Longer evenings on the quay.");
for (const page of [left, right]) {
  await page.waitForFunction(() => document.querySelector("[data-field=title]").value === "Opening hours in summer");
  await page.waitForFunction(() => document.querySelector("[data-field=summary]").value.startsWith("Longer"));
}
await picture(right, "document");

const notifications = await open("notifications");
await shows(notifications, "#inbox li", /order/);
await notifications.locator("#kinds label", { hasText: "orders" }).locator("input").uncheck();
await notifications.waitForFunction(() => !/order /.test(document.getElementById("inbox").textContent));
await notifications.locator("#text").fill("The kettle is on");
await notifications.locator("#form button").click();
await shows(notifications, "#lobby li", "The kettle is on");
await picture(notifications, "notifications");

await picture(await open(""), "index");
assert.deepEqual(errors, []);
await browser.close();
