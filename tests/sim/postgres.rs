//! A model of Postgres: tables, a write-ahead log of committed transactions, one slot, and a walsender.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use serde_json::Value as Json;
use walcast::change::{Ancestor, FeedSystem, Lsn};
use walcast::replication::wire::SystemIdentity;

use crate::pgoutput;
use crate::table::{Change, Column, FEED, Identity, Old, Replica, Row, TEXT, TOPICS, Table, Value, apply};

/// A committed transaction.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) xid: u32,
    pub(crate) commit_lsn: u64,
    pub(crate) end_lsn: u64,
    pub(crate) changes: Vec<Change>,
}

/// What a topic is sent, one update at a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// Commit LSN and ordinal.
    pub(crate) at: (u64, u64),
    pub(crate) event: &'static str,
    pub(crate) json: Json,
    /// The transaction, even where another one has its LSN on another timeline.
    pub(crate) xid: u32,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) confirmed_flush: u64,
}

/// How many items are at or before a position.
pub(crate) fn items_until(items: &[Item], at: (u64, u64)) -> usize {
    items.partition_point(|item| item.at <= at)
}

/// A primary key's text, and the row.
type Rows = BTreeMap<String, Row>;

#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) system: FeedSystem,
    pub(crate) ancestry: Vec<Ancestor>,
    /// Where the next record begins: everything before it is flushed.
    pub(crate) lsn: u64,
    pub(crate) log: Vec<Transaction>,
    pub(crate) slot: Option<Slot>,
    pub(crate) tables: Vec<Table>,
    rows: Vec<Rows>,
    xid: u32,
    /// How many there were.
    timelines: u32,
    /// By timeline and topic, in the order of commits: what a timeline abandoned was sent all the same.
    items: BTreeMap<(u32, &'static str), Vec<Item>>,
    /// Tables and rows after each transaction of the log.
    past: Vec<(Vec<Table>, Vec<Rows>)>,
}

impl Postgres {
    pub(crate) fn new(random: &mut Rng) -> Self {
        let lsn = random.u64(1..1000);
        let tables = Table::all();
        Self {
            system: FeedSystem { system_id: 7, timeline: 1 },
            ancestry: Vec::new(),
            lsn,
            log: Vec::new(),
            slot: Some(Slot { confirmed_flush: lsn }),
            rows: vec![Rows::new(); tables.len()],
            tables,
            xid: random.u32(..),
            items: TOPICS.iter().map(|topic| ((1, *topic), Vec::new())).collect(),
            past: Vec::new(),
            timelines: 1,
        }
    }

    pub(crate) fn identity(&self) -> SystemIdentity {
        let FeedSystem { system_id, timeline } = self.system;
        SystemIdentity { system_id, timeline, flush: Lsn::new(self.lsn) }
    }

    /// WAL of what is not published.
    pub(crate) fn write_elsewhere(&mut self, random: &mut Rng) {
        self.lsn += random.u64(1..500);
    }

    /// Commits a random transaction of up to so many changes; its position.
    pub(crate) fn commit(&mut self, most: usize, random: &mut Rng) -> u64 {
        // The xid was assigned when the transaction began, which says nothing of when it commits.
        self.xid = self.xid.wrapping_add(random.u32(1..5));
        let count = random.usize(0..=most);
        let mut changes = Vec::new();
        for _ in 0..count {
            changes.extend(self.change(random));
            self.lsn += random.u64(1..20);
        }
        let commit_lsn = self.lsn;
        self.lsn += random.u64(1..30);
        let transaction = Transaction { xid: self.xid, commit_lsn, end_lsn: self.lsn, changes };
        self.record(&transaction);
        self.log.push(transaction);
        self.past.push((self.tables.clone(), self.rows.clone()));
        commit_lsn
    }

    fn record(&mut self, transaction: &Transaction) {
        let mut ordinal = 1;
        for change in &transaction.changes {
            for update in change.updates() {
                let at = (transaction.commit_lsn, ordinal + update.offset);
                let topic = TOPICS.iter().find(|topic| **topic == update.topic);
                let key = topic.map(|topic| (self.system.timeline, *topic));
                let Some(items) = key.and_then(|key| self.items.get_mut(&key)) else { continue };
                items.push(Item { at, event: update.event, json: update.json, xid: transaction.xid });
            }
            ordinal += change.ordinals();
        }
    }

