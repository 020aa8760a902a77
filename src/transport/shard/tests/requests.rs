//! Clients without a socket of their own: event streams, and polls.

use super::*;
use crate::phoenix::{ClientMessage, Payload};
use crate::transport::shard::requests::Answer;
use crate::transport::websocket::Incoming;
use crate::transport::wire::Wire;

impl Bench {
    /// An event stream of the topic `numbers`.
    fn stream(&mut self, params: &Value) -> usize {
        let slot = self.state.open(Wire::Events, crate::auth::Identity::default(), self.now);
        let payload = Payload::Json(serde_json::value::to_raw_value(params).unwrap());
        let event = "phx_join".to_owned();
        let join = ClientMessage { join_ref: None, reference: None, topic: "numbers".to_owned(), event, payload };
        self.state.request(slot, join, self.now);
        self.turn();
        slot
    }

    /// Everything that a stream's client can take.
    fn text(&mut self, slot: usize) -> String {
        let mut text = Vec::new();
        while let Some(bytes) = self.state.pop(slot, self.now) {
            text.extend(bytes);
            self.turn();
        }
        String::from_utf8(text).unwrap()
    }
}

/// The numbers in a stream's events, each of which has its cursor for an id.
fn numbers_in(text: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    for event in text.split_terminator("\n\n") {
        let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
        let payload: Value = serde_json::from_str(data).unwrap();
        let id = format!("id: {}\n", payload["cursor"].as_str().unwrap());
        assert!(event.contains(&id), "{event}");
        numbers.extend(payload["updates"].as_array().unwrap().iter().map(|it| it["record"]["n"].as_u64().unwrap()));
    }
    numbers
}

#[test]
fn a_stream_that_is_not_read_loses_nothing_and_holds_little() {
    let mut bench = Bench::new(1 << 20);
    let stream = bench.stream(&json!({}));
    assert_eq!(bench.state.take_answer(stream), Some(Answer::Ok));
    for _ in 0..100 {
        bench.commit(3);
        let waiting = bench.state.outbox_mut(stream).unwrap().len();
        assert!(waiting < OUTBOX + 1000, "{waiting} bytes wait for a client that does not read");
    }
    let text = bench.text(stream);
    assert!(text.starts_with("retry: "), "{text}");
    assert_eq!(numbers_in(&text), (1..=300).collect::<Vec<_>>());
    bench.commit(1);
    assert_eq!(numbers_in(&bench.text(stream)), [301], "it is live again");
}

#[test]
fn a_stream_that_is_too_slow_for_the_log_is_told_and_ends() {
    let mut bench = Bench::new(20_000);
    let stream = bench.stream(&json!({}));
    for _ in 0..500 {
        bench.commit(3);
    }
    let text = bench.text(stream);
    assert!(text.ends_with("id:\nevent: phx_error\ndata: {\"reason\":\"resync_required\"}\n\n"), "{text}");
    assert!(bench.state.is_finished(stream));
}

#[test]
fn a_refused_stream_has_its_reason() {
    let mut bench = Bench::new(1 << 20);
    let stream = bench.stream(&json!({"cursor": "unknown"}));
    let refused = Answer::Refused(crate::phoenix::Refusal::ResyncRequired.response());
    assert_eq!(bench.state.take_answer(stream), Some(refused));
    assert!(bench.state.is_finished(stream));
}

#[test]
fn quiet_streams_get_comments_and_stuck_ones_end() {
    let mut bench = Bench::new(1 << 20);
    let (quiet, stuck) = (bench.stream(&json!({})), bench.stream(&json!({})));
    bench.text(quiet);
    bench.now = Duration::from_secs(16);
    assert_eq!(bench.state.tick(bench.now), [0; 0]);
    assert_eq!(bench.text(quiet), ":\n\n");
    bench.now = Duration::from_secs(30);
    assert_eq!(bench.state.tick(bench.now), [0; 0]);
    assert_eq!(bench.text(quiet), "", "it is not due yet");
    bench.now = Duration::from_secs(61);
    assert_eq!(bench.state.tick(bench.now), [stuck], "it took nothing for as long as a connection may be idle");
}

#[test]
fn a_drained_stream_says_when_to_come_back() {
    let mut bench = Bench::new(1 << 20);
    let stream = bench.stream(&json!({}));
    bench.text(stream);
    assert_eq!(bench.state.drain(10, bench.now), 1);
    assert!(bench.text(stream).starts_with(": server restarts\nretry: "));
    assert!(bench.state.is_finished(stream));
    bench.state.ended(stream);
    assert_eq!(bench.state.connections(), 0);
}

#[test]
fn a_poll_s_messages_stay_until_they_are_acknowledged() {
    let mut bench = Bench::new(1 << 20);
    let session = bench.state.open(Wire::LongPoll(Serializer::V2), crate::auth::Identity::default(), bench.now);
    let now = bench.now;
    assert!(bench.state.posted(session, Incoming::Text(&join("1", None).to_string()), now));
    bench.turn();
    let mut seen = Vec::new();
    for round in 0..50 {
        bench.commit(3);
        // Every other answer gets lost.
        if round % 2 == 1 {
            continue;
        }
        let messages: Vec<Value> = bench.state.outbox_mut(session).unwrap().frames().map(message_in).collect();
        bench.state.acknowledged(session, messages.len() as u64);
        bench.turn();
        seen.extend(messages.iter().filter(|message| message[3] == "new_updates").flat_map(numbers_of));
    }
    while bench.state.outbox_mut(session).is_some_and(|outbox| !outbox.is_empty()) {
        let messages: Vec<Value> = bench.state.outbox_mut(session).unwrap().frames().map(message_in).collect();
        bench.state.acknowledged(session, messages.len() as u64);
        bench.turn();
        seen.extend(messages.iter().flat_map(numbers_of));
    }
    assert_eq!(seen, (1..=150).collect::<Vec<_>>());
    assert!(!bench.state.posted(session, Incoming::Text("no message"), now), "its session is over");
}

fn message_in(element: &Bytes) -> Value {
    let text: String = serde_json::from_slice(element).unwrap();
    serde_json::from_str(&text).unwrap()
}
