// Clients with their last cursors while the gateway behind their address is replaced again and again: each number that
// a writer commits must come exactly once and in order, whichever gateway sends it.
//
// Prints "joined" once every client is. On a line of standard input it prints `numbers` with what each client has seen
// last, how long the longest silence was and how late the latest number came, in milliseconds.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { connect, say } from "./client.mjs";

const CLIENTS = 5;

/** What a user's page does; the client reconnects with Phoenix' own delays. */
function follow() {
  const seen = { last: 0, joins: 0, silence: 0, late: 0, closes: [] };
  let cursor = null;
  let heard = performance.now();
  const socket = connect({ reconnectAfterMs: undefined, rejoinAfterMs: undefined });
  socket.onClose(({ code }) => seen.closes.push(code));
  const channel = socket.channel("ticks", () => ({ cursor }));
  const joined = new Promise((resolve) => {
    channel.join().receive("ok", ({ resumed }) => {
      seen.joins += 1;
      assert.ok(seen.joins === 1 || resumed, "not resumed");
      resolve();
    });
  });
  channel.onError((reason) => assert.notEqual(reason?.reason, "resync_required"));
  channel.on("new_updates", ({ cursor: position, commit_timestamp, updates }) => {
    for (const { op, record } of updates) {
      assert.equal(op, "insert");
      if (seen.last !== 0) assert.equal(record.n, seen.last + 1, "lost, repeated or out of order");
      seen.last = record.n;
    }
    const now = performance.now();
    seen.silence = Math.max(seen.silence, now - heard);
    seen.late = Math.max(seen.late, Date.now() - Date.parse(commit_timestamp));
    heard = now;
    cursor = position ?? cursor;
  });
  channel.on("cursor", (message) => {
    cursor = message.cursor;
  });
  return { seen, joined };
}

const clients = Array.from({ length: CLIENTS }, follow);
await Promise.all(clients.map(({ joined }) => joined));
say("joined");

createInterface({ input: process.stdin }).on("line", () => {
  const all = clients.map(({ seen }) => seen);
  const most = (key) => Math.round(Math.max(...all.map((seen) => seen[key])));
  const report = {
    last: Math.min(...all.map(({ last }) => last)),
    joins: Math.min(...all.map(({ joins }) => joins)),
    codes: [...new Set(all.flatMap(({ closes }) => closes.slice(0, 1)))],
    silence: most("silence"),
    late: most("late"),
  };
  for (const seen of all) seen.silence = seen.late = 0;
  say(`numbers ${JSON.stringify(report)}`);
});
