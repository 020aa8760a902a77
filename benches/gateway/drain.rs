//! How fast a backlog of the write-ahead log is taken in, routed, encoded and delivered to one subscriber, beside
//! `pg_recvlogical` over the same link.
//!
//! The backlog is made while the receiver is stopped, so that Postgres has all of it to send. Both receivers have the
//! server's core, Postgres the other one; `pg_recvlogical` writes what it gets to `/dev/null`.

use std::process::Stdio;
use std::time::Instant;

use tokio::process::Command;

use crate::Run;
use crate::bed::Bed;
use crate::load::client::{Client, shared_buffer};
use crate::load::cost::{Look, Taken, children_cpu};
use crate::load::frames::Seen;
use crate::place::Place;
use crate::support::database::Database;
use crate::support::gateway::signal;
use crate::table;

/// Single-row changes in a backlog at full length.
const CHANGES: u64 = 1_000_000;

/// How a receiver reaches Postgres.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Link {
    Tcp,
    Socket,
}

impl Link {
    pub(crate) fn url(self, database: &Database) -> String {
        match self {
            Self::Tcp => database.url(),
            Self::Socket => database.socket_url(),
        }
    }
}

pub(crate) async fn run(run: &Run) {
    let changes = CHANGES / run.shorter;
    for (link, name) in [(Link::Socket, "Unix socket"), (Link::Tcp, "TCP")] {
        for rows in [1_000, 1] {
            let title = format!("drain over {name}, transactions of {rows}");
            if run.wants(&title) {
                drain(link, &title, changes, rows, run.place).await;
            }
        }
    }
}

/// What draining took, and how much WAL that was.
#[derive(Debug, Clone, Copy)]
struct Drained {
    taken: Taken,
    megabytes: f64,
}

async fn drain(link: Link, title: &str, changes: u64, rows: u64, place: Place) {
    let mut bed = Bed::start_over(place, |database| link.url(database)).await;
    bed.database.execute("select pg_create_logical_replication_slot('reference', 'pgoutput')").await;
    let process = bed.gateway.process_id();
    let joining = Client::join(bed.gateway.port(), "updates:feed", None, shared_buffer()).await;
    let mut subscriber = joining.expect("a connection");
    subscriber.joined().await.expect("an answer to the join");

    signal(process, "STOP").await;
    let written = || bed.database.value::<f64>("select (pg_current_wal_lsn() - '0/0')::float8");
    let begin = written().await;
    bed.database.execute(&format!("call backlog({changes}, {rows})")).await;
    let megabytes = (written().await - begin) / 1e6;
    let reference = receive(&bed.database, link, place).await;
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
    let taken = Look::at(process) - before;
    report(title, changes, Drained { taken: reference, megabytes }, Drained { taken, megabytes });
}

/// `pg_recvlogical` from its slot's beginning to the end of the WAL as it is now, into nothing.
async fn receive(database: &Database, link: Link, place: Place) -> Taken {
    let end: String = database.value("select pg_current_wal_lsn()::text").await;
    let (begun, cpu) = (Instant::now(), children_cpu());
    let mut command = receiver(database, link, place);
    let status = command.args(["--endpos", &end, "-f", "/dev/null"]).status().await.expect("run pg_recvlogical");
    assert!(status.success(), "pg_recvlogical: {status}");
    Taken { cpu_s: (children_cpu() - cpu).as_secs_f64(), elapsed_s: begun.elapsed().as_secs_f64() }
}

/// `pg_recvlogical` on the slot `reference`, on the server's core.
pub(crate) fn receiver(database: &Database, link: Link, place: Place) -> Command {
    let program = database.cluster().program("pg_recvlogical").to_string_lossy().into_owned();
    let words: Vec<&str> = place.of_server().iter().copied().chain([&*program]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["-d", &link.url(database), "-S", "reference", "--start", "-o", "proto_version=1"]);
    command.args(["-o", "publication_names=walcast"]).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn report(title: &str, changes: u64, reference: Drained, own: Drained) {
    let changes = changes as f64;
    let line = |name: &str, decimals: usize, figure: &dyn Fn(Drained) -> f64| {
        let (reference, own) = (figure(reference), figure(own));
        table::line(name, &[reference, own, own / reference], decimals);
    };
    table::heading(title, &["pg_recvlogical", "walcast", "ratio"]);
    line("thousand changes/s", 2, &|it| changes / it.taken.elapsed_s / 1e3);
    line("MB/s of WAL", 2, &|it| it.megabytes / it.taken.elapsed_s);
    line("CPU µs per change", 2, &|it| it.taken.cpu_s / changes * 1e6);
}
