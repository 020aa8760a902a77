//! A shard's state with the real hub behind it, and clients that are nothing but bytes.

mod deflate;
mod requests;
mod rounds;
mod token;
mod writes;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::state::State;
use super::statistics::SlowClient;
use crate::change::{
    Change, Column, FeedEvent, FeedSystem, Lsn, Operation, PgTimestamp, Relation, RelationId, ReplicaIdentity, Row,
    TransactionHeader, TransactionPart, TypeCatalogue,
};
use crate::hub::{Hub, HubLimits, LogLimits, ShardId};
use crate::phoenix::Serializer;
use crate::routing::{Int8Format, Ops, RouteSpec, RouteTable, TablePattern, Template};
use crate::transport::{ChannelLimits, Limits, Wire};
use bytes::Bytes;
use std::time::Duration;

mod channels;

const INT8: u32 = 20;
const OUTBOX: usize = 2000;

fn limits() -> Limits {
    Limits {
        writes: 4,
        frame: 10_000,
        outbox: OUTBOX,
        topics_per_connection: 3,
        topic: 255,
        idle: Duration::from_secs(60),
        handshake: Duration::from_secs(10),
        poll: Duration::from_secs(10),
        keep_alive: Duration::from_secs(15),
        compression: false,
        connections: 100,
        channels: ChannelLimits {
            broadcast: 4_000,
            broadcasts_per_second: 10,
            broadcast_burst: 50,
            presence_meta: 100,
        },
    }
}

fn hub_limits(memory: usize) -> HubLimits {
    let log = LogLimits { window: Duration::from_secs(600), memory, wal: 1 << 30 };
    HubLimits { log, value: 1 << 20, read: 700 }
}

/// `public.numbers (n int8)`, in which the row's number is the count of all rows so far.
fn numbers() -> Arc<Relation> {
    let ty = TypeCatalogue::builtin().get(INT8).unwrap();
    Arc::new(Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: "numbers".into(),
        replica_identity: ReplicaIdentity::Full,
        columns: vec![Column { name: "n".into(), identity: true, ty }],
    })
}

fn row(number: u64) -> Row {
    let text = number.to_string();
    let mut data = vec![0, 1, b't'];
    data.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    data.extend(text.as_bytes());
    Row::parse(&mut Bytes::from(data)).unwrap()
}

/// A masked frame, as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => out.push(0x80 | short),
        _ => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
    out
}

/// The whole frames at the front of what a client has received: first byte and payload each.
fn take_frames(received: &mut Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    loop {
        let (header, length) = match received.get(1) {
            Some(126) if received.len() >= 4 => (4, usize::from(u16::from_be_bytes([received[2], received[3]]))),
            Some(short) if *short < 126 => (2, usize::from(*short)),
            _ => return frames,
        };
        if received.len() < header + length {
            return frames;
        }
        let frame: Vec<u8> = received.drain(..header + length).collect();
        frames.push((frame[0], frame[header..].to_vec()));
    }
}

/// One shard and the hub, with time standing still unless a test moves it.
struct Bench {
    hub: Hub,
    state: State,
    relation: Arc<Relation>,
    now: Duration,
    lsn: u64,
    rows: u64,
    /// By slot: what was written to the socket and not yet taken apart.
    received: std::collections::HashMap<usize, Vec<u8>>,
}

impl Bench {
    fn new(memory: usize) -> Self {
        let route = RouteSpec {
            table: TablePattern::parse("public.*").unwrap(),
            topic: Template::parse("numbers").unwrap(),
            columns: None,
            ops: Ops::ALL,
            event: "new_updates".into(),
            int8: Int8Format::Number,
            filter: None,
            allow: None,
        };
        let routes = Arc::new(RouteTable::new(vec![route]).unwrap());
        let mut bench = Self {
            hub: Hub::new(routes, 1, hub_limits(memory)),
            state: State::new(ShardId(0), limits()),
            relation: numbers(),
            now: Duration::ZERO,
            lsn: 100,
            rows: 0,
            received: std::collections::HashMap::new(),
        };
        let (start, relations) = (Lsn::new(bench.lsn), vec![Arc::clone(&bench.relation)]);
        let system = FeedSystem { system_id: 1, timeline: 1 };
        bench.hub.feed(
            FeedEvent::Connected { system, ancestry: Vec::new(), start, flush: start, relations, doubt: None },
            bench.now,
        );
        bench
    }

