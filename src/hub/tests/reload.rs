//! Other routes take over: who notices, and what is read across it.

use super::sight::{FULL, docs, inserted, on_docs, sub, updates};
use super::*;
use crate::routing::{ChannelSpec, ChannelTable, Expression, TopicPattern};

fn allowing(route: RouteSpec, allow: &str) -> RouteSpec {
    RouteSpec { allow: Some(Expression::parse(allow).unwrap()), ..route }
}

fn channel(topic: &str, publish: &str, presence: bool) -> ChannelSpec {
    let publish = [publish.into()].into();
    ChannelSpec { topic: TopicPattern::parse(topic).unwrap(), publish, presence, include_sender: true, allow: None }
}

fn bench(routes: Vec<RouteSpec>) -> Bench {
    Bench { relation: docs(FULL), ..Bench::new(routes) }.connected()
}

impl Bench {
    fn reload(&mut self, routes: Vec<RouteSpec>) -> Vec<String> {
        self.reload_with(routes, Vec::new())
    }

    /// What the shards are told of it.
    fn reload_with(&mut self, routes: Vec<RouteSpec>, channels: Vec<ChannelSpec>) -> Vec<String> {
        let routes = Arc::new(RouteTable::new(routes).unwrap());
        self.hub.reload(Configured { routes, channels: Arc::new(ChannelTable::new(channels)) });
        let short = |message| match message {
            ToShard::Closed { shape } => format!("closed {}", shape.0),
            ToShard::Reset { shape } => format!("reset {}", shape.0),
            ToShard::Recheck { shape } => format!("recheck {}", shape.0),
            ToShard::Channel { shape, channel } => format!("channel {} {}", shape.0, channel.is_some()),
            other => panic!("{other:?}"),
        };
        self.told().into_iter().map(short).collect()
    }

    fn insert(&mut self, id: &str, owner: &str) {
        self.commit(&[vec![inserted([id, owner, "x", "x"])]]);
    }
}

#[test]
fn who_is_on_a_topic_that_is_as_it_was_notices_nothing() {
    let (kept, ruled) = (on_docs("kept", None), on_docs("ruled", Some("owner = claims.sub")));
    let mut bench = bench(vec![on_docs("gone", None), kept.clone(), ruled.clone(), on_docs("by:{id}", None)]);
    bench.insert("1", "ann");
    bench.claims = sub("ann");
    let (all, own) = (bench.join("kept", None).unwrap(), bench.join("ruled", None).unwrap());
    bench.insert("2", "ann");
    bench.published();
    let one = bench.join("by:1", None).unwrap();
    assert_eq!(bench.reload(vec![ruled, on_docs("new", None), on_docs("by:{id}", None), kept]), [""; 0]);
    bench.insert("3", "ann");
    let published = bench.published();
    assert_eq!(updates(&published, all.shape), ["insert 3,ann,x,x"]);
    assert_eq!(updates(&published, own.shape), ["insert 3,ann,x,x"]);
    bench.insert("1", "bob");
    assert_eq!(updates(&bench.published(), one.shape), ["insert 1,bob,x,x"]);
    // What was routed before is read by what it was routed to, and what is behind it too.
    for (topic, cursor, expected) in [("kept", &all.cursor, 3), ("ruled", &own.cursor, 2), ("by:1", &one.cursor, 1)] {
        let resumed = bench.join(topic, Some(cursor)).unwrap();
        let read = bench.read(resumed.shape, resumed.resume_after.unwrap()).unwrap();
        assert_eq!(updates(&read, resumed.shape).len(), expected, "{topic}");
    }
}

#[test]
fn a_topic_that_nothing_gives_any_longer_is_closed() {
    let mut bench = bench(vec![on_docs("docs", None), on_docs("by:{id}", None), on_docs("both", None)]);
    bench.insert("1", "ann");
    let [docs, by, both] = ["docs", "by:1", "both"].map(|topic| bench.join(topic, None).unwrap());
    let told = bench.reload_with(Vec::new(), vec![channel("both", "said", false)]);
    assert_eq!(
        told,
        [format!("reset {}", both.shape.0), format!("closed {}", by.shape.0), format!("closed {}", docs.shape.0)]
    );
    assert_eq!(bench.join("docs", None), Err(Refusal::UnmatchedTopic));
    assert_eq!(bench.join("by:1", Some(&by.cursor)), Err(Refusal::UnmatchedTopic));
    bench.join("both", None).unwrap();
    bench.insert("2", "ann");
    assert!(bench.published().is_empty());
    // It comes back: nobody goes on where there is a gap.
    bench.reload(vec![on_docs("docs", None), on_docs("by:{id}", None)]);
    assert_eq!(bench.join("docs", Some(&docs.cursor)), Err(Refusal::ResyncRequired));
    assert_eq!(bench.join("by:1", Some(&by.cursor)), Err(Refusal::ResyncRequired));
    let docs = bench.join("docs", None).unwrap();
    bench.insert("3", "ann");
    assert_eq!(updates(&bench.published(), docs.shape), ["insert 3,ann,x,x"]);
    assert!(bench.join("docs", Some(&docs.cursor)).is_ok());
}

