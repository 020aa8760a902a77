//! What the gateway costs and how fast it is, measured from outside: the release binary with a real Postgres, beside a
//! baseline, `pg_recvlogical`, and whatever else is installed, in the same run.
//!
//! `make bench`, or `cargo bench --bench gateway -- [--quick] [PART OF A NAME]`. The server under measure has one
//! core, everything else another. CPU time for a unit of work, and ratios within a run, are what to compare: on a
//! machine that others use, times are theirs, too. It needs some 5,300 open files (`ulimit -n`). Figures are
//! explained in `docs/performance.md`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for the terminal; what goes wrong ends it"
)]

mod arrival;
mod bed;
mod drain;
mod fan_out;
mod ideal;
mod load;
mod place;
mod presence;
mod servers;
mod storm;
#[path = "../../tests/it/support/mod.rs"]
mod support;
mod table;

use place::Place;
use servers::Peers;

/// What is to be run, and how.
pub(crate) struct Run {
    pub(crate) place: Place,
    pub(crate) peers: Peers,
    /// Of each scenario; an odd number has a middle.
    pub(crate) passes: usize,
    /// Passes are shorter by this factor.
    pub(crate) shorter: u64,
    wanted: Option<String>,
}

impl Run {
    fn new(arguments: &[String]) -> Self {
        let quick = arguments.iter().any(|argument| argument == "--quick");
        let wanted = arguments.iter().find(|argument| !argument.starts_with('-')).cloned();
        let peers = Peers::find(support::repository());
        let (passes, shorter) = if quick { (1, 4) } else { (3, 1) };
        Self { place: Place::take(), peers, passes, shorter, wanted }
    }

    /// Whether a part of the run has a name like the one that was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| name.contains(wanted))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, port, rest @ ..] = &arguments[..]
        && first == ideal::ARGUMENT
    {
        let batch = rest.iter().any(|argument| argument == ideal::BATCH);
        return ideal::run(port.parse().expect("a port"), batch);
    }
    let run = Run::new(&arguments);
    introduce(&run);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        fan_out::run(&run).await;
        drain::run(&run).await;
        arrival::run(&run).await;
        storm::run(&run).await;
        presence::run(&run).await;
    });
}

fn introduce(run: &Run) {
    let pinned = if run.place.pinned { "the server has a core of its own" } else { "nothing is pinned to a core" };
    println!("medians of {} passes; {pinned}; every delivery is checked for gaps and repeats", run.passes);
    let missing = run.peers.missing();
    if !missing.is_empty() {
        println!("not measured, since not installed (scripts/ensure-peers): {missing}");
    }
}