    fn open(&mut self, wire: impl Into<Wire>) -> usize {
        self.state.open(wire, crate::auth::Identity::default(), self.now)
    }

    fn say(&mut self, slot: usize, message: &Value) {
        self.bytes(slot, &frame(0x81, message.to_string().as_bytes()));
    }

    fn bytes(&mut self, slot: usize, bytes: &[u8]) {
        self.state.received(slot, &mut bytes.to_vec(), self.now);
        self.turn();
    }

    /// Commands to the hub and its answers back, until both are silent.
    fn turn(&mut self) {
        loop {
            while let Some(command) = self.state.next_command() {
                self.hub.command(command);
            }
            let messages: Vec<_> = self.hub.take_outgoing().flat_map(|(_, messages)| messages).collect();
            if messages.is_empty() {
                return;
            }
            messages.into_iter().for_each(|message| self.state.told(message, self.now));
        }
    }

    fn commit(&mut self, rows: u64) {
        self.lsn += 10;
        let change = |ordinal| {
            self.rows += 1;
            let operation = Operation::Insert { new: row(self.rows) };
            Change { relation: Arc::clone(&self.relation), operation, ordinal }
        };
        let part = TransactionPart {
            header: TransactionHeader {
                xid: 1,
                commit_lsn: Lsn::new(self.lsn),
                commit_timestamp: PgTimestamp::from_micros(0),
            },
            changes: (1..=rows).map(change).collect(),
            announcements: Vec::new(),
            first: true,
            end_lsn: Some(Lsn::new(self.lsn + 5)),
        };
        self.hub.feed(FeedEvent::Part(part), self.now);
        self.turn();
    }

    /// The socket takes up to so many bytes.
    fn write(&mut self, slot: usize, most: usize) {
        let Some(outbox) = self.state.outbox_mut(slot) else { return };
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let filled = outbox.slices(&mut slices);
        let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).take(most).collect();
        outbox.advance(bytes.len());
        self.received.entry(slot).or_default().extend(bytes);
        self.state.flushed(slot);
        self.turn();
    }

    fn write_all(&mut self, slot: usize) {
        while self.state.outbox_mut(slot).is_some_and(|outbox| !outbox.is_empty()) {
            self.write(slot, usize::MAX);
        }
    }

    fn frames(&mut self, slot: usize) -> Vec<(u8, Vec<u8>)> {
        self.write_all(slot);
        take_frames(self.received.entry(slot).or_default())
    }

    fn messages(&mut self, slot: usize) -> Vec<Value> {
        let text = |(first, payload): (u8, Vec<u8>)| {
            assert_eq!(first, 0x81);
            serde_json::from_slice(&payload).unwrap()
        };
        self.frames(slot).into_iter().map(text).collect()
    }
}

fn join(reference: &str, cursor: Option<&str>) -> Value {
    json!([reference, reference, "numbers", "phx_join", {"cursor": cursor}])
}

fn numbers_of(message: &Value) -> Vec<u64> {
    let updates = message[4]["updates"].as_array().unwrap();
    updates.iter().map(|update| update["record"]["n"].as_u64().unwrap()).collect()
}

#[test]
fn a_change_reaches_both_serializers() {
    let mut bench = Bench::new(1 << 20);
    let (new, old) = (bench.open(Serializer::V2), bench.open(Serializer::V1));
    bench.say(new, &join("1", None));
    bench.say(old, &json!({"topic": "numbers", "event": "phx_join", "payload": {}, "ref": "1"}));
    bench.commit(2);
    let (new, old) = (bench.messages(new), bench.messages(old));
    assert_eq!(new.len(), 2);
    assert_eq!(new[0][4]["status"], "ok");
    assert_eq!(new[0][4]["response"]["resumed"], false);
    assert_eq!(json!(new[1].as_array().unwrap()[..4]), json!([null, null, "numbers", "new_updates"]));
    assert_eq!(numbers_of(&new[1]), [1, 2]);
    assert_eq!(old[1], json!({"topic": "numbers", "event": "new_updates", "payload": new[1][4], "ref": null}));
}

