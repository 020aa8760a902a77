//! What the log keeps, what it lets go of, and what may be acknowledged.

use super::*;
use crate::routing::Filter;
use std::collections::BTreeSet;

#[test]
fn what_is_evicted_can_not_be_resumed_from() {
    let log = LogLimits { window: Duration::from_secs(60), memory: 1 << 20, wal: 1 << 30 };
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let first = bench.join("orders", None).unwrap();
    bench.commit(&[vec![insert(1)]]);
    let second = bench.published()[0].position;
    bench.now = log.window;
    bench.commit(&[vec![insert(2)]]);
    assert_eq!(bench.read(first.shape, Position::before(Lsn::new(100))).unwrap().len(), 2);
    bench.now += Duration::from_millis(1);
    bench.see_all_but(&[]);
    assert!(bench.read(first.shape, Position::before(Lsn::new(100))).is_none());
    assert_eq!(bench.read(first.shape, second).unwrap().len(), 1);
    assert_eq!(bench.join("orders", Some(&first.cursor)), Err(Refusal::ResyncRequired));
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let limits = HubLimits {
        log: LogLimits { window: Duration::from_secs(60), memory: 100_000, wal: 1 << 30 },
        value: 1 << 20,
        read: 1000,
    };
    let mut bench = Bench::with_limits(vec![route("orders:{customer}", "new_updates")], limits).connected();
    let mut oldest = None;
    for customer in 0..2000 {
        bench.commit(&[vec![insert(customer), insert(customer + 1)]]);
        oldest.get_or_insert(Position::before(Lsn::new(bench.lsn)));
    }
    let subscribed = bench.join("orders:1999", None).unwrap();
    assert!(bench.read(subscribed.shape, oldest.unwrap()).is_none());
    assert_eq!(bench.read(subscribed.shape, Position::before(Lsn::new(bench.lsn - 10))).unwrap().len(), 2);
}

#[test]
fn the_tail_is_what_may_be_acknowledged() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    bench.feed(FeedEvent::Progress(Lsn::new(105)));
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(100), "an earlier process' clients may come back");
    bench.pass(5);
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(105), "nothing is kept");
    bench.commit(&[vec![insert(1)]]);
    bench.commit(&[vec![insert(2)], vec![insert(3)]]);
    bench.feed(FeedEvent::Progress(Lsn::new(500)));
    bench.pass(60);
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(110), "the first transaction's commit");
    bench.pass(5);
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(500));
}

/// Of a feed in which nothing is published: for each second of the window, a client that joined then.
#[test]
fn who_has_heard_nothing_for_less_than_a_window_is_resumed_after_a_restart() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let mut joined = Vec::new();
    for second in 0..200 {
        joined.push(bench.join("orders", None).unwrap().cursor);
        bench.lsn += 10;
        bench.feed(FeedEvent::Progress(Lsn::new(bench.lsn)));
        bench.pass(1);
        let acknowledged = bench.hub.acknowledgeable();
        let mut next =
            Bench { lsn: acknowledged.as_u64(), ..Bench::new(vec![route("orders", "new_updates")]) }.connected();
        next.feed(FeedEvent::Progress(Lsn::new(bench.lsn)));
        for cursor in joined.iter().rev().take(60) {
            assert!(next.join("orders", Some(cursor)).is_ok(), "{second}: {acknowledged}");
        }
        assert!(Lsn::new(bench.lsn).bytes_since(acknowledged) <= 65 * 10);
    }
}

#[test]
fn an_open_transaction_is_not_acknowledged() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let header = TransactionHeader { xid: 1, commit_lsn: Lsn::new(200), commit_timestamp: PgTimestamp::from_micros(0) };
    let change = Change { relation: Arc::clone(&bench.relation), operation: insert(1), ordinal: 1 };
    bench.feed(FeedEvent::Part(TransactionPart {
        header,
        changes: vec![change],
        announcements: Vec::new(),
        first: true,
        end_lsn: None,
    }));
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(100));
    bench.now = Duration::from_secs(61);
    bench.hub.tick(bench.now);
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(100), "evicted, but not over");
}

#[test]
fn wal_over_the_budget_moves_the_tail_up() {
    let log = LogLimits { window: Duration::from_secs(60), memory: 1 << 20, wal: 1000 };
    let limits = HubLimits { log, value: 1 << 20, read: 100 };
    let mut bench = Bench::with_limits(vec![route("orders", "new_updates")], limits).connected();
    let joined = bench.join("orders", None).unwrap();
    bench.commit(&[vec![insert(1)]]);
    bench.commit(&[vec![insert(2)]]);
    bench.see_all_but(&[]);
    bench.feed(FeedEvent::Progress(Lsn::new(1110)));
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(110));
    bench.feed(FeedEvent::Progress(Lsn::new(1111)));
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(120));
    assert_eq!(bench.join("orders", Some(&joined.cursor)), Err(Refusal::ResyncRequired));
}

