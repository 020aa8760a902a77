//! A database in which transactions begin, are decoded and become visible in any order, and clients who begin with a
//! snapshot of it: at the end each has the table, and never was an update too many or too few.

use std::collections::{BTreeMap, VecDeque};

use super::*;

/// Ids wrap within every run.
const FIRST_XID: u64 = (7 << 32) - 6;
const WINDOW: Duration = Duration::from_secs(60);
const WAL: u64 = 100_000;
const CLIENTS: u32 = 3;

type Table = BTreeMap<u32, u32>;

#[derive(Debug, Clone)]
enum Step {
    /// A transaction begins and changes this row, which is locked from then on.
    Begin(u32),
    /// One that is in progress gets its commit record.
    Commit(usize),
    /// One that has it becomes visible, and its row is unlocked.
    Show(usize),
    Decode,
    /// The rows of a snapshot that was asked for are read: this is its moment.
    Query(usize),
    /// A part of one is sent.
    Send(usize),
    /// A client's connection is lost; it comes back with the cursor that it has.
    Drop(u32),
    Fetch(u32),
    /// All that is in the log is too old, and that is let go of which everybody sees.
    Age,
    /// All that is in the log is too much.
    Evict,
}

#[derive(Debug, Clone)]
struct Transaction {
    xid: u64,
    key: u32,
    operation: Operation,
    /// What the row is after it.
    version: Option<u32>,
    lsn: Option<u64>,
}

/// The rows, what they are of, and the end of the log then.
type Moment = (VecDeque<(u32, u32)>, Visibility, Lsn);

/// Rows that wait to be sent.
#[derive(Debug)]
struct Taken {
    request: SnapshotRequest,
    moment: Option<Moment>,
}

#[derive(Debug, Default)]
struct Client {
    join: u32,
    shape: Option<ShapeId>,
    /// None: live.
    after: Option<After>,
    /// The number of a read whose answer is awaited.
    awaited: Option<u32>,
    table: Table,
    cursor: Option<String>,
}

impl Client {
    fn token(&self) -> JoinToken {
        JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: self.join }
    }

    fn take(&mut self, publication: &Publication) {
        let payload = payload(publication);
        if payload["snapshot"] == true && payload["part"] == 0 {
            self.table.clear();
            self.cursor = None;
        }
        for update in payload["updates"].as_array().unwrap() {
            let key = |record: &Value| u32::try_from(record["customer"].as_i64().unwrap()).unwrap();
            let version = |record: &Value| record["note"].as_str().unwrap().parse::<u32>().unwrap();
            let (new, old) = (&update["record"], &update["old_record"]);
            let (before, expected) = match update["op"].as_str().unwrap() {
                "snapshot" | "insert" => (self.table.insert(key(new), version(new)), None),
                "update" => (self.table.insert(key(new), version(new)), Some(version(old))),
                "delete" => (self.table.remove(&key(old)), Some(version(old))),
                other => panic!("{other}"),
            };
            assert_eq!(before, expected, "{update} of a client that has {:?}", self.table);
        }
        self.cursor = payload["cursor"].as_str().map(str::to_owned).or_else(|| self.cursor.take());
    }
}

struct World {
    bench: Bench,
    table: Table,
    next_xid: u64,
    /// What was the greatest id that had ended.
    ended: u64,
    running: Vec<Transaction>,
    committed: Vec<Transaction>,
    wal: VecDeque<Transaction>,
    lsn: u64,
    snapshots: Vec<Taken>,
    clients: Vec<Client>,
    resyncs: usize,
    resumes: usize,
}