#[test]
fn leaving_and_joining_twice_keep_one_subscription() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open(Serializer::V2);
    let other = bench.open(Serializer::V2);
    bench.say(other, &join("1", None));
    bench.say(client, &join("1", None));
    bench.say(client, &join("2", None));
    bench.commit(1);
    let messages = bench.messages(client);
    let updates = messages.iter().filter(|message| message[3] == "new_updates").count();
    assert_eq!(updates, 1, "{messages:?}");
    assert!(messages.contains(&json!(["1", "1", "numbers", "phx_close", {}])), "{messages:?}");
    bench.say(client, &json!(["2", "3", "numbers", "phx_leave", {}]));
    bench.commit(1);
    let messages = bench.messages(client);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(bench.messages(other).len(), 3);
}

#[test]
fn a_goodbye_that_breaks_the_rules_is_the_last_that_is_waited_for() {
    // A code that is never sent, half a code, and a reason that is no text.
    for (payload, code) in [(&[0x03, 0xED][..], 1002_u16), (&[3], 1002), (&[0x03, 0xE8, 0xFF], 1007)] {
        let mut bench = Bench::new(1 << 20);
        let client = bench.open(Serializer::V2);
        bench.bytes(client, &frame(0x88, payload));
        assert!(!bench.state.is_finished(client), "the answer is still to be sent");
        let frames = bench.frames(client);
        assert_eq!((frames[0].0, &frames[0].1[..2]), (0x88, &code.to_be_bytes()[..]));
        assert!(bench.state.is_finished(client));
    }
}

#[test]
fn params_that_do_not_fit_are_refused() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open(Serializer::V2);
    bench.say(client, &json!(["1", "1", "numbers", "phx_join", {"filter": "missing=eq.1"}]));
    bench.say(client, &json!(["1", "2", "numbers", "my_event", {}]));
    let messages = bench.messages(client);
    assert_eq!(messages[0][4]["response"]["reason"], "invalid_filter");
    assert_eq!(messages[1][4]["response"]["reason"], "unmatched topic");
    bench.say(client, &join("3", None));
    bench.say(client, &json!(["3", "4", "numbers", "my_event", {}]));
    assert_eq!(bench.messages(client)[1][4]["response"]["reason"], "event not allowed");
}

#[test]
fn a_slow_client_reads_on_from_the_log_and_others_do_not_wait() {
    let mut bench = Bench::new(1 << 20);
    let (slow, fast) = (bench.open(Serializer::V2), bench.open(Serializer::V2));
    bench.say(slow, &join("1", None));
    bench.say(fast, &join("1", None));
    for _ in 0..100 {
        bench.commit(3);
        bench.write_all(fast);
        let waiting = bench.state.outbox_mut(slow).unwrap().len();
        assert!(waiting < OUTBOX + 1000, "{waiting} bytes wait for a client that does not read");
    }
    let told = bench.state.statistics(Duration::ZERO);
    let SlowClient { connection, subscriptions, behind, .. } = told.slow[0];
    assert_eq!((told.slow.len(), connection, subscriptions, behind), (1, slow, 1, 1), "the slow one is known");
    assert_eq!((told.counters.falls, told.behind, told.subscriptions, told.connections), (1, 1, 2, [2, 0, 0, 0]));
    assert_eq!((told.counters.joins, told.counters.opened), (2, [2, 0, 0, 0]));
    assert!(told.outbox_bytes >= OUTBOX as u64);
    for client in [fast, slow] {
        let seen: Vec<u64> = bench.messages(client)[1..].iter().flat_map(numbers_of).collect();
        assert_eq!(seen, (1..=300).collect::<Vec<_>>());
    }
    bench.commit(1);
    assert_eq!(bench.messages(slow).len(), 1, "it is live again");
    let told = bench.state.statistics(Duration::ZERO);
    assert_eq!((told.slow, told.behind), (Vec::new(), 0));
}

#[test]
fn a_client_too_slow_for_the_log_is_told_to_resync() {
    let mut bench = Bench::new(20_000);
    let slow = bench.open(Serializer::V2);
    bench.say(slow, &join("1", None));
    for _ in 0..500 {
        bench.commit(3);
    }
    let messages = bench.messages(slow);
    let (last, seen) = messages.split_last().unwrap();
    assert_eq!(*last, json!(["1", "1", "numbers", "phx_error", {"reason": "resync_required"}]));
    assert_eq!(bench.state.statistics(Duration::ZERO).counters.resyncs, [0, 1, 0], "it was slow");
    let seen: Vec<u64> = seen[1..].iter().flat_map(numbers_of).collect();
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>(), "no hole before it is told");
    bench.say(slow, &join("2", None));
    bench.commit(1);
    assert_eq!(bench.messages(slow).len(), 2);
}

