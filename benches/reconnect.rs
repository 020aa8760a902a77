//! A reconnect storm: everyone comes back at once and is owed the same thousand transactions, while others live on.
//!
//! `cargo bench --bench reconnect`. A throwaway Postgres, the real binary, and its clients, all on this machine: the
//! clients that come back take about as much CPU time as the gateway does, at the expense of the latencies. It needs
//! some 5,300 open files in this process and as many in the gateway (`ulimit -n`).
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

use std::time::Duration;

use load::client::{Client, shared_buffer};
use load::cost::{Look, memory};
use load::subscribers::{Plan, Subscribers};
use load::{Bed, percentile};

const RETURNING: u64 = 5_000;
const MISSED: u64 = 1_000;
const LIVE: u64 = 100;
/// Between two live transactions.
const PACE: Duration = Duration::from_millis(20);
/// How long the live clients are watched before the storm, and after.
const CALM: Duration = Duration::from_secs(5);
/// The second storm finds the messages encoded.
const STORMS: u32 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut bed = Bed::start().await;
    let process = bed.gateway.process_id();
    println!(
        "{RETURNING} clients resume {MISSED} transactions each; {LIVE} live clients, a transaction every {PACE:?}"
    );
    let live = Subscribers::start(plan(&bed, "updates:live", LIVE));
    live.joined(LIVE).await;
    let writer = tokio::spawn(bed.writer("live", PACE).await);

    let cursor = cursor(&bed).await;
    bed.publish("feed", 0, MISSED, 1).await;
    live.take_latencies();
    tokio::time::sleep(CALM).await;
    print_latencies("before", &live);
    for storm in 1..=STORMS {
        let before = Look::at(process);
        let plan = Plan { cursor: Some(cursor.clone()), ..plan(&bed, "updates:feed", RETURNING) };
        let returning = Subscribers::start(plan);
        returning.received(RETURNING * MISSED).await;
        let taken = Look::at(process) - before;
        let deliveries = RETURNING as f64 * MISSED as f64;
        println!(
            "storm {storm}  {:.2} s from the first connect to the last delivery, {:.0} deliveries/s, gateway: {:.2} \
             CPU-seconds ({:.2} a million), {:.1} MiB resident at most",
            taken.elapsed_s,
            deliveries / taken.elapsed_s,
            taken.cpu_s,
            taken.cpu_s / deliveries * 1e6,
            memory(process).peak / 1024.0,
        );
        print_latencies("during", &live);
        drop(returning);
    }
    live.take_latencies();
    tokio::time::sleep(CALM).await;
    print_latencies("after", &live);
    writer.abort();
}

fn plan(bed: &Bed, topic: &'static str, connections: u64) -> Plan {
    let at_once = usize::try_from(connections).expect("a few thousand");
    Plan { at_once, latencies: connections == LIVE, ..bed.plan(topic, connections) }
}

/// The cursor that a client gets when it joins.
async fn cursor(bed: &Bed) -> String {
    let joining = Client::join(bed.gateway.port(), "updates:feed", None, shared_buffer()).await;
    let reply = joining.expect("a connection").joined().await.expect("an answer to the join");
    let reply: serde_json::Value = serde_json::from_str(&reply).expect("JSON");
    reply[4]["response"]["cursor"].as_str().expect("a cursor").to_owned()
}

/// From a row's insertion to its arrival at each of the live clients, since the last look.
fn print_latencies(when: &str, live: &Subscribers) {
    let mut latencies = live.take_latencies();
    latencies.sort_unstable_by(f64::total_cmp);
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&latencies, share) / 1e3);
    println!("    live, {when}: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms ({} deliveries)", latencies.len());
}
