//! A new gateway takes over from the one that runs, as a rolling restart does it: side by side on ports of their own,
//! behind a load balancer that asks `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::balancer::Balancer;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::node::Script;

const ROUTE: &str = "[[route]]\ntable = \"public.ticks\"\ntopic = \"ticks\"\n";
/// How often the gateway is replaced.
const ROUNDS: usize = 3;
/// From one commit to the next.
const PACE: Duration = Duration::from_millis(5);
/// Longer than a handover takes on a busy machine: a client that tried once too early tries again within two seconds.
const PAUSE_MAX: u64 = 10_000;

/// Commits 1, 2, 3, … until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Writer {
    async fn start(database: &Database) -> Self {
        let client = database.connect().await;
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let n = count.load(Ordering::Relaxed) + 1;
                client.execute("insert into ticks values ($1)", &[&n]).await.expect("a commit");
                count.store(n, Ordering::Relaxed);
                tokio::time::sleep(PACE).await;
            }
        });
        Self { stop, written, task }
    }

    /// The last number so far.
    fn written(&self) -> i64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The last number.
    async fn stop(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the writer");
        self.written.load(Ordering::Relaxed)
    }
}

/// Until every client has the number; what the script says then.
async fn clients_have(script: &mut Script, number: i64) -> Value {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        script.go_on().await;
        let report: Value = serde_json::from_str(&script.until_prefix("numbers ").await).unwrap();
        if report["last"].as_i64() >= Some(number) {
            return report;
        }
        assert!(tokio::time::Instant::now() < deadline, "{number} did not come: {report}");
        tokio::time::sleep(crate::support::POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_lose_and_repeat_nothing_while_gateways_are_replaced() {
    let database = Database::start().await;
    database.execute("create table ticks (n bigint primary key)").await;
    let balancer = Balancer::start().await;
    let mut running = Gateway::start(&database.url(), ROUTE).await;
    balancer.add(&running);
    let socket = format!("ws://127.0.0.1:{}/socket", balancer.port);
    let variables = [("WALCAST_SOCKET", &*socket), ("WALCAST_DEADLINE_MS", "240000")];
    let mut script = Script::start("rolling.mjs", &variables);
    script.until("joined").await;
    let writer = Writer::start(&database).await;
    for round in 1..=ROUNDS {
        clients_have(&mut script, writer.written()).await;
        let mut next = Gateway::configure(&database.url(), ROUTE);
        balancer.add(&next);
        next.spawn();
        waits_for(&next).await;
        let before = writer.written();
        let (stopped, ()) = tokio::join!(running.terminate(), next.wait_until_ready());
        assert!(stopped.success(), "{stopped}\n{}", running.log());
        running = next;
        let report = clients_have(&mut script, writer.written() + 1).await;
        let meanwhile = writer.written() - before;
        println!(
            "handover {round}: clients heard nothing for {} ms, the latest number came {} ms after its commit, {meanwhile} \
             commits meanwhile",
            report["silence"], report["late"]
        );
        assert!(report["silence"].as_u64() < Some(PAUSE_MAX), "{report}");
        assert_eq!(report["codes"], serde_json::json!([1012]), "{report}");
        assert_eq!(report["joins"], round + 1, "{report}");
    }
    let last = writer.stop().await;
    let report = clients_have(&mut script, last).await;
    assert_eq!(report["last"], last);
}

/// The new gateway listens, is not ready, and says who is in its way.
async fn waits_for(next: &Gateway) {
    let body = eventually("the new gateway waits", async || {
        let (status, body) = next.get_admin("/readyz").await;
        (status == 503 && body.contains("in use by process")).then_some(body)
    })
    .await;
    let readiness: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(readiness["reasons"][0]["reason"], "waiting", "{body}");
    let message = readiness["reasons"][0]["message"].as_str().unwrap();
    assert!(message.contains("(`walcast` at 127.0.0.1, since "), "{message}");
    assert!(message.contains("walcast takes over when that one ends"), "{message}");
    let log = next.log();
    assert!(log.contains("warning[slot-active]") && log.contains("is in use by process"), "{log}");
}
