//! What replication costs and how long it takes, beside `pg_recvlogical` in the same run over the same link.
//!
//! `cargo bench --bench replication [-- changes]`. A throwaway Postgres, the real binary, one subscriber for the
//! backlog and a hundred for latency. A backlog is made while the receiver is stopped, so that Postgres has all of it
//! to send.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for the terminal; what goes wrong ends it"
)]

mod load;
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use load::client::{Client, shared_buffer};
use load::cost::{Look, Taken, children_cpu};
use load::frames::Seen;
use load::subscribers::{Plan, Subscribers};
use load::{CONFIG, TABLES, percentile};
use support::database::Database;
use support::gateway::{Gateway, signal};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Changes in a backlog, unless the command line says otherwise.
const CHANGES: u64 = 1_000_000;
/// Latency: commits at this pace, to so many subscribers.
const PACE: Duration = Duration::from_millis(10);
const COMMITS: u64 = 1_000;
const SUBSCRIBERS: u64 = 100;
/// Nobody keeps the walsender from waiting for a receiver that is stopped.
const SETTINGS: &[(&str, &str)] = &[("wal_sender_timeout", "0"), ("max_wal_size", "8GB"), ("autovacuum", "off")];

#[derive(Debug, Clone, Copy)]
enum Link {
    Tcp,
    Socket,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let changes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(CHANGES);
    println!("a backlog of {changes} single-row changes, drained");
    println!(
        "    {:<34} {:>11} {:>16} {:>11} {:>16} {:>7}",
        "", "reference/s", "CPU us a change", "walcast/s", "CPU us a change", "ratios"
    );
    for (link, name) in [(Link::Socket, "Unix socket"), (Link::Tcp, "TCP")] {
        for rows in [1_000, 1] {
            drain(link, &format!("{name}, transactions of {rows}"), changes, rows).await;
        }
    }
    println!("insert to arrival, {COMMITS} commits at {PACE:?}, Unix socket");
    latency().await;
}

/// A database with the benches' tables, the gateway on it, and a slot for the reference.
async fn bed(link: Link) -> (Database, Gateway) {
    let database = Database::start_with(SETTINGS).await;
    database.execute(TABLES).await;
    let url = match link {
        Link::Tcp => database.url(),
        Link::Socket => database.socket_url(),
    };
    let gateway = Gateway::start(&url, CONFIG).await;
    database.execute("select pg_create_logical_replication_slot('reference', 'pgoutput')").await;
    (database, gateway)
}

async fn drain(link: Link, name: &str, changes: u64, rows: u64) {
    let (database, mut gateway) = bed(link).await;
    let process = gateway.process_id();
    let joining = Client::join(gateway.port(), "updates:feed", None, shared_buffer()).await;
    let mut subscriber = joining.expect("a connection");
    subscriber.joined().await.expect("an answer to the join");

    signal(process, "STOP").await;
    database.execute(&format!("call backlog({changes}, {rows})")).await;
    let reference = receive(&database, link).await;

    let before = Look::at(process);
    signal(process, "CONT").await;
    let mut next = 0;
    while next < changes {
        let take = |seen: Seen<'_>| {
            if let Seen::Update { n, .. } = seen {
                assert!(n >= next, "change {n} came twice");
                next = n + 1;
            }
        };
        subscriber.read(take).await.expect("the gateway goes on");
    }
    report(name, changes, reference, Look::at(process) - before);
}

/// `pg_recvlogical` from its slot's beginning to the end of the WAL as it is now, into nothing.
async fn receive(database: &Database, link: Link) -> Taken {
    let end: String = database.value("select pg_current_wal_lsn()::text").await;
    let (begun, cpu) = (Instant::now(), children_cpu());
    let mut command = receiver(database, link);
    let status = command.args(["--endpos", &end, "-f", "/dev/null"]).status().await.expect("run pg_recvlogical");
    assert!(status.success(), "pg_recvlogical: {status}");
    Taken { cpu_s: (children_cpu() - cpu).as_secs_f64(), elapsed_s: begun.elapsed().as_secs_f64() }
}

fn receiver(database: &Database, link: Link) -> Command {
    let url = match link {
        Link::Tcp => database.url(),
        Link::Socket => database.socket_url(),
    };
    let mut command = Command::new(database.cluster().program("pg_recvlogical"));
    command.args([
        "-d",
        &url,
        "-S",
        "reference",
        "--start",
        "-o",
        "proto_version=1",
        "-o",
        "publication_names=walcast",
    ]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn report(name: &str, changes: u64, reference: Taken, own: Taken) {
    let changes = changes as f64;
    let (rate, own_rate) = (changes / reference.elapsed_s, changes / own.elapsed_s);
    let (cost, own_cost) = (reference.cpu_s / changes * 1e6, own.cpu_s / changes * 1e6);
    println!(
        "    {name:<34} {rate:>11.0} {cost:>16.2} {own_rate:>11.0} {own_cost:>16.2}  speed {:.2}, CPU {:.2}",
        own_rate / rate,
        own_cost / cost
    );
}

async fn latency() {
    let (database, gateway) = bed(Link::Socket).await;
    let mut command = receiver(&database, Link::Socket);
    let mut child = command.args(["-F", "0", "-f", "-"]).stdout(Stdio::piped()).spawn().expect("run pg_recvlogical");
    let mut output = child.stdout.take().expect("a pipe");
    let received = tokio::spawn(async move {
        let (mut buffer, mut latencies) = (vec![0; 64 * 1024], Vec::new());
        while latencies.len() < usize::try_from(COMMITS).expect("a few thousand") {
            let length = output.read(&mut buffer).await.expect("pg_recvlogical goes on");
            assert!(length > 0, "pg_recvlogical has ended");
            latencies.extend(sent_times(&buffer[..length]).map(|sent| now_us() - sent));
        }
        latencies
    });
    let subscribers = Subscribers::start(Plan {
        port: gateway.port(),
        connections: SUBSCRIBERS,
        topic: "updates:feed",
        cursor: None,
        first: 0,
        at_once: 64,
        latencies: true,
    });
    subscribers.joined(SUBSCRIBERS).await;
    let mut due = tokio::time::interval(PACE);
    for n in 0..COMMITS {
        due.tick().await;
        database.execute(&format!("call publish('feed', {n}, 1, 1)")).await;
    }
    subscribers.received(COMMITS * SUBSCRIBERS).await;
    print_latencies("pg_recvlogical", received.await.expect("the reference's latencies"));
    print_latencies(&format!("walcast, to {SUBSCRIBERS} clients"), subscribers.take_latencies());
}

fn print_latencies(name: &str, mut latencies: Vec<f64>) {
    latencies.sort_unstable_by(f64::total_cmp);
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| percentile(&latencies, share) / 1e3);
    println!("    {name:<34} p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms ({} arrivals)", latencies.len());
}

/// The rows' `sent` column in a stretch of pgoutput: the one text of sixteen digits.
fn sent_times(bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
    const HEADER: &[u8] = b"t\0\0\0\x10";
    bytes
        .windows(HEADER.len() + 16)
        .filter(|window| window.starts_with(HEADER))
        .filter_map(|window| str::from_utf8(&window[HEADER.len()..]).ok()?.parse().ok())
}

fn now_us() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64() * 1e6
}