#[test]
fn who_asks_and_does_not_read_is_closed() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open(Serializer::V2);
    for _ in 0..200 {
        bench.say(client, &json!([null, "1", "phoenix", "heartbeat", {}]));
    }
    let frames = bench.frames(client);
    let (first, payload) = frames.last().unwrap();
    assert_eq!((*first, payload[..2].to_vec()), (0x88, 1013_u16.to_be_bytes().to_vec()));
    assert!(frames.iter().map(|(_, payload)| payload.len()).sum::<usize>() < 3 * OUTBOX);
    assert_eq!(bench.state.statistics(Duration::ZERO).counters.closes, [("slow", 1)].into());
}

#[test]
fn rows_that_wait_close_nobody_who_asks_now_and_then() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open(Serializer::V2);
    bench.say(client, &join("1", None));
    bench.commit(200);
    assert!(bench.state.outbox_mut(client).unwrap().len() > 2 * OUTBOX);
    for _ in 0..3 {
        bench.say(client, &json!([null, "1", "phoenix", "heartbeat", {}]));
    }
    assert_eq!(bench.state.statistics(Duration::ZERO).counters.closes, [].into());
    let messages = bench.messages(client);
    let (rows, replies) = messages[1..].split_first().unwrap();
    assert_eq!(numbers_of(rows), (1..=200).collect::<Vec<_>>());
    assert_eq!(replies.iter().filter(|reply| reply[2] == "phoenix").count(), 3);
}

#[test]
fn broken_clients_are_closed_with_their_codes() {
    let text = |text: &str| frame(0x81, text.as_bytes());
    for (bytes, code) in [
        (text("no json"), 1011_u16),
        (text("[1,2,3]"), 1011),
        (frame(0x82, &[9]), 1011),
        (frame(0x81, &[0xFF]), 1007),
        (frame(0x83, b""), 1002),
        (vec![0x81, 0x01, b'x'], 1002),
        (frame(0x82, &[0; 10_001]), 1009),
        (frame(0x88, &1001_u16.to_be_bytes()), 1001),
    ] {
        let mut bench = Bench::new(1 << 20);
        let (broken, other) = (bench.open(Serializer::V2), bench.open(Serializer::V2));
        bench.say(broken, &join("1", None));
        bench.say(other, &join("1", None));
        bench.bytes(broken, &bytes);
        bench.bytes(broken, &text("more"));
        bench.commit(1);
        let (first, payload) = bench.frames(broken).pop().unwrap();
        assert_eq!((first, payload.get(..2)), (0x88, Some(&code.to_be_bytes()[..])), "{bytes:?}");
        assert_eq!(bench.messages(other).len(), 2);
    }
}

#[test]
fn the_silent_are_closed_and_the_stubborn_are_dropped() {
    let mut bench = Bench::new(1 << 20);
    let (silent, alive) = (bench.open(Serializer::V2), bench.open(Serializer::V2));
    bench.now = Duration::from_secs(60);
    bench.say(alive, &json!([null, "1", "phoenix", "heartbeat", {}]));
    assert!(bench.state.tick(bench.now).is_empty());
    bench.now = Duration::from_secs(61);
    assert!(bench.state.tick(bench.now).is_empty());
    let (first, payload) = bench.frames(silent).pop().unwrap();
    assert_eq!((first, payload[..2].to_vec()), (0x88, 1002_u16.to_be_bytes().to_vec()));
    assert_eq!(bench.frames(alive).len(), 1);
    assert!(!bench.state.is_finished(silent), "its own goodbye is awaited");
    bench.now = Duration::from_secs(67);
    assert_eq!(bench.state.tick(bench.now), [silent]);
}

