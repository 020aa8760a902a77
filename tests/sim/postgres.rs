//! A model of Postgres: tables, a write-ahead log of committed transactions, one slot, and what a snapshot sees.
//!
//! A transaction's changes happen when it commits. Its id may be much older than that, and it may become visible to
//! snapshots much later, when others that committed after it are seen already: until then it keeps its locks.

use std::collections::BTreeMap;
use std::rc::Rc;

use fastrand::Rng;
use walcast::change::{Ancestor, FeedSystem, Lsn, Visibility};
use walcast::replication::wire::SystemIdentity;

use crate::table::{Change, Column, Identity, Old, Row, TEXT, Table, Value};
use crate::transactions::{Effects, Transactions};

/// A committed transaction.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    /// No other has it, not even one that has its ids on another timeline.
    number: u64,
    pub(crate) xid: u64,
    pub(crate) commit_lsn: u64,
    pub(crate) end_lsn: u64,
    pub(crate) changes: Vec<Change>,
}

/// One change of one table, where the feed has it.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Commit LSN and ordinal.
    pub(crate) at: (u64, u64),
    pub(crate) change: Rc<Change>,
    /// Its place in a truncate of several.
    table: usize,
    pub(crate) xid: u32,
    /// The transaction's, even where another one has its LSN and its id on another timeline.
    pub(crate) transaction: u64,
}

/// What the write-ahead log has of an id.
pub(crate) const fn low(xid: u64) -> u32 {
    (xid & 0xFFFF_FFFF) as u32
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) confirmed_flush: u64,
}

impl Item {
    pub(crate) fn table(&self) -> &Table {
        &self.change.tables()[self.table]
    }
}

/// How many items are at or before a position.
pub(crate) fn items_until(items: &[Item], at: (u64, u64)) -> usize {
    items.partition_point(|item| item.at <= at)
}

/// Records begin at multiples of this.
pub(crate) const RECORD: u64 = 8;

/// A primary key's text, and the row.
type Rows = BTreeMap<String, Row>;

/// What a snapshot of the database holds.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) tables: Vec<Table>,
    pub(crate) rows: Vec<Rows>,
    pub(crate) visibility: Visibility,
}

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
    transactions: Transactions,
    /// Its tables have not always fitted their routes.
    pub(crate) was_weak: bool,
    /// No change has come since they were altered.
    owes_description: bool,
    /// What the transaction that is committing has done.
    current: Effects,
    /// How many are reading each table.
    readers: Vec<usize>,
    /// How many transactions there were.
    committed: u64,
    /// How many there were.
    timelines: u32,
    /// By timeline, in the order of commits: what a timeline abandoned was sent all the same.
    items: BTreeMap<u32, Vec<Item>>,
    /// Tables and rows after each transaction of the log.
    past: Vec<(Vec<Table>, Vec<Rows>)>,
}

