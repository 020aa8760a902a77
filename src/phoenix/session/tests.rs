mod conversations;

use bytes::Bytes;

use super::*;
use crate::phoenix::{FrameKind, Serializer};

/// A connection and what came out of it, as texts: frames as they are on the wire, and what the caller must do.
struct Connection {
    session: Session,
    serializer: Serializer,
}

impl Connection {
    fn new(serializer: Serializer) -> Self {
        Self { session: Session::new(3), serializer }
    }

    fn texts(&self, effects: Vec<Effect>) -> Vec<String> {
        let text = |effect| match effect {
            Effect::Send(message) => {
                let mut out = Vec::new();
                assert_eq!(self.serializer.encode(&message, &mut out), Ok(FrameKind::Text));
                String::from_utf8(out).unwrap()
            }
            Effect::Join { join, topic, params } => format!("join {} {topic} {params}", join.0),
            Effect::Leave { join } => format!("leave {}", join.0),
            Effect::Event { join, topic, event, payload, reference } => {
                let reference = reference.map_or("null".into(), |reference| reference.as_json().to_owned());
                format!("event {} {topic} {event} {} {reference}", join.0, payload.len())
            }
            Effect::Close(reason) => format!("close {}", reason.code()),
        };
        effects.into_iter().map(text).collect()
    }

    fn run(&mut self, action: impl FnOnce(&mut Session, &mut Vec<Effect>)) -> Vec<String> {
        let mut effects = Vec::new();
        action(&mut self.session, &mut effects);
        self.texts(effects)
    }

    /// A message given as V2 text, sent in the connection's own serializer.
    fn send(&mut self, v2: &str) -> Vec<String> {
        let text = match self.serializer {
            Serializer::V2 => v2.to_owned(),
            Serializer::V1 => {
                let [join_ref, reference, topic, event, payload]: [serde_json::Value; 5] =
                    serde_json::from_str(v2).unwrap();
                serde_json::json!({
                    "join_ref": join_ref, "ref": reference, "topic": topic, "event": event, "payload": payload,
                })
                .to_string()
            }
        };
        let message = self.serializer.decode_text(&text).unwrap();
        self.run(|session, effects| session.receive(message, effects))
    }

    fn accept(&mut self, join: u32) -> Vec<String> {
        self.run(|session, effects| session.join_accepted(JoinId(join), Body::EMPTY, effects))
    }

    fn refuse(&mut self, join: u32, refusal: &Refusal) -> Vec<String> {
        self.run(|session, effects| session.join_refused(JoinId(join), refusal.response(), effects))
    }

