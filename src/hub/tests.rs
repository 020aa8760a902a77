//! The hub as replication and shards see it: events and commands in, messages out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::change::{
    Ancestor, Change, Column, FeedEvent, FeedSystem, Lsn, OldRow, Operation, PgTimestamp, Relation, RelationId,
    ReplicaIdentity, Row, TransactionHeader, TransactionPart, TypeCatalogue, Visibility,
};
use crate::routing::{Claims, Int8Format, Op, Ops, RouteSpec, RouteTable, TablePattern, Template};

use super::*;

mod awaiting;
mod bounds;
mod channels;
mod promises;
mod reload;
mod said;
mod sight;
mod splice;

const SYSTEM: FeedSystem = FeedSystem { system_id: 7, timeline: 1 };
const SHARD: ShardId = ShardId(0);
const INT4: u32 = 23;
const TEXT: u32 = 25;

/// `public.orders (customer int4, note text)`, replica identity full.
fn orders() -> Arc<Relation> {
    let catalogue = TypeCatalogue::builtin();
    let column = |name: &str, oid| Column { name: name.into(), identity: true, ty: catalogue.get(oid).unwrap() };
    Arc::new(Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: "orders".into(),
        replica_identity: ReplicaIdentity::Full,
        columns: vec![column("customer", INT4), column("note", TEXT)],
    })
}

fn route(topic: &str, event: &str) -> RouteSpec {
    RouteSpec {
        table: TablePattern::parse("public.orders").unwrap(),
        topic: Template::parse(topic).unwrap(),
        columns: None,
        ops: Ops::default(),
        event: event.into(),
        int8: Int8Format::Number,
        filter: None,
        allow: None,
    }
}

fn row(customer: u32, note: Option<&str>) -> Row {
    let mut data = 2_u16.to_be_bytes().to_vec();
    let mut put = |text: &str| {
        data.push(b't');
        data.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        data.extend(text.as_bytes());
    };
    put(&customer.to_string());
    match note {
        Some(note) => put(note),
        None => data.push(b'u'),
    }
    Row::parse(&mut Bytes::from(data)).unwrap()
}

fn insert(customer: u32) -> Operation {
    Operation::Insert { new: row(customer, Some("x")) }
}

/// A join of no meaning to the hub.
const NOBODY: JoinToken = JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: 0 };

/// A join without a snapshot.
#[derive(Debug, PartialEq)]
struct Joined {
    shape: ShapeId,
    cursor: String,
    resume_after: Option<Position>,
}

impl Joined {
    fn new(subscribed: Subscribed) -> Self {
        let resume_after = subscribed.read_after.map(|after| match after {
            After::Log(position) => position,
            other => panic!("{other:?}"),
        });
        assert_eq!(subscribed.resumed, resume_after.is_some());
        Self { shape: subscribed.shape, cursor: subscribed.cursor.expect("a cursor"), resume_after }
    }
}

/// A hub with one shard, driven by hand.
struct Bench {
    hub: Hub,
    relation: Arc<Relation>,
    now: Duration,
    lsn: u64,
    joins: u32,
    /// Of those who join next.
    view: View,
    claims: Claims,
}

impl Bench {
    fn new(routes: Vec<RouteSpec>) -> Self {
        let log = LogLimits { window: Duration::from_secs(60), memory: 1 << 20, wal: 1 << 30 };
        Self::with_limits(routes, HubLimits { log, value: 1 << 20, read: 100 })
    }

    fn with_limits(routes: Vec<RouteSpec>, limits: HubLimits) -> Self {
        let hub = Hub::new(Arc::new(RouteTable::new(routes).unwrap()), 1, limits);
        Self {
            hub,
            relation: orders(),
            now: Duration::ZERO,
            lsn: 100,
            joins: 0,
            view: View::default(),
            claims: Claims::default(),
        }
    }

    fn connected(mut self) -> Self {
        self.connect(SYSTEM);
        self
    }

    fn connect(&mut self, system: FeedSystem) {
        let relations = vec![Arc::clone(&self.relation)];
        let at = Lsn::new(self.lsn);
        self.feed(FeedEvent::Connected { system, ancestry: Vec::new(), start: at, flush: at, relations, doubt: None });
    }

