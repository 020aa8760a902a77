//! Ids of transactions, and which of them are seen: Postgres' array of processes, in short.

use std::collections::BTreeMap;

use fastrand::Rng;
use walcast::change::Visibility;

use crate::table::Row;

/// Transactions that have an id and have not committed, at most.
const IN_PROGRESS_MAX: usize = 4;

/// What a transaction has done, for as long as not everybody sees it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) xid: u64,
    pub(crate) commit_lsn: u64,
    /// Rows as they were before it, by table and key. Nobody else changes them meanwhile.
    before: BTreeMap<(usize, String), Option<Row>>,
    /// Tables that it has emptied, which nobody else touches meanwhile.
    truncated: Vec<usize>,
}

impl Effects {
    /// It is about to change a row.
    pub(crate) fn change(&mut self, table: usize, key: &str, before: Option<&Row>) {
        self.before.entry((table, key.to_owned())).or_insert_with(|| before.cloned());
    }

    pub(crate) fn truncate(&mut self, table: usize) {
        self.truncated.push(table);
    }

    fn touches(&self, table: usize) -> bool {
        self.truncated.contains(&table) || self.before.keys().any(|(changed, _)| *changed == table)
    }

    /// Takes it out of rows that have it.
    fn undo(&self, rows: &mut [BTreeMap<String, Row>]) {
        for ((table, key), before) in &self.before {
            match before {
                Some(row) => drop(rows[*table].insert(key.clone(), row.clone())),
                None => drop(rows[*table].remove(key)),
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Transactions {
    next: u64,
    /// No snapshot knows this id or a later one: the newest that is seen, and one.
    xmax: u64,
    /// They have an id, and may yet commit.
    in_progress: Vec<u64>,
    /// Committed, and not seen yet: a standby has not confirmed them, say.
    invisible: Vec<Effects>,
}

impl Transactions {
    pub(crate) fn new(random: &mut Rng) -> Self {
        // Now and then just before the 32 bits are full that the log has of an id.
        let next = (3 << 32) + if random.bool() { u64::from(random.u32(..)) } else { (1 << 32) - random.u64(1..200) };
        Self { next, xmax: next, in_progress: Vec::new(), invisible: Vec::new() }
    }

    /// A transaction gets an id, long before it commits; some that got one never do.
    pub(crate) fn begin(&mut self, random: &mut Rng) {
        if self.in_progress.len() >= IN_PROGRESS_MAX {
            self.in_progress.swap_remove(random.usize(..IN_PROGRESS_MAX));
        }
        self.next += random.u64(1..5);
        self.in_progress.push(self.next - 1);
    }

    /// The id of the next that commits.
    pub(crate) fn take(&mut self, random: &mut Rng) -> u64 {
        if self.in_progress.is_empty() || random.bool() {
            self.next += random.u64(1..5);
            return self.next - 1;
        }
        self.in_progress.swap_remove(random.usize(..self.in_progress.len()))
    }

    /// That of a transaction which is rolled back at once.
    pub(crate) fn newest_id(&mut self) -> u64 {
        self.next += 1;
        self.xmax = self.xmax.max(self.next);
        self.next - 1
    }

    pub(crate) fn abort_one(&mut self) {
        self.in_progress.pop();
    }

    /// It has committed, and is seen now or later.
    pub(crate) fn commit(&mut self, effects: Effects, visible: bool) {
        self.invisible.push(effects);
        if visible {
            self.show(self.invisible.len() - 1);
        }
    }

    /// One of those that were not seen is.
    pub(crate) fn show_one(&mut self, random: &mut Rng) {
        if !self.invisible.is_empty() {
            self.show(random.usize(..self.invisible.len()));
        }
    }

    /// Those that committed before this are seen.
    pub(crate) fn show_until(&mut self, lsn: u64) {
        while let Some(index) = self.invisible.iter().position(|effects| effects.commit_lsn < lsn) {
            self.show(index);
        }
    }

    fn show(&mut self, index: usize) {
        let shown = self.invisible.swap_remove(index);
        self.xmax = self.xmax.max(shown.xid + 1);
    }

    /// After a crash, with the last id that the log has: later ones are given again.
    pub(crate) fn recover(&mut self, last: Option<u64>, random: &mut Rng) {
        let known = last.map_or(self.next, |last| last + 1);
        self.next = random.u64(known..=self.next.max(known));
        self.xmax = self.next;
        self.in_progress.clear();
        self.invisible.clear();
    }

    /// Some other transaction has the row, or the table.
    pub(crate) fn locks(&self, table: usize, key: &str) -> bool {
        let has = |effects: &Effects| {
            effects.truncated.contains(&table) || effects.before.contains_key(&(table, key.to_owned()))
        };
        self.invisible.iter().any(has)
    }

    pub(crate) fn touches(&self, table: usize) -> bool {
        self.invisible.iter().any(|effects| effects.touches(table))
    }

    pub(crate) fn truncates(&self, table: usize) -> bool {
        self.invisible.iter().any(|effects| effects.truncated.contains(&table))
    }

    /// What a snapshot that is taken now sees.
    pub(crate) fn visibility(&self) -> Visibility {
        let invisible = self.invisible.iter().map(|effects| effects.xid);
        Visibility::new(self.xmax, self.in_progress.iter().copied().chain(invisible))
    }

    /// The rows of such a snapshot.
    pub(crate) fn visible(&self, rows: &[BTreeMap<String, Row>]) -> Vec<BTreeMap<String, Row>> {
        let mut rows = rows.to_vec();
        self.invisible.iter().for_each(|effects| effects.undo(&mut rows));
        rows
    }
}