    fn change(&mut self, random: &mut Rng) -> Option<Change> {
        if random.u8(..) < 6 {
            return Some(self.truncate(random));
        }
        let index = random.usize(..self.tables.len());
        let key = self.random_key(index, random);
        match (self.rows[index].contains_key(&key), random.u8(0..4)) {
            (false, _) => Some(self.insert(index, key, random)),
            (true, 0) => Some(self.delete(index, &key)),
            (true, _) => self.update(index, &key, random),
        }
    }

    fn random_key(&self, index: usize, random: &mut Rng) -> String {
        match self.tables[index].name {
            "tags" => ["a", "b", "c"][random.usize(..3)].to_owned(),
            _ => random.u8(0..8).to_string(),
        }
    }

    fn random_value(column: &Column, random: &mut Rng) -> Value {
        match (column.type_oid, column.name.as_str()) {
            (_, "owner") if random.u8(0..8) == 0 => Value::Null,
            (_, "owner") => Value::Text(random.u8(1..5).to_string()),
            (TEXT, _) => Value::Text("é\"\\".repeat(random.usize(0..30))),
            _ => Value::Text(random.i16(..).to_string()),
        }
    }

    fn random_row(&self, index: usize, key: &str, random: &mut Rng) -> Row {
        let columns = self.tables[index].columns.iter();
        let value = |column: &Column| match column.key {
            true => Value::Text(key.to_owned()),
            false => Self::random_value(column, random),
        };
        columns.map(value).collect()
    }

    fn insert(&mut self, index: usize, key: String, random: &mut Rng) -> Change {
        let new = self.random_row(index, &key, random);
        self.rows[index].insert(key, new.clone());
        Change::Insert { table: self.tables[index].clone(), new }
    }

    fn delete(&mut self, index: usize, key: &str) -> Change {
        let table = self.tables[index].clone();
        let row = self.rows[index].remove(key).unwrap();
        let old = old(&table, row);
        Change::Delete { table, old }
    }

    fn update(&mut self, index: usize, key: &str, random: &mut Rng) -> Option<Change> {
        let table = self.tables[index].clone();
        let new_key = if random.u8(0..4) == 0 { self.random_key(index, random) } else { key.to_owned() };
        if new_key != key && self.rows[index].contains_key(&new_key) {
            return None;
        }
        let before = self.rows[index].remove(key).unwrap();
        let mut after = self.random_row(index, &new_key, random);
        let mut sent = after.clone();
        // A value out of line that the update does not touch is not written again.
        if let Some(body) = table.column("body").filter(|body| random.bool() && before[*body] != Value::Null) {
            after[body] = before[body].clone();
            sent[body] = Value::Unchanged;
        }
        self.rows[index].insert(new_key.clone(), after);
        let sends_old = table.identity == Identity::Full || new_key != key;
        let old = sends_old.then(|| old(&table, before));
        Some(Change::Update { table, old, new: sent })
    }

    fn truncate(&mut self, random: &mut Rng) -> Change {
        let chosen: Vec<usize> = (0..self.tables.len()).filter(|_| random.bool()).collect();
        let chosen = if chosen.is_empty() { vec![0] } else { chosen };
        chosen.iter().for_each(|index| self.rows[*index].clear());
        Change::Truncate { tables: chosen.iter().map(|index| self.tables[*index].clone()).collect() }
    }

    /// `alter table … add column`.
    pub(crate) fn add_column(&mut self, random: &mut Rng) {
        let index = random.usize(..self.tables.len());
        let name = format!("added{}", self.tables[index].columns.len());
        self.tables[index].columns.push(Column { name, key: false, type_oid: TEXT });
        self.rows[index].values_mut().for_each(|row| row.push(Value::Null));
        self.lsn += 10;
    }

    /// The rows that belong to a topic, as a client has them; nulls are left out.
    pub(crate) fn rows_of(&self, topic: &str) -> Replica {
        let mut replica = Replica::new();
        for (table, rows) in self.tables.iter().zip(&self.rows) {
            for row in rows.values().filter(|row| topic == FEED || table.own_topic(row).as_deref() == Some(topic)) {
                let json = table.json(row);
                let key = json[table.columns[0].name.as_str()].to_string();
                let object = json.as_object().unwrap().clone();
                replica
                    .insert((table.name.to_owned(), key), object.into_iter().filter(|(_, it)| !it.is_null()).collect());
            }
        }
        replica
    }

