//! Connections that show new tokens, and identities that end.

use super::*;
use crate::auth::{Credential, Denied, Identity, TokenError, WallTime};
use crate::hub::{Command, ConnectionKey};
use crate::routing::Claims;

/// Claims are `{"sub": name}`.
fn identity(name: &str, expires: Option<u64>) -> Identity {
    let claims = Claims::new([("sub".to_owned(), json!(name))].into_iter().collect());
    Identity { claims, expires: expires.map(wall) }
}

fn wall(seconds: u64) -> WallTime {
    WallTime::since_1970(Duration::from_secs(seconds))
}

fn names(commands: &[Command]) -> Vec<&str> {
    let claims = commands.iter().filter_map(|command| match command {
        Command::Recheck { claims, .. } => Some(claims),
        Command::Subscribe { request, .. } => Some(&request.claims),
        _ => None,
    });
    claims.map(|claims| claims.get(["sub"]).and_then(Value::as_str).unwrap()).collect()
}

fn show(topic: &str, token: &str, reference: &str) -> Value {
    json!(["1", reference, topic, "access_token", {"token": token}])
}

/// Each reply's ref, status and reason.
fn replies(messages: &[Value]) -> Vec<(&str, &str, &str)> {
    let replies = messages.iter().filter(|message| message[3] == "phx_reply");
    replies
        .map(|message| {
            let (reply, reason) = (&message[4], &message[4]["response"]["reason"]);
            (message[1].as_str().unwrap(), reply["status"].as_str().unwrap(), reason.as_str().unwrap_or(""))
        })
        .collect()
}

impl Bench {
    fn open_as(&mut self, identity: Identity) -> usize {
        self.state.open(Serializer::V2, identity, self.now)
    }

    /// What the state asks of the hub, which gets it too.
    fn commands(&mut self) -> Vec<Command> {
        let commands: Vec<Command> = std::iter::from_fn(|| self.state.next_command()).collect();
        commands.iter().for_each(|command| self.hub.command(command.clone()));
        self.turn();
        commands
    }

    /// Says something without anything reaching the hub yet.
    fn say_only(&mut self, slot: usize, message: &Value) {
        let mut bytes = frame(0x81, message.to_string().as_bytes());
        self.state.received(slot, &mut bytes, self.now);
    }

    /// The one token that is to be verified now.
    fn token(&mut self) -> (ConnectionKey, String) {
        let (key, token) = self.state.next_token().expect("a token to verify");
        assert!(self.state.next_token().is_none());
        (key, token.expose().to_owned())
    }

    fn verified(&mut self, key: ConnectionKey, result: Result<Identity, Denied>) {
        self.state.verified(key, result, self.now);
    }
}

#[test]
fn a_new_token_replaces_the_claims_and_every_subscription_is_checked_again() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", None));
    bench.say_only(client, &join("1", None));
    assert_eq!(names(&bench.commands()), ["one"]);
    bench.messages(client);

    bench.say_only(client, &show("numbers", "new", "2"));
    let (key, token) = bench.token();
    assert_eq!(token, "new");
    assert!(bench.commands().is_empty() && bench.messages(client).is_empty(), "nothing before it is verified");
    bench.verified(key, Ok(identity("two", None)));
    let commands = bench.commands();
    assert!(matches!(commands[..], [Command::Recheck { .. }]), "{commands:?}");
    assert_eq!(names(&commands), ["two"]);
    assert_eq!(bench.messages(client), [json!(["1", "2", "numbers", "phx_reply", {"status": "ok", "response": {}}])]);

    bench.say_only(client, &join("3", None));
    assert_eq!(names(&bench.commands()), ["two"]);
}

