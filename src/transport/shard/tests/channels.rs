//! Broadcasts and presence through the shard and the hub.

use std::collections::BTreeMap;

use super::*;
use crate::hub::Channels;
use crate::routing::{ChannelSpec, ChannelTable, TopicPattern};

const MEMBERS_MAX: usize = 8;

fn channel(topic: &str, publish: &[&str], presence: bool, include_sender: bool) -> ChannelSpec {
    let topic = TopicPattern::parse(topic).unwrap();
    let publish = publish.iter().map(|event| Arc::from(*event)).collect();
    ChannelSpec { topic, publish, presence, include_sender, allow: None }
}

fn bench() -> Bench {
    let mut bench = Bench::new(1 << 20);
    let table = ChannelTable::new([
        channel("numbers", &["hello"], false, true),
        channel("others:*", &["hello"], false, false),
        channel("rooms:*", &["hello"], true, true),
    ]);
    let hub = std::mem::replace(&mut bench.hub, Hub::new(Arc::default(), 1, hub_limits(1 << 20)));
    bench.hub = hub.with_channels(Channels::new(Arc::new(table), MEMBERS_MAX, 1));
    bench
}

fn join_topic(reference: &str, topic: &str, params: Value) -> Value {
    json!([reference, reference, topic, "phx_join", params])
}

/// A client that has joined; its join_ref is `1`.
fn joined(bench: &mut Bench, topic: &str, params: Value) -> usize {
    let client = bench.open(Serializer::V2);
    bench.say(client, &join_topic("1", topic, params));
    let reply = bench.messages(client).remove(0);
    assert_eq!(reply[4]["status"], "ok", "{reply}");
    client
}

fn push(bench: &mut Bench, client: usize, topic: &str, event: &str, payload: Value) -> Vec<Value> {
    bench.say(client, &json!(["1", "7", topic, event, payload]));
    bench.messages(client)
}

fn refused(reason: &str) -> Value {
    json!(["1", "7", "rooms:1", "phx_reply", {"status": "error", "response": {"reason": reason}}])
}

/// A binary push as a client sends it.
fn binary(topic: &str, event: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 1, 1];
    message.extend([topic, event].map(|name| u8::try_from(name.len()).unwrap()));
    message.extend(b"17");
    message.extend(topic.bytes().chain(event.bytes()).chain(payload.iter().copied()));
    frame(0x82, &message)
}

#[test]
fn a_topic_without_a_route_can_be_joined() {
    let mut bench = bench();
    let client = bench.open(Serializer::V2);
    bench.say(client, &join_topic("1", "others:a", json!({"snapshot": true})));
    let reply = bench.messages(client).remove(0);
    assert_eq!((&reply[4]["status"], &reply[4]["response"]["resumed"]), (&json!("ok"), &json!(false)));
    let cursor = reply[4]["response"]["cursor"].clone();
    assert!(cursor.is_string());
    // There are no rows to be fetched, and none to come; but a client can come back as to any other topic.
    let replies = push(&mut bench, client, "others:a", "fetch_updates", json!({}));
    assert_eq!(replies[0][4]["response"]["reason"], "event not allowed");
    bench.commit(3);
    bench.say(client, &join_topic("2", "others:a", json!({"cursor": cursor})));
    assert_eq!(bench.messages(client)[0][4]["response"], json!({"cursor": cursor, "resumed": true}));
    bench.say(client, &join_topic("3", "unknown", json!({})));
    assert_eq!(bench.messages(client)[0][4]["response"]["reason"], "unmatched topic");
}

#[test]
fn a_broadcast_reaches_everyone_whatever_they_read() {
    let mut bench = bench();
    let sender = joined(&mut bench, "numbers", json!({}));
    let narrow = joined(&mut bench, "numbers", json!({"ops": ["delete"]}));
    let elsewhere = joined(&mut bench, "rooms:1", json!({}));
    bench.messages(elsewhere);
    let old = bench.open(Serializer::V1);
    bench.say(old, &json!({"topic": "numbers", "event": "phx_join", "payload": {}, "ref": "1"}));
    bench.messages(old);
    let payload = json!({"a": [1.50, "ü", null]});
    let to_sender = push(&mut bench, sender, "numbers", "hello", payload.clone());
    let broadcast = json!([null, null, "numbers", "hello", payload]);
    let ok = json!(["1", "7", "numbers", "phx_reply", {"status": "ok", "response": {}}]);
    assert_eq!(to_sender, [ok, broadcast.clone()]);
    assert_eq!(bench.messages(narrow), [broadcast]);
    assert_eq!(bench.messages(old), [json!({"topic": "numbers", "event": "hello", "payload": payload, "ref": null})]);
    assert_eq!(bench.messages(elsewhere), [json!(null); 0]);
    // The old one has no form for bytes, and gets none.
    bench.bytes(sender, &binary("numbers", "hello", &[0, 255]));
    assert_eq!(bench.frames(narrow), [(0x82, [&[2, 7, 5][..], b"numbershello", &[0, 255]].concat())]);
    assert_eq!(bench.frames(sender).len(), 2);
    assert_eq!(bench.messages(old), [json!(null); 0]);
}