    /// So many seconds pass, each with its tick.
    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.see_all_but(&[]);
            self.hub.tick(self.now);
        }
    }

    fn feed(&mut self, event: FeedEvent) {
        self.hub.feed(event, self.now);
    }

    /// Everybody sees what has committed, but for what has these ids.
    fn see_all_but(&mut self, unseen: &[u64]) {
        self.feed(FeedEvent::Seen(Visibility::new(1 << 31, unseen.iter().copied())));
    }

    /// One transaction in parts; each part's changes are given.
    fn commit(&mut self, parts: &[Vec<Operation>]) {
        self.lsn += 10;
        let header = TransactionHeader {
            xid: u32::try_from(self.lsn).unwrap(),
            commit_lsn: Lsn::new(self.lsn),
            commit_timestamp: PgTimestamp::from_micros(0),
        };
        let mut ordinal = 0;
        for (index, operations) in parts.iter().enumerate() {
            let change = |operation: &Operation| {
                ordinal += 1;
                Change { relation: Arc::clone(&self.relation), operation: operation.clone(), ordinal }
            };
            let changes = operations.iter().map(change).collect();
            let end_lsn = (index + 1 == parts.len()).then(|| Lsn::new(self.lsn + 5));
            self.feed(FeedEvent::Part(TransactionPart {
                header,
                changes,
                announcements: Vec::new(),
                first: index == 0,
                end_lsn,
            }));
        }
    }

    fn told(&mut self) -> Vec<ToShard> {
        self.hub.take_outgoing().flat_map(|(_, messages)| messages).collect()
    }

    fn join(&mut self, topic: &str, cursor: Option<&str>) -> Result<Joined, Refusal> {
        self.joins += 1;
        let join = JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: self.joins };
        let cursor = cursor.map(str::to_owned);
        let (topic, claims, view) = (topic.to_owned(), self.claims.clone(), self.view.clone());
        let request = Subscribe { topic, claims, view, cursor, ..Subscribe::default() };
        self.hub.command(Command::Subscribe { shard: SHARD, join, request: Box::new(request) });
        match self.told().pop().expect("an answer") {
            ToShard::Subscribed { subscribed, .. } => Ok(Joined::new(subscribed)),
            ToShard::Refused { refusal, .. } => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// Everything after a position, in as many reads as it takes.
    fn read(&mut self, shape: ShapeId, mut after: Position) -> Option<Vec<Arc<Publication>>> {
        let mut all = Vec::new();
        let join = JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: 0 };
        loop {
            let from = After::Log(after);
            self.hub.command(Command::Read { shard: SHARD, join, shape, number: 0, after: from });
            match self.told().pop().expect("an answer") {
                ToShard::Read { publications, outcome, .. } => {
                    all.extend(publications);
                    match outcome {
                        ReadOutcome::AtHead => return Some(all),
                        ReadOutcome::More(After::Log(position)) => after = position,
                        ReadOutcome::Lost => return None,
                        other => panic!("{other:?}"),
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn published(&mut self) -> Vec<Arc<Publication>> {
        let publication = |message| match message {
            ToShard::Publish(publication) => publication,
            other => panic!("{other:?}"),
        };
        self.told().into_iter().map(publication).collect()
    }
}

fn payload(publication: &Publication) -> Value {
    serde_json::from_slice(&publication.payload).unwrap()
}

fn customers(publication: &Publication) -> Vec<i64> {
    let updates = payload(publication)["updates"].as_array().unwrap().clone();
    updates.iter().map(|update| update["record"]["customer"].as_i64().unwrap()).collect()
}

#[test]
fn a_transaction_is_one_message_a_topic() {
    let mut bench = Bench::new(vec![route("orders", "new_updates"), route("orders:{customer}", "changed")]).connected();
    bench.join("orders", None).unwrap();
    bench.join("orders:2", None).unwrap();
    bench.commit(&[vec![insert(1), insert(2), insert(2)]]);
    let published = bench.published();
    assert_eq!(published.len(), 2);
    assert_eq!((published[0].topic.as_str(), &*published[0].event), ("orders", "new_updates"));
    assert_eq!(customers(&published[0]), [1, 2, 2]);
    assert_eq!((published[1].topic.as_str(), &*published[1].event), ("orders:2", "changed"));
    let insert = json!({"op": "insert", "schema": "public", "table": "orders", "record": {"customer": 2, "note": "x"}});
    let cursor = Cursor {
        system: SYSTEM,
        position: Position { lsn: Lsn::new(110), ordinal: 3 },
        splice: None,
        fingerprint: None,
    };
    let expected = json!({"cursor": cursor.to_string(), "commit_timestamp": "2000-01-01T00:00:00+00:00", "xid": 110,
                          "updates": [insert, insert]});
    assert_eq!(payload(&published[1]), expected);
}

#[test]
fn joins_are_refused_with_their_reasons() {
    let mut bench = Bench::new(vec![route("orders:{customer}", "new_updates")]);
    assert_eq!(bench.join("orders:1", None), Err(Refusal::NotReady));
    let mut bench = bench.connected();
    let cursor = bench.join("orders:1", None).unwrap().cursor;
    assert!(bench.join("orders:1", Some(&cursor)).is_ok());
    for topic in ["orders", "orders:", "orders:07", "orders:x", "other", "", "phoenix"] {
        assert_eq!(bench.join(topic, None), Err(Refusal::UnmatchedTopic), "{topic}");
    }
    let position = Position::before(Lsn::new(100));
    let other_system =
        Cursor { system: FeedSystem { system_id: 8, timeline: 1 }, position, splice: None, fingerprint: None };
    let other_timeline =
        Cursor { system: FeedSystem { system_id: 7, timeline: 2 }, position, splice: None, fingerprint: None };
    let ahead =
        Cursor { system: SYSTEM, position: Position { ordinal: 1, ..position }, splice: None, fingerprint: None };
    let behind = Cursor { system: SYSTEM, position: Position::before(Lsn::new(99)), splice: None, fingerprint: None };
    for cursor in [other_system, other_timeline, ahead, behind] {
        assert_eq!(bench.join("orders:1", Some(&cursor.to_string())), Err(Refusal::ResyncRequired), "{cursor:?}");
    }
    assert_eq!(bench.join("orders:1", Some("garbage")), Err(Refusal::ResyncRequired));
    assert_eq!(bench.join("orders:07", Some("garbage")), Err(Refusal::UnmatchedTopic));
}

#[test]
fn a_position_past_the_end_of_a_transaction_is_nobodys() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    bench.commit(&[vec![insert(1)], vec![insert(2), insert(3)]]);
    bench.commit(&[vec![insert(4)]]);
    bench.feed(FeedEvent::Progress(Lsn::new(bench.lsn + 5)));
    let resume = |bench: &mut Bench, lsn, ordinal| {
        let position = Position { lsn: Lsn::new(lsn), ordinal };
        bench
            .join("orders", Some(&Cursor { system: SYSTEM, position, splice: None, fingerprint: None }.to_string()))
            .is_ok()
    };
    let accepted: Vec<u64> = (0..6).filter(|ordinal| resume(&mut bench, 110, *ordinal)).collect();
    assert_eq!(accepted, [0, 1, 2, 3]);
    assert!(resume(&mut bench, 120, 1) && !resume(&mut bench, 120, 2));
}

#[test]
fn a_large_transaction_comes_in_parts_and_every_topic_of_it_gets_a_last_one() {
    let mut bench = Bench::new(vec![route("orders:{customer}", "new_updates")]).connected();
    for topic in ["orders:1", "orders:2", "orders:3"] {
        bench.join(topic, None).unwrap();
    }
    bench.commit(&[vec![insert(1), insert(2)], vec![insert(1)], vec![insert(1), insert(3)]]);
    let seen: Vec<_> = bench.published().iter().map(|it| (it.topic.to_string(), payload(it))).collect();
    let part = |topic: &str| -> Vec<(Value, Value, usize)> {
        let mine = seen.iter().filter(|(name, _)| name == topic);
        mine.map(|(_, it)| (it["part"].clone(), it["more"].clone(), it["updates"].as_array().unwrap().len())).collect()
    };
    let (null, more) = (Value::Null, json!(true));
    assert_eq!(
        part("orders:1"),
        [(json!(0), more.clone(), 1), (json!(1), more.clone(), 1), (json!(2), null.clone(), 1)]
    );
    assert_eq!(part("orders:2"), [(json!(0), more, 1), (json!(1), null.clone(), 0)]);
    assert_eq!(part("orders:3"), [(null.clone(), null, 1)]);
}

#[test]
fn a_topic_that_was_unknown_at_the_time_has_the_truncate_all_the_same() {
    let mut bench = Bench::new(vec![route("orders:{customer}", "new_updates")]).connected();
    let before = bench.join("orders:1", None).unwrap();
    bench.hub.command(Command::Unsubscribe { shard: SHARD, join: NOBODY, shape: before.shape });
    bench.commit(&[vec![Operation::Truncate, insert(1)]]);
    for (topic, ops) in [("orders:1", json!(["truncate", "insert"])), ("orders:2", json!(["truncate"]))] {
        let resumed = bench.join(topic, Some(&before.cursor)).unwrap();
        let read = bench.read(resumed.shape, resumed.resume_after.unwrap()).unwrap();
        assert_eq!(read.len(), 1, "{topic}");
        let updates = payload(&read[0])["updates"].as_array().unwrap().clone();
        let found: Vec<Value> = updates.iter().map(|update| update["op"].clone()).collect();
        assert_eq!(json!(found), ops, "{topic}");
    }
}

#[test]
fn a_topic_with_two_events_keeps_their_order_and_a_cursor_between_them() {
    let only = |op, event| RouteSpec { ops: [op].into_iter().collect(), ..route("orders", event) };
    let mut bench = Bench::new(vec![only(Op::Insert, "first"), only(Op::Delete, "second")]).connected();
    let joined = bench.join("orders", None).unwrap();
    let delete = Operation::Delete { old: OldRow::Full(row(1, Some("x"))) };
    bench.commit(&[vec![insert(1), insert(2), delete, insert(3)]]);
    let published = bench.published();
    let seen: Vec<_> =
        published.iter().map(|it| (&*it.event, payload(it)["more"].as_bool(), it.position.ordinal)).collect();
    assert_eq!(seen, [("first", Some(true), 2), ("second", Some(true), 3), ("first", None, 4)]);
    let rest = bench.read(joined.shape, published[0].position).unwrap();
    assert_eq!(rest.iter().map(|it| &*it.event).collect::<Vec<_>>(), ["second", "first"]);
}

#[test]
fn those_who_catch_up_share_what_is_encoded_and_framed_once() {
    let mut bench = Bench::new(vec![route("orders:{customer}", "new_updates")]).connected();
    let start = bench.join("orders:1", None).unwrap().cursor;
    (0..3).for_each(|_| bench.commit(&[vec![insert(1)]]));
    let mut resume = || {
        let subscribed = bench.join("orders:1", Some(&start)).unwrap();
        bench.read(subscribed.shape, subscribed.resume_after.unwrap()).unwrap()
    };
    let (first, second) = (resume(), resume());
    assert_eq!((first.len(), second.len()), (3, 3));
    let mut framed = 0;
    for (one, other) in first.iter().zip(&second) {
        assert!(Arc::ptr_eq(one, other));
        for publication in [one, other] {
            publication.encoded(0, |it| {
                framed += 1;
                it.payload.clone()
            });
        }
    }
    assert_eq!(framed, 3);
}

#[test]
fn a_change_that_can_not_be_routed_resets_its_routes_topics() {
    let mut bench = Bench::new(vec![route("note:{note}", "new_updates"), route("orders", "new_updates")]).connected();
    let note = bench.join("note:x", None).unwrap();
    let orders = bench.join("orders", None).unwrap();
    bench.commit(&[vec![insert(1)]]);
    assert_eq!(bench.published().len(), 2);
    // The topic's column was not sent: an unchanged TOAST value without the old row.
    bench.commit(&[vec![Operation::Update { old: None, new: row(1, None) }]]);
    let told = bench.told();
    assert!(told.iter().any(|it| matches!(it, ToShard::Reset { shape } if *shape == note.shape)), "{told:?}");
    assert!(told.iter().any(|it| matches!(it, ToShard::Publish(it) if it.shape == orders.shape)), "{told:?}");
    assert_eq!(bench.join("note:x", Some(&note.cursor)), Err(Refusal::ResyncRequired));
    assert!(bench.join("orders", Some(&orders.cursor)).is_ok());
    let anew = bench.join("note:x", None).unwrap();
    assert!(bench.join("note:x", Some(&anew.cursor)).is_ok());
}

#[test]
fn nothing_past_a_hole_is_sent_to_who_was_before_it() {
    let mut bench = Bench::new(vec![route("note:{note}", "new_updates")]).connected();
    let before = bench.join("note:x", None).unwrap();
    bench.commit(&[vec![Operation::Update { old: None, new: row(1, None) }, insert(2)]]);
    // A message's cursor would stand for the hole, too, and be resumed from.
    let told = bench.told();
    assert!(matches!(told.as_slice(), [ToShard::Reset { shape }] if *shape == before.shape), "{told:?}");
}

#[test]
fn a_table_renamed_out_of_its_route_or_into_it_resets_the_routes_topics() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let named = |name: &str| Arc::new(Relation { name: name.into(), ..(*orders()).clone() });
    for name in ["archive", "orders"] {
        let before = bench.join("orders", None).unwrap();
        bench.relation = named(name);
        bench.commit(&[vec![insert(1)]]);
        let told = bench.told();
        assert!(told.iter().any(|it| matches!(it, ToShard::Reset { shape } if *shape == before.shape)), "{told:?}");
        assert_eq!(bench.join("orders", Some(&before.cursor)), Err(Refusal::ResyncRequired));
    }
    // Postgres sends a relation again for many reasons, and most change nothing here.
    let after = bench.join("orders", None).unwrap();
    bench.relation = named("orders");
    bench.commit(&[vec![insert(2)]]);
    assert!(!bench.told().iter().any(|it| matches!(it, ToShard::Reset { .. })));
    assert!(bench.join("orders", Some(&after.cursor)).is_ok());
}

#[test]
fn a_lost_feed_resets_everyone_and_begins_anew() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let before = bench.join("orders", None).unwrap();
    assert!(bench.hub.caught_up());
    bench.feed(FeedEvent::Lost { reason: "the slot is gone".to_owned() });
    assert!(matches!(bench.told().as_slice(), [ToShard::Reset { shape }] if *shape == before.shape));
    assert!(!bench.hub.caught_up());
    assert_eq!(bench.join("orders", None), Err(Refusal::NotReady));
    bench.lsn += 1000;
    bench.connect(SYSTEM);
    assert_eq!(bench.join("orders", Some(&before.cursor)), Err(Refusal::ResyncRequired));
    assert!(bench.join("orders", None).is_ok());
    // Another system's feed loses continuity by itself.
    bench.told();
    bench.connect(FeedSystem { system_id: 9, timeline: 1 });
    assert!(matches!(bench.told().as_slice(), [ToShard::Reset { .. }]));
}

#[test]
fn a_reconnect_to_the_same_feed_changes_nothing_for_subscribers() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let before = bench.join("orders", None).unwrap();
    bench.commit(&[vec![insert(1)]]);
    bench.told();
    bench.lsn += 5;
    bench.connect(SYSTEM);
    assert!(bench.told().is_empty());
    bench.commit(&[vec![insert(2)]]);
    assert_eq!(bench.published().len(), 1);
    assert_eq!(bench.read(before.shape, Position::before(Lsn::new(100))).unwrap().len(), 2);
}

