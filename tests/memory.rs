//! What the replay log says that it takes of memory, against what it really takes: `replay.memory` is a promise to
//! whoever sizes the machine.
//!
//! In a binary of its own, with one test: every allocation of the process is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use walcast::change::{
    Change, Column, FeedEvent, FeedSystem, Lsn, OldRow, Operation, PgTimestamp, Relation, RelationId, ReplicaIdentity,
    Row, TransactionHeader, TransactionPart, TypeCatalogue,
};
use walcast::hub::{
    After, Command, ConnectionKey, Hub, HubLimits, JoinToken, LogLimits, Publication, ReadOutcome, ShardId, Subscribe,
    ToShard,
};
use walcast::routing::{Int8Format, Ops, RouteSpec, RouteTable, TablePattern, Template};

#[global_allocator]
static ALLOCATED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How far the log's own figure may be from the truth, in percent of the truth: too low would cost a machine its
/// memory, too high the clients their window.
const UNDER_MAX: usize = 10;
const OVER_MAX: usize = 25;
/// The room that a shard makes for what stands around a payload in its frame.
const ENVELOPE: usize = 330;

/// What a transaction is like.
#[derive(Debug, Clone, Copy)]
struct Load {
    name: &'static str,
    transactions: u64,
    changes: u64,
    note: usize,
    owners: u64,
    topic: &'static str,
}

const LOADS: [Load; 6] = [
    Load { name: "single small rows", transactions: 20_000, changes: 1, note: 10, owners: 1, topic: "all" },
    Load { name: "single large rows", transactions: 2_000, changes: 1, note: 8_000, owners: 1, topic: "all" },
    Load { name: "a few rows each", transactions: 5_000, changes: 5, note: 100, owners: 1, topic: "all" },
    Load { name: "large transactions", transactions: 20, changes: 5_000, note: 200, owners: 1, topic: "all" },
    Load {
        name: "a topic for each",
        transactions: 20_000,
        changes: 1,
        note: 50,
        owners: 20_000,
        topic: "owner:{owner}",
    },
    Load { name: "topics in common", transactions: 5_000, changes: 6, note: 50, owners: 4, topic: "owner:{owner}" },
];

fn allocated() -> usize {
    let stats = ALLOCATED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn relation() -> Arc<Relation> {
    let types = TypeCatalogue::builtin();
    let column = |name: &str, oid| Column { name: name.into(), identity: true, ty: types.get(oid).unwrap() };
    Arc::new(Relation {
        id: RelationId(16_384),
        schema: "public".into(),
        name: "accounts".into(),
        replica_identity: ReplicaIdentity::Full,
        columns: vec![column("id", 23), column("owner", 23), column("note", 25)],
    })
}

fn hub(topic: &str, relation: &Arc<Relation>, memory: usize) -> Hub {
    let route = RouteSpec {
        table: TablePattern::parse("public.accounts").unwrap(),
        topic: Template::parse(topic).unwrap(),
        columns: None,
        ops: Ops::ALL,
        event: "new_updates".into(),
        int8: Int8Format::Number,
        filter: None,
        allow: None,
    };
    let log = LogLimits { window: Duration::from_secs(3600), memory, wal: 1 << 50 };
    let limits = HubLimits { log, value: 1 << 20, read: 64 << 10 };
    let mut hub = Hub::new(Arc::new(RouteTable::new(vec![route]).unwrap()), 1, limits);
    let connected = FeedEvent::Connected {
        system: FeedSystem { system_id: 7, timeline: 1 },
        ancestry: Vec::new(),
        start: Lsn::new(1),
        flush: Lsn::new(1),
        relations: vec![Arc::clone(relation)],
        doubt: None,
    };
    hub.feed(connected, Duration::ZERO);
    hub
}

/// A transaction as replication hands it on: its rows are slices of a buffer that is much larger.
fn transaction(load: &Load, number: u64, relation: &Arc<Relation>) -> TransactionPart {
    let mut buffer = BytesMut::with_capacity(128 << 10);
    let mut row = |id: u64| {
        let (id, owner, note) = (id.to_string(), (number % load.owners).to_string(), "n".repeat(load.note));
        let row = Row::from_text([Some(id.as_str()), Some(&owner), Some(&note)]).unwrap();
        buffer.extend_from_slice(row.data());
        let data: Bytes = buffer.split().freeze();
        row.with_data(data)
    };
    let change = |ordinal| {
        let operation = match ordinal % 3 {
            1 => Operation::Insert { new: row(ordinal) },
            2 => Operation::Update { old: Some(OldRow::Full(row(ordinal))), new: row(ordinal) },
            _ => Operation::Delete { old: OldRow::Full(row(ordinal)) },
        };
        Change { relation: Arc::clone(relation), operation, ordinal }
    };
    TransactionPart {
        header: TransactionHeader {
            xid: u32::try_from(number).unwrap() + 3,
            commit_lsn: Lsn::new(number * 100 + 100),
            commit_timestamp: PgTimestamp::from_micros(0),
        },
        announcements: Vec::new(),
        first: true,
        changes: (1..=load.changes).map(change).collect(),
        end_lsn: Some(Lsn::new(number * 100 + 150)),
    }
}

/// Reads a topic from its beginning, as one who catches up, with its frames made as a shard makes them.
fn catch_up(hub: &mut Hub, topic: &str, cursor: &str) {
    let (shard, join) = (ShardId(0), JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: 0 });
    let request = Subscribe { topic: topic.to_owned(), cursor: Some(cursor.to_owned()), ..Subscribe::default() };
    hub.command(Command::Subscribe { shard, join, request: Box::new(request) });
    let (shape, mut after) = hub
        .take_outgoing()
        .flat_map(|(_, messages)| messages)
        .find_map(|message| match message {
            ToShard::Subscribed { subscribed, .. } => Some((subscribed.shape, subscribed.read_after)),
            _ => None,
        })
        .expect("a subscription");
    while let Some(place) = after.take() {
        hub.command(Command::Read { shard, join, shape, number: 0, after: place });
        for message in hub.take_outgoing().flat_map(|(_, messages)| messages) {
            let ToShard::Read { publications, outcome, .. } = message else { continue };
            publications.iter().for_each(|publication| make_frames(publication));
            after = next(outcome);
        }
    }
    hub.command(Command::Unsubscribe { shard, join, shape });
}

