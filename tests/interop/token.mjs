// The token as a subprotocol (clients since 1.8): the gateway must choose `phoenix`, or a browser gives up.

import assert from "node:assert/strict";
import WebSocket from "ws";
import { connect, raw, replied, say } from "./client.mjs";

let chosen = null;
class Watched extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    assert.deepEqual(protocols[0], "phoenix");
    assert.match(protocols[1], /^base64url\.bearer\.phx\./);
    this.once("open", () => (chosen = this.protocol));
  }
}

const socket = connect({ transport: Watched, authToken: "eyJhbGciOiJIUzI1NiJ9.e30.>>>" });
assert.equal((await replied(socket.channel("updates:feed").join())).status, "ok");
assert.equal(chosen, "phoenix");
socket.disconnect();

// Nothing offered, nothing chosen.
const plain = await raw();
assert.equal(plain.socket.protocol, "");
plain.socket.close();
say("done");
