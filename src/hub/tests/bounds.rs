//! What the log keeps, what it lets go of, and what may be acknowledged.

use super::*;
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
    bench.hub.tick(bench.now);
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
