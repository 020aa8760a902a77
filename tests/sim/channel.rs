//! A client's topic: its rows and its cursor, and what the model says of each message that comes.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use walcast::hub::{Cursor, Splice};

use crate::postgres::{Item, Postgres, items_until};
use crate::sight::{Shown, Sight};
use crate::table::{MINE, Replica, apply};
use crate::view::View;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Joining,
    Joined,
    Leaving,
    /// Its join was refused for good: until it, or the configuration, is another.
    Refused,
}

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) topic: &'static str,
    pub(crate) view: View,
    /// As it was joined, or is being joined.
    sight: Option<Sight>,
    /// It asks for a snapshot where its cursor can't be resumed; else the application reads the rows by other means.
    pub(crate) snapshot: bool,
    pub(crate) state: State,
    pub(crate) join_ref: u64,
    /// The `fetch_updates` that is not answered yet.
    fetch_ref: Option<u64>,
    /// The cursor that the join in work was sent with.
    asked: Option<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) rows: Replica,
    next: Next,
    /// How many items are behind it: sent, seen by its snapshot, or of no concern to it.
    pub(crate) seen: usize,
    /// The transaction of the last of them: on another timeline another one can have its place.
    last: Option<u64>,
    /// The snapshot that its rows began with.
    splice: Option<Arc<Splice>>,
    /// It has begun with rows that a failover has abandoned: it must not stay long.
    doomed: bool,
    pub(crate) counts: Counts,
}

/// What has happened to a channel.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) updates: u64,
    pub(crate) snapshots: u64,
    /// Times that it had to begin afresh.
    pub(crate) resyncs: u64,
    /// Of these, for a cursor from before what the slot still has, or from what was abandoned.
    pub(crate) given_up: u64,
}

/// What the next message must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Update(Part),
    /// A snapshot's part.
    Snapshot(u64),
}

/// The transaction and part that a message must have, where it can only be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Just joined in the middle of this transaction, perhaps.
    AnyOf(u64),
    FirstOfNext,
    NextOf(u64, u64),
}

pub(crate) type Checked<T = ()> = Result<T, String>;

impl Channel {
    pub(crate) fn new(topic: &'static str, view: View, snapshot: bool) -> Self {
        Self {
            topic,
            view,
            sight: None,
            snapshot,
            state: State::Closed,
            join_ref: 0,
            fetch_ref: None,
            asked: None,
            cursor: None,
            rows: Replica::new(),
            next: Next::Update(Part::FirstOfNext),
            seen: 0,
            last: None,
            splice: None,
            doomed: false,
            counts: Counts::default(),
        }
    }

    /// Join params.
    pub(crate) fn join(&mut self, join_ref: u64) -> Json {
        self.state = State::Joining;
        self.join_ref = join_ref;
        self.fetch_ref = None;
        self.asked.clone_from(&self.cursor);
        let mut params = json!({"cursor": self.cursor});
        if self.snapshot {
            params["snapshot"] = true.into();
        }
        self.view.ask(&mut params);
        params
    }

    /// Asks for the current rows, unless that has no answer yet; whether it does.
    pub(crate) fn fetch(&mut self, reference: u64) -> bool {
        let asks = self.state == State::Joined && self.fetch_ref.is_none();
        if asks {
            self.fetch_ref = Some(reference);
        }
        asks
    }

    /// `seat`: how the last join was taken that the gateway has heard of.
    pub(crate) fn reply(
        &mut self,
        reference: u64,
        payload: &Json,
        seat: Option<Sight>,
        postgres: &Postgres,
    ) -> Checked {
        if self.state == State::Joined && self.fetch_ref == Some(reference) {
            return self.fetching(payload);
        }
        let to_join = reference == self.join_ref;
        if self.state == State::Leaving && !to_join {
            self.state = State::Closed;
        }
        if self.state != State::Joining || !to_join {
            return Ok(());
        }
        let response = &payload["response"];
        if payload["status"] == "ok" {
            let seat = seat.ok_or("joined without having been asked")?;
            return self.accepted(response, seat, postgres);
        }
        self.state = State::Closed;
        match response["reason"].as_str() {
            Some("not_ready") => Ok(()),
            Some(reason @ ("unauthorized" | "unmatched topic" | "invalid_filter")) => {
                let admits = seat.is_some_and(|seat| seat.admits());
                // While its tables don't fit a topic's routes there is none.
                if admits && !(reason == "unmatched topic" && postgres.was_weak) {
                    return Err(format!("refused, as {reason}"));
                }
                self.state = State::Refused;
                self.forget();
                Ok(())
            }
            Some("resync_required") if self.snapshot => Err("a join that asks for a snapshot is refused".to_owned()),
            Some("resync_required") => self.resync(postgres),
            _ => Err("refused without a reason".to_owned()),
        }
    }