    /// What a timeline sends on a topic.
    pub(crate) fn items(&self, timeline: u32, topic: &'static str) -> &[Item] {
        self.items.get(&(timeline, topic)).map_or(&[], Vec::as_slice)
    }

    /// The topic's rows after so many of its items.
    pub(crate) fn replica_at(items: &[Item]) -> Replica {
        let mut replica = Replica::new();
        items.iter().for_each(|item| apply(&mut replica, &item.json));
        replica
    }

    /// A failover, or a restore, with so many of the last transactions abandoned; the slot has come along.
    pub(crate) fn fail_over(&mut self, abandoned: usize, random: &mut Rng) {
        let kept = self.log.len() - abandoned.min(self.log.len());
        let branch = match self.log.get(kept) {
            // In the abandoned transaction, before its commit.
            Some(first) => random.u64(kept.checked_sub(1).map_or(1, |last| self.log[last].end_lsn)..=first.commit_lsn),
            None => self.lsn,
        };
        if kept < self.log.len() {
            let (tables, rows) = kept
                .checked_sub(1)
                .map_or_else(|| (Table::all(), vec![Rows::new(); self.tables.len()]), |last| self.past[last].clone());
            (self.tables, self.rows) = (tables, rows);
        }
        self.log.truncate(kept);
        self.past.truncate(kept);
        let before = self.system.timeline;
        // The branch may lie on an older timeline: what came after that is no ancestor.
        let end = Lsn::new(branch);
        let older = self.ancestry.iter().position(|ancestor| ancestor.end >= end && branch < self.lsn);
        let left = older.map_or(before, |index| self.ancestry[index].timeline);
        self.ancestry.truncate(older.unwrap_or(self.ancestry.len()));
        self.timelines += 1;
        self.system.timeline = self.timelines;
        self.ancestry.push(Ancestor { timeline: left, end });
        for topic in TOPICS {
            let items = self.items(before, topic).iter().filter(|item| item.at.0 < branch).cloned().collect();
            self.items.insert((self.system.timeline, topic), items);
        }
        self.lsn = branch;
        if let Some(slot) = &mut self.slot {
            slot.confirmed_flush = slot.confirmed_flush.min(branch);
        }
    }

    pub(crate) fn recreate_slot(&mut self) {
        self.slot = Some(Slot { confirmed_flush: self.lsn });
    }

    /// A status update's flush position.
    pub(crate) fn acknowledge(&mut self, flush: u64) {
        if let Some(slot) = &mut self.slot {
            slot.confirmed_flush = slot.confirmed_flush.max(flush);
        }
    }
}

fn old(table: &Table, row: Row) -> Old {
    if table.identity == Identity::Full {
        return Old::Full(row);
    }
    let key_only = |(column, value): (&Column, Value)| if column.key { value } else { Value::Null };
    Old::Key(table.columns.iter().zip(row).map(key_only).collect())
}

/// What a walsender sends.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    Data { wal_end: u64, data: Bytes },
    Keepalive { wal_end: u64, reply_requested: bool },
}

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
    described: BTreeMap<u32, usize>,
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
                HowFar::AsItHappens => random.u64(self.sent..=until),
                HowFar::All => until,
            };
        }
        Sent::Keepalive { wal_end: self.sent, reply_requested: random.u8(0..3) == 0 }
    }

    fn decode(&mut self, transaction: &Transaction) {
        let Transaction { xid, commit_lsn, end_lsn, changes } = transaction;
        let mut messages = vec![pgoutput::begin(*commit_lsn, *xid)];
        for change in changes {
            self.describe(change, &mut messages);
            messages.push(match change {
                Change::Insert { table, new } => pgoutput::insert(table.oid, new),
                Change::Update { table, old, new } => pgoutput::update(table.oid, old.as_ref(), new),
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
        let tables = match change {
            Change::Insert { table, .. } | Change::Update { table, .. } | Change::Delete { table, .. } => {
                std::slice::from_ref(table)
            }
            Change::Truncate { tables } => tables,
        };
        for table in tables {
            if self.described.insert(table.oid, table.columns.len()) != Some(table.columns.len()) {
                messages.push(pgoutput::relation(table));
            }
        }
    }
}
