//! Chaos with real parts: writers, a real Postgres, the real binary, and clients that resume; everything is killed, cut
//! and stopped, and at the end every client has every row, having seen each change once and in order.
//!
//! Runs for some seconds. `WALCAST_CHAOS_SECONDS=600` runs longer, `WALCAST_CHAOS_SEED` repeats the writers' and the
//! faults' choices (not their timing). `WALCAST_CHAOS_MEMORY=32MiB` gives the log no more than this: then clients may
//! be told to resync, and all the rest holds.

mod client;
mod official;
mod proxy;
mod replica;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet, block_in_place};
use walcast::change::Lsn;
use walcast::demo::cluster::StopMode;
use walcast::hub::Cursor;

use super::support::database::Database;
use super::support::eventually;
use super::support::gateway::{Gateway, get, signal};
use client::Client;
use official::Official;
use proxy::Proxy;
use writer::{SCHEMA, Work};

const WRITERS: i32 = 3;
/// Transactions between two faults.
const BETWEEN: u64 = 40;

/// Where nobody gets anything for so long, and the gateway takes nothing from the database, that is no slowness.
const STANDSTILL: Duration = super::support::PATIENCE.saturating_mul(2);

/// Outbox and parts as small as they may be, so that clients fall behind and transactions come in parts.
const CONFIG: &str = r#"
[replay]
window = "1h"
memory = "{memory}"
wal = "64GiB"

[limits]
outbox = "64KiB"
part_changes = 100
part_bytes = "16KiB"

[[route]]
table = "public.ledger"
topic = "everything"

[[route]]
table = "public.accounts"
topic = "everything"

[[route]]
table = "public.accounts"
topic = "owner:{owner}"
"#;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillGateway,
    TerminateWalsender,
    RestartPostgres(StopMode),
    CutClients,
    StopClient,
    /// SIGSTOP, and SIGCONT later.
    StopProcess,
    /// Clients that have lost everything begin afresh: one with the gateway's snapshot, one with its own query.
    Forget,
}

const FAULTS: [Fault; 8] = [
    Fault::KillGateway,
    Fault::TerminateWalsender,
    Fault::RestartPostgres(StopMode::Fast),
    Fault::RestartPostgres(StopMode::Immediate),
    Fault::CutClients,
    Fault::StopClient,
    Fault::StopProcess,
    Fault::Forget,
];

struct Scene {
    database: Database,
    gateway: Gateway,
    proxy: Proxy,
    clients: Vec<Client>,
    /// The official client, in a process of its own.
    official: Official,
    work: Arc<Work>,
    writers: Vec<JoinHandle<i32>>,
    running: JoinSet<()>,
    random: fastrand::Rng,
    /// The log has room for all that is written.
    roomy: bool,
}

impl Scene {
    async fn start(seed: u64, seconds: u64) -> Self {
        let database = Database::start().await;
        database.execute(SCHEMA).await;
        // What clients are kept for by the window must not be let go for its size: a round of faults takes seconds, or
        // minutes beside other work, and the writers write all the while.
        let given = env::var("WALCAST_CHAOS_MEMORY").ok();
        let roomy = given.is_none();
        let memory = given.unwrap_or_else(|| "4GiB".to_owned());
        let gateway = Gateway::start(&database.url(), &CONFIG.replace("{memory}", &memory)).await;
        let proxy = Proxy::start(gateway.port()).await;
        let official = Official::start(proxy.port, seconds).await;
        let mut scene = Self {
            database,
            gateway,
            proxy,
            clients: Vec::new(),
            official,
            work: Arc::default(),
            writers: Vec::new(),
            running: JoinSet::new(),
            random: fastrand::Rng::with_seed(seed),
            roomy,
        };
        scene.join("feed", &["everything"], None, false);
        scene.join("stopped", &["everything", "owner:1"], None, true);
        scene.join("owners", &["owner:0", "owner:1", "owner:2", "owner:3"], None, false);
        scene.join("one owner", &["owner:2"], None, true);
        // Before the first row: whatever a client has, it was sent.
        scene.all_join().await;
        for writer in 1..=WRITERS {
            let (url, seed) = (scene.database.url(), scene.random.u64(..));
            scene.writers.push(tokio::spawn(writer::write(url, writer, seed, Arc::clone(&scene.work))));
        }
        scene
    }

