// Many members of a topic with presence in one process, to be killed. See `tests/it/channels.rs`.

import { connect, replied, say } from "./client.mjs";

const members = Array.from({ length: Number(process.env.WALCAST_MEMBERS) }, (_, number) =>
  connect({ heartbeatIntervalMs: 500 }).channel("rooms:1", { presence: { key: `member ${number}` } }),
);
await Promise.all(members.map((member) => replied(member.join())));
say("joined");