    fn fetching(&mut self, payload: &Json) -> Checked {
        if payload["status"] != "ok" {
            return Err("the current rows are refused".to_owned());
        }
        self.fetch_ref = None;
        if !matches!(self.next, Next::Snapshot(_)) {
            self.next = Next::Snapshot(0);
        }
        Ok(())
    }

    fn accepted(&mut self, response: &Json, seat: Sight, postgres: &Postgres) -> Checked {
        if !seat.admits() {
            return Err(format!("let in: {seat:?}"));
        }
        self.state = State::Joined;
        let before = self.sight.replace(seat);
        if response["cursor"].is_null() && self.snapshot && response["resumed"] == false {
            self.next = Next::Snapshot(0);
            return if self.asked.is_some() { self.resync(postgres) } else { Ok(()) };
        }
        let text = response["cursor"].as_str().ok_or("no cursor")?;
        let (timeline, at) = position(text)?;
        self.next = Next::Update(Part::AnyOf(at.0));
        let items = postgres.items(timeline);
        let seen = items_until(items, at);
        let last = transaction_before(items, seen);
        if let Some(asked) = &self.asked {
            if !before.is_some_and(|before| before.is_same(&seat)) {
                return Err(format!("resumed as {seat:?}, which was {before:?}"));
            }
            let resumed = response["resumed"] == true && asked == text && !self.doomed;
            return match resumed && (seen, last) == (self.seen, self.last) {
                true => Ok(()),
                false => Err(format!("resumed from {seen} with {last:?}, not from {} {:?}", self.seen, self.last)),
            };
        }
        if self.snapshot {
            return Err("begun without a cursor and without a snapshot".to_owned());
        }
        // The application reads the rows as of this cursor.
        (self.seen, self.last, self.splice) = (seen, last, None);
        self.rows = seat.rows_after(items[..seen].iter());
        self.cursor = Some(text.to_owned());
        Ok(())
    }

    pub(crate) fn error(&mut self, payload: &Json, postgres: &Postgres) -> Checked {
        if self.state == State::Joining {
            return Ok(()); // an older channel's, with the serializer that can't tell
        }
        self.state = State::Closed;
        let begins = matches!(self.next, Next::Snapshot(_));
        match payload["reason"].as_str() {
            // The rows came to nothing, or were read too slowly.
            Some("snapshot_failed" | "resync_required") if begins => {
                if self.cursor.is_none() {
                    self.forget();
                }
                Ok(())
            }
            Some("resync_required") => self.resync(postgres),
            Some("unauthorized") => {
                self.state = State::Refused;
                self.forget();
                Ok(())
            }
            _ => Err("an error without a reason".to_owned()),
        }
    }

    /// What it has can't be gone on with.
    fn resync(&mut self, postgres: &Postgres) -> Checked {
        self.counts.resyncs += 1;
        if let Some(cursor) = &self.cursor {
            let (timeline, at) = position(cursor)?;
            let until = self.splice.as_ref().map_or(at.0, |splice| at.0.max(splice.until.as_u64()));
            self.counts.given_up += u64::from(!postgres.has(timeline, until));
        }
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        (self.cursor, self.splice, self.doomed) = (None, None, false);
        self.rows = Replica::new();
    }

    /// Nobody asked for it: nothing gives the topic any longer.
    pub(crate) fn closed(&mut self) -> Checked {
        self.state = State::Closed;
        match self.topic {
            MINE => Ok(()),
            _ => Err("closed without being asked".to_owned()),
        }
    }

    /// What was refused may be let in by now.
    pub(crate) fn try_again(&mut self) {
        if self.state == State::Refused {
            self.state = State::Closed;
        }
    }

    fn sight(&self) -> Checked<Sight> {
        self.sight.ok_or_else(|| "nothing was joined".to_owned())
    }

    /// A quiet topic's cursor.
    pub(crate) fn moved_on(&mut self, payload: &Json, postgres: &Postgres) -> Checked {
        match self.next {
            Next::Update(_) => self.at_cursor(payload["cursor"].as_str().ok_or("no cursor")?, postgres),
            Next::Snapshot(_) => Err("a cursor before the rows are complete".to_owned()),
        }
    }