fn next(outcome: ReadOutcome) -> Option<After> {
    match outcome {
        ReadOutcome::More(after) => Some(after),
        _ => None,
    }
}

/// The last two are deflated: half of the others at most, or those others themselves.
fn make_frames(publication: &Publication) {
    for encoding in 0..walcast::hub::ENCODINGS {
        publication.encoded(encoding, |it| {
            let is_deflated = encoding >= walcast::hub::ENCODINGS - 2;
            let payload = if is_deflated { it.payload.slice(..it.payload.len() / 2) } else { it.payload.clone() };
            let mut frame = Vec::with_capacity(payload.len() + ENVELOPE);
            frame.extend_from_slice(&payload);
            frame.into()
        });
    }
}

/// A cursor of the feed's beginning.
fn origin(relation: &Arc<Relation>) -> String {
    let mut hub = hub("all", relation, 1 << 30);
    let (shard, join) = (ShardId(0), JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: 0 });
    let request = Subscribe { topic: "all".to_owned(), ..Subscribe::default() };
    hub.command(Command::Subscribe { shard, join, request: Box::new(request) });
    let subscribed = hub.take_outgoing().flat_map(|(_, messages)| messages).find_map(|message| match message {
        ToShard::Subscribed { subscribed, .. } => Some(subscribed),
        _ => None,
    });
    let subscribed = subscribed.expect("a subscription");
    hub.command(Command::Unsubscribe { shard, join, shape: subscribed.shape });
    subscribed.cursor.expect("a cursor")
}

/// A line for whoever runs it to see.
fn check(what: &str, says: usize, takes: usize) -> String {
    assert!(says * 100 >= takes * (100 - UNDER_MAX), "{what}: the log takes {takes} bytes and says {says}");
    assert!(says * 100 <= takes * (100 + OVER_MAX), "{what}: the log takes only {takes} bytes and says {says}");
    format!("{what}: says {says}, takes {takes}, {} %", says * 100 / takes)
}

#[test]
fn the_log_takes_as_much_memory_as_it_says() {
    let relation = relation();
    for load in LOADS {
        let before = allocated();
        let mut hub = hub(load.topic, &relation, 1 << 30);
        (0..load.transactions)
            .for_each(|number| hub.feed(FeedEvent::Part(transaction(&load, number, &relation)), Duration::ZERO));
        let line = check(load.name, hub.log_size(), allocated() - before);
        println!("{line}");
        if load.topic == "all" {
            let without = (hub.log_size(), allocated());
            catch_up(&mut hub, "all", &origin(&relation));
            let name = format!("{}, encoded", load.name);
            println!("{}", check(&name, hub.log_size() - without.0, allocated() - without.1));
        }
    }
}
