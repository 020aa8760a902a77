//! What a change costs where each subscriber of one topic has a rule of its own: `cargo bench --bench filters`.
//!
//! One route, `where = "owner_id = claims.sub"`, and as many subscribers as the table says, each with another `sub`. A
//! change is an update that one of them may see, in a transaction of its own; every hundredth moves a row from one
//! owner to another. In this process and on one thread: the hub's state machine, which routes, logs, finds whom the
//! change concerns, evaluates and encodes, and then the frame that goes to the subscriber's socket. Without Postgres,
//! without sockets. Each delivery is checked to be the right subscriber's, outside of what is measured: that is time on
//! the processor, where the system tells it, so that a machine that does other things, too, measures the same.
//!
//! The promise is at least 20,000 changes a second at 10,000 subscribers, and a cost of one change that is flat, within
//! a factor of 1.5, from 100 to 100,000. And where no index finds a rule (`title like claims.prefix`), so that each of
//! 1,000 is asked of every change, at least 5,000 changes a second.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use walcast::change::json::Int8Format;
use walcast::change::{
    Change, Column, FeedEvent, FeedSystem, Lsn, OldRow, Operation, PgTimestamp, Relation, RelationId, ReplicaIdentity,
    Row, TransactionHeader, TransactionPart, TypeCatalogue,
};
use walcast::hub::{
    Command, ConnectionKey, Hub, HubLimits, JoinToken, LogLimits, ShapeId, ShardId, Subscribe, ToShard,
};
use walcast::routing::{Claims, Expression, Ops, RouteSpec, RouteTable, TablePattern, Template};

/// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SUBSCRIBERS: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// Of the rules that no index finds.
const UNINDEXED: usize = 1_000;
/// An odd number has a middle.
const PASSES: usize = 7;
const CHANGES_A_PASS: usize = 20_000;
/// So many changes are made before they are fed: as few as one read of a socket may bring.
const CHANGES_A_BLOCK: usize = 200;
/// One in so many changes takes a row from one owner and gives it to another.
const MOVE_EVERY: usize = 100;
const SHARD: ShardId = ShardId(0);

fn main() {
    println!("{CHANGES_A_PASS} changes a pass, median of {PASSES} passes; each in a transaction of its own");
    println!("{:>24}  {:>12}  {:>10}  {:>10}", "subscribers", "changes/s", "µs/change", "ms to join");
    let mut costs = Vec::new();
    for count in SUBSCRIBERS {
        costs.push(measure(count, "owner_id = claims.sub", CHANGES_A_PASS));
    }
    let (least, most) = (costs.iter().copied().fold(f64::MAX, f64::min), costs.iter().copied().fold(0.0, f64::max));
    println!("the dearest costs {:.2} times the cheapest", most / least);
    println!("and where each rule is asked of every change:");
    measure(UNINDEXED, "owner_id::text like claims.sub", CHANGES_A_PASS / 10);
}

/// Seconds for a change.
fn measure(subscribers: usize, rule: &str, changes: usize) -> f64 {
    let (mut bench, joining) = Bench::new(subscribers, rule);
    bench.pass(changes);
    let mut passes: Vec<Duration> = (0..PASSES).map(|_| bench.pass(changes)).collect();
    passes.sort_unstable();
    let cost = passes[PASSES / 2].as_secs_f64() / changes as f64;
    println!("{subscribers:>24}  {:>12.0}  {:>10.2}  {:>10}", 1.0 / cost, cost * 1e6, joining.as_millis());
    cost
}

struct Bench {
    hub: Hub,
    relation: Arc<Relation>,
    /// By subscriber.
    shapes: Vec<ShapeId>,
    lsn: u64,
    changes: usize,
}

impl Bench {
    /// With so many subscribers, and how long it took until all had joined.
    fn new(subscribers: usize, rule: &str) -> (Self, Duration) {
        let log = LogLimits { window: Duration::from_secs(600), memory: 64 << 20, wal: 1 << 40 };
        let limits = HubLimits { log, value: 1 << 20, read: 1 << 16 };
        let mut bench = Self {
            hub: Hub::new(routes(rule), 1, limits),
            relation: documents(),
            shapes: Vec::with_capacity(subscribers),
            lsn: 1_000,
            changes: 0,
        };
        let (at, relations) = (Lsn::new(bench.lsn), vec![Arc::clone(&bench.relation)]);
        let system = FeedSystem { system_id: 1, timeline: 1 };
        let connected =
            FeedEvent::Connected { system, ancestry: Vec::new(), start: at, flush: at, relations, doubt: None };
        bench.hub.feed(connected, Duration::ZERO);
        let start = Instant::now();
        (0..subscribers).for_each(|number| bench.join(number));
        (bench, start.elapsed())
    }

