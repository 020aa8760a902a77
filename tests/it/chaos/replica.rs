//! What a client makes of what it is told, checked with every change: a change that was lost, repeated or out of order
//! does not fit the rows that are there.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_postgres::{Client, Error};
use walcast::change::Lsn;
use walcast::hub::Cursor;

/// Table and primary key.
pub(super) type Key = (String, i64, i64);

/// One topic as one client knows it.
#[derive(Debug, Default)]
pub(super) struct Replica {
    pub(super) rows: BTreeMap<Key, Value>,
    pub(super) cursor: Option<String>,
    /// Transactions that the rows have had from the beginning, where they were read from the database.
    visible: Option<Visible>,
    /// The part that has to come next: transaction and number.
    expected_part: Option<(u64, u64)>,
    /// The same of a snapshot's parts.
    snapshot_part: u64,
    /// It was just joined without a cursor, perhaps while a transaction's parts were coming in.
    pub(super) fresh: bool,
    pub(super) transactions: u64,
    pub(super) resyncs: u64,
    /// It has nothing, and there are rows: it begins with those.
    pub(super) afresh: bool,
    /// How many it has begun with, by either way.
    pub(super) beginnings: u64,
}

impl Replica {
    /// Takes a `new_updates` payload.
    pub(super) fn apply(&mut self, payload: &Value) -> Result<(), String> {
        if payload["snapshot"] == true {
            return self.begin(payload);
        }
        let xid = payload["xid"].as_u64().ok_or("no xid")?;
        self.check_order(payload, xid)?;
        let lsn = payload["cursor"].as_str().and_then(|text| text.parse::<Cursor>().ok()).map(|it| it.position.lsn);
        if !self.visible.as_ref().is_some_and(|visible| visible.contains(xid) && lsn < Some(visible.until)) {
            for update in payload["updates"].as_array().ok_or("no updates")? {
                self.update(update).map_err(|problem| format!("{problem}: {update}"))?;
            }
        }
        Ok(())
    }

    /// Takes a part of the gateway's snapshot; the last one has a cursor.
    fn begin(&mut self, payload: &Value) -> Result<(), String> {
        let part = payload["part"].as_u64().ok_or("no part")?;
        if part == 0 {
            self.forget();
        }
        if part != std::mem::replace(&mut self.snapshot_part, part + 1) {
            return Err(format!("part {part} of the snapshot"));
        }
        for update in payload["updates"].as_array().ok_or("no updates")? {
            let row = &update["record"];
            let key = key(update["table"].as_str().ok_or("no table")?, row)?;
            if update["op"] != "snapshot" || self.rows.insert(key, row.clone()).is_some() {
                return Err(format!("no row of a snapshot, or twice: {update}"));
            }
        }
        if payload["more"] != true {
            self.cursor = Some(payload["cursor"].as_str().ok_or("no cursor")?.to_owned());
            (self.afresh, self.fresh) = (false, false);
            self.beginnings += 1;
        }
        Ok(())
    }

    /// Keeps nothing but the counts.
    pub(super) fn forget(&mut self) {
        let Self { transactions, resyncs, beginnings, .. } = *self;
        *self = Self { transactions, resyncs, beginnings, afresh: true, ..Self::default() };
    }

    /// Cursors rise, and parts come one after another.
    fn check_order(&mut self, payload: &Value, xid: u64) -> Result<(), String> {
        let text = payload["cursor"].as_str().ok_or("no cursor")?;
        let cursor = |text: &str| text.parse::<Cursor>().map(|cursor| cursor.position).map_err(|it| it.to_string());
        if let Some(previous) = &self.cursor
            && cursor(previous)? >= cursor(text)?
        {
            return Err(format!("the cursor went from {:?} to {:?}", cursor(previous)?, cursor(text)?));
        }
        self.cursor = Some(text.to_owned());
        let part = payload["part"].as_u64().unwrap_or(0);
        let expects = part > 0 || self.expected_part.is_some();
        if !std::mem::take(&mut self.fresh) && expects && self.expected_part != Some((xid, part)) {
            return Err(format!("part {part} of {xid} instead of {:?}", self.expected_part));
        }
        let more = payload["more"] == true;
        self.expected_part = more.then_some((xid, part + 1));
        self.transactions += u64::from(!more);
        Ok(())
    }