#[test]
fn caught_up_waits_for_the_flush_position_seen_at_connect() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]);
    let relations = vec![Arc::clone(&bench.relation)];
    bench.feed(FeedEvent::Connected {
        system: SYSTEM,
        ancestry: Vec::new(),
        start: Lsn::new(100),
        flush: Lsn::new(200),
        relations,
        doubt: None,
    });
    assert!(!bench.hub.caught_up());
    bench.feed(FeedEvent::Progress(Lsn::new(199)));
    assert!(!bench.hub.caught_up());
    assert_eq!(bench.join("orders", None), Err(Refusal::NotReady));
    bench.feed(FeedEvent::Progress(Lsn::new(200)));
    assert!(bench.hub.caught_up());
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(100), "cursors from then may come back");
}

#[test]
fn a_new_timeline_keeps_the_cursors_of_what_it_kept() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    bench.commit(&[vec![insert(1)]]);
    let at = |timeline, lsn, ordinal| {
        let system = FeedSystem { system_id: 7, timeline };
        Cursor { system, position: Position { lsn: Lsn::new(lsn), ordinal }, splice: None, fingerprint: None }
            .to_string()
    };
    bench.feed(FeedEvent::Connected {
        system: FeedSystem { system_id: 7, timeline: 3 },
        ancestry: vec![Ancestor { timeline: 1, end: Lsn::new(115) }, Ancestor { timeline: 2, end: Lsn::new(118) }],
        start: Lsn::new(115),
        flush: Lsn::new(115),
        relations: Vec::new(),
        doubt: None,
    });
    assert!(bench.told().is_empty(), "nobody has to resync");
    bench.lsn = 120;
    bench.commit(&[vec![insert(2)]]);
    assert!(bench.join("orders", Some(&at(1, 110, 1))).is_ok());
    assert!(bench.join("orders", Some(&at(2, 118, 0))).is_ok());
    assert!(bench.join("orders", Some(&at(3, 130, 1))).is_ok());
    for abandoned in [at(1, 116, 0), at(1, 115, 1), at(2, 118, 1), at(2, 130, 1), at(4, 110, 1)] {
        assert_eq!(bench.join("orders", Some(&abandoned)), Err(Refusal::ResyncRequired));
    }
}