#[test]
fn who_sends_is_left_out_where_the_channel_says_so() {
    let mut bench = bench();
    let clients: Vec<usize> = (0..3).map(|_| joined(&mut bench, "others:a", json!({}))).collect();
    assert_eq!(push(&mut bench, clients[1], "others:a", "hello", json!({})).len(), 1);
    for other in [clients[0], clients[2]] {
        assert_eq!(bench.messages(other), [json!([null, null, "others:a", "hello", {}])]);
    }
}

#[test]
fn what_may_not_be_said_is_refused() {
    let mut bench = bench();
    let client = joined(&mut bench, "rooms:1", json!({}));
    bench.messages(client);
    let long = "x".repeat(4_000);
    for (event, payload, reason) in [
        ("other", json!({}), "event not allowed"),
        ("presence_diff", json!({}), "event not allowed"),
        ("hello", json!({ "text": long }), "payload_too_large"),
        ("hello", json!([1]), "invalid_payload"),
        ("hello", json!(null), "invalid_payload"),
    ] {
        assert_eq!(push(&mut bench, client, "rooms:1", event, payload), [refused(reason)], "{event}");
    }
    let elsewhere = joined(&mut bench, "numbers", json!({}));
    let replies = push(&mut bench, elsewhere, "numbers", "presence_update", json!({"meta": {}}));
    assert_eq!(replies[0][4]["response"]["reason"], "event not allowed");
    bench.bytes(client, &binary("rooms:1", "hello", &[0; 4_001]));
    assert_eq!(bench.messages(client), [refused("payload_too_large")]);
}

#[test]
fn who_says_too_much_is_told_so() {
    let mut bench = bench();
    let client = joined(&mut bench, "rooms:1", json!({}));
    bench.messages(client);
    let mut sent = 0;
    loop {
        let messages = push(&mut bench, client, "rooms:1", "hello", json!({}));
        if messages == [refused("rate_limited")] {
            break;
        }
        assert_eq!(messages.len(), 2);
        sent += 1;
    }
    assert_eq!(sent, 50);
    let replies = push(&mut bench, client, "rooms:1", "presence_update", json!({"meta": {}}));
    assert_eq!(replies, [refused("rate_limited")]);
    bench.now += Duration::from_millis(100);
    assert_eq!(push(&mut bench, client, "rooms:1", "hello", json!({})).len(), 2);
    assert_eq!(push(&mut bench, client, "rooms:1", "hello", json!({})), [refused("rate_limited")]);
}

#[test]
fn who_does_not_read_what_others_say_is_closed_alone() {
    let mut bench = bench();
    let (slow, fast) = (joined(&mut bench, "rooms:1", json!({})), joined(&mut bench, "rooms:1", json!({})));
    bench.messages(slow);
    for number in 0..40 {
        push(&mut bench, fast, "rooms:1", "hello", json!({"n": number, "text": "x".repeat(200)}));
        assert!(bench.state.outbox_mut(slow).unwrap().len() < 2 * OUTBOX + 500);
    }
    let frames = bench.frames(slow);
    assert_eq!(frames, [(0x88, [&1013_u16.to_be_bytes()[..], b"client reads too slowly"].concat())]);
    let leaves = |message: &Value| message[4]["leaves"].as_object().is_some_and(|leaves| !leaves.is_empty());
    let mut again = push(&mut bench, fast, "rooms:1", "hello", json!({}));
    again.retain(leaves);
    assert_eq!(again, [json!(null); 0], "it was told before");
}

/// What a client knows of a topic with presence, strictly: nothing may be told twice.
#[derive(Debug, Default)]
struct Roster {
    metas: Option<BTreeMap<(String, String), Value>>,
}

fn metas(presences: &Value) -> Vec<((String, String), Value)> {
    let of_key = |(key, presence): (&String, &Value)| {
        let key = key.clone();
        let metas = presence["metas"].as_array().unwrap().clone();
        metas.into_iter().map(move |meta| ((key.clone(), meta["phx_ref"].as_str().unwrap().to_owned()), meta))
    };
    presences.as_object().unwrap().iter().flat_map(of_key).collect()
}

