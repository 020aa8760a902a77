//! What delivering costs: the gateway's CPU time for a million deliveries, and what a connection takes.
//!
//! `cargo bench --bench fan_out`. A throwaway Postgres, the real binary, and subscribers on one thread, all on this
//! machine and at each other's expense: CPU time of the gateway's process is the figure least touched by that. Every
//! subscriber checks that it gets every message once, in order. It needs some 5,100 open files in this process and as
//! many in the gateway (`ulimit -n`).
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

use load::cost::{Look, Taken, memory};
use load::subscribers::Subscribers;
use load::{Bed, median};

/// An odd number has a middle.
const PASSES: usize = 5;
/// Far enough apart that each transaction is written by itself, as on a feed that is not at its limit.
const PACE: Duration = Duration::from_millis(10);

/// Subscribers, and what is published to them in a pass.
struct Scenario {
    name: &'static str,
    table: &'static str,
    topic: &'static str,
    connections: u64,
    topics: u64,
    transactions: u64,
    /// At [`PACE`], instead of as fast as Postgres commits.
    paced: bool,
}

const SCENARIOS: [Scenario; 5] = [
    one_topic("1,000 on one topic, 100 transactions/s", 1_000, 300, true),
    one_topic("1,000 on one topic, a burst", 1_000, 2_000, false),
    one_topic("5,000 on one topic, 100 transactions/s", 5_000, 100, true),
    one_topic("5,000 on one topic, a burst", 5_000, 400, false),
    Scenario {
        name: "5,000 topics with one each, a burst",
        table: "spread",
        topic: "spread:{i}",
        connections: 5_000,
        topics: 5_000,
        transactions: 40_000,
        paced: false,
    },
];

const fn one_topic(name: &'static str, connections: u64, transactions: u64, paced: bool) -> Scenario {
    Scenario { name, table: "feed", topic: "updates:feed", connections, topics: 1, transactions, paced }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo bench --bench fan_out -- 1,000` runs those scenarios only.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("median of {PASSES} passes; every delivery checked for gaps and repeats");
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&wanted)) {
        run(scenario).await;
    }
}

async fn run(scenario: &Scenario) {
    let mut bed = Bed::start().await;
    let process = bed.gateway.process_id();
    let subscribers = connect(scenario, &bed, process).await;
    let (mut passes, mut published) = (Vec::with_capacity(PASSES), 0);
    for _ in 0..PASSES {
        let before = Look::at(process);
        if scenario.paced {
            bed.publish_paced(scenario.table, published, scenario.transactions, PACE).await;
        } else {
            bed.publish(scenario.table, published, scenario.transactions, scenario.topics).await;
        }
        published += scenario.transactions;
        subscribers.received(published * scenario.connections / scenario.topics).await;
        passes.push(Look::at(process) - before);
    }
    report(scenario, &passes);
}

/// Connects and joins everyone, and prints what that took.
async fn connect(scenario: &Scenario, bed: &Bed, process: u32) -> Subscribers {
    let (before, resident) = (Look::at(process), memory(process).resident);
    let subscribers = Subscribers::start(bed.plan(scenario.topic, scenario.connections));
    subscribers.joined(scenario.connections).await;
    let taken = Look::at(process) - before;
    let connections = count(scenario.connections);
    println!("{}", scenario.name);
    println!(
        "    join      {:>9.3} CPU ms each  {:>9.0} /s  {:>6.1} KiB each",
        taken.cpu_s * 1e3 / connections,
        connections / taken.elapsed_s,
        (memory(process).resident - resident) / connections,
    );
    subscribers
}

fn report(scenario: &Scenario, passes: &[Taken]) {
    let deliveries = count(scenario.transactions * scenario.connections / scenario.topics);
    let cpu: Vec<f64> = passes.iter().map(|pass| pass.cpu_s / deliveries * 1e6).collect();
    let (least, most) = (cpu.iter().copied().fold(f64::MAX, f64::min), cpu.iter().copied().fold(0.0, f64::max));
    let rate = median(passes.iter().map(|pass| deliveries / pass.elapsed_s).collect());
    println!(
        "    delivery  {:>9.2} CPU-seconds a million ({least:.2} to {most:.2})  {rate:>9.0} /s  ({deliveries} a pass)",
        median(cpu)
    );
}

fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).expect("a few million"))
}