    /// A cursor stands for exactly what was sent with it and before.
    fn at_cursor(&mut self, cursor: &str, postgres: &Postgres) -> Checked {
        let (timeline, at) = position(cursor)?;
        if let Some(previous) = &self.cursor
            && position(previous)?.1 > at
        {
            return Err(format!("the cursor goes back to {at:?} of {timeline}"));
        }
        let items = postgres.items(timeline);
        let stands_for = items_until(items, at);
        let skipped = items.get(self.seen..stands_for).ok_or("the cursor stands for less than was sent")?;
        if let Some(missing) = skipped.iter().find(|item| !self.skips(item)) {
            return Err(format!("the cursor {at:?} stands for {missing:?}, which was not sent"));
        }
        self.seen = stands_for;
        self.last = transaction_before(items, stands_for);
        self.cursor = Some(cursor.to_owned());
        Ok(())
    }

    /// Its snapshot had this, or it is not shown it.
    fn skips(&self, item: &Item) -> bool {
        self.has_seen(item) || self.sight.is_some_and(|sight| sight.shown(item) == Shown::Nothing)
    }

    fn has_seen(&self, item: &Item) -> bool {
        self.splice.as_ref().is_some_and(|splice| sees(splice, item))
    }

    pub(crate) fn updates(&mut self, event: &str, payload: &Json, postgres: &Postgres) -> Checked {
        let sight = self.sight()?;
        if !payload["updates"].as_array().ok_or("no updates")?.iter().all(|update| sight.may_see(update)) {
            return Err(format!("a row that is not to be seen by {sight:?}"));
        }
        let is_snapshot = payload["snapshot"] == true;
        match self.next {
            Next::Snapshot(part) if is_snapshot && payload["part"] == part => {
                self.snapshot_part(part, event, payload, postgres)
            }
            Next::Snapshot(part) => Err(format!("not the snapshot's part {part}")),
            Next::Update(_) if is_snapshot => Err("a snapshot's part that is not its turn".to_owned()),
            Next::Update(_) if self.doomed => Ok(()),
            Next::Update(part) => self.transaction(part, event, payload, postgres),
        }
    }

    fn snapshot_part(&mut self, part: u64, channel_event: &str, payload: &Json, postgres: &Postgres) -> Checked {
        if part == 0 {
            self.forget();
        }
        for update in payload["updates"].as_array().ok_or("no updates")? {
            let table = postgres.tables.iter().find(|table| update["table"] == table.name).ok_or("no such table")?;
            if update["op"] != "snapshot" || channel_event != self.sight()?.event(table) {
                return Err("not a snapshot's row".to_owned());
            }
            apply(&mut self.rows, update);
        }
        if payload["more"] == true {
            self.next = Next::Snapshot(part + 1);
            return if payload.get("cursor").is_none() { Ok(()) } else { Err("a cursor that is early".to_owned()) };
        }
        self.next = Next::Update(Part::FirstOfNext);
        self.counts.snapshots += 1;
        self.begin_at(payload["cursor"].as_str().ok_or("no cursor")?, postgres)
    }

    /// The snapshot's rows are complete: they are what the transactions made that it sees.
    fn begin_at(&mut self, text: &str, postgres: &Postgres) -> Checked {
        let cursor: Cursor = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
        let (timeline, at) = position(text)?;
        let items = postgres.items(timeline);
        self.cursor = Some(text.to_owned());
        self.seen = items_until(items, at);
        self.last = transaction_before(items, self.seen);
        self.splice = cursor.splice;
        self.doomed = self.splice.as_ref().is_some_and(|splice| !postgres.has(timeline, splice.until.as_u64()));
        if self.doomed {
            return Ok(());
        }
        let is_in = |item: &Item| match &self.splice {
            Some(splice) => sees(splice, item),
            None => item.at <= at,
        };
        let sight = self.sight()?;
        let is_missing = |item: &&Item| !is_in(item) && sight.shown(item) != Shown::Nothing;
        if let Some(missing) = items[..self.seen].iter().find(is_missing) {
            return Err(format!("the snapshot's cursor stands for {missing:?}, which it does not see"));
        }
        let expected = sight.rows_after(items.iter().filter(|item| is_in(item)));
        let rows = without_nulls(self.rows.clone());
        if rows != expected {
            return Err(format!("the snapshot's rows are {rows:?} instead of {expected:?}"));
        }
        Ok(())
    }

