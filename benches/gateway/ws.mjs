// The peer `ws`: a WebSocket server as its readme has it, with topics by path and messages by POST.
// node ws.mjs FOLDER_WITH_NODE_MODULES PORT
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [folder, port] = process.argv.slice(2);
const { WebSocket, WebSocketServer } = createRequire(`${folder}/`)("ws");

const topics = new Map();
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const message = Buffer.concat(chunks);
    for (const socket of topics.get(request.url.slice("/pub/".length)) ?? []) {
      if (socket.readyState === WebSocket.OPEN) socket.send(message, { binary: false });
    }
    response.end();
  });
});

server.on("upgrade", (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, (client) => {
    const topic = request.url.slice("/sub/".length);
    if (!topics.has(topic)) topics.set(topic, new Set());
    topics.get(topic).add(client);
    client.on("close", () => topics.get(topic).delete(client));
  });
});

server.listen(Number(port), "127.0.0.1");