impl Roster {
    fn hear(&mut self, messages: Vec<Value>) {
        for message in messages {
            match message[3].as_str().unwrap() {
                "presence_state" => {
                    assert!(self.metas.is_none(), "one state for each join");
                    self.metas = Some(metas(&message[4]).into_iter().collect());
                }
                "presence_diff" => {
                    let known = self.metas.as_mut().expect("the state comes first");
                    for (at, meta) in metas(&message[4]["joins"]) {
                        assert_eq!(known.insert(at, meta), None);
                    }
                    for (at, meta) in metas(&message[4]["leaves"]) {
                        assert_eq!(known.remove(&at), Some(meta));
                    }
                }
                "phx_reply" | "hello" => {}
                other => panic!("{other}"),
            }
        }
    }

    /// Keys, and what their metas say as `n`.
    fn shown(&self) -> Vec<(String, u64)> {
        let metas = self.metas.as_ref().unwrap();
        let mut shown: Vec<_> =
            metas.iter().map(|((key, _), meta)| (key.clone(), meta["n"].as_u64().unwrap())).collect();
        shown.sort();
        shown
    }
}

fn introduced(key: &str, n: u64) -> Value {
    json!({"presence": {"key": key, "meta": {"n": n}}})
}

#[test]
fn members_are_told_who_is_there() {
    let mut bench = bench();
    let first = bench.open(Serializer::V2);
    bench.say(first, &join_topic("1", "rooms:1", introduced("u1", 1)));
    let messages = bench.messages(first);
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0][3], "phx_reply");
    let state = json!({"u1": {"metas": [{"phx_ref": "000000011", "n": 1}]}});
    assert_eq!(messages[1], json!([null, null, "rooms:1", "presence_state", state]));
    let second = joined(&mut bench, "rooms:1", json!({}));
    let made_up = bench.messages(first);
    let (key, _) = made_up[0][4]["joins"].as_object().unwrap().iter().next().unwrap();
    assert!(key.starts_with("00000001"), "{key}");
    // Ended like a socket that is gone.
    bench.state.ended(second);
    bench.turn();
    assert_eq!(bench.messages(first)[0][4]["leaves"], made_up[0][4]["joins"]);
    let replies = push(&mut bench, first, "rooms:1", "presence_update", json!({"meta": {"n": 2, "phx_ref": "mine"}}));
    assert_eq!(replies[0][4], json!({"status": "ok", "response": {}}));
    assert_eq!(replies[1][4]["leaves"]["u1"]["metas"], state["u1"]["metas"]);
    let meta = &replies[1][4]["joins"]["u1"]["metas"][0];
    assert_eq!((&meta["phx_ref_prev"], &meta["n"]), (&json!("000000011"), &json!(2)));
    assert!(meta["phx_ref"].as_str().unwrap().starts_with("00000001"));
}

#[test]
fn who_can_not_be_present_is_refused() {
    let mut bench = bench();
    let client = bench.open(Serializer::V2);
    let long = "k".repeat(256);
    for presence in [
        json!(true),
        json!({"key": {}}),
        json!({"key": ""}),
        json!({"key": "__proto__"}),
        json!({ "key": long }),
        json!({"meta": 1}),
        json!({"meta": {"text": long}}),
    ] {
        bench.say(client, &join_topic("1", "rooms:1", json!({ "presence": presence })));
        let reply = bench.messages(client).remove(0);
        assert_eq!(reply[4]["response"]["reason"], "invalid_presence", "{presence}");
    }
    let members: Vec<usize> = (0..MEMBERS_MAX).map(|_| joined(&mut bench, "rooms:1", json!({}))).collect();
    bench.say(client, &join_topic("1", "rooms:1", json!({})));
    assert_eq!(bench.messages(client)[0][4]["response"]["reason"], "presence_full");
    bench.say(members[0], &json!(["1", "2", "rooms:1", "phx_leave", {}]));
    bench.say(client, &join_topic("2", "rooms:1", json!({})));
    assert_eq!(bench.messages(client)[0][4]["status"], "ok");
}