#[test]
fn draining_closes_in_batches_with_1012() {
    let mut bench = Bench::new(1 << 20);
    let clients: Vec<_> = (0..5).map(|_| bench.open(Serializer::V2)).collect();
    assert_eq!(bench.state.drain(3, bench.now), 5, "closed, but not gone");
    let closed = clients.iter().filter(|client| !bench.frames(**client).is_empty()).copied().collect::<Vec<_>>();
    assert_eq!(closed.len(), 3);
    for client in closed {
        bench.bytes(client, &frame(0x88, &1012_u16.to_be_bytes()));
        assert!(bench.state.is_finished(client));
        bench.state.ended(client);
    }
    assert_eq!(bench.state.drain(3, bench.now), 2);
    let frames = bench.frames(clients[4]);
    assert_eq!(frames, [(0x88, [&1012_u16.to_be_bytes()[..], b"server restarts"].concat())]);
}

#[derive(Debug, Clone)]
enum Step {
    Commit(u64),
    /// A client's socket takes some bytes.
    Write(usize, usize),
    /// The connection breaks; the client comes back with its last cursor.
    Drop(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0_usize..4;
    let step = prop_oneof![
        5 => (1_u64..20).prop_map(Step::Commit),
        5 => (client.clone(), 1_usize..3000).prop_map(|(client, bytes)| Step::Write(client, bytes)),
        1 => client.clone().prop_map(Step::Drop),
        1 => client.prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..120)
}

/// A client that keeps its cursor and checks that what it gets has neither hole nor repeat.
#[derive(Debug)]
struct Client {
    slot: usize,
    references: u32,
    cursor: Option<String>,
    /// The newest row that it knows of; all rows before it joined for the first time are known.
    seen: Option<u64>,
}

impl Client {
    fn take(&mut self, messages: Vec<Value>, rows: u64) -> Result<(), TestCaseError> {
        for message in messages {
            if message[3] == "phx_reply" && message[4]["response"]["cursor"].is_string() {
                self.cursor.get_or_insert(message[4]["response"]["cursor"].as_str().unwrap().to_owned());
                self.seen.get_or_insert(rows);
            } else if message[3] == "new_updates" {
                for number in numbers_of(&message) {
                    prop_assert_eq!(Some(number), self.seen.map(|seen| seen + 1));
                    self.seen = Some(number);
                }
                self.cursor = message[4]["cursor"].as_str().map(str::to_owned);
            } else {
                prop_assert!(message[3] != "phx_error", "{}", message);
            }
        }
        Ok(())
    }
}

proptest! {
    /// Slow, dropped and leaving clients, all of whom come back with their cursors: no hole, no repeat, and at the end
    /// everyone has everything.
    #[test]
    fn every_client_sees_every_change_once_and_in_order(steps in steps()) {
        let mut bench = Bench::new(10 << 20);
        let mut clients = Vec::new();
        for _ in 0..4 {
            let slot = bench.open(Serializer::V2);
            bench.say(slot, &join("1", None));
            let mut client = Client { slot, references: 1, cursor: None, seen: None };
            client.take(bench.messages(slot), 0)?;
            clients.push(client);
        }
        for step in steps {
            match step {
                Step::Commit(rows) => bench.commit(rows),
                Step::Write(index, bytes) => {
                    let client = &mut clients[index];
                    bench.write(client.slot, bytes);
                    let text = take_frames(bench.received.entry(client.slot).or_default());
                    let messages = text.iter().map(|(_, payload)| serde_json::from_slice(payload).unwrap()).collect();
                    client.take(messages, bench.rows)?;
                }
                Step::Drop(index) => {
                    let client = &mut clients[index];
                    bench.state.ended(client.slot);
                    bench.received.remove(&client.slot);
                    bench.turn();
                    client.slot = bench.open(Serializer::V2);
                    bench.say(client.slot, &join("1", client.cursor.as_deref()));
                }
                Step::Leave(index) => {
                    let client = &mut clients[index];
                    let reference = client.references.to_string();
                    bench.say(client.slot, &json!([reference, "leave", "numbers", "phx_leave", {}]));
                    // Whatever was on its way is taken before the client comes back with its cursor.
                    let messages = bench.messages(client.slot);
                    client.take(messages, bench.rows)?;
                    client.references += 1;
                    let message = join(&client.references.to_string(), client.cursor.as_deref());
                    bench.say(client.slot, &message);
                }
            }
        }
        for client in &mut clients {
            let messages = bench.messages(client.slot);
            client.take(messages, bench.rows)?;
            prop_assert_eq!(client.seen, Some(bench.rows));
        }
    }
}