#[test]
fn whoever_has_part_of_a_message_gets_the_rest() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let joined = bench.join("orders", None).unwrap();
    bench.commit(&[vec![insert(1), insert(2), insert(3)]]);
    let position = Position { lsn: Lsn::new(110), ordinal: 2 };
    let rest = bench.read(joined.shape, position).unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(customers(&rest[0]), [3]);
    let whole = bench.read(joined.shape, Position { ordinal: 0, ..position }).unwrap();
    assert_eq!(customers(&whole[0]), [1, 2, 3]);
}

#[test]
fn views_show_the_columns_and_ops_that_were_asked_for() {
    let columns = Some(vec!["customer".to_owned(), "note".to_owned()]);
    let mut bench = Bench::new(vec![RouteSpec { columns, ..route("orders:{customer}", "new_updates") }]).connected();
    let all = bench.join("orders:1", None).unwrap();
    bench.view = View {
        columns: Some(["note".to_owned()].into()),
        ops: [Op::Insert, Op::Delete].into_iter().collect(),
        filter: None,
    };
    let some = bench.join("orders:1", None).unwrap();
    assert_eq!(bench.join("orders:1", None).unwrap().shape, some.shape, "one view, one shape");
    assert_ne!(all.shape, some.shape);
    let updates = |published: &[Arc<Publication>], shape| -> Vec<Value> {
        let mine = published.iter().filter(|it| it.shape == shape);
        mine.flat_map(|it| payload(it)["updates"].as_array().unwrap().clone()).collect()
    };
    let update =
        |from, to| Operation::Update { old: Some(OldRow::Full(row(from, Some("a")))), new: row(to, Some("b")) };
    bench.commit(&[vec![insert(1), update(1, 1), update(1, 2), update(2, 1)]]);
    let published = bench.published();
    assert_eq!(updates(&published, all.shape).len(), 4);
    let shown =
        |op: &str, key: &str, note: &str| json!({"op": op, "schema": "public", "table": "orders", key: {"note": note}});
    let expected = [shown("insert", "record", "x"), shown("delete", "old_record", "a"), shown("insert", "record", "b")];
    assert_eq!(updates(&published, some.shape), expected);
    let read = bench.read(some.shape, Position::before(Lsn::new(100))).unwrap();
    assert_eq!(updates(&read, some.shape), expected);
    bench.commit(&[vec![update(1, 1)]]);
    assert_eq!(bench.published().len(), 1, "nothing of it is shown to the second");
    bench.view = View { columns: Some(["secret".to_owned()].into()), ..View::default() };
    assert_eq!(bench.join("orders:1", None), Err(Refusal::UnknownColumn("secret".to_owned())));
}