    fn join(&mut self, name: &str, topics: &[&str], cursor: Option<&str>, snapshot: bool) {
        let client = Client::new(name, self.proxy.port, &self.database.url(), topics, snapshot);
        cursor.into_iter().for_each(|cursor| client.begin_at(cursor));
        self.running.spawn(client.clone().run());
        self.clients.push(client);
    }

    fn assert_no_fault(&self) {
        let faults: Vec<_> = self.clients.iter().filter_map(|it| it.state.lock().unwrap().fault.clone()).collect();
        assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), self.gateway.log());
    }

    /// Until so many more transactions are committed.
    async fn commits(&self, count: u64) {
        let target = self.work.committed.load(Ordering::Relaxed) + count;
        let reached = async || (self.work.committed.load(Ordering::Relaxed) >= target).then_some(());
        eventually("more commits", reached).await;
        self.assert_no_fault();
    }

    async fn inflict(&mut self, fault: Fault) {
        match fault {
            Fault::KillGateway => {
                self.gateway.kill().await;
                self.commits(BETWEEN / 4).await;
                self.gateway.spawn();
            }
            Fault::TerminateWalsender => {
                let query = "select pg_terminate_backend(pid) from pg_stat_replication";
                self.database.execute(query).await;
            }
            Fault::RestartPostgres(mode) => {
                block_in_place(|| self.database.stop(mode));
                self.database.resume().await;
            }
            Fault::CutClients => self.proxy.cut(),
            Fault::StopClient => {
                let stopped = &self.clients[1].stopped;
                stopped.send_replace(true);
                self.commits(BETWEEN * 3).await;
                self.clients[1].stopped.send_replace(false);
            }
            Fault::StopProcess => {
                signal(self.official.script.process_id(), "STOP").await;
                self.commits(BETWEEN * 3).await;
                signal(self.official.script.process_id(), "CONT").await;
            }
            Fault::Forget => {
                let kept = self.random.usize(..2);
                self.clients[kept].forget();
                self.clients[kept ^ 3].forget();
            }
        }
        if self.random.bool() {
            self.commits(BETWEEN).await;
        }
    }

    /// Ends the writers and waits until every client has what the database has.
    async fn settle(&mut self) -> i32 {
        self.work.stop.store(true, Ordering::Relaxed);
        let mut transactions = 0;
        for writer in std::mem::take(&mut self.writers) {
            transactions += writer.await.unwrap();
        }
        self.ready().await;
        for client in &self.clients {
            self.equal(client).await;
        }
        // The window reaches back to the beginning, and the slot is its durable copy.
        assert!(!self.roomy || self.resyncs() == 0, "clients were told to resync\n{}", self.gateway.log());
        let reader = self.database.connect().await;
        self.official.equal(replica::oracle("everything", &reader).await, self.roomy, STANDSTILL).await;
        transactions
    }

    async fn equal(&self, client: &Client) {
        let topics: Vec<String> = client.state.lock().unwrap().topics.keys().cloned().collect();
        let reader = self.database.connect().await;
        for topic in topics {
            let expected = replica::oracle(&topic, &reader).await;
            let is_equal = async || client.state.lock().unwrap().topics[&topic].rows == expected;
            self.until(is_equal, || difference(client, &topic, &expected)).await;
        }
    }

    async fn ready(&self) {
        self.until(async || self.gateway.readyz().await == Some(200), || "not ready".to_owned()).await;
    }

    async fn all_join(&self) {
        let has_joined = |client: &Client| {
            let state = client.state.lock().unwrap();
            state.joined >= state.topics.len()
        };
        self.until(async || self.clients.iter().all(has_joined), || "somebody has not joined".to_owned()).await;
    }

    /// Until something is so, however long that takes, as long as anything moves: a restarted gateway has all to read
    /// again that the log promises, clients have much to catch up on, and a busy machine is slow at either.
    async fn until(&self, is_so: impl AsyncFn() -> bool, missing: impl Fn() -> String) {
        let (mut moved, mut latest) = (Instant::now(), (0, None));
        while !is_so().await {
            self.assert_no_fault();
            let now = (self.updates(), self.taken().await);
            if latest != now {
                (moved, latest) = (Instant::now(), now);
            }
            if moved.elapsed() > STANDSTILL {
                self.fail(&missing()).await;
            }
            tokio::time::sleep(super::support::POLL).await;
        }
    }

    /// Messages with rows that clients have got.
    fn updates(&self) -> u64 {
        self.clients.iter().map(|client| client.state.lock().unwrap().updates).sum()
    }

    /// How many transactions the gateway has taken from the database; none while it is not there.
    async fn taken(&self) -> Option<String> {
        let (_, metrics) = get(self.gateway.admin_port(), "/metrics").await?;
        metrics.lines().find(|line| line.starts_with("walcast_transactions_total")).map(str::to_owned)
    }

    /// With what there is to know of where it stands still.
    async fn fail(&self, missing: &str) {
        let metrics = get(self.gateway.admin_port(), "/metrics").await.map(|(_, metrics)| metrics).unwrap_or_default();
        let metrics: Vec<&str> = metrics.lines().filter(|line| !line.starts_with('#')).collect();
        let senders = "select json_agg(s)::text from pg_stat_replication s";
        let senders: Option<String> = self.database.value(senders).await;
        let (metrics, log) = (metrics.join("\n"), self.gateway.log());
        panic!("nothing has moved for {STANDSTILL:?}: {missing}\n{senders:?}\n{metrics}\n{log}");
    }

    /// How often clients began with rows of either kind.
    fn beginnings(&self) -> u64 {
        let beginnings =
            |client: &Client| client.state.lock().unwrap().topics.values().map(|it| it.beginnings).sum::<u64>();
        self.clients.iter().map(beginnings).sum()
    }

    fn resyncs(&self) -> u64 {
        let resyncs = |client: &Client| client.state.lock().unwrap().topics.values().map(|it| it.resyncs).sum::<u64>();
        self.clients.iter().map(resyncs).sum()
    }
}