impl Postgres {
    pub(crate) fn new(random: &mut Rng) -> Self {
        let lsn = random.u64(1..1000) * RECORD;
        let tables = Table::all();
        Self {
            system: FeedSystem { system_id: 7, timeline: 1 },
            ancestry: Vec::new(),
            lsn,
            log: Vec::new(),
            slot: Some(Slot { confirmed_flush: lsn }),
            rows: vec![Rows::new(); tables.len()],
            readers: vec![0; tables.len()],
            tables,
            transactions: Transactions::new(random),
            was_weak: false,
            owes_description: false,
            current: Effects::default(),
            committed: 0,
            items: BTreeMap::from([(1, Vec::new())]),
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
        // Now and then more than the slot holds back for what nobody sees.
        self.lsn += if random.u8(0..16) == 0 { 17 << 20 } else { random.u64(1..500) * RECORD };
    }

    /// Commits a random transaction of up to so many changes; its position.
    pub(crate) fn commit(&mut self, most: usize, random: &mut Rng) -> u64 {
        self.current = Effects::default();
        self.current.xid = self.transactions.take(random);
        let mut changes = Vec::new();
        for _ in 0..random.usize(0..=most) {
            changes.extend(self.change(random));
            self.lsn += random.u64(1..20) * RECORD;
        }
        let commit_lsn = self.lsn;
        self.lsn += random.u64(1..30) * RECORD;
        let mut effects = std::mem::take(&mut self.current);
        effects.commit_lsn = commit_lsn;
        self.committed += 1;
        let (number, xid) = (self.committed, effects.xid);
        let transaction = Transaction { number, xid, commit_lsn, end_lsn: self.lsn, changes };
        self.transactions.commit(effects, random.u8(0..4) > 0);
        self.record(&transaction);
        self.log.push(transaction);
        self.past.push((self.tables.clone(), self.rows.clone()));
        commit_lsn
    }

    /// A transaction gets its id; it may commit later.
    pub(crate) fn begin(&mut self, random: &mut Rng) {
        self.transactions.begin(random);
    }

    /// A transaction that committed is seen at last.
    pub(crate) fn show_one(&mut self, random: &mut Rng) {
        self.transactions.show_one(random);
    }

    /// All are seen that committed before this.
    pub(crate) fn show_until(&mut self, lsn: u64) {
        self.transactions.show_until(lsn);
    }

    fn record(&mut self, transaction: &Transaction) {
        let mut ordinal = 1;
        let items = self.items.entry(self.system.timeline).or_default();
        for change in &transaction.changes {
            let shared = Rc::new(change.clone());
            self.owes_description &= change.tables().iter().all(|table| table.name != "orders");
            for table in 0..change.tables().len() {
                let (at, xid) = ((transaction.commit_lsn, ordinal), low(transaction.xid));
                items.push(Item { at, change: Rc::clone(&shared), table, xid, transaction: transaction.number });
                ordinal += 1;
            }
        }
    }

    fn change(&mut self, random: &mut Rng) -> Option<Change> {
        if random.u8(..) < 6 {
            return self.truncate(random);
        }
        let index = random.usize(..self.tables.len());
        let key = self.random_key(index, random);
        if self.transactions.locks(index, &key) {
            return None;
        }
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
        self.current.change(index, &key, None);
        self.rows[index].insert(key, new.clone());
        Change::Insert { table: self.tables[index].clone(), new }
    }

    fn delete(&mut self, index: usize, key: &str) -> Change {
        let table = self.tables[index].clone();
        let row = self.rows[index].remove(key).unwrap();
        self.current.change(index, key, Some(&row));
        let old = old(&table, row);
        Change::Delete { table, old }
    }

    fn update(&mut self, index: usize, key: &str, random: &mut Rng) -> Option<Change> {
        let table = self.tables[index].clone();
        let new_key = if random.u8(0..4) == 0 { self.random_key(index, random) } else { key.to_owned() };
        let is_free = |key: &str| !self.rows[index].contains_key(key) && !self.transactions.locks(index, key);
        if new_key != key && !is_free(&new_key) {
            return None;
        }
        let before = self.rows[index].remove(key).unwrap();
        self.current.change(index, key, Some(&before));
        self.current.change(index, &new_key, None);
        let mut after = self.random_row(index, &new_key, random);
        let mut sent = after.clone();
        // A value out of line that the update does not touch is not written again.
        if let Some(body) = table.column("body").filter(|body| random.bool() && before[*body] != Value::Null) {
            after[body] = before[body].clone();
            sent[body] = Value::Unchanged;
        }
        self.rows[index].insert(new_key.clone(), after.clone());
        let sends_old = table.identity == Identity::Full || new_key != key;
        let old = sends_old.then(|| old(&table, before));
        Some(Change::Update { table, old, new: sent, after })
    }

    fn truncate(&mut self, random: &mut Rng) -> Option<Change> {
        let chosen: Vec<usize> =
            (0..self.tables.len()).filter(|index| random.bool() && self.can_be_locked(*index)).collect();
        for index in &chosen {
            self.rows[*index].clear();
            self.current.truncate(*index);
        }
        let tables: Vec<Table> = chosen.iter().map(|index| self.tables[*index].clone()).collect();
        (!tables.is_empty()).then_some(Change::Truncate { tables })
    }

    /// Nobody reads the table or has changed it, without an end to that yet.
    fn can_be_locked(&self, table: usize) -> bool {
        self.readers[table] == 0 && !self.transactions.touches(table)
    }

    /// `alter table … add column`.
    pub(crate) fn add_column(&mut self, random: &mut Rng) {
        let index = random.usize(..self.tables.len());
        if !self.can_be_locked(index) {
            return;
        }
        let name = format!("added{}", self.tables[index].columns.len());
        self.tables[index].columns.push(Column { name, key: false, type_oid: TEXT });
        self.rows[index].values_mut().for_each(|row| row.push(Value::Null));
        self.lsn += RECORD;
    }

    /// All rows as they are.
    pub(crate) fn all_rows(&self) -> impl Iterator<Item = (&Table, &Row)> {
        self.tables.iter().zip(&self.rows).flat_map(|(table, rows)| rows.values().map(move |row| (table, row)))
    }

    /// `alter table orders replica identity default`, or back to `full`; whether it is so then.
    pub(crate) fn identify(&mut self, identity: Identity) -> bool {
        let orders = self.tables.iter().position(|table| table.name == "orders").unwrap();
        if self.tables[orders].identity != identity && self.can_be_locked(orders) {
            self.tables[orders].identity = identity;
            (self.was_weak, self.owes_description) = (true, true);
            self.lsn += RECORD;
        }
        self.tables[orders].identity == identity
    }

    /// A change has told of the tables as they are.
    pub(crate) const fn is_described(&self) -> bool {
        !self.owes_description
    }

    /// What a snapshot sees that is taken now.
    pub(crate) fn visibility(&self) -> Visibility {
        self.transactions.visibility()
    }

    /// An id that is newer than all others.
    pub(crate) fn newest_id(&mut self) -> u64 {
        self.transactions.newest_id()
    }

    /// A transaction that has an id comes to nothing.
    pub(crate) fn abort_one(&mut self) {
        self.transactions.abort_one();
    }

    /// Begins a transaction that reads these tables, which stay as they are until [`Postgres::stop_reading`]; none
    /// while one of them is locked.
    pub(crate) fn begin_reading(&mut self, tables: &[usize]) -> Option<Moment> {
        if tables.iter().any(|table| self.transactions.truncates(*table)) {
            return None;
        }
        tables.iter().for_each(|table| self.readers[*table] += 1);
        let rows = self.transactions.visible(&self.rows);
        Some(Moment { tables: self.tables.clone(), rows, visibility: self.transactions.visibility() })
    }

    pub(crate) fn stop_reading(&mut self, tables: &[usize]) {
        tables.iter().for_each(|table| self.readers[*table] = self.readers[*table].saturating_sub(1));
    }

    /// Whether everything that committed on that timeline before this is part of the present one.
    pub(crate) fn has(&self, timeline: u32, until: u64) -> bool {
        let mut ancestors = self.ancestry.iter();
        timeline == self.system.timeline
            || ancestors.any(|ancestor| ancestor.timeline == timeline && until <= ancestor.end.as_u64())
    }

    /// What happened on a timeline.
    pub(crate) fn items(&self, timeline: u32) -> &[Item] {
        self.items.get(&timeline).map_or(&[], Vec::as_slice)
    }

    /// A failover, or a restore, with so many of the last transactions abandoned; the slot has come along.
    pub(crate) fn fail_over(&mut self, abandoned: usize, random: &mut Rng) {
        let kept = self.log.len() - abandoned.min(self.log.len());
        let branch = match self.log.get(kept) {
            // In the abandoned transaction, before its commit.
            Some(first) => {
                let from = kept.checked_sub(1).map_or(RECORD, |last| self.log[last].end_lsn);
                random.u64(from / RECORD..=first.commit_lsn / RECORD) * RECORD
            }
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
        let items = self.items(before).iter().filter(|item| item.at.0 < branch).cloned().collect();
        self.items.insert(self.system.timeline, items);
        self.lsn = branch;
        let last = self.log.iter().map(|transaction| transaction.xid).max();
        self.transactions.recover(last.filter(|_| abandoned > 0), random);
        self.readers.fill(0);
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
