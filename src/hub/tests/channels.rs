//! Topics with a channel, seen from the shards.

use super::*;
use crate::routing::{ChannelSpec, ChannelTable, Claims, Expression, TopicPattern};

const OTHER: ShardId = ShardId(1);

fn hub(routes: Vec<RouteSpec>) -> Bench {
    let mut bench = Bench::new(routes.clone());
    let channel = ChannelSpec {
        topic: TopicPattern::parse("*").unwrap(),
        publish: ["hello".into()].into(),
        presence: true,
        include_sender: true,
        allow: None,
    };
    let limits = HubLimits {
        log: LogLimits { window: Duration::from_secs(60), memory: 1 << 20, wal: 1 << 30 },
        value: 1 << 20,
        read: 100,
    };
    let channels = Channels::new(Arc::new(ChannelTable::new([channel])), 100, 0);
    bench.hub = Hub::new(Arc::new(RouteTable::new(routes).unwrap()), 2, limits).with_channels(channels);
    bench
}

fn token(join: u32) -> JoinToken {
    JoinToken { join, ..NOBODY }
}

fn subscribe(bench: &mut Bench, shard: ShardId, join: u32, topic: &str, claims: &Value) {
    let Value::Object(claims) = claims.clone() else { panic!("claims are an object") };
    let request = Subscribe {
        topic: topic.to_owned(),
        claims: Claims::new(claims),
        introduction: Some(Introduction::default()),
        ..Subscribe::default()
    };
    bench.hub.command(Command::Subscribe { shard, join: token(join), request: Box::new(request) });
}

fn content(broadcast: &Broadcast) -> Value {
    match &broadcast.content {
        Content::Json(json) => serde_json::from_slice(json).unwrap(),
        Content::Binary(_) => panic!("binary"),
    }
}

/// What each shard is told, in short.
fn told(bench: &mut Bench) -> Vec<(ShardId, Vec<String>)> {
    let short = |message| match message {
        ToShard::Subscribed { join, .. } => format!("joined {}", join.join),
        ToShard::Broadcast(broadcast) => format!("{} {}", broadcast.event, content(&broadcast)),
        ToShard::PresenceDiff(diff) => {
            let keys = |side: &str| {
                let keys: Vec<_> = content(&diff)[side].as_object().unwrap().keys().cloned().collect();
                keys.join(",")
            };
            format!("+{} -{}", keys("joins"), keys("leaves"))
        }
        ToShard::PresenceState { joins, state } => {
            let joins: Vec<_> = joins.iter().map(|join| join.join).collect();
            let keys: Vec<_> = content(&state).as_object().unwrap().keys().cloned().collect();
            format!("{} for {joins:?}", keys.join(","))
        }
        other => format!("{other:?}"),
    };
    bench.hub.take_outgoing().map(|(shard, messages)| (shard, messages.into_iter().map(short).collect())).collect()
}

#[test]
fn one_turn_is_told_as_one_diff_before_the_state() {
    let mut bench = hub(vec![]).connected();
    subscribe(&mut bench, SHARD, 1, "room", &json!({"sub": "u1"}));
    let joined = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(told(&mut bench), [(SHARD, joined(&["joined 1", "+u1 -", "u1 for [1]"]))]);
    subscribe(&mut bench, OTHER, 2, "room", &json!({"sub": 7}));
    subscribe(&mut bench, OTHER, 3, "room", &json!({"sub": "u3"}));
    bench.hub.command(Command::Recheck {
        shard: SHARD,
        join: token(1),
        shape: ShapeId(0),
        claims: Claims::new([("sub".to_owned(), json!("u9"))].into_iter().collect()),
    });
    assert_eq!(
        told(&mut bench),
        [
            (SHARD, joined(&["+7,u3,u9 -u1"])),
            (OTHER, joined(&["joined 2", "joined 3", "+7,u3,u9 -u1", "7,u3,u9 for [2, 3]"])),
        ]
    );
    let saying =
        Saying { topic: "room".into(), event: "hello".into(), content: Content::Json("{}".into()), except: None };
    bench.hub.command(Command::Broadcast(Box::new(saying.clone())));
    bench.hub.command(Command::Unsubscribe { shard: SHARD, join: token(1), shape: ShapeId(0) });
    bench.hub.command(Command::Broadcast(Box::new(saying)));
    assert_eq!(
        told(&mut bench),
        [(SHARD, joined(&["hello {}"])), (OTHER, joined(&["hello {}", "hello {}", "+ -u9"]))],
        "who has left hears no more, and the others hear everything in order"
    );
}

#[test]
fn a_topic_that_a_table_with_rules_comes_to_feed_later_is_joined_anew() {
    let rule = Expression::parse("claims.sub is null").unwrap();
    let mut bench = hub(vec![RouteSpec { allow: Some(rule), ..route("orders:{customer}", "new_updates") }]);
    let at = Lsn::new(bench.lsn);
    let connected = FeedEvent::Connected {
        system: SYSTEM,
        ancestry: Vec::new(),
        start: at,
        flush: at,
        relations: Vec::new(),
        doubt: None,
    };
    bench.feed(connected);
    let join = |bench: &mut Bench, join: u32, cursor: Option<String>| {
        let request = Subscribe { topic: "orders:7".to_owned(), cursor, ..Subscribe::default() };
        bench.hub.command(Command::Subscribe { shard: SHARD, join: token(join), request: Box::new(request) });
        match bench.hub.take_outgoing().flat_map(|(_, messages)| messages).next() {
            Some(ToShard::Subscribed { subscribed, .. }) => subscribed,
            other => panic!("{other:?}"),
        }
    };
    let early = join(&mut bench, 1, None);
    assert!(!early.fed);
    // The route has had no say in that join: nothing of its rows goes there.
    bench.commit(&[vec![insert(7)]]);
    let told: Vec<_> = bench.hub.take_outgoing().flat_map(|(_, messages)| messages).collect();
    assert!(matches!(&told[..], [ToShard::Reset { shape }] if *shape == early.shape), "{told:?}");
    // Whoever is let in comes back, and has missed nothing.
    let again = join(&mut bench, 2, early.cursor);
    assert!(again.fed && again.resumed);
    let (shape, after) = (again.shape, again.read_after.unwrap());
    bench.hub.command(Command::Read { shard: SHARD, join: token(2), shape, number: 1, after });
    let told: Vec<_> = bench.hub.take_outgoing().flat_map(|(_, messages)| messages).collect();
    assert!(matches!(&told[..], [ToShard::Read { publications, .. }] if publications.len() == 1), "{told:?}");
    bench.commit(&[vec![Operation::Truncate]]);
    let told: Vec<_> = bench.hub.take_outgoing().flat_map(|(_, messages)| messages).collect();
    assert!(matches!(&told[..], [ToShard::Publish(publication)] if publication.shape == shape), "{told:?}");
}