    /// Joins with this join_ref and ref, and accepts.
    fn joined(serializer: Serializer, topic: &str) -> Self {
        let mut connection = Self::new(serializer);
        connection.send(&format!(r#"["1","1","{topic}","phx_join",{{}}]"#));
        connection.accept(0);
        connection
    }
}

/// The V1 form of a V2 message.
fn v1(topic: &str, event: &str, payload: &str, reference: &str) -> String {
    format!(r#"{{"topic":"{topic}","event":"{event}","payload":{payload},"ref":{reference}}}"#)
}

/// Checks what a situation gives in both serializers.
fn check(situation: impl Fn(&mut Connection) -> Vec<String>, joined: bool, expected_v1: &[&str], expected_v2: &[&str]) {
    for (serializer, expected) in [(Serializer::V1, expected_v1), (Serializer::V2, expected_v2)] {
        let mut connection = if joined { Connection::joined(serializer, "t") } else { Connection::new(serializer) };
        assert_eq!(situation(&mut connection), expected, "{serializer:?}");
    }
}

const OK: &str = r#"{"status":"ok","response":{}}"#;

fn error(reason: &str) -> String {
    format!(r#"{{"status":"error","response":{{"reason":"{reason}"}}}}"#)
}

#[test]
fn a_join_is_decided_by_the_caller_and_answered() {
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut connection = Connection::new(serializer);
        assert_eq!(connection.send(r#"["1","2","t","phx_join",{"a":1}]"#), [r#"join 0 t {"a":1}"#]);
    }
    let accepted = |connection: &mut Connection| {
        connection.send(r#"["1","2","t","phx_join",{}]"#);
        connection.run(|session, effects| {
            session.join_accepted(JoinId(0), Body::Json(Bytes::from_static(br#"{"cursor":"c"}"#)), effects);
        })
    };
    let payload = r#"{"status":"ok","response":{"cursor":"c"}}"#;
    check(
        accepted,
        false,
        &[&v1("t", "phx_reply", payload, r#""2""#)],
        &[&format!(r#"["1","2","t","phx_reply",{payload}]"#)],
    );
}

#[test]
fn refused_joins_carry_the_join_ref_but_unmatched_ones_do_not() {
    for refusal in [Refusal::Unauthorized, Refusal::JoinCrashed] {
        let refused = |connection: &mut Connection| {
            connection.send(r#"["1","2","t","phx_join",{}]"#);
            connection.refuse(0, &refusal)
        };
        let payload = error(refusal.reason());
        check(
            refused,
            false,
            &[&v1("t", "phx_reply", &payload, r#""2""#)],
            &[&format!(r#"["1","2","t","phx_reply",{payload}]"#)],
        );
    }
    let unmatched = |connection: &mut Connection| {
        connection.send(r#"["1","2","t","phx_join",{}]"#);
        connection.run(|session, effects| session.join_unmatched(JoinId(0), effects))
    };
    let payload = error("unmatched topic");
    check(
        unmatched,
        false,
        &[&v1("t", "phx_reply", &payload, r#""2""#)],
        &[&format!(r#"[null,"2","t","phx_reply",{payload}]"#)],
    );
}

#[test]
fn topics_that_can_not_be_names_are_unmatched_at_once() {
    for topic in ["", &"x".repeat(256)] {
        let payload = error("unmatched topic");
        check(
            |connection| connection.send(&format!(r#"["1","2","{topic}","phx_join",{{}}]"#)),
            false,
            &[&v1(topic, "phx_reply", &payload, r#""2""#)],
            &[&format!(r#"[null,"2","{topic}","phx_reply",{payload}]"#)],
        );
    }
}

#[test]
fn one_topic_too_many_is_refused_and_a_rejoin_does_not_count() {
    let payload = error("too many channels joined");
    let fourth = |connection: &mut Connection| {
        for topic in ["a", "b", "c"] {
            connection.send(&format!(r#"["1","1","{topic}","phx_join",{{}}]"#));
        }
        connection.accept(0);
        assert_eq!(connection.send(r#"["2","2","a","phx_join",{}]"#), ["leave 0", "join 3 a {}"]);
        connection.send(r#"["5","6","d","phx_join",{}]"#)
    };
    check(
        fourth,
        false,
        &[&v1("d", "phx_reply", &payload, r#""6""#)],
        &[&format!(r#"["5","6","d","phx_reply",{payload}]"#)],
    );
}

#[test]
fn an_event_on_a_topic_not_joined_is_unmatched() {
    let payload = error("unmatched topic");
    check(
        |connection| connection.send(r#"["1","7","u","event",{}]"#),
        true,
        &[&v1("u", "phx_reply", &payload, r#""7""#)],
        &[&format!(r#"[null,"7","u","phx_reply",{payload}]"#)],
    );
    check(
        |connection| connection.send(r#"["1",7,"phoenix","other",{}]"#),
        true,
        &[&v1("phoenix", "phx_reply", &payload, "7")],
        &[&format!(r#"[null,7,"phoenix","phx_reply",{payload}]"#)],
    );
}

#[test]
fn heartbeats_are_answered_even_while_a_join_is_in_work() {
    let heartbeat = |connection: &mut Connection| connection.send(r#"[null,"9","phoenix","heartbeat",{}]"#);
    let (v1, v2) = (v1("phoenix", "phx_reply", OK, r#""9""#), format!(r#"[null,"9","phoenix","phx_reply",{OK}]"#));
    check(heartbeat, false, &[&v1], &[&v2]);
    let meanwhile = |connection: &mut Connection| {
        connection.send(r#"["1","1","slow","phx_join",{}]"#);
        heartbeat(connection)
    };
    check(meanwhile, false, &[&v1], &[&v2]);
}

#[test]
fn a_push_carries_the_join_ref_and_no_ref() {
    let push = |connection: &mut Connection| {
        connection.run(|session, effects| session.push(JoinId(0), "e".into(), Body::EMPTY, effects))
    };
    check(push, true, &[&v1("t", "e", "{}", "null")], &[r#"["1",null,"t","e",{}]"#]);
}

#[test]
fn an_event_is_the_callers_to_answer() {
    let event = |connection: &mut Connection| connection.send(r#"["1","7","t","event",[1]]"#);
    let expected = r#"event 0 t event 3 "7""#;
    check(event, true, &[expected], &[expected]);
    let answered = |connection: &mut Connection| {
        let reference = Ref::from_json(r#""7""#).unwrap();
        let response = Refusal::EventNotAllowed.response();
        connection.run(|session, effects| session.reply(JoinId(0), reference, Status::Error, response, effects))
    };
    let payload = error("event not allowed");
    check(
        answered,
        true,
        &[&v1("t", "phx_reply", &payload, r#""7""#)],
        &[&format!(r#"["1","7","t","phx_reply",{payload}]"#)],
    );
}

#[test]
fn a_leave_is_answered_and_then_closes() {
    let leave = |connection: &mut Connection| connection.send(r#"["1","8","t","phx_leave",{}]"#);
    check(
        leave,
        true,
        &["leave 0", &v1("t", "phx_reply", OK, r#""8""#), &v1("t", "phx_close", "{}", r#""1""#)],
        &["leave 0", &format!(r#"["1","8","t","phx_reply",{OK}]"#), r#"["1","1","t","phx_close",{}]"#],
    );
    let again = |connection: &mut Connection| {
        leave(connection);
        connection.send(r#"["4","9","t","phx_leave",{}]"#)
    };
    check(again, true, &[&v1("t", "phx_reply", OK, r#""9""#)], &[&format!(r#"["4","9","t","phx_reply",{OK}]"#)]);
}

#[test]
fn the_server_ends_a_channel_for_good_or_for_now() {
    let close =
        |connection: &mut Connection| connection.run(|session, effects| session.channel_close(JoinId(0), effects));
    check(close, true, &[&v1("t", "phx_close", "{}", r#""1""#)], &[r#"["1","1","t","phx_close",{}]"#]);
    let error = |connection: &mut Connection| {
        let ended =
            connection.run(|session, effects| session.channel_error(JoinId(0), &Refusal::ResyncRequired, effects));
        assert_eq!(connection.session.joins().count(), 0);
        assert_eq!(connection.send(r#"["2","2","t","phx_join",{}]"#), ["join 1 t {}"], "clients join again");
        ended
    };
    let payload = r#"{"reason":"resync_required"}"#;
    check(
        error,
        true,
        &[&v1("t", "phx_error", payload, r#""1""#)],
        &[&format!(r#"["1","1","t","phx_error",{payload}]"#)],
    );
}

#[test]
fn stale_messages_are_dropped_and_those_without_join_ref_are_not() {
    for event in ["event", "phx_leave"] {
        let stale = |connection: &mut Connection| connection.send(&format!(r#"["0","7","t","{event}",{{}}]"#));
        check(stale, true, &[], &[]);
        let typed = |connection: &mut Connection| connection.send(&format!(r#"[1,"7","t","{event}",{{}}]"#));
        check(typed, true, &[], &[]);
    }
    let without = |connection: &mut Connection| connection.send(r#"[null,"7","t","event",{}]"#);
    check(without, true, &[r#"event 0 t event 2 "7""#], &[r#"event 0 t event 2 "7""#]);
    let leave = |connection: &mut Connection| connection.send(r#"[null,"7","t","phx_leave",{}]"#).len();
    for serializer in [Serializer::V1, Serializer::V2] {
        assert_eq!(leave(&mut Connection::joined(serializer, "t")), 3);
    }
}

#[test]
fn without_a_join_ref_the_ref_of_the_join_stands_in() {
    let joined = |connection: &mut Connection| {
        let mut all = connection.send(r#"[null,"5","t","phx_join",{}]"#);
        all.extend(connection.accept(0));
        all.extend(connection.run(|session, effects| session.push(JoinId(0), "e".into(), Body::EMPTY, effects)));
        all.extend(connection.send(r#"["5","6","t","phx_leave",{}]"#));
        all
    };
    let reply = |reference: &str| v1("t", "phx_reply", OK, reference);
    check(
        joined,
        false,
        &[
            "join 0 t {}",
            &reply(r#""5""#),
            &v1("t", "e", "{}", "null"),
            "leave 0",
            &reply(r#""6""#),
            &v1("t", "phx_close", "{}", "null"),
        ],
        &[
            "join 0 t {}",
            &format!(r#"[null,"5","t","phx_reply",{OK}]"#),
            r#"["5",null,"t","e",{}]"#,
            "leave 0",
            &format!(r#"["5","6","t","phx_reply",{OK}]"#),
            r#"[null,null,"t","phx_close",{}]"#,
        ],
    );
}

#[test]
fn a_second_join_ends_the_first_and_is_answered_before_its_close() {
    let again = |connection: &mut Connection| {
        let mut all = connection.send(r#"["3","3","t","phx_join",{}]"#);
        all.extend(connection.accept(1));
        all
    };
    check(
        again,
        true,
        &["leave 0", "join 1 t {}", &v1("t", "phx_reply", OK, r#""3""#), &v1("t", "phx_close", "{}", r#""1""#)],
        &["leave 0", "join 1 t {}", &format!(r#"["3","3","t","phx_reply",{OK}]"#), r#"["1","1","t","phx_close",{}]"#],
    );
    let mut refused = Connection::joined(Serializer::V2, "t");
    refused.send(r#"["3","3","t","phx_join",{}]"#);
    assert_eq!(
        refused.refuse(1, &Refusal::NotReady),
        [format!(r#"["3","3","t","phx_reply",{}]"#, error("not_ready")), r#"["1","1","t","phx_close",{}]"#.into(),]
    );
    assert_eq!(refused.session.joins().count(), 0);
}

#[test]
fn messages_for_a_topic_wait_for_its_join() {
    let mut connection = Connection::new(Serializer::V2);
    connection.send(r#"["1","1","t","phx_join",{}]"#);
    // A join that timed out at the client: it leaves, joins again, and goes on.
    for waiting in [
        r#"["1","2","t","early",{}]"#,
        r#"["1","3","t","phx_leave",{}]"#,
        r#"["4","4","t","phx_join",{"n":2}]"#,
        r#"["1","5","t","stale",{}]"#,
        r#"["4","6","t","late",{}]"#,
        r#"["4","7","t","later",{}]"#,
    ] {
        assert_eq!(connection.send(waiting), [""; 0], "{waiting}");
    }
    assert_eq!(connection.send(r#"["7","7","u","phx_join",{}]"#), ["join 1 u {}"], "another topic does not wait");
    assert_eq!(
        connection.accept(0),
        [
            &format!(r#"["1","1","t","phx_reply",{OK}]"#),
            r#"event 0 t early 2 "2""#,
            "leave 0",
            &format!(r#"["1","3","t","phx_reply",{OK}]"#),
            r#"["1","1","t","phx_close",{}]"#,
            r#"join 2 t {"n":2}"#,
        ]
    );
    assert_eq!(
        connection.accept(2),
        [&format!(r#"["4","4","t","phx_reply",{OK}]"#), r#"event 2 t late 2 "6""#, r#"event 2 t later 2 "7""#,]
    );
    assert_eq!((connection.session.queued.messages, connection.session.queued.bytes), (0, 0));
}

#[test]
fn what_waited_for_a_refused_join_is_unmatched() {
    let mut connection = Connection::new(Serializer::V2);
    connection.send(r#"["1","1","t","phx_join",{}]"#);
    connection.send(r#"["1","2","t","event",{}]"#);
    connection.send(r#"["1","3","t","phx_leave",{}]"#);
    assert_eq!(
        connection.refuse(0, &Refusal::Unauthorized),
        [
            format!(r#"["1","1","t","phx_reply",{}]"#, error("unauthorized")),
            format!(r#"[null,"2","t","phx_reply",{}]"#, error("unmatched topic")),
            format!(r#"["1","3","t","phx_reply",{OK}]"#),
        ]
    );
}

#[test]
fn an_answer_for_what_is_over_is_nothing() {
    let mut connection = Connection::joined(Serializer::V2, "t");
    assert_eq!(connection.accept(0), [""; 0], "answered before");
    assert_eq!(connection.refuse(9, &Refusal::NotReady), [""; 0], "never asked");
    connection.send(r#"["3","3","t","phx_join",{}]"#);
    let late = connection.run(|session, effects| {
        session.reply(JoinId(0), None, Status::Ok, Body::EMPTY, effects);
        session.push(JoinId(0), "e".into(), Body::EMPTY, effects);
        session.channel_close(JoinId(0), effects);
        session.channel_close(JoinId(1), effects);
    });
    assert_eq!(late, [""; 0], "the old channel is gone, and the new one not there yet");
}

#[test]
fn a_binary_join_is_refused() {
    let mut connection = Connection::joined(Serializer::V2, "t");
    let frame = Bytes::from_static(b"\x00\x01\x01\x01\x0822tphx_join\xff");
    let message = Serializer::V2.decode_binary(frame).unwrap();
    assert_eq!(
        connection.run(|session, effects| session.receive(message, effects)),
        [
            "leave 0",
            &format!(r#"["2","2","t","phx_reply",{}]"#, error("join crashed")),
            r#"["1","1","t","phx_close",{}]"#,
        ]
    );
}

#[test]
fn too_much_waiting_closes_the_connection() {
    let mut many = Connection::new(Serializer::V2);
    many.send(r#"["1","1","t","phx_join",{}]"#);
    for _ in 0..MAX_QUEUED_MESSAGES {
        assert_eq!(many.send(r#"["1","2","t","e",{}]"#), [""; 0]);
    }
    assert_eq!(many.send(r#"["1","2","t","e",{}]"#), ["close 1013"]);
    assert_eq!(many.send(r#"[null,"9","phoenix","heartbeat",{}]"#), [""; 0], "nothing comes after");

    let mut large = Connection::new(Serializer::V2);
    large.send(r#"["1","1","t","phx_join",{}]"#);
    let message = format!(r#"["1","2","t","e","{}"]"#, "x".repeat(MAX_QUEUED_BYTES));
    assert_eq!(large.send(&message), [""; 0]);
    assert_eq!(large.send(r#"["1","2","t","e",{}]"#), ["close 1013"]);
}

#[test]
fn what_waits_stays_counted_once() {
    let mut connection = Connection::new(Serializer::V2);
    let large = |topic: &str| format!(r#"["1","2","{topic}","e","{}"]"#, "x".repeat(MAX_QUEUED_BYTES - 100));
    connection.send(r#"["1","1","t","phx_join",{}]"#);
    connection.send(r#"["1","1","u","phx_join",{}]"#);
    connection.send(r#"["1","1","t","phx_join",{}]"#);
    connection.send(&large("t"));
    connection.send(&large("u"));
    // The second join of `t` begins, and its message waits on, though the limit is passed.
    assert_eq!(connection.accept(0).last().unwrap(), "join 2 t {}");
    assert_eq!(connection.session.queued.messages, 2);
    connection.accept(1);
    assert_eq!(connection.accept(2).len(), 3);
    assert_eq!((connection.session.queued.messages, connection.session.queued.bytes), (0, 0));
}

#[test]
fn an_idle_connection_with_one_topic_is_small() {
    let connection = Connection::joined(Serializer::V2, "t");
    let session = &connection.session;
    let channel = &session.channels[0];
    assert!(channel.reference.is_none(), "not needed beside a join_ref");
    let references = 32; // One allocation of the least size.
    let topic_header = 2 * size_of::<usize>();
    let total = size_of::<Session>() + session.channels.capacity() * size_of::<Channel>() + references + topic_header;
    assert!(total < 200, "{total} bytes");
}
