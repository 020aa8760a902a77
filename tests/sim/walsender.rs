//! A model of the walsender: a connection's view of the log, as messages.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;

use crate::pgoutput;
use crate::postgres::{Postgres, RECORD, Transaction, low};
use crate::table::{Change, Identity};
use crate::wire::Sent;

/// How far a walsender has read when it says how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HowFar {
    AsItHappens,
    All,
}

/// A walsender of one connection.
#[derive(Debug)]
pub(crate) struct Walsender {
    /// The next transaction's place in the log.
    next: usize,
    /// What is left of the transaction that is being sent.
    pending: VecDeque<Sent>,
    /// Everything that committed before this has been sent.
    sent: u64,
    /// Tables as this session has described them.
    described: BTreeMap<u32, (usize, Identity)>,
}

impl Walsender {
    /// `START_REPLICATION`: a start before the slot's position is moved there without a word.
    pub(crate) fn start(postgres: &Postgres, start: u64) -> Self {
        let start = start.max(postgres.slot.as_ref().unwrap().confirmed_flush);
        let next = postgres.log.partition_point(|transaction| transaction.commit_lsn < start);
        Self { next, pending: VecDeque::new(), sent: start, described: BTreeMap::new() }
    }

    /// The next message; `None` where all is sent.
    pub(crate) fn next(&mut self, postgres: &Postgres) -> Option<Sent> {
        if self.pending.is_empty()
            && let Some(transaction) = postgres.log.get(self.next)
        {
            self.next += 1;
            self.decode(transaction);
        }
        let sent = self.pending.pop_front()?;
        if let (Sent::Data { wal_end, .. }, true) = (&sent, self.pending.is_empty()) {
            self.sent = self.sent.max(*wal_end);
        }
        Some(sent)
    }

    /// In the middle of a transaction the walsender has read up to its commit record.
    pub(crate) fn keepalive(&mut self, postgres: &Postgres, how_far: HowFar, random: &mut Rng) -> Sent {
        let until = match (self.pending.is_empty(), postgres.log.get(self.next)) {
            (false, _) => self.sent,
            (true, Some(next)) => next.commit_lsn,
            (true, None) => postgres.lsn,
        };
        if until > self.sent {
            self.sent = match how_far {
                HowFar::AsItHappens => random.u64(self.sent.div_ceil(RECORD)..=until / RECORD) * RECORD,
                HowFar::All => until,
            };
        }
        Sent::Keepalive { wal_end: self.sent, reply_requested: random.u8(0..3) == 0 }
    }

    fn decode(&mut self, transaction: &Transaction) {
        let Transaction { xid, commit_lsn, end_lsn, changes, .. } = transaction;
        let mut messages = vec![pgoutput::begin(*commit_lsn, low(*xid))];
        for change in changes {
            self.describe(change, &mut messages);
            messages.push(match change {
                Change::Insert { table, new } => pgoutput::insert(table.oid, new),
                Change::Update { table, old, new, .. } => pgoutput::update(table.oid, old.as_ref(), new),
                Change::Delete { table, old } => pgoutput::delete(table.oid, old),
                Change::Truncate { tables } => {
                    pgoutput::truncate(&tables.iter().map(|table| table.oid).collect::<Vec<_>>())
                }
            });
        }
        let data = messages.into_iter().map(|data| Sent::Data { wal_end: *commit_lsn, data });
        self.pending.extend(data);
        self.pending.push_back(Sent::Data { wal_end: *end_lsn, data: pgoutput::commit(*commit_lsn, *end_lsn) });
    }

    /// A relation is described before its first change in a session, and when it was altered.
    fn describe(&mut self, change: &Change, messages: &mut Vec<Bytes>) {
        for table in change.tables() {
            let described = (table.columns.len(), table.identity);
            if self.described.insert(table.oid, described) != Some(described) {
                messages.push(pgoutput::relation(table));
            }
        }
    }
}
