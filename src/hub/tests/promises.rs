//! What is acknowledged, against what is promised: whatever the log lets go of and why, the slot has all that comes
//! after any position that would be resumed, so that the next process can do it too.

use super::super::log::Log;
use super::*;

/// What happens to a hub with little room.
#[derive(Debug, Clone)]
enum Happening {
    /// A transaction with so many changes, of which the feed may have nothing.
    Commit(usize),
    /// So many bytes are written of which nothing is published.
    Elsewhere(u64),
    Pass(u32),
    /// Somebody joins, live or with one of the cursors that were given out.
    Join(Option<prop::sample::Index>),
    /// A commit is decoded that nobody sees for now; then everything is seen.
    Unseen,
    Seen,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0_usize..6).prop_map(Happening::Commit),
        2 => (1_u64..400).prop_map(Happening::Elsewhere),
        2 => (1_u32..40).prop_map(Happening::Pass),
        4 => prop::option::of(any::<prop::sample::Index>()).prop_map(Happening::Join),
        1 => Just(Happening::Unseen),
        1 => Just(Happening::Seen),
    ]
}

/// A hub, what has committed, and which cursors it has given out.
struct Course {
    bench: Bench,
    commits: Vec<u64>,
    cursors: Vec<String>,
}

impl Course {
    fn happen(&mut self, happening: &Happening) {
        let bench = &mut self.bench;
        match happening {
            Happening::Commit(changes) => {
                bench.commit(&[(0..*changes).map(|_| insert(1)).collect()]);
                self.commits.extend((*changes > 0).then_some(bench.lsn));
            }
            Happening::Elsewhere(bytes) => {
                bench.lsn += bytes;
                bench.feed(FeedEvent::Progress(Lsn::new(bench.lsn)));
            }
            Happening::Pass(seconds) => {
                for _ in 0..*seconds {
                    bench.now += Duration::from_secs(1);
                    bench.hub.tick(bench.now);
                }
            }
            Happening::Join(cursor) => {
                let cursor = cursor.filter(|_| !self.cursors.is_empty()).map(|it| it.get(&self.cursors).clone());
                if let Ok(joined) = bench.join("orders", cursor.as_deref()) {
                    self.cursors.push(joined.cursor);
                }
            }
            Happening::Unseen => {
                bench.commit(&[vec![insert(2)]]);
                self.commits.push(bench.lsn);
                bench.see_all_but(&[bench.lsn]);
            }
            Happening::Seen => bench.see_all_but(&[]),
        }
        bench.told();
    }

    /// The first commit after a position.
    fn owed(&self, position: Position) -> Option<u64> {
        self.commits.iter().copied().find(|commit| Position { lsn: Lsn::new(*commit), ordinal: 1 } > position)
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let acknowledged = self.bench.hub.acknowledgeable();
        let kept = self.bench.hub.log.as_ref().and_then(Log::oldest);
        prop_assert!(kept.is_none_or(|kept| acknowledged <= kept), "{} of {:?}", acknowledged, kept);
        for cursor in self.cursors.clone() {
            let position = cursor.parse::<Cursor>().unwrap().position;
            let Some(owed) = self.owed(position) else { continue };
            let is_promised = self.bench.join("orders", Some(&cursor)).is_ok();
            prop_assert!(
                !is_promised || acknowledged.as_u64() <= owed,
                "{} is acknowledged, {:?} would be resumed, and {} comes after it",
                acknowledged,
                position,
                owed
            );
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn nothing_is_acknowledged_that_a_resume_needs(
        window in 5_u64..120,
        memory in 2_000_usize..20_000,
        wal in 100_u64..5_000,
        happenings in prop::collection::vec(happening(), 1..60),
    ) {
        let log = LogLimits { window: Duration::from_secs(window), memory, wal };
        let limits = HubLimits { log, value: 1 << 20, read: 100 };
        let bench = Bench::with_limits(vec![route("orders", "new_updates")], limits).connected();
        let mut course = Course { bench, commits: Vec::new(), cursors: Vec::new() };
        for happening in &happenings {
            course.happen(happening);
            course.check()?;
        }
    }
}

fn positioned(lsn: u64, ordinal: u64) -> Position {
    Position { lsn: Lsn::new(lsn), ordinal }
}

/// A gateway with other limits has cut the transaction elsewhere.
#[test]
fn who_has_a_part_of_a_message_is_sent_the_rest() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    bench.commit(&[vec![insert(1), insert(2), insert(3)]]);
    let position = positioned(bench.lsn, 1);
    let cursor = Cursor { system: SYSTEM, position, splice: None, fingerprint: None };
    let joined = bench.join("orders", Some(&cursor.to_string())).unwrap();
    let read = bench.read(joined.shape, position).unwrap();
    assert_eq!(read.iter().flat_map(|it| customers(it)).collect::<Vec<_>>(), [2, 3]);
}

/// The database goes on from timeline 2, which has timeline 1 up to 150.
fn promote(bench: &mut Bench) {
    let system = FeedSystem { timeline: 2, ..SYSTEM };
    let ancestry = vec![Ancestor { timeline: 1, end: Lsn::new(150) }];
    let (start, relations) = (Lsn::new(100), vec![Arc::clone(&bench.relation)]);
    bench.feed(FeedEvent::Connected { system, ancestry, start, flush: start, relations, doubt: None });
}

#[test]
fn what_a_snapshot_saw_of_an_abandoned_timeline_is_not_gone_on_from() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    promote(&mut bench);
    let holds = |until| {
        let splice = Splice { visibility: Visibility::new(1 << 31, []), until: Lsn::new(until), timeline: 1 };
        let splice = Some(Arc::new(splice));
        let cursor = Cursor { system: SYSTEM, position: positioned(100, 0), splice, fingerprint: None };
        bench.hub.log.as_ref().unwrap().lineage.holds(&cursor)
    };
    assert_eq!([holds(150), holds(151)], [true, false]);
}

#[test]
fn a_snapshot_does_not_outlive_its_timeline() {
    let mut bench = Bench::new(vec![route("orders", "new_updates")]).connected();
    let request = Subscribe { topic: "orders".to_owned(), snapshot: true, ..Subscribe::default() };
    let join = JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: 1 };
    bench.hub.command(Command::Subscribe { shard: SHARD, join, request: Box::new(request) });
    let Some(SnapshotCommand::Begin(SnapshotRequest { id, .. })) = bench.hub.take_snapshot_commands().pop() else {
        panic!("no snapshot")
    };
    let Some(ToShard::Subscribed { subscribed, .. }) = bench.told().pop() else { panic!("refused") };
    promote(&mut bench);
    let last = SnapshotPart { event: "new_updates".into(), updates: Bytes::new() };
    let visibility = Visibility::new(1 << 31, []);
    bench.hub.snapshot(SnapshotEvent::Done { id, last, visibility, until: Lsn::new(100) });
    let after = After::Snapshot(id);
    bench.hub.command(Command::Read { shard: SHARD, join, shape: subscribed.shape, number: 1, after });
    let told = bench.told();
    assert!(matches!(told[..], [ToShard::Read { outcome: ReadOutcome::Lost, .. }]), "{told:?}");
}