#[test]
fn a_token_that_is_not_valid_changes_nothing() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", None));
    bench.say(client, &join("1", None));
    bench.messages(client);
    for (denied, reason) in [
        (Denied::Token(TokenError::UnknownKey), "invalid_token"),
        (Denied::Token(TokenError::Audience), "invalid_token"),
        (Denied::Token(TokenError::Expired), "token_expired"),
        (Denied::NoKeys, "keys_unavailable"),
    ] {
        bench.say_only(client, &show("numbers", "bad", "2"));
        let (key, _) = bench.token();
        bench.verified(key, Err(denied));
        assert!(bench.commands().is_empty());
        assert_eq!(replies(&bench.messages(client)), [("2", "error", reason)]);
    }
    for payload in [json!({}), json!({"token": 7}), json!([]), json!(null)] {
        bench.say_only(client, &json!(["1", "2", "numbers", "access_token", payload]));
        assert_eq!(bench.token().1, "", "no token is none that anybody has signed");
        let key = ConnectionKey { slot: client, generation: 1 };
        bench.verified(key, Err(Denied::Token(TokenError::Malformed)));
        assert_eq!(replies(&bench.messages(client)), [("2", "error", "invalid_token")]);
    }
    bench.say_only(client, &join("3", None));
    assert_eq!(names(&bench.commands()), ["one"]);
}

#[test]
fn tokens_are_verified_in_turn_and_one_that_is_shown_on_every_topic_once() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", None));
    bench.say_only(client, &show("a", "first", "1"));
    bench.say_only(client, &show("b", "first", "2"));
    bench.say_only(client, &show("c", "second", "3"));
    let (key, token) = bench.token();
    assert_eq!(token, "first");
    bench.verified(key, Ok(identity("two", None)));
    assert_eq!(replies(&bench.messages(client)), [("1", "ok", ""), ("2", "ok", "")]);
    let (key, token) = bench.token();
    assert_eq!(token, "second");
    bench.verified(key, Ok(identity("three", None)));
    assert_eq!(replies(&bench.messages(client)), [("3", "ok", "")]);
    assert!(bench.state.next_token().is_none());
}

#[test]
fn a_join_that_was_on_its_way_is_checked_again_too() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", None));
    bench.say_only(client, &join("1", None));
    bench.say_only(client, &show("numbers", "new", "2"));
    let (key, _) = bench.token();
    bench.verified(key, Ok(identity("two", None)));
    let commands = bench.commands();
    assert_eq!(names(&commands), ["one"], "asked for before");
    assert!(matches!(commands[..], [Command::Subscribe { .. }]));
    // The bench has passed the answer on, and what followed from it went to the hub within the same turn.
    assert_eq!(replies(&bench.messages(client)), [("2", "ok", ""), ("1", "ok", "")]);
}

#[test]
fn a_subscription_that_comes_as_somebody_else_is_checked_at_once() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", None));
    bench.say_only(client, &join("1", None));
    let subscribe = bench.state.next_command().unwrap();
    bench.say_only(client, &show("numbers", "new", "2"));
    let (key, _) = bench.token();
    bench.verified(key, Ok(identity("two", None)));
    assert!(bench.state.next_command().is_none());
    bench.hub.command(subscribe);
    let answers: Vec<_> = bench.hub.take_outgoing().flat_map(|(_, messages)| messages).collect();
    answers.into_iter().for_each(|message| bench.state.told(message, bench.now));
    let commands = bench.commands();
    assert!(matches!(commands[..], [Command::Recheck { .. }]), "{commands:?}");
    assert_eq!(names(&commands), ["two"]);
}

#[test]
fn an_identity_that_is_over_ends_its_channels_and_leaves_the_connection() {
    let mut bench = Bench::new(1 << 20);
    let (client, other) = (bench.open_as(identity("one", Some(100))), bench.open_as(identity("two", None)));
    for slot in [client, other] {
        bench.say(slot, &join("1", None));
        bench.messages(slot);
    }
    bench.state.expire(wall(99), bench.now);
    assert!(bench.messages(client).is_empty());
    bench.state.expire(wall(100), bench.now);
    assert!(matches!(bench.commands()[..], [Command::Unsubscribe { .. }]));
    assert_eq!(bench.messages(client), [json!(["1", "1", "numbers", "phx_error", {"reason": "token_expired"}])]);
    bench.commit(1);
    assert!(bench.messages(client).is_empty());
    assert_eq!(numbers_of(&bench.messages(other)[0]), [1]);

    bench.say(client, &join("2", None));
    assert_eq!(replies(&bench.messages(client)), [("2", "error", "token_expired")]);
    bench.say(client, &json!([null, "3", "phoenix", "heartbeat", {}]));
    assert_eq!(replies(&bench.messages(client)), [("3", "ok", "")]);
    // Time going back does not bring it back.
    bench.state.expire(wall(50), bench.now);
    bench.say(client, &join("4", None));
    assert_eq!(replies(&bench.messages(client)), [("4", "error", "token_expired")]);
}

