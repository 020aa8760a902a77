// The gateway is stopped and started again while the client is joined: it comes back by itself.

import assert from "node:assert/strict";
import { connect, longPolls, say, updatesOf } from "./client.mjs";

const socket = connect();
const channel = socket.channel("updates:feed");
const feed = updatesOf(channel);
let joins = 0;
let joined;
const joinedAgain = new Promise((resolve) => (joined = resolve));
const codes = [];
socket.onClose(({ code }) => {
  codes.push(code);
  if (codes.length === 1) say("closed");
});
channel.join().receive("ok", () => {
  joins += 1;
  if (joins === 1) say("joined");
  if (joins === 2) joined();
});

await joinedAgain;
// Later attempts, before anyone listens again, end without a code of the gateway's; so does a poll that comes in just
// between the two gateways.
assert.ok((longPolls ? [3410, 1011] : [1012]).includes(codes[0]), `closed with ${codes[0]}`);
say("joined again");
const { updates } = await feed.next();
assert.deepEqual(updates.map(({ op, record }) => [op, record.title]), [["insert", "after the restart"]]);
socket.disconnect();
say("done");
