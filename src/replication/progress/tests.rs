use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn lsn(position: u64) -> Lsn {
    Lsn::new(position)
}

fn flush(progress: &mut Progress) -> u64 {
    progress.status(Duration::ZERO).flush.as_u64()
}

#[test]
fn a_transaction_is_acknowledged_when_it_is_applied_and_given_up() {
    let mut progress = Progress::new(lsn(100), INTERVAL);
    progress.received(lsn(150));
    assert_eq!(flush(&mut progress), 100);
    progress.applied(lsn(200));
    assert_eq!(flush(&mut progress), 100);
    progress.acknowledgeable(lsn(180));
    assert_eq!(flush(&mut progress), 180);
    progress.acknowledgeable(lsn(200));
    let status = progress.status(Duration::ZERO);
    assert_eq!(status, StandbyStatus { write: lsn(200), flush: lsn(200), apply: lsn(200) });
}

#[test]
fn giving_up_more_than_was_applied_waits_for_it() {
    let mut progress = Progress::new(lsn(100), INTERVAL);
    progress.acknowledgeable(lsn(300));
    assert_eq!(flush(&mut progress), 100);
    progress.applied(lsn(200));
    assert_eq!(flush(&mut progress), 200);
    progress.applied(lsn(400));
    assert_eq!(flush(&mut progress), 300);
}

#[test]
fn a_keepalive_acknowledges_nothing_by_itself() {
    let mut progress = Progress::new(lsn(100), INTERVAL);
    progress.keepalive(lsn(150), false);
    let status = progress.status(Duration::ZERO);
    assert_eq!(status, StandbyStatus { write: lsn(150), flush: lsn(100), apply: lsn(100) });
    // The hub has heard of it …
    progress.applied(lsn(150));
    assert_eq!(flush(&mut progress), 100);
    // … and no cursor from before it is out.
    progress.acknowledgeable(lsn(150));
    assert_eq!(flush(&mut progress), 150);
}

#[test]
fn a_status_is_due_at_once_then_each_interval_and_on_request() {
    let mut progress = Progress::new(lsn(100), INTERVAL);
    let second = Duration::from_secs;
    assert!(progress.status_due(second(0)));
    let _sent = progress.status(second(1));
    assert!(!progress.status_due(second(10)));
    assert_eq!(progress.next_status(), second(11));
    assert!(progress.status_due(second(11)));

    let _sent = progress.status(second(12));
    progress.keepalive(lsn(100), false);
    assert!(!progress.status_due(second(13)));
    progress.keepalive(lsn(100), true);
    assert!(progress.status_due(second(13)));

    let _sent = progress.status(second(13));
    progress.reconnected(second(10));
    assert!(progress.status_due(second(13)));
}

#[derive(Debug, Clone)]
enum Event {
    Received(u64),
    Applied(u64),
    Acknowledgeable(u64),
    Keepalive(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let position = || 0..1000_u64;
    prop_oneof![
        position().prop_map(Event::Received),
        position().prop_map(Event::Applied),
        position().prop_map(Event::Acknowledgeable),
        position().prop_map(Event::Keepalive),
    ]
}

/// What a source and a hub do, in any order that is possible.
#[derive(Debug, Clone)]
enum Step {
    /// The log grows by something that is not published.
    Elsewhere(u64),
    /// A transaction begins to arrive.
    Begin(u64),
    /// It arrives whole.
    Commit,
    /// The hub takes the oldest that waits for it.
    Apply,
    /// The hub gives up a share of its log.
    GiveUp(prop::sample::Index),
    Keepalive,
    /// The hub has nothing, and gives up what it has heard of.
    GiveUpIdle,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..50_u64).prop_map(Step::Elsewhere),
        (1..50_u64).prop_map(Step::Begin),
        Just(Step::Commit),
        Just(Step::Apply),
        any::<prop::sample::Index>().prop_map(Step::GiveUp),
        Just(Step::Keepalive),
        Just(Step::GiveUpIdle),
    ]
}