fn difference(client: &Client, topic: &str, expected: &BTreeMap<replica::Key, Value>) -> String {
    let state = client.state.lock().unwrap();
    let rows = &state.topics[topic].rows;
    let differs = |key: &&replica::Key| rows.get(*key) != expected.get(*key);
    let keys: BTreeSet<&replica::Key> = rows.keys().chain(expected.keys()).filter(differs).collect();
    let first: Vec<_> = keys.iter().take(5).map(|key| (key, rows.get(*key), expected.get(*key))).collect();
    let (name, transactions, resyncs) = (&client.name, state.topics[topic].transactions, state.topics[topic].resyncs);
    format!("{name} on {topic} after {transactions} transactions, {resyncs} resyncs: {} differ: {first:?}", keys.len())
}

/// As long as the log promises everything since the beginning, the slot must have everything since the beginning.
async fn watch_acknowledgement(url: String, first: Lsn) {
    loop {
        if let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
            tokio::spawn(connection);
            let query = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = 'walcast'";
            while let Ok(row) = client.query_one(query, &[]).await {
                let confirmed: Lsn = row.get::<_, String>(0).parse().unwrap();
                assert!(confirmed <= first, "{confirmed} is acknowledged, and the log promises all after {first}");
                tokio::time::sleep(super::support::POLL).await;
            }
        }
        tokio::time::sleep(super::support::POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_comes_twice() {
    let seed = env::var("WALCAST_CHAOS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let seconds = env::var("WALCAST_CHAOS_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    println!("WALCAST_CHAOS_SEED={seed}");
    let mut scene = Scene::start(seed, seconds).await;
    let begun = Instant::now();
    let origin = scene.clients[0].state.lock().unwrap().topics["everything"].cursor.clone().unwrap();
    let first = eventually("a first transaction", async || {
        let state = scene.clients[0].state.lock().unwrap();
        let replica = &state.topics["everything"];
        replica.cursor.clone().filter(|_| replica.transactions > 0)
    })
    .await;
    let lsn = first.parse::<Cursor>().unwrap().position.lsn;
    let first = if scene.roomy { lsn } else { Lsn::new(u64::MAX) };
    let acknowledgement = tokio::spawn(watch_acknowledgement(scene.database.url(), first));
    let mut faults = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut round = FAULTS;
        scene.random.shuffle(&mut round);
        for fault in round {
            scene.inflict(fault).await;
            faults += 1;
        }
        // Else a run would come to consist of restarts, each with more to catch up on than the one before.
        scene.ready().await;
        scene.all_join().await;
        scene.commits(BETWEEN).await;
    }
    let transactions = scene.settle().await;
    let (_, metrics) = get(scene.gateway.admin_port(), "/metrics").await.unwrap_or_default();
    let log = metrics.lines().find(|line| line.starts_with("walcast_log_size_bytes")).unwrap_or_default().to_owned();
    let connections: u64 = scene.clients.iter().map(|it| it.state.lock().unwrap().connections).sum();
    println!(
        "{transactions} transactions, {faults} faults, {connections} connections, {} beginnings, {} resyncs, {} MiB of \
         WAL, {log} in {:?}",
        scene.beginnings(),
        scene.resyncs(),
        scene.database.value::<i64>("select (pg_current_wal_lsn() - '0/0') ::bigint >> 20").await,
        begun.elapsed()
    );
    if !scene.roomy {
        return acknowledgement.abort();
    }
    assert!(!acknowledgement.is_finished(), "{:?}", acknowledgement.await);
    acknowledgement.abort();
    // The window reaches back to the beginning, and the slot is its durable copy.
    assert_eq!(scene.resyncs(), 0, "clients were told to resync\n{}", scene.gateway.log());
    scene.clients.clear();
    scene.join("late", &["everything", "owner:0", "owner:1", "owner:2", "owner:3"], Some(&origin), false);
    scene.equal(&scene.clients[0]).await;
    assert_eq!(scene.resyncs(), 0, "the oldest cursor was refused");
}

/// However long the log keeps an idle table's last change: what is written elsewhere does not pile up in the slot.
async fn stays_flat(replay: &str, most: i64) {
    let database = Database::start_with(&[("wal_sender_timeout", "6s")]).await;
    database.execute(SCHEMA).await;
    let _gateway = Gateway::start(&database.url(), &format!("[replay]\n{replay}\n{ROUTE}")).await;
    database.execute("insert into accounts values (1, 1, 1, 'the last for long')").await;
    for round in 0..4 {
        database.execute("insert into elsewhere (note) select repeat('e', 1000) from generate_series(1, 20000)").await;
        let written: String = database.value("select pg_current_wal_lsn()::text").await;
        let retained = format!("select '{written}'::pg_lsn - confirmed_flush_lsn from pg_replication_slots");
        let flat = format!("select ({retained})::bigint <= {most}");
        eventually(&format!("at most {most} bytes of WAL are held back in round {round}"), async || {
            database.value::<bool>(&flat).await.then_some(())
        })
        .await;
    }
}

const ROUTE: &str = "[[route]]\ntable = \"public.accounts\"\ntopic = \"everything\"\n";

#[tokio::test]
async fn a_short_window_holds_no_wal_back() {
    stays_flat("window = \"1s\"", 1 << 20).await;
}

#[tokio::test]
async fn a_long_window_holds_no_more_wal_back_than_its_budget() {
    stays_flat("window = \"1h\"\nwal = \"16MiB\"", 16 << 20).await;
}
