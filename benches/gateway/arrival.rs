//! How long a committed row is on its way to a hundred clients, beside `pg_recvlogical`'s standard output.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

use crate::Run;
use crate::bed::Bed;
use crate::drain::{Link, receiver};
use crate::load::client::Door;
use crate::load::publisher::Publisher;
use crate::load::subscribers::{JOINS_AT_ONCE, Plan, Subscribers};
use crate::load::{now_us, percentile};
use crate::table;

const NAME: &str = "commit to arrival, 100 commits/s";
const PACE: Duration = Duration::from_millis(10);
/// At full length.
const COMMITS: u64 = 3_000;
const SUBSCRIBERS: u64 = 100;

pub(crate) async fn run(run: &Run) {
    if !run.wants(NAME) {
        return;
    }
    let commits = COMMITS / run.shorter;
    let bed = Bed::start(run.place).await;
    bed.database.execute("select pg_create_logical_replication_slot('reference', 'pgoutput')").await;
    let mut command = receiver(&bed.database, Link::Socket, run.place);
    let mut child = command.args(["-F", "0", "-f", "-"]).stdout(Stdio::piped()).spawn().expect("run pg_recvlogical");
    let received = tokio::spawn(arrivals(child.stdout.take().expect("a pipe"), commits));
    let subscribers = Subscribers::start(Plan {
        port: bed.gateway.port(),
        door: Door::Join,
        connections: SUBSCRIBERS,
        topic: "updates:feed",
        cursor: None,
        at_once: JOINS_AT_ONCE,
        latencies: true,
    });
    subscribers.joined(SUBSCRIBERS).await;
    let mut publisher = Publisher::rows(bed.database.connect().await, "feed", 1).await;
    let mut due = tokio::time::interval(PACE);
    for n in 0..commits {
        due.tick().await;
        publisher.publish(n).await;
    }
    subscribers.received(commits * SUBSCRIBERS).await;
    report(received.await.expect("pg_recvlogical's arrivals"), subscribers.take_latencies());
}

/// When each row came out of `pg_recvlogical`, in microseconds since its insert was sent.
async fn arrivals(mut output: ChildStdout, commits: u64) -> Vec<f64> {
    let (mut buffer, mut latencies) = (vec![0; 64 * 1024], Vec::new());
    while (latencies.len() as u64) < commits {
        let length = output.read(&mut buffer).await.expect("pg_recvlogical goes on");
        assert!(length > 0, "pg_recvlogical has ended");
        latencies.extend(sent_times(&buffer[..length]).map(|sent| now_us() - sent));
    }
    latencies
}

/// The rows' `sent` column in a stretch of pgoutput: the one text of sixteen digits.
fn sent_times(bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
    const HEADER: &[u8] = b"t\0\0\0\x10";
    bytes
        .windows(HEADER.len() + 16)
        .filter(|window| window.starts_with(HEADER))
        .filter_map(|window| str::from_utf8(&window[HEADER.len()..]).ok()?.parse().ok())
}

fn report(mut reference: Vec<f64>, mut own: Vec<f64>) {
    reference.sort_unstable_by(f64::total_cmp);
    own.sort_unstable_by(f64::total_cmp);
    table::heading(NAME, &["pg_recvlogical", "walcast to 100", "difference", "ratio"]);
    for (name, share) in [("p50, ms", 0.5), ("p99, ms", 0.99), ("p99.9, ms", 0.999)] {
        let [reference, own] = [&reference, &own].map(|latencies| percentile(latencies, share) / 1e3);
        table::line(name, &[reference, own, own - reference, own / reference], 2);
    }
}
