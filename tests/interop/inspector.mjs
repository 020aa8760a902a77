// The inspector in a real browser: it shows what goes on, follows a topic, works by keyboard, and asks nobody else for
// anything.
//
// WALCAST_PAGE: its address. WALCAST_SCREENSHOTS: the folder for pictures. CHROMIUM: the browser, where it is in none
// of the usual places. Prints "following" once it follows notes:7, and goes on when something changes there.

import assert from "node:assert/strict";
import { join } from "node:path";
import { launch } from "./browser.mjs";

const PATIENCE = { timeout: 20_000 };

const { WALCAST_PAGE: address, WALCAST_SCREENSHOTS: folder } = process.env;

const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  const complaints = [];
  const { origin } = new URL(address);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (/^(https?|wss?):/.test(request.url()) && new URL(request.url()).origin !== origin)
      complaints.push(request.url());
  });

  await page.goto(address);
  await page.waitForSelector("body[data-state=ready]", PATIENCE);

  // Routes with their lines and counts, a broken one with its reason, and topics with their subscribers.
  const route = page.locator("#routes tr", { hasText: "notes:{room}" });
  assert.match(await route.innerText(), /walcast\.toml:\d+\s+public\.notes/);
  await page.waitForFunction(
    () => document.querySelector("#routes tr.problem")?.innerText.includes("walcast setup"),
    null,
    PATIENCE,
  );
  const seven = page.locator("#topics tr", { hasText: "notes:7" });
  await page.waitForFunction(() => document.querySelector("#topics tr")?.cells[2]?.textContent === "2", null, PATIENCE);
  assert.match(await seven.innerText(), /^notes:7\s+1\s+2\s+\d+$/);
  await page.waitForSelector("#charts li:nth-child(7) polyline[points*=' ']", { ...PATIENCE, state: "attached" });
  // Nothing is behind once the machine has come to rest.
  const caughtUp = () => /Replication lag\s+0\.0 s/.test(document.querySelector("#charts").innerText);
  await page.waitForFunction(caughtUp, null, PATIENCE);
  assert.equal(await page.innerText("#slow"), "nobody: every client takes what it is sent");

  // What Postgres keeps for the slot and what it may; which of the rows the publication gives.
  const facts = await page.innerText("#database");
  for (const fact of [/Slot\s+walcast, reserved/, /of 1\.0 GB \(replay\.wal\)/]) assert.match(facts, fact);
  for (const fact of [/Publication\s+walcast/, /of 10 min \(replay\.window\)/]) assert.match(facts, fact);
  assert.equal(await page.locator("#database meter").count(), 2);

  // Nothing is cut off.
  const cut = () =>
    [...document.querySelectorAll(".scroll, dl")]
      .filter((it) => it.scrollWidth > it.clientWidth)
      .map((it) => it.innerText);
  assert.deepEqual(await page.evaluate(cut), []);

  // By keyboard alone: look for a topic, choose it, follow it.
  await page.keyboard.press("/");
  await page.keyboard.type("notes:7");
  await page.waitForFunction(() => document.querySelectorAll("#topics tr").length === 1, null, PATIENCE);
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "notes:7");
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    () => document.getElementById("tail-state").textContent === "following notes:7",
    null,
    PATIENCE,
  );
  console.log("following");
  await page.waitForSelector("#tail li:nth-child(3)", PATIENCE);
  const summaries = (await page.locator("#tail summary").allInnerTexts()).map((text) => text.replaceAll("\n", " "));
  ["delete notes", "update notes", "insert notes"].forEach((what, place) =>
    assert.ok(summaries[place].includes(what), summaries[place]),
  );
  await page.click("#tail li:nth-child(3) summary");
  await page.waitForFunction(
    () => document.querySelector("#tail li:nth-child(3) pre").textContent !== "",
    null,
    PATIENCE,
  );
  const message = JSON.parse(await page.textContent("#tail li:nth-child(3) pre"));
  assert.equal(message.updates[0].record.text, "<b>not markup</b>");
  assert.equal(await page.locator("#tail b").count(), 0);

  // Why a change came: by the tail's own button, and by keyboard for somebody else.
  await page.click("#tail li:nth-child(3) button.why");
  await page.waitForFunction(
    () => document.getElementById("why-answer").textContent.endsWith("may join, and sees the row"),
    null,
    PATIENCE,
  );
  assert.match(await page.textContent("#why-answer"), /route 1: public\.notes to notes:\{room\}/);
  await page.locator("h1").click();
  await page.keyboard.press("w");
  await page.keyboard.type("notes:8");
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    () => document.getElementById("why-answer").textContent.endsWith("may join, and does not see the row"),
    null,
    PATIENCE,
  );
  await page.fill("#why-row", "{no json");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#why-answer.failed", PATIENCE);
  await page.fill("#why-row", '{"id": 1, "room": "seven"}');
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    () => /invalid input syntax for type integer/.test(document.getElementById("why-answer").textContent),
    null,
    PATIENCE,
  );
  await page.fill("#why-row", '{"id": 1, "room": 7}');
  await page.fill("#why-topic", "notes:7");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#why-answer:not(.failed)", PATIENCE);
  complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("status of 4")));

  await page.fill("#search", "");
  await page.waitForFunction(() => document.querySelectorAll("#routes tr").length > 1, null, PATIENCE);
  await page.locator("h1").click();
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: join(folder, "inspector-light.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: join(folder, "inspector-dark.png"), fullPage: true });

  // What an app would do, for this topic.
  await page.locator("h1").click();
  await page.keyboard.press("Escape");
  assert.equal(await page.textContent("#tail-state"), "");
  assert.match(await page.textContent("#snippet"), /socket\.channel\("notes:7", \{ snapshot: true \}\)/);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.keyboard.press("c");
  await page.waitForFunction(() => document.getElementById("copy").textContent === "Copied", null, PATIENCE);
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await page.textContent("#snippet"));

  // A filter that makes no sense is said to make none.
  await page.fill("#tail-filter", "text=like");
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    () => /invalid_filter/.test(document.getElementById("tail-state").textContent),
    null,
    PATIENCE,
  );
  complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("status of 4")));

  // Paused it stays as it is.
  await page.locator("h1").click();
  await page.keyboard.press("p");
  assert.equal(await page.getAttribute("#pause", "aria-pressed"), "true");
  await page.keyboard.press("p");

  await page.setViewportSize({ width: 390, height: 844 });
  assert.ok(
    await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
    "scrolls sideways on a phone",
  );
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: join(folder, "inspector-phone-dark.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "light" });
  await page.screenshot({ path: join(folder, "inspector-phone-light.png"), fullPage: true });
  assert.deepEqual(await page.evaluate(cut), [], "on a phone");

  // A gateway that asks for tokens says so in what is copied.
  await page.route("**/inspector/state*", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), tokens: true } });
  });
  await page.waitForFunction(
    () => document.getElementById("snippet").textContent.includes('/socket", { params: { token: "…" } });'),
    null,
    PATIENCE,
  );
  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
}