    fn transaction(&mut self, part: Part, event: &str, payload: &Json, postgres: &Postgres) -> Checked {
        let cursor = payload["cursor"].as_str().ok_or("no cursor")?;
        let (timeline, (lsn, _)) = position(cursor)?;
        let sight = self.sight()?;
        self.next = Next::Update(next_part(part, sight.is_choosy(), lsn, payload)?);
        let items = postgres.items(timeline);
        if transaction_before(items, self.seen) != self.last {
            return Err(format!("timeline {timeline} goes on where other changes were sent"));
        }
        for update in payload["updates"].as_array().ok_or("no updates")? {
            let left = items.get(self.seen..).unwrap_or_default();
            let skipped = left.iter().take_while(|item| self.skips(item)).count();
            let item = left.get(skipped).ok_or("an update that nobody made")?;
            let fits = match sight.shown(item) {
                Shown::Update { event: expected, json } => json == *update && event == expected,
                Shown::Nothing | Shown::Hole => false,
            };
            if !fits || item.at.0 != lsn || payload["xid"] != item.xid {
                let expected = sight.shown(item);
                return Err(format!(
                    "update {} of {}, {item:?}, has to be {expected:?}",
                    self.seen + skipped,
                    self.topic
                ));
            }
            apply(&mut self.rows, update);
            self.counts.updates += 1;
            self.seen += skipped + 1;
        }
        self.at_cursor(cursor, postgres)
    }

    /// The first change that a resume from its cursor has to bring.
    pub(crate) fn owed<'p>(&self, postgres: &'p Postgres) -> Option<&'p Item> {
        let items = postgres.items(postgres.system.timeline);
        items.get(self.seen..)?.iter().find(|item| !self.skips(item))
    }

    /// At a quiet point: everything is there.
    pub(crate) fn is_complete(&self, now: &Sight, postgres: &Postgres) -> Checked {
        if self.state == State::Refused && !now.admits() {
            return Ok(());
        }
        let sight = self.sight()?;
        if !sight.is_same(now) || !now.admits() {
            return Err(format!("{} is seen as {sight:?} instead of {now:?}", self.topic));
        }
        let items = postgres.items(postgres.system.timeline);
        let left = items.get(self.seen..).ok_or("more was sent than there is")?;
        if self.state != State::Joined || self.doomed || !left.iter().all(|item| self.skips(item)) {
            let (topic, state, seen, all) = (self.topic, self.state, self.seen, items.len());
            return Err(format!("{topic} is {state:?} and has {seen} of {all} updates; doomed: {}", self.doomed));
        }
        if !matches!(self.next, Next::Update(Part::AnyOf(_) | Part::FirstOfNext)) {
            return Err(format!("{}: {:?} never came", self.topic, self.next));
        }
        if self.view.ops.is_some() {
            return Ok(()); // its rows are what it wanted to see, one by one
        }
        let (rows, expected) = (without_nulls(self.rows.clone()), sight.rows(postgres.all_rows()));
        if rows != expected {
            return Err(format!("{}: {rows:?} instead of {expected:?}", self.topic));
        }
        Ok(())
    }
}

/// `skips`: parts that would show nothing are not sent, and the others keep their numbers.
fn next_part(expected: Part, skips: bool, lsn: u64, payload: &Json) -> Checked<Part> {
    let (part, more) = (payload["part"].as_u64().unwrap_or(0), payload["more"] == true);
    let fits = match expected {
        Part::AnyOf(open) => part == 0 || skips || open == lsn,
        Part::FirstOfNext => part == 0 || skips,
        Part::NextOf(open, next) => open == lsn && (part == next || skips && part > next),
    };
    if !fits {
        return Err(format!("part {part} at {lsn}, after {expected:?}"));
    }
    Ok(if more { Part::NextOf(lsn, part + 1) } else { Part::FirstOfNext })
}

/// What the snapshot had: it sees the transaction, which is one that committed before it was taken.
fn sees(splice: &Splice, item: &Item) -> bool {
    item.at.0 < splice.until.as_u64() && splice.visibility.sees(item.xid)
}

fn transaction_before(items: &[Item], seen: usize) -> Option<u64> {
    items.get(seen.checked_sub(1)?).map(|item| item.transaction)
}

fn without_nulls(mut rows: Replica) -> Replica {
    rows.values_mut().for_each(|row| row.retain(|_, value| !value.is_null()));
    rows
}

/// Timeline, and commit LSN and ordinal.
pub(crate) fn position(cursor: &str) -> Checked<(u32, (u64, u64))> {
    let cursor: Cursor = cursor.parse().map_err(|error| format!("{cursor:?}: {error}"))?;
    Ok((cursor.system.timeline, (cursor.position.lsn.as_u64(), cursor.position.ordinal)))
}