    fn join(&mut self, number: usize) {
        let claims = Claims::new([("sub".to_owned(), owner(number).into())].into_iter().collect());
        let request = Subscribe { topic: "documents".to_owned(), claims, ..Subscribe::default() };
        let connection = ConnectionKey { slot: number, generation: 0 };
        let join = JoinToken { connection, join: 0 };
        self.hub.command(Command::Subscribe { shard: SHARD, join, request: Box::new(request) });
        match told(&mut self.hub).pop() {
            Some(ToShard::Subscribed { subscribed, .. }) => self.shapes.push(subscribed.shape),
            other => panic!("{other:?}"),
        }
    }

    /// How long it takes until every change of a pass is framed for whoever may see it.
    fn pass(&mut self, changes: usize) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..changes / CHANGES_A_BLOCK {
            let (owners, events): (Vec<Vec<usize>>, Vec<FeedEvent>) =
                (0..CHANGES_A_BLOCK).map(|_| self.change()).collect();
            let mut reached = Vec::with_capacity(2 * CHANGES_A_BLOCK);
            let start = processor_time();
            for (place, event) in events.into_iter().enumerate() {
                self.hub.feed(event, Duration::ZERO);
                for message in told(&mut self.hub) {
                    let ToShard::Publish(publication) = message else { panic!("{message:?}") };
                    let frame = publication.encoded(0, |it| frame(&it.payload));
                    reached.push((place, publication.shape, frame.len()));
                }
            }
            took += processor_time().saturating_sub(start);
            let owned = owners.iter().enumerate().flat_map(|(place, owners)| {
                let mut shapes: Vec<ShapeId> = owners.iter().map(|owner| self.shapes[*owner]).collect();
                shapes.sort_unstable();
                shapes.into_iter().map(move |shape| (place, shape))
            });
            assert!(owned.eq(reached.iter().map(|(place, shape, _)| (*place, *shape))));
            assert!(reached.iter().all(|(.., length)| *length > 100));
        }
        took
    }

    /// A change, and the subscribers that are to be told of it.
    fn change(&mut self) -> (Vec<usize>, FeedEvent) {
        self.lsn += 100;
        self.changes += 1;
        // Far apart from one another, so that no cache is of more help than it is in life.
        let owned_by = |change: usize| change.wrapping_mul(2_654_435_761) % self.shapes.len();
        let new = owned_by(self.changes);
        let old = if self.changes.is_multiple_of(MOVE_EVERY) { owned_by(self.changes + 1) } else { new };
        let operation = Operation::Update { old: Some(OldRow::Full(row(old, "before"))), new: row(new, "after") };
        let change = Change { relation: Arc::clone(&self.relation), operation, ordinal: 1 };
        let header = TransactionHeader {
            xid: u32::try_from(self.changes).unwrap(),
            commit_lsn: Lsn::new(self.lsn),
            commit_timestamp: PgTimestamp::from_micros(0),
        };
        let end_lsn = Some(Lsn::new(self.lsn + 50));
        let part = TransactionPart { header, changes: vec![change], announcements: Vec::new(), first: true, end_lsn };
        let owners = if old == new { vec![new] } else { vec![old, new] };
        (owners, FeedEvent::Part(part))
    }
}

/// What this process has had of the processor, and of the clock where the system doesn't tell.
fn processor_time() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

fn told(hub: &mut Hub) -> Vec<ToShard> {
    hub.take_outgoing().flat_map(|(_, messages)| messages).collect()
}

/// What a shard makes of a payload: an envelope around it, and a header before that.
fn frame(payload: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 128);
    frame.put_slice(&[0x81, 126]);
    frame.put_slice(br#"[null,null,"documents","new_updates","#);
    frame.put_slice(payload);
    frame.put_slice(b"]");
    frame.freeze()
}

fn routes(rule: &str) -> Arc<RouteTable> {
    let route = RouteSpec {
        table: TablePattern::parse("public.documents").unwrap(),
        topic: Template::parse("documents").unwrap(),
        columns: None,
        ops: Ops::ALL,
        event: "new_updates".into(),
        int8: Int8Format::Number,
        filter: Some(Expression::parse(rule).unwrap()),
        allow: Some(Expression::parse("claims.sub is not null").unwrap()),
    };
    Arc::new(RouteTable::new(vec![route]).unwrap())
}

fn documents() -> Arc<Relation> {
    let types = TypeCatalogue::builtin();
    let column = |name: &str, oid| Column { name: name.into(), identity: true, ty: types.get(oid).unwrap() };
    Arc::new(Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: "documents".into(),
        replica_identity: ReplicaIdentity::Full,
        columns: vec![column("id", 20), column("owner_id", 2950), column("title", 25), column("updated_at", 1184)],
    })
}

/// A subscriber's `sub`.
fn owner(number: usize) -> String {
    format!("a0eebc99-9c0b-4ef8-bb6d-{number:012x}")
}

fn row(owned_by: usize, title: &str) -> Row {
    let title = format!("{title}: a document of some sixty characters, like most of them");
    let values = [owned_by.to_string(), owner(owned_by), title, "2026-11-22 03:40:00.123456+00".to_owned()];
    Row::from_text(values.iter().map(|value| Some(value.as_str()))).unwrap()
}
