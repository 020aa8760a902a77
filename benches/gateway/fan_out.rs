//! What delivering costs, what it takes to come in, and how long a message is on its way.
//!
//! Every server is told the same thing in its own way: the baseline and the peers by posts, the gateway by committed
//! rows (and, for comparison, by posts as well). Closed loops keep so many messages outstanding; open ones publish at a
//! pace. Each delivery is checked for gaps and repeats.

use std::time::Duration;

use crate::Run;
use crate::load::cost::{Look, Taken, memory};
use crate::load::publisher::Publisher;
use crate::load::subscribers::{JOINS_AT_ONCE, Plan, Subscribers};
use crate::load::{median, percentile};
use crate::servers::{Kind, Server};
use crate::table;

/// How fast messages are published.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// At most so many that have not reached everyone.
    Outstanding(u64),
    /// One in this time.
    Every(Duration),
}

struct Scenario {
    name: &'static str,
    connections: u64,
    topics: u64,
    /// A pass's, at full length.
    messages: u64,
    pace: Pace,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "1,000 on one topic, 4 outstanding",
        connections: 1_000,
        topics: 1,
        messages: 500,
        pace: Pace::Outstanding(4),
    },
    Scenario {
        name: "1,000 on one topic, 64 outstanding",
        connections: 1_000,
        topics: 1,
        messages: 1_000,
        pace: Pace::Outstanding(64),
    },
    Scenario {
        name: "5,000 on one topic, 4 outstanding",
        connections: 5_000,
        topics: 1,
        messages: 100,
        pace: Pace::Outstanding(4),
    },
    Scenario {
        name: "5,000 topics with one each, 2 outstanding",
        connections: 5_000,
        topics: 5_000,
        messages: 60,
        pace: Pace::Outstanding(2),
    },
    Scenario {
        name: "1,000 on one topic, 20/s",
        connections: 1_000,
        topics: 1,
        messages: 100,
        pace: Pace::Every(Duration::from_millis(50)),
    },
    Scenario {
        name: "1 subscriber, 1,000/s",
        connections: 1,
        topics: 1,
        messages: 4_000,
        pace: Pace::Every(Duration::from_millis(1)),
    },
];

/// What one server gave in one scenario.
struct Figures {
    kind: Kind,
    /// CPU-seconds per million deliveries.
    cpu: f64,
    /// Deliveries a second.
    rate: f64,
    /// The load generator's share of its core.
    load: f64,
    /// Milliseconds: p50, p99, p99.9.
    latency: [f64; 3],
    joining: Joining,
}

#[derive(Clone, Copy)]
struct Joining {
    cpu_ms: f64,
    rate: f64,
    kib: f64,
}

pub(crate) async fn run(run: &Run) {
    for scenario in SCENARIOS.iter().filter(|scenario| run.wants(scenario.name)) {
        let mut figures = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| run.peers.has(*kind)) {
            if scenario.topics == 1 || kind.spreads() {
                figures.push(measure(scenario, kind, run).await);
            }
        }
        report(scenario, &figures);
    }
}

async fn measure(scenario: &Scenario, kind: Kind, run: &Run) -> Figures {
    let server = Server::start(kind, run.place, &run.peers).await;
    let (subscribers, joining) = connect(scenario, &server).await;
    let mut publisher = server.publisher(scenario.topics).await;
    let mut first = 0;
    let messages = (scenario.messages / run.shorter).max(20);
    // The first pass is for warming up.
    pass(scenario, &subscribers, &mut publisher, &mut first, messages / 4).await;
    subscribers.take_latencies();
    let (mut cpu, mut rates, mut load) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..run.passes {
        let (before, own) = (Look::at(server.process), Look::at(std::process::id()));
        pass(scenario, &subscribers, &mut publisher, &mut first, messages).await;
        let (taken, own) = (Look::at(server.process) - before, Look::at(std::process::id()) - own);
        let deliveries = (messages * scenario.connections) as f64;
        cpu.push(taken.cpu_s / deliveries * 1e6);
        rates.push(deliveries / taken.elapsed_s);
        load.push(own.cpu_s / own.elapsed_s);
    }
    let mut latencies = subscribers.take_latencies();
    latencies.sort_unstable_by(f64::total_cmp);
    let latency = [0.5, 0.99, 0.999].map(|share| percentile(&latencies, share) / 1e3);
    let [cpu, rate, load] = [cpu, rates, load].map(median);
    Figures { kind, cpu, rate, load, latency, joining }
}

/// Connects and joins everyone, and what that took.
async fn connect(scenario: &Scenario, server: &Server) -> (Subscribers, Joining) {
    let (before, resident) = (Look::at(server.process), memory(server.process).resident);
    let subscribers = Subscribers::start(Plan {
        port: server.port,
        door: server.door,
        connections: scenario.connections,
        topic: server.topic(scenario.topics),
        cursor: None,
        at_once: JOINS_AT_ONCE,
        latencies: matches!(scenario.pace, Pace::Every(_)),
    });
    subscribers.joined(scenario.connections).await;
    let Taken { cpu_s, elapsed_s } = Look::at(server.process) - before;
    let connections = scenario.connections as f64;
    let kib = (memory(server.process).resident - resident) / connections;
    (subscribers, Joining { cpu_ms: cpu_s * 1e3 / connections, rate: connections / elapsed_s, kib })
}

async fn pass(scenario: &Scenario, subscribers: &Subscribers, publisher: &mut Publisher, first: &mut u64, count: u64) {
    let (begin, end) = (*first, *first + count);
    match scenario.pace {
        Pace::Outstanding(most) => {
            for n in begin..end {
                if n >= most {
                    subscribers.reached((n - most + 1) * scenario.connections).await;
                }
                publisher.publish(n).await;
            }
        }
        Pace::Every(interval) => {
            let mut due = tokio::time::interval(interval);
            for n in begin..end {
                due.tick().await;
                publisher.publish(n).await;
            }
        }
    }
    *first = end;
    subscribers.received(end * scenario.connections).await;
}

fn report(scenario: &Scenario, figures: &[Figures]) {
    let columns: Vec<&str> = figures.iter().map(|figures| figures.kind.name()).collect();
    let line = |name: &str, decimals: usize, figure: &dyn Fn(&Figures) -> f64| {
        table::line(name, &figures.iter().map(figure).collect::<Vec<_>>(), decimals);
    };
    let ideal = figures.iter().find(|figures| figures.kind == Kind::Ideal).map_or(f64::NAN, |ideal| ideal.cpu);
    table::heading(scenario.name, &columns);
    line("CPU-seconds per million deliveries", 2, &|it| it.cpu);
    line("  … as a ratio to ideal", 2, &|it| it.cpu / ideal);
    line("deliveries/s and core", 0, &|it| 1e6 / it.cpu);
    if matches!(scenario.pace, Pace::Every(_)) {
        line("latency p50, ms", 2, &|it| it.latency[0]);
        line("latency p99, ms", 2, &|it| it.latency[1]);
        line("latency p99.9, ms", 2, &|it| it.latency[2]);
    } else {
        line("deliveries/s", 0, &|it| it.rate);
        line("load generator, share of its core", 2, &|it| it.load);
    }
    if scenario.connections > 1 {
        line("CPU ms per connect and join", 3, &|it| it.joining.cpu_ms);
        line("connects and joins/s", 0, &|it| it.joining.rate);
        line("KiB (RSS) per idle connection", 1, &|it| it.joining.kib);
    }
}
