//! A reconnect storm: everyone comes back at once and is owed the same transactions, while others live on.
//!
//! The clients that come back take about as much CPU time as the gateway does, at the expense of the latencies.

use std::time::Duration;

use crate::Run;
use crate::bed::Bed;
use crate::load::client::{Client, Door, shared_buffer};
use crate::load::cost::{Look, memory};
use crate::load::percentile;
use crate::load::publisher::Publisher;
use crate::load::subscribers::{Plan, Subscribers};
use crate::table;

const NAME: &str = "reconnect storm";
const RETURNING: u64 = 5_000;
/// Transactions that each has missed, at full length.
const MISSED: u64 = 1_000;
const LIVE: u64 = 100;
/// Between two live transactions.
const PACE: Duration = Duration::from_millis(20);
/// How long the live clients are watched before the storm.
const CALM: Duration = Duration::from_secs(5);
/// The second storm finds the messages encoded.
const STORMS: usize = 2;

pub(crate) async fn run(run: &Run) {
    if !run.wants(NAME) {
        return;
    }
    let missed = MISSED / run.shorter;
    let mut bed = Bed::start(run.place).await;
    let live = Subscribers::start(plan(&bed, "updates:live", LIVE));
    live.joined(LIVE).await;
    let writer = tokio::spawn(write(Publisher::rows(bed.database.connect().await, "live", 1).await));
    let cursor = cursor(&bed).await;
    let mut publisher = Publisher::rows(bed.database.connect().await, "feed", 1).await;
    for n in 0..missed {
        publisher.publish(n).await;
    }
    until_all_came(&bed, &cursor, missed).await;
    live.take_latencies();
    tokio::time::sleep(CALM).await;
    let calm = latency(&live);
    let mut storms = Vec::new();
    for _ in 0..STORMS {
        storms.push(storm(&mut bed, &cursor, missed, &live).await);
    }
    writer.abort();
    report(missed, calm, &storms);
}

async fn write(mut publisher: Publisher) {
    let mut due = tokio::time::interval(PACE);
    for n in 0_u64.. {
        due.tick().await;
        publisher.publish(n).await;
    }
}

fn plan(bed: &Bed, topic: &'static str, connections: u64) -> Plan {
    let at_once = usize::try_from(connections).expect("a few thousand");
    let (port, latencies) = (bed.gateway.port(), connections == LIVE);
    Plan { port, door: Door::Join, connections, topic, cursor: None, at_once, latencies }
}

/// The cursor that a client gets when it joins.
async fn cursor(bed: &Bed) -> String {
    let joining = Client::join(bed.gateway.port(), "updates:feed", None, shared_buffer()).await;
    let reply = joining.expect("a connection").joined().await.expect("an answer to the join");
    let reply: serde_json::Value = serde_json::from_str(&reply).expect("JSON");
    reply[4]["response"]["cursor"].as_str().expect("a cursor").to_owned()
}

/// The log has them once somebody who resumes gets them all.
async fn until_all_came(bed: &Bed, cursor: &str, missed: u64) {
    let first = Subscribers::start(Plan { cursor: Some(cursor.to_owned()), ..plan(bed, "updates:feed", 1) });
    first.received(missed).await;
}

/// Seconds from the first connect to the last delivery, CPU-seconds per million of them, resident MiB at most, and the
/// latency of those who stayed.
struct Storm {
    elapsed_s: f64,
    cpu: f64,
    peak_mib: f64,
    latency: [f64; 2],
}

async fn storm(bed: &mut Bed, cursor: &str, missed: u64, live: &Subscribers) -> Storm {
    let process = bed.gateway.process_id();
    live.take_latencies();
    let before = Look::at(process);
    let plan = Plan { cursor: Some(cursor.to_owned()), ..plan(bed, "updates:feed", RETURNING) };
    let returning = Subscribers::start(plan);
    returning.received(RETURNING * missed).await;
    let taken = Look::at(process) - before;
    Storm {
        elapsed_s: taken.elapsed_s,
        cpu: taken.cpu_s / (RETURNING * missed) as f64 * 1e6,
        peak_mib: memory(process).peak / 1024.0,
        latency: latency(live),
    }
}

/// p50 and p99 in milliseconds since the last look.
fn latency(live: &Subscribers) -> [f64; 2] {
    let mut latencies = live.take_latencies();
    latencies.sort_unstable_by(f64::total_cmp);
    [0.5, 0.99].map(|share| percentile(&latencies, share) / 1e3)
}

fn report(missed: u64, calm: [f64; 2], storms: &[Storm]) {
    let title = format!("{NAME}: {RETURNING} clients, {missed} transactions each");
    table::heading(&title, &["before", "first", "second"]);
    let line = |name: &str, decimals: usize, calm: f64, figure: &dyn Fn(&Storm) -> f64| {
        table::line(name, &[calm].into_iter().chain(storms.iter().map(figure)).collect::<Vec<_>>(), decimals);
    };
    let deliveries = (RETURNING * missed) as f64;
    line("s from the first connect to the last delivery", 2, f64::NAN, &|it| it.elapsed_s);
    line("deliveries/s", 0, f64::NAN, &|it| deliveries / it.elapsed_s);
    line("CPU-seconds per million deliveries", 2, f64::NAN, &|it| it.cpu);
    line("MiB (RSS) at most", 1, f64::NAN, &|it| it.peak_mib);
    line("those who stayed, p50, ms", 2, calm[0], &|it| it.latency[0]);
    line("those who stayed, p99, ms", 2, calm[1], &|it| it.latency[1]);
}