#[test]
fn whatever_changes_what_a_topic_gives_makes_everyone_begin_afresh() {
    let first = || on_docs("docs", Some("status = 'x'"));
    for changed in [
        on_docs("docs", None),
        on_docs("docs", Some("status = 'y' or status = 'x'")),
        on_docs("docs", Some("status = 'x' and owner = claims.sub")),
        RouteSpec { columns: Some(vec!["id".to_owned()]), ..first() },
        RouteSpec { ops: [Op::Insert].into_iter().collect(), ..first() },
        RouteSpec { event: "changed".into(), ..first() },
        RouteSpec { int8: Int8Format::String, ..first() },
    ] {
        let mut bench = bench(vec![first()]);
        bench.claims = sub("ann");
        let before = bench.join("docs", None).unwrap();
        bench.insert("1", "ann");
        let published = bench.published();
        let now = payload(&published[0])["cursor"].as_str().unwrap().to_owned();
        assert_eq!(bench.reload(vec![changed.clone()]), [format!("reset {}", before.shape.0)], "{changed:?}");
        for cursor in [&before.cursor, &now] {
            assert_eq!(bench.join("docs", Some(cursor)), Err(Refusal::ResyncRequired), "{changed:?}");
        }
        let after = bench.join("docs", None).unwrap();
        assert_eq!(bench.reload(vec![changed.clone()]), [""; 0]);
        bench.insert("2", "ann");
        assert_eq!(bench.published().len(), 1);
        let resumed = bench.join("docs", Some(&after.cursor)).unwrap();
        assert_eq!(bench.read(resumed.shape, resumed.resume_after.unwrap()).unwrap().len(), 1);
    }
}

#[test]
fn a_second_route_to_a_topic_begins_and_ends_with_everyone_afresh() {
    let (one, two) = (on_docs("docs", Some("id = 1")), on_docs("docs", Some("id = 2")));
    let mut bench = bench(vec![one.clone()]);
    let alone = bench.join("docs", None).unwrap();
    assert_eq!(bench.reload(vec![one.clone(), two]).len(), 1);
    let both = bench.join("docs", None).unwrap();
    bench.insert("2", "ann");
    assert_eq!(bench.published().len(), 1);
    assert_eq!(bench.join("docs", Some(&alone.cursor)), Err(Refusal::ResyncRequired));
    assert_eq!(bench.reload(vec![one]), [format!("reset {}", both.shape.0)]);
    assert_eq!(bench.join("docs", Some(&both.cursor)), Err(Refusal::ResyncRequired));
    assert_eq!(bench.join("docs", Some(&alone.cursor)), Err(Refusal::ResyncRequired), "it has missed nothing, but may");
}

#[test]
fn another_allow_is_asked_about_each_and_changes_nothing_else() {
    let route = || on_docs("docs", None);
    let mut bench = bench(vec![route(), on_docs("other", None)]);
    bench.claims = sub("ann");
    let (ann, _) = (bench.join("docs", None).unwrap(), bench.join("other", None).unwrap());
    let rule = "claims.sub = 'ann'";
    let told = bench.reload(vec![allowing(route(), rule), on_docs("other", None)]);
    assert_eq!(told, [format!("recheck {}", ann.shape.0)]);
    for (name, ends) in [("ann", false), ("bob", true)] {
        let command = Command::Recheck { shard: SHARD, join: NOBODY, shape: ann.shape, claims: sub(name) };
        bench.hub.command(command);
        let told = bench.told();
        let ended = matches!(&told[..], [ToShard::Ended { refusal: Refusal::Unauthorized, .. }]);
        assert_eq!((told.len(), ended), (usize::from(ends), ends), "{name}: {told:?}");
    }
    bench.insert("1", "x");
    assert_eq!(updates(&bench.published(), ann.shape), ["insert 1,x,x,x"]);
    assert!(bench.join("docs", Some(&ann.cursor)).is_ok());
    bench.claims = sub("bob");
    assert_eq!(bench.join("docs", None), Err(Refusal::Unauthorized));
}

#[test]
fn a_snapshot_that_misses_what_was_routed_otherwise_is_not_continued() {
    // Of one route nothing is in the log.
    for before in [on_docs("other", None), route("orders", "new_updates")] {
        let mut bench = bench(vec![before.clone()]);
        // Committed, and not visible to others yet.
        bench.insert("1", "ann");
        let unseen = bench.lsn;
        bench.reload(vec![before, on_docs("docs", None)]);
        misses(bench, unseen);
    }
}

