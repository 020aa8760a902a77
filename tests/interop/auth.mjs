// The official client with tokens by keys that this script makes, publishes and rotates. Signed by Node's own
// cryptography, which is not the gateway's.

import assert from "node:assert/strict";
import { constants, generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import WebSocket from "ws";
import { connect, endpoint, replied, say, updatesOf, vsn } from "./client.mjs";

const kinds = {
  RS256: { pair: ["rsa", { modulusLength: 2048 }], options: {} },
  PS256: {
    pair: ["rsa", { modulusLength: 2048 }],
    options: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
  },
  ES256: { pair: ["ec", { namedCurve: "P-256" }], options: { dsaEncoding: "ieee-p1363" } },
  EdDSA: { pair: ["ed25519", {}], options: {} },
};

let keyNumber = 0;
function issuer(alg) {
  const { pair, options } = kinds[alg];
  const { publicKey, privateKey } = generateKeyPairSync(...pair);
  const kid = `key ${++keyNumber}`;
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return {
    alg,
    jwk: { ...publicKey.export({ format: "jwk" }), kid, use: "sig" },
    token(claims = {}) {
      const exp = Math.floor(Date.now() / 1000) + 600;
      const message = `${encode({ alg, typ: "JWT", kid })}.${encode({ sub: "u1", aud: "walcast", exp, ...claims })}`;
      const hash = alg === "EdDSA" ? null : "sha256";
      return `${message}.${sign(hash, Buffer.from(message), { key: privateKey, ...options }).toString("base64url")}`;
    },
  };
}

let published = Object.keys(kinds).map(issuer);
const server = createServer((request, response) => {
  response.end(JSON.stringify({ keys: published.map(({ jwk }) => jwk) }));
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
say(`keys http://127.0.0.1:${server.address().port}/jwks.json`);
await once(process.stdin, "data");
process.stdin.pause();

/** The status that a handshake is answered with. */
async function status(token) {
  const socket = new WebSocket(`${endpoint}/websocket?vsn=${vsn}&token=${token}`);
  socket.on("error", () => {});
  return Promise.race([
    once(socket, "open").then(() => (socket.close(), 101)),
    once(socket, "unexpected-response").then(([, response]) => (response.destroy(), response.statusCode)),
  ]);
}

async function joins(options) {
  const socket = connect(options);
  const reply = await replied(socket.channel("updates:feed").join());
  socket.disconnect();
  return reply.status;
}

for (const one of published) {
  assert.equal(await joins({ params: { token: one.token() } }), "ok", `${one.alg} as a param`);
  assert.equal(await joins({ authToken: one.token() }), "ok", `${one.alg} as authToken`);
  assert.equal(await status(one.token({ aud: "other" })), 403);
}

// The issuer takes a new key, and the old ones go.
const successor = issuer("ES256");
const former = published;
published = [successor];
assert.equal(await joins({ authToken: () => successor.token() }), "ok");
for (const one of [...former, issuer("ES256")]) assert.equal(await status(one.token()), 403);
assert.equal(await status(""), 403);

// A channel that brings a new token whenever it joins goes on over the end of its old one.
const inSeconds = (seconds) => ({ exp: Math.floor(Date.now() / 1000) + seconds });
const socket = connect({ params: { token: successor.token(inSeconds(2)) } });
let cursor = null;
const channel = socket.channel("updates:feed", () => ({ cursor, access_token: successor.token(inSeconds(3)) }));
const ended = new Promise((resolve) => channel.onError(resolve));
cursor = (await replied(channel.join())).response.cursor;
assert.deepEqual(await ended, { reason: "token_expired" });
while (channel.state !== "joined") await new Promise((resolve) => setTimeout(resolve, 50));

// In-band, before it is too late.
assert.deepEqual(await replied(channel.push("access_token", { token: "nonsense" })), {
  status: "error",
  response: { reason: "invalid_token" },
});
const refreshed = await replied(channel.push("access_token", { token: successor.token() }));
assert.deepEqual(refreshed, { status: "ok", response: {} });
const updates = updatesOf(channel);
await new Promise((resolve) => setTimeout(resolve, 3500)); // past the end of the token before
assert.equal(channel.state, "joined");
say("live");
assert.equal((await updates.next()).updates[0].record.id, 1);
socket.disconnect();
server.close();
say("done");
