//! `sync_request`s: their order, their bounds, and that a reply's cursor leaves nothing out.

use super::*;
use crate::change::{Committed, Visibility};
use crate::hub::{Cursor, SnapshotCommand, SnapshotEvent, SnapshotPart, SnapshotRequest};
use crate::sync::{Answer, Outcome, Request};

fn ask(reference: &str, id: &str) -> Value {
    json!(["1", reference, "numbers", "sync_request", {"id": id, "changes": []}])
}

impl Bench {
    fn joined(&mut self) -> usize {
        let slot = self.open(Serializer::V2);
        self.say(slot, &join("1", None));
        assert_eq!(self.messages(slot).len(), 1);
        slot
    }

    fn writes(&mut self) -> Vec<Request> {
        std::iter::from_fn(|| self.state.next_write()).collect()
    }

    fn answer(&mut self, number: u32, outcome: Outcome) {
        self.state.written(Answer { number, outcome }, self.now);
        self.turn();
    }

    /// Every transaction of the bench has the id 1.
    fn done(&mut self, number: u32) {
        self.answer(number, Outcome::Done(Committed { xid: 1, before: Some(Lsn::new(self.lsn + 1000)) }));
    }
}

fn numbers_of_all(requests: &[Request]) -> Vec<u32> {
    requests.iter().map(|request| request.number).collect()
}

fn position(reply: &Value) -> u64 {
    let cursor: Cursor = reply[4]["response"]["cursor"].as_str().expect("a cursor").parse().unwrap();
    cursor.position.lsn.as_u64()
}

#[test]
fn a_channels_requests_are_written_one_after_the_other_and_bounded() {
    let mut bench = Bench::new(1 << 20);
    let (client, other) = (bench.joined(), bench.joined());
    for (reference, id) in [("2", "a"), ("3", "b"), ("4", "c"), ("5", "d"), ("6", "e")] {
        bench.say(client, &ask(reference, id));
    }
    bench.say(other, &ask("2", "f"));
    // The fifth is one too many; each channel has one in work.
    assert_eq!(
        bench.messages(client),
        [json!(["1", "6", "numbers", "phx_reply", {"status": "error", "response": {"reason": "busy"}}])]
    );
    let first = bench.writes();
    assert_eq!(numbers_of_all(&first), [0, 4]);
    assert_eq!(first[0].payload.get(), r#"{"changes":[],"id":"a"}"#);
    bench.answer(0, Outcome::NotWritable);
    let reply = json!({"status": "error", "response": {"reason": "event not allowed"}});
    assert_eq!(bench.messages(client), [json!(["1", "2", "numbers", "phx_reply", reply])]);
    assert_eq!(numbers_of_all(&bench.writes()), [1]);
    // The next is written as soon as this one is, whenever the feed has it.
    bench.done(1);
    assert_eq!(bench.messages(client), [] as [Value; 0]);
    assert_eq!(numbers_of_all(&bench.writes()), [2]);
    bench.commit(1);
    let messages = bench.messages(client);
    assert_eq!((&messages[0][3], &messages[1][1]), (&json!("new_updates"), &json!("3")));
    assert_eq!(messages[0][4]["cursor"], messages[1][4]["response"]["cursor"]);
    // Those who write have no room.
    bench.state.refuse_write(2, bench.now);
    assert_eq!(bench.messages(client)[0][4]["response"]["reason"], "busy");
}

#[test]
fn nobody_who_is_gone_is_answered_and_nothing_more_of_theirs_is_written() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.joined();
    bench.say(client, &ask("2", "a"));
    bench.say(client, &ask("3", "b"));
    bench.say(client, &json!(["1", "4", "numbers", "phx_leave", {}]));
    assert_eq!(numbers_of_all(&bench.writes()), [0]);
    bench.done(0);
    assert_eq!(numbers_of_all(&bench.writes()), [] as [u32; 0]);
    assert_eq!(bench.messages(client).len(), 2);
    // It has all of its room again.
    bench.say(client, &join("5", None));
    for reference in ["6", "7", "8", "9"] {
        bench.say(client, &json!(["5", reference, "numbers", "sync_request", {}]));
    }
    assert_eq!(bench.messages(client).len(), 1);
    assert_eq!(bench.writes().len(), 1);
    // A feed that is lost resets the channel, and with it what waits for the feed.
    bench.done(2);
    assert_eq!(numbers_of_all(&bench.writes()), [3]);
    bench.hub.feed(FeedEvent::Lost { reason: "a test".to_owned() }, bench.now);
    bench.turn();
    assert_eq!(bench.messages(client)[0][3], "phx_error");
    bench.state.ended(client);
    bench.done(3);
    assert_eq!(bench.writes().len(), 0);
}

