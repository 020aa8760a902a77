// The client's own `Presence` against a model, while clients join, update, leave and lose their connections at random.
// See `tests/it/channels.rs`.

import assert from "node:assert/strict";
import { connect, replied, say } from "./client.mjs";

const { Presence } = await import(process.env.WALCAST_CLIENT ?? "phoenix");

const CLIENTS = 6;
const STEPS = 60;
const KEYS = ["ann", "bob", "\"c\"é"];

// Every failing run can be had again.
const seed = Number(process.env.WALCAST_SEED ?? Date.now() % 1_000_000);
console.error(`WALCAST_SEED=${seed}`);
let randomness = seed;
function random(below) {
  randomness = (randomness * 1_103_515_245 + 12_345) % 2_147_483_648;
  return Math.floor((randomness / 2_147_483_648) * below);
}

/** Who is there: client → [key, n]. */
const model = new Map();
let number = 0;

class Client {
  constructor(id) {
    this.id = id;
    this.socket = connect();
  }

  async join(key) {
    number += 1;
    const n = number;
    this.channel = this.socket.channel("rooms:1", () => ({ presence: { key, meta: { n, client: this.id } } }));
    this.presence = new Presence(this.channel);
    this.synced = 0;
    this.presence.onSync(() => {
      this.synced += 1;
      check();
    });
    model.set(this.id, [key, n]);
    assert.equal((await replied(this.channel.join())).status, "ok");
  }

  async update() {
    number += 1;
    const [key] = model.get(this.id);
    const meta = { n: number, client: this.id };
    model.set(this.id, [key, number]);
    assert.deepEqual(await replied(this.channel.push("presence_update", { meta })), { status: "ok", response: {} });
  }

  async leave() {
    model.delete(this.id);
    const { channel } = this;
    this.channel = undefined;
    assert.equal((await replied(channel.leave())).status, "ok");
    // Without join_refs, as in 1.0.0, a channel that is joined at once would take the close of this one for its own.
    await new Promise((resolve) => this.socket.ping(resolve));
  }

  /** Without a goodbye; the client is not told either, so that it does not come back by itself. */
  vanish() {
    model.delete(this.id);
    this.channel = undefined;
    this.socket.conn.terminate();
    this.socket.disconnect();
    this.socket = connect();
  }

  /** What its page would show. */
  shown() {
    return this.presence
      .list((key, { metas }) => metas.map((meta) => [key, meta.n, meta.client]))
      .flat()
      .sort((one, other) => one[2] - other[2]);
  }
}

const clients = Array.from({ length: CLIENTS }, (_, id) => new Client(id));
let settled = () => {};

function check() {
  const expected = JSON.stringify([...model].map(([id, [key, n]]) => [key, n, id]).sort((a, b) => a[2] - b[2]));
  const joined = clients.filter((client) => client.channel);
  if (joined.every((client) => client.synced > 0 && JSON.stringify(client.shown()) === expected)) settled();
}

/** Until every page shows what the model says. */
async function agreement(what) {
  const deadline = setTimeout(() => {
    console.error(what, [...model], clients.filter((client) => client.channel).map((client) => client.shown()));
    process.exit(1);
  }, 5_000);
  await new Promise((resolve) => {
    settled = resolve;
    check();
  });
  clearTimeout(deadline);
}

for (let step = 0; step < STEPS; step += 1) {
  const several = Array.from({ length: 1 + random(CLIENTS) }, () => clients[random(CLIENTS)]);
  const work = [...new Set(several)].map((client) => {
    if (!client.channel) return client.join(KEYS[random(KEYS.length)]);
    return [() => client.update(), () => client.update(), () => client.leave(), () => client.vanish()][random(4)]();
  });
  await Promise.all(work);
  await agreement(`step ${step}`);
}

// One user with several windows is one presence with several metas, oldest first.
for (const client of clients) if (client.channel) await client.leave();
for (const client of clients) await client.join("ann");
await agreement("all of them are ann");
const [ann, ...others] = clients[0].presence.list((key, { metas }) => [key, metas.map((meta) => meta.client)]);
assert.deepEqual([ann, others], [["ann", clients.map((client) => client.id)], []]);
for (const client of clients) client.socket.disconnect();
say("done");