#[test]
fn a_quiet_topic_is_told_where_the_feed_is() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    bench.join("orders", None).unwrap();
    bench.feed(FeedEvent::Progress(Lsn::new(300)));
    bench.hub.tick(Duration::from_secs(14));
    assert!(bench.told().is_empty());
    bench.hub.tick(Duration::from_secs(15));
    let published = bench.published();
    assert_eq!((published.len(), &*published[0].event), (1, "cursor"));
    let cursor = payload(&published[0])["cursor"].as_str().unwrap().to_owned();
    assert_eq!(cursor.parse::<Cursor>().unwrap().position, Position::before(Lsn::new(300)));
    assert!(bench.join("orders", Some(&cursor)).is_ok());
    bench.hub.tick(Duration::from_secs(29));
    assert!(bench.told().is_empty(), "it was told not long ago");
    // Nothing has happened anywhere: whoever waits for the event gets it all the same.
    bench.hub.tick(Duration::from_secs(30));
    let published = bench.published();
    assert_eq!((published.len(), published[0].cursor()), (1, Some(&*cursor)));
}

fn operations() -> impl Strategy<Value = Operation> {
    let customer = 0_u32..4;
    prop_oneof![
        6 => customer.clone().prop_map(insert),
        3 => (customer.clone(), customer.clone()).prop_map(|(old, new)| Operation::Update {
            old: Some(OldRow::Full(row(old, Some("old")))),
            new: row(new, None),
        }),
        2 => customer.prop_map(|old| Operation::Delete { old: OldRow::Full(row(old, Some("x"))) }),
        1 => Just(Operation::Truncate),
    ]
}