/// The server, the way to the hub and the hub, as ends of transactions.
#[derive(Default)]
struct Model {
    head: u64,
    open: Option<u64>,
    waiting: Vec<u64>,
    log: Vec<u64>,
    /// Up to where the hub has heard that nothing is pending.
    idle: u64,
}

impl Model {
    fn step(&mut self, progress: &mut Progress, step: Step) {
        match step {
            Step::Elsewhere(bytes) if self.open.is_none() => self.head += bytes,
            Step::Begin(bytes) if self.open.is_none() => {
                self.head += bytes;
                self.open = Some(self.head);
                progress.received(lsn(self.head - 1));
            }
            Step::Commit => self.waiting.extend(self.open.take()),
            Step::Apply if !self.waiting.is_empty() => {
                let end = self.waiting.remove(0);
                self.log.push(end);
                progress.applied(lsn(end));
            }
            Step::GiveUp(share) if !self.log.is_empty() => {
                let given_up: Vec<u64> = self.log.drain(..=share.index(self.log.len())).collect();
                progress.acknowledgeable(lsn(given_up[given_up.len() - 1]));
            }
            Step::Keepalive => {
                // Mid-transaction the server reports what it had sent before.
                let wal_end = self.open.map_or(self.head, |end| end - 1);
                let pending = self.open.is_some() || !self.waiting.is_empty();
                progress.keepalive(lsn(wal_end), false);
                if !pending {
                    progress.applied(lsn(wal_end));
                    self.idle = self.idle.max(wal_end);
                }
            }
            Step::GiveUpIdle if self.log.is_empty() => progress.acknowledgeable(lsn(self.idle)),
            Step::Elsewhere(_) | Step::Begin(_) | Step::Apply | Step::GiveUp(_) | Step::GiveUpIdle => {}
        }
    }

    /// The first transaction that must be sent again after a crash.
    fn oldest_kept(&self) -> Option<u64> {
        self.log.iter().chain(&self.waiting).chain(&self.open).copied().min()
    }
}

proptest! {
    /// Whatever the callers do: only what was applied moves the flush position.
    #[test]
    fn flush_has_a_reason_and_never_goes_back(
        start in 0..500_u64, events in prop::collection::vec(any_event(), 0..40),
    ) {
        let mut progress = Progress::new(lsn(start), INTERVAL);
        let (mut reason, mut last) = (start, start);
        for event in events {
            match event {
                Event::Received(position) => progress.received(lsn(position)),
                Event::Applied(end) => {
                    reason = reason.max(end);
                    progress.applied(lsn(end));
                }
                Event::Acknowledgeable(position) => progress.acknowledgeable(lsn(position)),
                Event::Keepalive(wal_end) => progress.keepalive(lsn(wal_end), false),
            }
            let status = progress.status(Duration::ZERO);
            prop_assert!(last <= status.flush.as_u64() && status.flush.as_u64() <= reason);
            prop_assert!(status.flush <= status.apply && status.apply <= status.write);
            last = status.flush.as_u64();
        }
    }

    /// In any course of events, what the hub has not given up would be sent again.
    #[test]
    fn flush_stays_before_what_is_kept(steps in prop::collection::vec(a_step(), 0..60)) {
        let mut progress = Progress::new(Lsn::ZERO, INTERVAL);
        let mut model = Model::default();
        for step in steps {
            model.step(&mut progress, step);
            let flush = flush(&mut progress);
            prop_assert!(model.oldest_kept().is_none_or(|end| flush < end), "{flush}");
        }
        // … and once nothing is kept, everything is acknowledged.
        for step in [Step::Commit].into_iter().chain(std::iter::repeat_n(Step::Apply, model.waiting.len() + 1)) {
            model.step(&mut progress, step);
        }
        if !model.log.is_empty() {
            progress.acknowledgeable(lsn(model.log[model.log.len() - 1]));
            model.log.clear();
        }
        model.step(&mut progress, Step::Keepalive);
        model.step(&mut progress, Step::GiveUpIdle);
        prop_assert_eq!(flush(&mut progress), model.head);
    }
}
