//! The simulation: the real decoder, assembler, intake, hub, shards and codecs, single-threaded, without sockets, clock
//! or tokio, between a model of Postgres and model clients. A seed decides everything that happens.
//!
//! Checked all the time: every client is sent exactly what the model says comes next on its topic, or is told to
//! resync; every cursor stands for exactly what was sent up to it; a snapshot's rows are what its transactions made;
//! nothing is acknowledged that a resume would need; nothing grows with the slowness of a client, and the log keeps to
//! its memory. At quiet points every client's rows are the table's.
//!
//! `WALCAST_SIM_SEEDS=100000` runs more seeds (`WALCAST_SIM_FROM=1000`: without the first ones), `WALCAST_SIM_SEED=7`
//! one of them with a trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod channel;
mod client;
mod config;
mod gateway;
mod pgoutput;
mod postgres;
mod sight;
mod snapshots;
mod table;
mod transactions;
mod view;
mod walsender;
mod wire;
mod world;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Seen, World};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 1_000;
const THREADS: usize = 2;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64, traced: bool) -> Result<Seen, String> {
    let mut world = World::new(seed, traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let problem = match outcome {
        Ok(Ok(seen)) => return Ok(seen),
        Ok(Err(problem)) => problem,
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(message) => format!("panic: {message}"),
            None => "panic".to_owned(),
        },
    };
    let replay = format!("replay it with WALCAST_SIM_SEED={seed} cargo test --test sim");
    Err(format!("{}seed {seed}: {problem}\n{replay}", world.trace()))
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("WALCAST_SIM_SEED") {
        let seen = run(seed, true).unwrap_or_else(|problem| panic!("\n{problem}"));
        println!("{seen:?}");
        return;
    }
    let (from, seeds) = (number("WALCAST_SIM_FROM"), number("WALCAST_SIM_SEEDS"));
    let (next, seeds) = (AtomicU64::new(from.unwrap_or(0)), seeds.unwrap_or(SEEDS));
    let work = || {
        let mut all = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(all);
            }
            all.push(run(seed, false)?);
        }
    };
    let outcomes: Vec<Result<Vec<Seen>, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = Vec::new();
    let mut problems = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(seen) => all.extend(seen),
            Err(problem) => problems.push(problem),
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n\n"));
    let sum = |field: fn(&Seen) -> u64| all.iter().map(field).sum::<u64>();
    println!(
        "{} seeds: {} transactions, {} updates, {} crashes, {} reconnects, {} losses, {} failovers, \
         {} client drops, {} snapshots, {} resyncs, {} reloads",
        all.len(),
        sum(|it| it.transactions),
        sum(|it| it.updates),
        sum(|it| it.crashes),
        sum(|it| it.reconnects),
        sum(|it| it.losses),
        sum(|it| it.failovers),
        sum(|it| it.client_drops),
        sum(|it| it.snapshots),
        sum(|it| it.resyncs),
        sum(|it| it.reloads),
    );
    assert!(sum(|it| it.resyncs.min(it.crashes).min(it.snapshots)) > 0, "the worlds are too kind to show anything");
}

#[test]
fn a_seed_always_tells_the_same_story() {
    for seed in 0..20 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