#[test]
fn without_wal_the_head_is_acknowledged() {
    let log = LogLimits { window: Duration::from_secs(60), memory: 1 << 20, wal: 0 };
    let limits = HubLimits { log, value: 1 << 20, read: 100 };
    let mut bench = Bench::with_limits(vec![route("orders", "new_updates")], limits).connected();
    let joined = bench.join("orders", None).unwrap();
    bench.commit(&[vec![insert(1)]]);
    bench.see_all_but(&[]);
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(115));
    assert!(bench.join("orders", Some(&joined.cursor)).is_ok(), "while the process lives");
}

#[test]
fn topics_that_are_met_late_take_no_more_than_the_logs_memory() {
    let log = LogLimits { window: Duration::from_secs(60), memory: 20_000, wal: 1 << 30 };
    let limits = HubLimits { log, value: 1 << 20, read: 100 };
    let mut bench = Bench::with_limits(vec![route("orders:{customer}", "new_updates")], limits).connected();
    let before = bench.join("orders:0", None).unwrap();
    for _ in 0..10 {
        bench.commit(&[vec![Operation::Truncate]]);
    }
    bench.told();
    for customer in 1..100 {
        let joined = bench.join(&format!("orders:{customer}"), None).unwrap();
        assert!(bench.hub.log_size() <= 20_000, "{} bytes", bench.hub.log_size());
        assert!(bench.join(&format!("orders:{customer}"), Some(&joined.cursor)).is_ok());
    }
    assert_eq!(bench.join("orders:0", Some(&before.cursor)), Err(Refusal::ResyncRequired));
    // Those who have joined are live all the same.
    bench.commit(&[(0..100).map(insert).collect()]);
    let published = bench.published();
    let topics: BTreeSet<_> = published.iter().map(|it| it.topic.to_string()).collect();
    let shapes: BTreeSet<_> = published.iter().map(|it| it.shape).collect();
    assert_eq!((topics.len(), shapes.len()), (100, 100), "each hears of its own");
}

/// A commit that nobody sees yet, beside others that everybody does.
fn invisible(log: LogLimits) -> Bench {
    let limits = HubLimits { log, value: 1 << 20, read: 100 };
    let mut bench = Bench::with_limits(vec![route("orders", "new_updates")], limits).connected();
    bench.commit(&[vec![insert(1)]]);
    bench.see_all_but(&[]);
    bench.commit(&[vec![insert(2)]]);
    bench.see_all_but(&[120]);
    bench
}

fn pass_unseen(bench: &mut Bench, seconds: u32) {
    for _ in 0..seconds {
        bench.now += Duration::from_secs(1);
        bench.see_all_but(&[120]);
        bench.feed(FeedEvent::Progress(Lsn::new(400)));
        bench.hub.tick(bench.now);
    }
}

/// What a snapshot comes to that is taken now, without this transaction.
fn snapshot(bench: &mut Bench, unseen: &[u64]) -> Option<After> {
    let request = Subscribe { topic: "orders".to_owned(), snapshot: true, ..Subscribe::default() };
    bench.joins += 1;
    let join = JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: bench.joins };
    bench.hub.command(Command::Subscribe { shard: SHARD, join, request: Box::new(request) });
    let Some(SnapshotCommand::Begin(request)) = bench.hub.take_snapshot_commands().pop() else { panic!("no snapshot") };
    let Some(ToShard::Subscribed { subscribed, .. }) = bench.told().pop() else { panic!("refused") };
    let last = SnapshotPart { event: "new_updates".into(), updates: Bytes::new() };
    let visibility = Visibility::new(1 << 31, unseen.iter().copied());
    bench.hub.snapshot(SnapshotEvent::Done { id: request.id, last, visibility, until: Lsn::new(400) });
    let after = After::Snapshot(request.id);
    bench.hub.command(Command::Read { shard: SHARD, join, shape: subscribed.shape, number: 1, after });
    match bench.told().pop() {
        Some(ToShard::Read { outcome: ReadOutcome::More(after), .. }) => Some(after),
        Some(ToShard::Read { outcome: ReadOutcome::Lost, .. }) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_nobody_sees_yet_stays_in_the_log_and_in_the_slot() {
    let mut bench = invisible(LogLimits { window: Duration::from_secs(60), memory: 1 << 20, wal: 1 << 30 });
    pass_unseen(&mut bench, 200);
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(120), "what came before it is seen");
    let Some(After::Splice(from, _)) = snapshot(&mut bench, &[120]) else { panic!("nothing after it") };
    assert!(from < Position::before(Lsn::new(121)));
    bench.pass(70);
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(400));
}