proptest! {
    /// Whoever resumes, wherever, gets what a live subscriber was sent, to the byte.
    #[test]
    fn resuming_from_any_cursor_gives_what_was_live(
        transactions in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(operations(), 1..4), 1..4), 1..12),
    ) {
        let routes = || vec![route("orders:{customer}", "new_updates"),
                             RouteSpec {
                                 ops: [Op::Insert, Op::Update, Op::Truncate].into_iter().collect(),
                                 ..route("orders", "new_updates")
                             },
                             RouteSpec { ops: [Op::Delete].into_iter().collect(), ..route("orders", "second") }];
        let topics = ["orders", "orders:0", "orders:1", "orders:2", "orders:3"];
        let mut bench = Bench::new(routes()).connected();
        let start: Vec<String> = topics.iter().map(|topic| bench.join(topic, None).unwrap().cursor).collect();
        // A second hub, where nobody is subscribed until later.
        let mut silent = Bench::new(routes()).connected();
        let mut live: Vec<Arc<Publication>> = Vec::new();
        for parts in &transactions {
            bench.commit(parts);
            silent.commit(parts);
            live.extend(bench.published());
        }
        prop_assert!(silent.told().is_empty());
        for (topic, start) in topics.iter().zip(start) {
            let sent: Vec<_> = live.iter().filter(|it| it.topic.as_str() == *topic).collect();
            let cursors = std::iter::once(start).chain(sent.iter().map(|it| {
                it.cursor().expect("a cursor").to_owned()
            }));
            for (index, cursor) in cursors.enumerate() {
                for bench in [&mut bench, &mut silent] {
                    let subscribed = bench.join(topic, Some(&cursor)).unwrap();
                    let read = bench.read(subscribed.shape, subscribed.resume_after.unwrap()).unwrap();
                    let read: Vec<_> = read.iter().map(|it| it.payload.clone()).collect();
                    let rest: Vec<_> = sent.iter().skip(index).map(|it| it.payload.clone()).collect();
                    prop_assert_eq!(read, rest, "{} from message {}", topic, index);
                }
            }
        }
    }
}