#[test]
fn who_is_told_to_begin_anew_is_not_there_until_it_does() {
    let mut bench = bench();
    let client = joined(&mut bench, "rooms:1", introduced("u1", 1));
    bench.messages(client);
    bench.hub.feed(FeedEvent::Lost { reason: "a test".into() }, bench.now);
    bench.turn();
    assert_eq!(bench.messages(client)[0][3], "phx_error");
    let (start, relations) = (Lsn::new(bench.lsn), vec![Arc::clone(&bench.relation)]);
    let system = FeedSystem { system_id: 1, timeline: 1 };
    bench.hub.feed(
        FeedEvent::Connected { system, ancestry: Vec::new(), start, flush: start, relations, doubt: None },
        bench.now,
    );
    let mut roster = Roster::default();
    let other = bench.open(Serializer::V2);
    bench.say(other, &join_topic("1", "rooms:1", introduced("u2", 2)));
    roster.hear(bench.messages(other));
    assert_eq!(roster.shown(), [("u2".to_owned(), 2)]);
}

#[derive(Debug, Clone)]
enum Step {
    Join(usize, u8),
    Leave(usize),
    Drop(usize),
    Update(usize),
    /// The hub has not had its turn: what is done before and after comes to it at once.
    Together(Vec<Self>),
}

fn step() -> impl Strategy<Value = Step> {
    let single = prop_oneof![
        (0_usize..6, 0_u8..4).prop_map(|(client, key)| Step::Join(client, key)),
        (0_usize..6).prop_map(Step::Leave),
        (0_usize..6).prop_map(Step::Drop),
        (0_usize..6).prop_map(Step::Update),
    ];
    let together = prop::collection::vec(single.clone(), 2..8).prop_map(Step::Together);
    prop_oneof![single, together]
}

/// A client of the property: its slot and what it knows, while it is connected.
#[derive(Debug, Default)]
struct Someone {
    slot: Option<usize>,
    member: Option<(String, u64, Roster)>,
}

struct Crowd {
    bench: Bench,
    people: Vec<Someone>,
    number: u64,
}

impl Crowd {
    /// Sends without giving the hub its turn.
    fn whisper(&mut self, slot: usize, message: &Value) {
        let mut bytes = frame(0x81, message.to_string().as_bytes());
        self.bench.state.received(slot, &mut bytes, self.bench.now);
    }

    fn step(&mut self, step: &Step) {
        self.number += 1;
        match step {
            Step::Join(who, key) => {
                let slot = *self.people[*who].slot.get_or_insert_with(|| self.bench.open(Serializer::V2));
                if self.people[*who].member.is_none() {
                    // What an earlier membership was told is no news to this one.
                    self.bench.messages(slot);
                    self.whisper(slot, &join_topic("1", "rooms:1", introduced(&format!("k{key}"), self.number)));
                    self.people[*who].member = Some((format!("k{key}"), self.number, Roster::default()));
                }
            }
            Step::Leave(who) => {
                if let (Some(slot), Some(_)) = (self.people[*who].slot, self.people[*who].member.take()) {
                    self.whisper(slot, &json!([null, "2", "rooms:1", "phx_leave", {}]));
                    // A leave that overtakes its join's answer waits for it: so does whoever comes next.
                    self.bench.turn();
                }
            }
            Step::Drop(who) => {
                let person = std::mem::take(&mut self.people[*who]);
                if let Some(slot) = person.slot {
                    self.bench.state.ended(slot);
                    self.bench.received.remove(&slot);
                }
            }
            Step::Update(who) => {
                let number = self.number;
                if let (Some(slot), Some((_, n, _))) = (self.people[*who].slot, &mut self.people[*who].member) {
                    *n = number;
                    self.whisper(slot, &json!([null, "3", "rooms:1", "presence_update", {"meta": {"n": number}}]));
                }
            }
            Step::Together(steps) => steps.iter().for_each(|step| self.step(step)),
        }
    }

    fn check(&mut self) {
        self.bench.now += Duration::from_secs(60);
        self.bench.turn();
        let mut expected: Vec<(String, u64)> =
            self.people.iter().filter_map(|it| it.member.as_ref()).map(|(key, n, _)| (key.clone(), *n)).collect();
        expected.sort();
        for person in &mut self.people {
            if let (Some(slot), Some((_, _, roster))) = (person.slot, &mut person.member) {
                roster.hear(self.bench.messages(slot));
                assert_eq!(roster.shown(), expected);
            }
        }
    }
}

proptest! {
    #[test]
    fn everyone_knows_who_is_there(steps in prop::collection::vec(step(), 1..25)) {
        let mut bench = bench();
        bench.state.limits.idle = Duration::from_secs(1 << 20);
        let people = (0..6).map(|_| Someone::default()).collect();
        let mut crowd = Crowd { bench, people, number: 0 };
        for step in &steps {
            crowd.step(step);
            crowd.check();
        }
    }
}
