// A page's own EventSource in Chromium: follows a topic, loses its server, comes back with the cursor that it has, and
// is told where that can't be continued.
//
// WALCAST_ORIGIN: where the gateway listens, http://….

import { launch } from "./browser.mjs";

const origin = process.env.WALCAST_ORIGIN;
const DEADLINE_MS = 60_000;
const ROWS = 4;

setTimeout(() => {
  console.error("not finished in time");
  process.exit(1);
}, DEADLINE_MS).unref();

const browser = await launch();
const page = await browser.newPage();
const finished = new Promise((resolve) => {
  page.on("console", (message) => {
    console.log(message.text());
    if (JSON.stringify(message.text()).includes(`,${ROWS}]`)) resolve();
  });
});
await page.goto(`${origin}/healthz`);
await page.evaluate(() => {
  const seen = [];
  const source = new EventSource("/topics/updates:feed/events");
  source.onopen = () => console.log("open");
  source.onerror = () => console.log(source.readyState === EventSource.CONNECTING ? "away" : "closed");
  source.addEventListener("phx_error", (event) => console.log(JSON.parse(event.data).reason));
  source.addEventListener("new_updates", (event) => {
    const { cursor, updates } = JSON.parse(event.data);
    if (event.lastEventId !== cursor) console.log("an id that is not the cursor");
    seen.push(...updates.map((update) => update.record.id));
    console.log(JSON.stringify(seen));
  });
});
await finished;
await browser.close();