    fn update(&mut self, update: &Value) -> Result<(), String> {
        let table = update["table"].as_str().ok_or("no table")?;
        if !update["unchanged"].is_null() || !update["omitted"].is_null() {
            return Err("a value is missing".to_owned());
        }
        let (new, old) = (&update["record"], &update["old_record"]);
        match update["op"].as_str() {
            Some("insert") => self.put(table, new),
            Some("update") => self.take(table, old).and_then(|()| self.put(table, new)),
            Some("delete") => self.take(table, old),
            Some("truncate") => {
                self.rows.retain(|(name, ..), _| name != table);
                Ok(())
            }
            _ => Err("an unknown op".to_owned()),
        }
    }

    fn put(&mut self, table: &str, row: &Value) -> Result<(), String> {
        let key = key(table, row)?;
        if let (true, before) = (table == "ledger", (key.0.clone(), key.1, key.2 - 1))
            && key.2 > 1
            && !self.rows.contains_key(&before)
        {
            return Err(format!("transaction {} of writer {} is missing", before.2, before.1));
        }
        match self.rows.insert(key, row.clone()) {
            None => Ok(()),
            Some(there) => Err(format!("the row is there already: {there}")),
        }
    }

    fn take(&mut self, table: &str, row: &Value) -> Result<(), String> {
        match self.rows.remove(&key(table, row)?) {
            Some(there) if there == *row => Ok(()),
            there => Err(format!("the row was {there:?}")),
        }
    }

    /// Begins afresh, as a client does that was told to: with the rows of the database.
    ///
    /// What was sent before it joined may not be seen yet: a commit is in the feed a moment before it is visible, and
    /// for longer on a busy machine. So everything that had an id when it joined has to have ended.
    pub(super) async fn rebuild(&mut self, topic: &str, client: &mut Client) -> Result<(), Error> {
        let newest: String = client.query_one("select pg_current_xact_id()::text", &[]).await?.get(0);
        let ended = format!("select pg_snapshot_xmin(pg_current_snapshot()) > '{newest}'::xid8");
        while !client.query_one(&ended, &[]).await?.get::<_, bool>(0) {
            tokio::time::sleep(crate::support::POLL).await;
        }
        let transaction = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        // Before the snapshot: a truncate that commits after it would leave a table empty that it sees full.
        transaction.batch_execute("lock table ledger, accounts in access share mode").await?;
        let text: String = transaction.query_one("select pg_current_snapshot()::text", &[]).await?.get(0);
        let until: String = transaction.query_one("select pg_current_wal_flush_lsn()::text", &[]).await?.get(0);
        let rows = transaction.query(&rows_query(topic), &[]).await?;
        transaction.commit().await?;
        self.rows = rows.iter().map(|row| parse_row(row.get(0), row.get(1))).collect();
        self.visible = Some(Visible::parse(&text, until.parse().unwrap()));
        self.expected_part = None;
        self.afresh = false;
        self.beginnings += 1;
        Ok(())
    }
}

/// What a topic's replica has to be.
pub(super) async fn oracle(topic: &str, client: &Client) -> BTreeMap<Key, Value> {
    let rows = client.query(&rows_query(topic), &[]).await.unwrap();
    rows.iter().map(|row| parse_row(row.get(0), row.get(1))).collect()
}

fn rows_query(topic: &str) -> String {
    match topic.strip_prefix("owner:") {
        Some(owner) => format!("select 'accounts', row_to_json(t)::text from accounts t where owner = {owner}"),
        None => "select 'ledger', row_to_json(t)::text from ledger t \
                 union all select 'accounts', row_to_json(t)::text from accounts t"
            .to_owned(),
    }
}

fn parse_row(table: &str, json: &str) -> (Key, Value) {
    let row = serde_json::from_str(json).unwrap();
    (key(table, &row).unwrap(), row)
}

fn key(table: &str, row: &Value) -> Result<Key, String> {
    let (first, second) = if table == "ledger" { ("writer", "seq") } else { ("id", "") };
    let first = row[first].as_i64().ok_or("no key")?;
    Ok((table.to_owned(), first, row[second].as_i64().unwrap_or(0)))
}

/// `pg_snapshot`: `xmin:xmax:xip,…`.
#[derive(Debug)]
struct Visible {
    end: u64,
    running: Vec<u64>,
    /// All of it has committed before this: after a crash ids are given again of which nothing was written.
    until: Lsn,
}

impl Visible {
    fn parse(text: &str, until: Lsn) -> Self {
        let mut fields = text.split(':').skip(1);
        let end = fields.next().unwrap().parse().unwrap();
        let running = fields.next().unwrap().split(',').filter_map(|xid| xid.parse().ok()).collect();
        Self { end, running, until }
    }

    fn contains(&self, xid: u64) -> bool {
        xid < self.end && !self.running.contains(&xid)
    }
}