#[test]
fn a_slow_clients_reply_waits_until_it_has_what_came_before() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.joined();
    bench.say(client, &ask("2", "a"));
    assert_eq!(bench.writes().len(), 1);
    // Far more than its outbox holds: it falls behind.
    (0..40).for_each(|_| bench.commit(3));
    bench.done(0);
    let mut rows = 0;
    loop {
        let messages = bench.messages(client);
        assert!(!messages.is_empty(), "{rows} rows, and no reply");
        for message in &messages {
            if message[3] == "phx_reply" {
                assert_eq!((rows, position(message)), (120, bench.lsn));
                return;
            }
            rows += numbers_of(message).len();
        }
    }
}

proptest! {
    /// However slow a client is: what it has got when it sees a reply is exactly what is before the reply's cursor.
    #[test]
    fn a_replys_cursor_is_where_the_client_is(steps in prop::collection::vec((0_u8..4, 1_usize..3000), 1..80)) {
        let mut bench = Bench::new(1 << 20);
        let client = bench.joined();
        let (mut asked, mut rows_at, mut rows) = (1, std::collections::HashMap::from([(100, 0)]), 0);
        for (what, size) in steps.into_iter().chain([(3, usize::MAX), (3, usize::MAX)]) {
            match what {
                0 => {
                    bench.commit(1 + size as u64 % 9);
                    rows_at.insert(bench.lsn, bench.rows);
                }
                1 => {
                    asked += 1;
                    bench.say(client, &ask(&asked.to_string(), "x"));
                }
                2 => {
                    for request in bench.writes() {
                        bench.done(request.number);
                    }
                }
                _ if size == usize::MAX => bench.write_all(client),
                _ => bench.write(client, size),
            }
            for (_, payload) in take_frames(bench.received.entry(client).or_default()) {
                let message: Value = serde_json::from_slice(&payload).unwrap();
                if message[3] == "new_updates" {
                    rows += numbers_of(&message).len() as u64;
                } else if message[4]["status"] == "ok" {
                    prop_assert_eq!(rows_at.get(&position(&message)).copied(), Some(rows));
                }
            }
        }
    }
}

/// The write was decoded while the client's rows were read, and nothing else is ever written.
#[test]
fn a_reply_does_not_wait_for_the_feed_to_pass_a_snapshot() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open(Serializer::V2);
    bench.say(client, &json!(["1", "1", "numbers", "phx_join", {"snapshot": true}]));
    let Some(SnapshotCommand::Begin(SnapshotRequest { id, .. })) = bench.hub.take_snapshot_commands().pop() else {
        panic!("no snapshot");
    };
    bench.say(client, &ask("2", "a"));
    assert_eq!(bench.writes().len(), 1);
    bench.commit(1);
    bench.done(0);
    assert_eq!(bench.messages(client).len(), 1, "the join's reply, and nothing before the rows");
    let last = SnapshotPart { event: "new_updates".into(), updates: Bytes::new() };
    let (visibility, until) = (Visibility::new(1, []), Lsn::new(bench.lsn + 1000));
    bench.hub.snapshot(SnapshotEvent::Done { id, last, visibility, until });
    bench.turn();
    let messages = bench.messages(client);
    let [rows, update, reply] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((&rows[4]["snapshot"], numbers_of(update)), (&json!(true), vec![1]));
    assert_eq!((&reply[1], position(reply)), (&json!("2"), bench.lsn));
}