impl World {
    fn new() -> Self {
        let log = LogLimits { window: WINDOW, memory: 1 << 20, wal: WAL };
        let bench =
            Bench::with_limits(vec![route("orders", "new_updates")], HubLimits { log, value: 1 << 20, read: 200 });
        let mut world = Self {
            bench: bench.connected(),
            table: Table::from([(0, 1), (1, 1), (2, 1)]),
            next_xid: FIRST_XID,
            ended: FIRST_XID - 1,
            running: Vec::new(),
            committed: Vec::new(),
            wal: VecDeque::new(),
            lsn: 100,
            snapshots: Vec::new(),
            clients: Vec::new(),
            resyncs: 0,
            resumes: 0,
        };
        for index in 0..CLIENTS {
            world.clients.push(Client::default());
            world.join(index as usize);
            world.pump();
        }
        world
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Begin(key) => self.begin(key),
            Step::Commit(nth) => {
                if let Some(index) = nth.checked_rem(self.running.len()) {
                    self.lsn += 10;
                    let transaction = Transaction { lsn: Some(self.lsn), ..self.running.remove(index) };
                    self.wal.push_back(transaction.clone());
                    self.committed.push(transaction);
                }
            }
            Step::Show(nth) => {
                if let Some(index) = nth.checked_rem(self.committed.len()) {
                    let Transaction { xid, key, version, .. } = self.committed.remove(index);
                    match version {
                        Some(version) => self.table.insert(key, version),
                        None => self.table.remove(&key),
                    };
                    self.ended = self.ended.max(xid);
                }
            }
            Step::Decode => self.decode(),
            Step::Query(nth) => self.query(nth),
            Step::Send(nth) => self.send(nth),
            Step::Drop(client) => {
                let client = client as usize;
                let (join, shape) = (self.clients[client].token(), self.clients[client].shape.unwrap());
                self.bench.hub.command(Command::Unsubscribe { shard: SHARD, join, shape });
                self.join(client);
            }
            Step::Fetch(client) => self.fetch(client as usize),
            Step::Age => {
                self.bench.now += WINDOW * 2;
                self.bench.feed(FeedEvent::Seen(self.visibility()));
            }
            Step::Evict => {
                while !self.wal.is_empty() {
                    self.decode();
                }
                self.lsn += WAL * 2;
                self.bench.feed(FeedEvent::Progress(Lsn::new(self.lsn)));
            }
        }
        self.pump();
    }

    fn begin(&mut self, key: u32) {
        let open = self.running.iter().chain(&self.committed);
        if open.clone().any(|transaction| transaction.key == key) || open.count() > 6 {
            return;
        }
        let xid = self.next_xid;
        self.next_xid += 1;
        let note = |version: u32| row(key, Some(&version.to_string()));
        let (operation, version) = match self.table.get(&key) {
            None => (Operation::Insert { new: note(1) }, Some(1)),
            Some(old) if xid.is_multiple_of(3) => (Operation::Delete { old: OldRow::Full(note(*old)) }, None),
            Some(old) => {
                let new = old + 1;
                (Operation::Update { old: Some(OldRow::Full(note(*old))), new: note(new) }, Some(new))
            }
        };
        self.running.push(Transaction { xid, key, operation, version, lsn: None });
    }

    fn decode(&mut self) {
        let Some(Transaction { xid, operation, lsn: Some(lsn), .. }) = self.wal.pop_front() else { return };
        let header = TransactionHeader {
            xid: u32::try_from(xid & 0xFFFF_FFFF).unwrap(),
            commit_lsn: Lsn::new(lsn),
            commit_timestamp: PgTimestamp::from_micros(0),
        };
        let change = Change { relation: Arc::clone(&self.bench.relation), operation, ordinal: 1 };
        let end_lsn = Some(Lsn::new(lsn + 5));
        self.bench.feed(FeedEvent::Part(TransactionPart {
            header,
            changes: vec![change],
            announcements: Vec::new(),
            first: true,
            end_lsn,
        }));
    }

    /// What a snapshot sees that is taken now.
    fn visibility(&self) -> Visibility {
        let open = self.running.iter().chain(&self.committed).map(|transaction| transaction.xid);
        Visibility::new(self.ended + 1, open)
    }

    fn query(&mut self, nth: usize) {
        let visibility = self.visibility();
        let mut waiting: Vec<&mut Taken> = self.snapshots.iter_mut().filter(|it| it.moment.is_none()).collect();
        let Some(taken) = nth.checked_rem(waiting.len()).and_then(|index| waiting.get_mut(index)) else { return };
        let rows = self.table.iter().map(|(key, version)| (*key, *version)).collect();
        taken.moment = Some((rows, visibility, Lsn::new(self.lsn + 1)));
    }

    fn send(&mut self, nth: usize) {
        let ready: Vec<usize> = (0..self.snapshots.len()).filter(|at| self.snapshots[*at].moment.is_some()).collect();
        let Some(at) = nth.checked_rem(ready.len()).map(|index| ready[index]) else { return };
        let id = self.snapshots[at].request.id;
        let Some((rows, visibility, until)) = &mut self.snapshots[at].moment else { return };
        let updates: Vec<String> = rows
            .drain(..rows.len().min(2))
            .map(|(key, version)| {
                json!({"op": "snapshot", "record": {"customer": key, "note": version.to_string()}}).to_string()
            })
            .collect();
        let part = SnapshotPart { event: "new_updates".into(), updates: updates.join(",").into() };
        let event = if rows.is_empty() {
            SnapshotEvent::Done { id, last: part, visibility: visibility.clone(), until: *until }
        } else {
            SnapshotEvent::Part { id, part }
        };
        if matches!(event, SnapshotEvent::Done { .. }) {
            self.snapshots.remove(at);
        }
        self.bench.hub.snapshot(event);
    }

    fn join(&mut self, client: usize) {
        self.bench.joins += 1;
        let cursor = self.clients[client].cursor.clone();
        self.clients[client] = Client { join: self.bench.joins, ..std::mem::take(&mut self.clients[client]) };
        let client = &mut self.clients[client];
        (client.after, client.awaited, client.shape) = (None, None, None);
        let request = Subscribe { topic: "orders".to_owned(), cursor, snapshot: true, ..Subscribe::default() };
        let subscribe = Command::Subscribe { shard: SHARD, join: client.token(), request: Box::new(request) };
        self.bench.hub.command(subscribe);
    }

    fn fetch(&mut self, client: usize) {
        self.bench.joins += 1;
        let number = self.bench.joins;
        let client = &mut self.clients[client];
        (client.after, client.awaited) = (None, Some(number));
        let (join, shape) = (client.token(), client.shape.unwrap());
        self.bench.hub.command(Command::Fetch { shard: SHARD, join, shape, number, view: None });
    }

    /// Until the hub and its clients have nothing more to say.
    fn pump(&mut self) {
        loop {
            for command in self.bench.hub.take_snapshot_commands() {
                match command {
                    SnapshotCommand::Begin(request) => self.snapshots.push(Taken { request, moment: None }),
                    SnapshotCommand::More(_) => {}
                    SnapshotCommand::End(id) => self.snapshots.retain(|taken| taken.request.id != id),
                }
            }
            let told = self.bench.told();
            let quiet = told.is_empty();
            told.into_iter().for_each(|message| self.told(message));
            if !self.ask() && quiet {
                return;
            }
        }
    }

    fn told(&mut self, message: ToShard) {
        match message {
            ToShard::Publish(publication) => {
                let live = |client: &&mut Client| client.after.is_none() && client.awaited.is_none();
                let live =
                    self.clients.iter_mut().filter(|client| client.shape == Some(publication.shape)).filter(live);
                live.for_each(|client| client.take(&publication));
            }
            ToShard::Subscribed { join, subscribed } => {
                let client = self.clients.iter_mut().find(|client| client.token() == join).unwrap();
                client.shape = Some(subscribed.shape);
                client.after = subscribed.read_after;
                client.cursor = subscribed.cursor;
                self.resumes += usize::from(subscribed.resumed);
            }
            ToShard::Read { join, number, publications, outcome } => {
                let Some(index) = self.clients.iter().position(|client| client.token() == join) else { return };
                let client = &mut self.clients[index];
                if client.awaited != Some(number) {
                    return;
                }
                client.awaited = None;
                publications.iter().for_each(|publication| client.take(publication));
                match outcome {
                    ReadOutcome::AtHead => {}
                    ReadOutcome::More(after) => client.after = Some(after),
                    ReadOutcome::Lost => {
                        self.resyncs += 1;
                        client.cursor = None;
                        let (join, shape) = (client.token(), client.shape.unwrap());
                        self.bench.hub.command(Command::Unsubscribe { shard: SHARD, join, shape });
                        self.join(index);
                    }
                    ReadOutcome::Failed(failure) => panic!("{failure:?}"),
                }
            }
            ToShard::Waiting { join } => {
                let waits = |client: &Client| client.token() == join && client.awaited.is_some();
                assert!(self.clients.iter().any(waits), "told to one who has not asked");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether somebody asks for more.
    fn ask(&mut self) -> bool {
        let mut asked = false;
        for client in &mut self.clients {
            let (Some(after), Some(shape)) = (client.after.take(), client.shape) else { continue };
            self.bench.joins += 1;
            let number = self.bench.joins;
            client.awaited = Some(number);
            let join = client.token();
            self.bench.hub.command(Command::Read { shard: SHARD, join, shape, number, after });
            asked = true;
        }
        asked
    }

    /// Everything that was begun comes to its end.
    fn finish(&mut self) {
        for step in [Step::Commit(0), Step::Show(0), Step::Decode] {
            (0..200).for_each(|_| self.step(&step));
        }
        // Clients that have to begin anew do so, until nobody has to.
        while !self.snapshots.is_empty() {
            self.step(&Step::Query(0));
            self.step(&Step::Send(0));
        }
        self.lsn += 100;
        self.bench.feed(FeedEvent::Progress(Lsn::new(self.lsn)));
        self.pump();
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let any = 0_usize..8;
    prop_oneof![
        8 => (0_u32..6).prop_map(Step::Begin),
        8 => any.clone().prop_map(Step::Commit),
        7 => any.clone().prop_map(Step::Show),
        10 => Just(Step::Decode),
        4 => any.clone().prop_map(Step::Query),
        8 => any.prop_map(Step::Send),
        2 => (0..CLIENTS).prop_map(Step::Drop),
        1 => (0..CLIENTS).prop_map(Step::Fetch),
    ]
}

fn check(steps: &[Step]) -> (usize, usize) {
    let mut world = World::new();
    steps.iter().for_each(|step| world.step(step));
    world.finish();
    for client in &world.clients {
        assert_eq!(client.table, world.table);
        assert!(client.after.is_none() && client.awaited.is_none(), "{client:?} is not live");
    }
    (world.resyncs, world.resumes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Nothing that a client needs is too old: nobody is ever told to begin anew.
    #[test]
    fn a_snapshot_and_the_feed_meet_without_a_seam(steps in prop::collection::vec(steps(), 0..120)) {
        prop_assert_eq!(check(&steps).0, 0);
    }

    /// With a log that forgets, clients may have to begin anew, but never have a hole.
    #[test]
    fn what_the_log_has_let_go_of_is_told(
        steps in prop::collection::vec(
            prop_oneof![12 => steps(), 1 => Just(Step::Evict), 1 => Just(Step::Age)],
            0..120,
        ),
    ) {
        check(&steps);
    }
}

#[test]
fn a_commit_that_is_decoded_before_it_is_visible_is_sent_after_the_rows() {
    let mut world = World::new();
    for step in [Step::Begin(5), Step::Begin(4), Step::Commit(0), Step::Decode, Step::Commit(0), Step::Decode] {
        world.step(&step);
    }
    // The second is visible, the first is not: it waits for a standby.
    for step in [Step::Show(1), Step::Query(0), Step::Send(0), Step::Send(0)] {
        world.step(&step);
    }
    let has: Vec<u32> = world.clients[0].table.keys().copied().collect();
    assert_eq!(has, [0, 1, 2, 4, 5]);
    world.step(&Step::Drop(0));
    assert_eq!(world.resumes, 1);
    world.finish();
    assert_eq!(world.clients[0].table, world.table);
}

#[test]
fn a_log_that_has_let_go_of_such_a_commit_is_not_continued() {
    let mut world = World::new();
    for step in
        [Step::Begin(5), Step::Commit(0), Step::Decode, Step::Evict, Step::Query(0), Step::Send(0), Step::Send(0)]
    {
        world.step(&step);
    }
    assert_eq!(world.resyncs, CLIENTS as usize);
}

#[test]
fn a_commit_that_nobody_sees_outlives_the_window() {
    let mut world = World::new();
    for step in [Step::Begin(5), Step::Commit(0), Step::Decode, Step::Age, Step::Query(0), Step::Send(0), Step::Send(0)]
    {
        world.step(&step);
    }
    world.finish();
    assert_eq!((world.resyncs, &world.clients[0].table), (0, &world.table));
}