/// Nobody is sent the rows of a snapshot that does not see this transaction.
fn misses(mut bench: Bench, unseen: u64) {
    let request = Subscribe { topic: "docs".to_owned(), snapshot: true, ..Subscribe::default() };
    bench.hub.command(Command::Subscribe { shard: SHARD, join: NOBODY, request: Box::new(request) });
    let Some(ToShard::Subscribed { subscribed, .. }) = bench.told().pop() else { panic!("no join") };
    let Some(After::Snapshot(id)) = subscribed.read_after else { panic!("no snapshot") };
    let last = SnapshotPart { event: "new_updates".into(), updates: Bytes::new() };
    let until = Lsn::new(bench.lsn + 5);
    bench.hub.snapshot(SnapshotEvent::Done { id, last, visibility: Visibility::new(unseen + 1, [unseen]), until });
    let mut after = After::Snapshot(id);
    for number in 0.. {
        bench.hub.command(Command::Read { shard: SHARD, join: NOBODY, shape: subscribed.shape, number, after });
        match bench.told().pop() {
            Some(ToShard::Read { outcome: ReadOutcome::More(next), .. }) => after = next,
            Some(ToShard::Read { outcome: ReadOutcome::Lost, .. }) => break,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn channels_take_over_too() {
    let mut bench = bench(vec![on_docs("docs", None)]);
    assert_eq!(
        bench.reload_with(vec![on_docs("docs", None)], vec![channel("room", "a", false), channel("docs", "a", false)]),
        [""; 0]
    );
    let [room, docs] = ["room", "docs"].map(|topic| bench.join(topic, None).unwrap().shape.0);
    let told = bench.reload_with(vec![on_docs("docs", None)], vec![channel("*", "b", false)]);
    assert_eq!(told, [format!("channel {docs} true"), format!("channel {room} true")]);
    let told = bench.reload_with(vec![on_docs("docs", None)], vec![channel("room", "b", true)]);
    assert_eq!(told, [format!("channel {docs} false"), format!("reset {room}")], "those who are there are to be seen");
    let room = bench.join("room", None).unwrap().shape.0;
    assert_eq!(bench.reload(vec![on_docs("docs", None)]), [format!("closed {room}")]);
}

#[test]
fn a_transaction_in_parts_goes_on_under_the_new_routes() {
    let mut bench = bench(vec![on_docs("kept", None), on_docs("docs", Some("id > 0"))]);
    let (kept, docs) = (bench.join("kept", None).unwrap(), bench.join("docs", None).unwrap());
    let header = TransactionHeader { xid: 7, commit_lsn: Lsn::new(200), commit_timestamp: PgTimestamp::from_micros(0) };
    let relation = Arc::clone(&bench.relation);
    let part = |ordinal: u64, end_lsn| {
        let operation = inserted([&ordinal.to_string(), "ann", "x", "x"]);
        let changes = vec![Change { relation: Arc::clone(&relation), operation, ordinal }];
        FeedEvent::Part(TransactionPart { header, changes, announcements: Vec::new(), first: ordinal == 1, end_lsn })
    };
    bench.feed(part(1, None));
    assert_eq!(bench.published().len(), 2);
    assert_eq!(bench.reload(vec![on_docs("kept", None), on_docs("docs", None)]), [format!("reset {}", docs.shape.0)]);
    let again = bench.join("docs", None).unwrap();
    bench.feed(part(2, Some(Lsn::new(205))));
    let published = bench.published();
    assert_eq!(updates(&published, kept.shape), ["insert 2,ann,x,x"]);
    assert_eq!(updates(&published, again.shape), ["insert 2,ann,x,x"]);
    assert_eq!(bench.join("docs", Some(&docs.cursor)), Err(Refusal::ResyncRequired));
}

/// Nothing has come since they left; what the new table holds they would never be told.
#[test]
fn who_left_before_a_topic_got_another_table_begins_afresh() {
    let before = vec![on_docs("docs", None)];
    let after = vec![on_docs("docs", None), route("docs", "new_updates")];
    let with_both = |routes| {
        let mut bench = bench(routes);
        let relations = vec![Arc::clone(&bench.relation), orders()];
        let at = Lsn::new(bench.lsn);
        let (start, flush) = (at, at);
        let ancestry = Vec::new();
        bench.feed(FeedEvent::Connected { system: SYSTEM, ancestry, start, flush, relations, doubt: None });
        bench
    };
    let mut bench = with_both(before.clone());
    let left = bench.join("docs", None).unwrap().cursor;
    bench.reload(after.clone());
    assert_eq!(bench.join("docs", Some(&left)), Err(Refusal::ResyncRequired));
    let both = bench.join("docs", None).unwrap().cursor;
    assert!(bench.join("docs", Some(&both)).is_ok());
    // The same over a restart, which forgets that there was a reload.
    for (routes, cursor, others) in [(after, &both, &left), (before, &left, &both)] {
        let mut next = with_both(routes);
        assert!(next.join("docs", Some(cursor)).is_ok());
        assert_eq!(next.join("docs", Some(others)), Err(Refusal::ResyncRequired));
    }
}

#[test]
fn a_topic_whose_table_does_not_fit_for_now_is_not_closed() {
    let mut bench = bench(vec![on_docs("docs:{owner}", None)]);
    bench.join("docs:ann", None).unwrap();
    bench.relation = docs(&["id"]);
    bench.connect(SYSTEM);
    assert_eq!(bench.reload(vec![on_docs("docs:{owner}", Some("id <> '1'"))]), ["reset 0"]);
    assert_eq!(bench.join("docs:ann", None), Err(Refusal::UnmatchedTopic));
}

/// While nothing comes, the feed stays where the reload found it.
#[test]
fn who_joins_between_a_reload_and_the_next_change_can_come_back() {
    let named = |event: &str| RouteSpec { event: event.into(), ..on_docs("docs", None) };
    let mut bench = bench(vec![named("first"), on_docs("other", None)]);
    let (before, other) = (bench.join("docs", None).unwrap().cursor, bench.join("other", None).unwrap().cursor);
    assert_eq!(bench.reload(vec![named("second"), on_docs("other", None)]).len(), 1);
    assert!(bench.join("other", Some(&other)).is_ok(), "nothing has changed for it");
    assert_eq!(bench.join("docs", Some(&before)), Err(Refusal::ResyncRequired));
    let after = bench.join("docs", None).unwrap().cursor;
    assert_ne!(after, before);
    let again = bench.join("docs", Some(&after)).unwrap();
    assert_eq!(again.cursor, after);
    assert_eq!(bench.join("docs", Some(&before)), Err(Refusal::ResyncRequired), "still");
    bench.insert("1", "ann");
    let published = bench.published();
    assert_eq!(updates(&published, again.shape), ["insert 1,ann,x,x"]);
    let resumed = bench.join("docs", Some(&after)).unwrap();
    assert_eq!(bench.read(resumed.shape, resumed.resume_after.unwrap()).unwrap().len(), 1);
    // Once it has moved, a cursor is a position again, and no more; over a restart, too.
    let usual = payload(&published[0])["cursor"].as_str().unwrap().to_owned();
    assert!(usual.len() < after.len());
    let mut next = self::bench(vec![named("second"), on_docs("other", None)]);
    assert!(next.join("docs", Some(&after)).is_ok());
}

/// The same for what a snapshot gives.
#[test]
fn a_snapshot_between_a_reload_and_the_next_change_can_be_gone_on_from() {
    let named = |event: &str| RouteSpec { event: event.into(), ..on_docs("docs", None) };
    let mut bench = bench(vec![named("first")]);
    let before = snapshot_cursor(&mut bench);
    bench.reload(vec![named("second")]);
    let after = snapshot_cursor(&mut bench);
    assert_eq!(bench.join("docs", Some(&before)), Err(Refusal::ResyncRequired));
    let request = Subscribe { topic: "docs".to_owned(), cursor: Some(after.clone()), ..Subscribe::default() };
    bench.hub.command(Command::Subscribe { shard: SHARD, join: NOBODY, request: Box::new(request) });
    let Some(ToShard::Subscribed { subscribed, .. }) = bench.told().pop() else { panic!("refused") };
    assert_eq!(subscribed.cursor, Some(after));
}

/// Of a snapshot of `docs` that is taken at the feed's head.
fn snapshot_cursor(bench: &mut Bench) -> String {
    let request = Subscribe { topic: "docs".to_owned(), snapshot: true, ..Subscribe::default() };
    bench.hub.command(Command::Subscribe { shard: SHARD, join: NOBODY, request: Box::new(request) });
    let Some(ToShard::Subscribed { subscribed, .. }) = bench.told().pop() else { panic!("no join") };
    let Some(After::Snapshot(id)) = subscribed.read_after else { panic!("no snapshot") };
    let last = SnapshotPart { event: "new_updates".into(), updates: Bytes::new() };
    let until = Lsn::new(bench.lsn + 5);
    bench.hub.snapshot(SnapshotEvent::Done { id, last, visibility: Visibility::new(bench.lsn + 1, []), until });
    let after = After::Snapshot(id);
    bench.hub.command(Command::Read { shard: SHARD, join: NOBODY, shape: subscribed.shape, number: 1, after });
    let Some(ToShard::Read { publications, .. }) = bench.told().pop() else { panic!("no answer") };
    payload(&publications[0])["cursor"].as_str().unwrap().to_owned()
}