#[test]
fn without_wal_the_slot_waits_for_what_nobody_sees() {
    let mut bench = invisible(LogLimits { window: Duration::from_secs(60), memory: 1 << 20, wal: 0 });
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(120));
    bench.see_all_but(&[]);
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(125));
}

/// The database is then asked for an id that is newer than whatever was let go of.
#[test]
fn what_was_let_go_of_unseen_is_remembered_over_a_restart() {
    let mut bench = invisible(LogLimits { window: Duration::from_secs(60), memory: 1 << 20, wal: 0 });
    bench.feed(FeedEvent::Progress(Lsn::new(1 << 30)));
    let acknowledged = bench.hub.acknowledgeable();
    assert!(acknowledged.is_in_doubt(), "{acknowledged}");
    assert!(snapshot(&mut bench, &[120]).is_some(), "the log still has it");
    let mut next = Bench::new(vec![route("orders", "new_updates")]);
    let relations = vec![Arc::clone(&next.relation)];
    let (start, flush) = (acknowledged, acknowledged);
    next.feed(FeedEvent::Connected { system: SYSTEM, ancestry: Vec::new(), start, flush, relations, doubt: Some(200) });
    assert!(snapshot(&mut next, &[120]).is_none());
    assert!(next.hub.acknowledgeable().is_in_doubt());
    assert!(snapshot(&mut next, &[200]).is_some());
    next.see_all_but(&[200]);
    next.feed(FeedEvent::Progress(Lsn::new(1 << 31)));
    assert!(!next.hub.acknowledgeable().is_in_doubt());
}

#[test]
fn what_memory_had_no_room_for_is_no_hole_in_a_snapshot() {
    let mut bench = invisible(LogLimits { window: Duration::from_secs(60), memory: 5_000, wal: 1 << 30 });
    for _ in 0..100 {
        bench.commit(&[vec![insert(3)]]);
    }
    bench.see_all_but(&[120]);
    assert!(snapshot(&mut bench, &[120]).is_none());
    assert_eq!(bench.hub.acknowledgeable(), Lsn::new(120), "the next process has more room, perhaps");
    assert!(snapshot(&mut bench, &[]).is_some());
}

/// Without one of its own a topic's subscribers would be sent what another's are.
#[test]
fn a_topic_that_the_log_has_no_room_for_has_a_shape_of_its_own() {
    for memory in 1_000..2_500 {
        let log = LogLimits { window: Duration::from_secs(60), memory, wal: 1 << 30 };
        let limits = HubLimits { log, value: 1 << 20, read: 100 };
        let mut bench = Bench::with_limits(vec![route("orders:{customer}", "new_updates")], limits).connected();
        bench.commit(&[vec![Operation::Truncate]]);
        let joined = [1, 2, 3].map(|customer| bench.join(&format!("orders:{customer}"), None).unwrap().shape);
        assert!(joined[0] != joined[1] && joined[1] != joined[2] && joined[0] != joined[2], "{memory}: {joined:?}");
    }
}

/// What several routes give has cursors that say so; all the same they are positions in the one feed.
#[test]
fn a_cursor_of_a_topic_with_all_rows_is_good_for_another_topic() {
    let narrow = RouteSpec { columns: Some(vec!["customer".to_owned()]), ..route("some", "new_updates") };
    let routes = vec![route("all", "new_updates"), route("all", "more"), route("orders", "new_updates"), narrow];
    let mut bench = Bench::new(routes).connected();
    let cursors = ["all", "some", "orders"].map(|topic| (topic, bench.join(topic, None).unwrap().cursor));
    bench.commit(&[vec![insert(1)]]);
    for (of, cursor) in &cursors {
        for topic in ["all", "some", "orders"] {
            let resumed = bench.join(topic, Some(cursor)).map(|joined| joined.resume_after.is_some());
            // A cursor that says nothing may be from before its own topic had another route.
            let is_in_doubt = *of == "orders" && topic != "orders";
            let expected = if is_in_doubt { Err(Refusal::ResyncRequired) } else { Ok(true) };
            assert_eq!(resumed, expected, "{of} at {topic}");
        }
    }
    bench.view.filter = Some(Filter::parse("customer=eq.1").unwrap());
    let filtered = bench.join("all", None).unwrap().cursor;
    assert_eq!(
        bench.join("all", Some(&cursors[0].1)),
        Err(Refusal::ResyncRequired),
        "it has not the filter's rows only"
    );
    bench.view.filter = None;
    assert_eq!(bench.join("orders", Some(&filtered)), Err(Refusal::ResyncRequired), "it has the filter's rows only");
}