#[test]
fn a_new_token_mends_a_connection_whose_identity_was_over() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", Some(100)));
    bench.state.expire(wall(100), bench.now);
    // By the event, on a topic that is not joined any more; the join behind it waits for what comes of it.
    bench.say(client, &show("numbers", "new", "1"));
    bench.say(client, &join("2", None));
    assert!(bench.messages(client).is_empty());
    let (key, _) = bench.token();
    bench.verified(key, Ok(identity("two", Some(200))));
    assert_eq!(names(&bench.commands()), ["two"]);
    assert_eq!(replies(&bench.messages(client)), [("1", "ok", ""), ("2", "ok", "")]);

    // And along with a join, as a client does that gives its channels' params as a function.
    bench.state.expire(wall(200), bench.now);
    bench.commands();
    bench.messages(client);
    let with_token = json!(["3", "3", "numbers", "phx_join", {"access_token": "newer"}]);
    for (result, reply) in [
        (Err(Denied::Token(TokenError::Signature)), ("3", "error", "invalid_token")),
        (Ok(identity("three", Some(300))), ("3", "ok", "")),
    ] {
        bench.say_only(client, &with_token);
        let (key, token) = bench.token();
        assert_eq!(token, "newer");
        bench.verified(key, result);
        bench.commands();
        assert_eq!(replies(&bench.messages(client)), [reply]);
    }
    bench.state.expire(wall(299), bench.now);
    assert!(bench.messages(client).is_empty());
}

#[test]
fn a_join_whose_identity_ends_meanwhile_is_refused() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", Some(100)));
    bench.say_only(client, &join("1", None));
    bench.state.expire(wall(100), bench.now);
    bench.commands();
    assert_eq!(replies(&bench.messages(client)), [("1", "error", "token_expired")]);
    bench.commit(1);
    assert!(bench.messages(client).is_empty());
}

#[test]
fn other_topics_go_on_while_a_token_is_being_verified() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", None));
    bench.say(client, &join("1", None));
    bench.say(client, &show("numbers", "new", "2"));
    bench.say(client, &json!([null, "3", "phoenix", "heartbeat", {}]));
    bench.commit(1);
    let messages = bench.messages(client);
    assert_eq!(replies(&messages), [("1", "ok", ""), ("3", "ok", "")]);
    assert_eq!(numbers_of(&messages[2]), [1]);
}

#[test]
fn too_many_tokens_close_the_connection() {
    let mut bench = Bench::new(1 << 20);
    for same in [true, false] {
        let client = bench.open_as(identity("one", None));
        for number in 0..100 {
            let token = if same { "same".to_owned() } else { format!("token {number}") };
            bench.say_only(client, &show("numbers", &token, "1"));
        }
        let frames = bench.frames(client);
        let [(0x88, payload)] = &frames[..] else { panic!("one close frame: {frames:?}") };
        assert_eq!(payload[..2], 1013_u16.to_be_bytes());
        assert!(bench.state.next_token().is_none(), "what is closed shows nothing");
    }
}

#[test]
fn an_answer_for_a_connection_that_is_gone_is_nothing() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("one", None));
    bench.say_only(client, &show("numbers", "new", "1"));
    let (key, _) = bench.token();
    bench.state.ended(client);
    let another = bench.open_as(identity("another", None));
    assert_eq!(client, another, "the same slot");
    bench.verified(key, Ok(identity("two", None)));
    assert!(bench.messages(another).is_empty());
    bench.say_only(another, &join("1", None));
    assert_eq!(names(&bench.commands()), ["another"]);
}

#[test]
fn a_token_is_not_in_debug_output() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open_as(identity("hunter2", None));
    bench.say_only(client, &show("numbers", "hunter3", "1"));
    let shown = format!("{:?}", bench.state);
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(bench.state.next_token().unwrap().1, Credential::new("hunter3".to_owned()));
}
