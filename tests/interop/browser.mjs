// A Chromium, headless, for the scripts that need a page of their own. CHROMIUM: the program, where it is in none of
// the usual places, which are those of scripts/ensure-clients.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const PLACES = NAMES.map((name) => `/usr/bin/${name}`);
// As root, in a container, without a GPU: this browser only ever sees our own pages.
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"];

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? PLACES.find((path) => existsSync(path));
  assert.ok(executablePath, "no Chromium: install it (Debian: apt-get install chromium) or name it in CHROMIUM");
  return chromium.launch({ executablePath, args: ARGUMENTS });
}
