//! Many subscribers on one thread, with what they have counted.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;

use super::client::{Client, SharedBuffer, shared_buffer};
use super::frames::Seen;

/// Without progress for this long, something is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the counts.
const POLL: Duration = Duration::from_millis(1);

/// Who subscribes to what.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) port: u16,
    pub(crate) connections: u64,
    /// `{i}` is the connection's number.
    pub(crate) topic: &'static str,
    /// Where to resume.
    pub(crate) cursor: Option<String>,
    /// The first message's `n`; each one after it counts on by one.
    pub(crate) first: u64,
    /// Connects and joins that are unfinished at once.
    pub(crate) at_once: usize,
    /// Keep how long each message took, for a few subscribers.
    pub(crate) latencies: bool,
}

#[derive(Debug, Default)]
struct Counts {
    joined: AtomicU64,
    received: AtomicU64,
    /// In microseconds from the row's insertion to its arrival.
    latencies: Mutex<Vec<f64>>,
}

/// Running subscribers. Dropped, they disconnect. Any gap or repeat, or a closed connection, makes `join` and `wait`
/// panic.
pub(crate) struct Subscribers {
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Subscribers {
    pub(crate) fn start(plan: Plan) -> Self {
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = oneshot::channel();
        let counted = Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            LocalSet::new().block_on(&runtime, subscribe(plan, counted, stopped));
        });
        Self { counts, stop: Some(stop), thread: Some(thread) }
    }

    /// Until so many have joined.
    pub(crate) async fn joined(&self, count: u64) {
        self.wait("joins", &self.counts.joined, count).await;
    }

    /// Until so many messages have come, all subscribers taken together.
    pub(crate) async fn received(&self, count: u64) {
        self.wait("deliveries", &self.counts.received, count).await;
        assert_eq!(self.counts.received.load(Ordering::Relaxed), count, "more came than was published");
    }

    /// The latencies since the last call.
    pub(crate) fn take_latencies(&self) -> Vec<f64> {
        std::mem::take(&mut self.counts.latencies.lock().expect("no subscriber has panicked"))
    }

    async fn wait(&self, what: &str, counter: &AtomicU64, count: u64) {
        let (mut seen, mut since) = (0, tokio::time::Instant::now());
        while seen < count {
            tokio::time::sleep(POLL).await;
            let now = counter.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, tokio::time::Instant::now());
            }
            assert!(!self.thread.as_ref().is_some_and(JoinHandle::is_finished), "a subscriber has failed, see above");
            assert!(since.elapsed() < PATIENCE, "{seen} of {count} {what}, and no more for {PATIENCE:?}");
        }
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _a_panic_was_printed = thread.join();
        }
    }
}

/// All subscribers until they are stopped, or one fails.
async fn subscribe(plan: Plan, counts: Arc<Counts>, stopped: oneshot::Receiver<()>) {
    let (buffer, room) = (shared_buffer(), Rc::new(Semaphore::new(plan.at_once)));
    let plan = Rc::new(plan);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..plan.connections {
        let (buffer, room) = (Rc::clone(&buffer), Rc::clone(&room));
        tasks.spawn_local(follow(Rc::clone(&plan), number, buffer, room, Arc::clone(&counts)));
    }
    tokio::select! {
        _ = stopped => {}
        Some(ended) = tasks.join_next() => ended.expect("a subscriber goes on"),
    }
}

/// One subscriber, for ever.
async fn follow(plan: Rc<Plan>, number: u64, buffer: SharedBuffer, room: Rc<Semaphore>, counts: Arc<Counts>) {
    let topic = plan.topic.replace("{i}", &number.to_string());
    let permit = room.acquire().await.expect("never closed");
    let joining = Client::join(plan.port, &topic, plan.cursor.as_deref(), buffer).await;
    let mut client = joining.unwrap_or_else(|error| panic!("subscriber {number} does not get in: {error}"));
    let (mut permit, mut expected) = (Some(permit), plan.first);
    loop {
        let mut received = 0;
        let taken = client.read(|seen| match seen {
            Seen::Update { sent, n } => {
                assert_eq!(n, expected, "{topic}: a gap or a repeat");
                expected += 1;
                received += 1;
                if plan.latencies {
                    counts.latencies.lock().expect("no subscriber has panicked").push(since(sent));
                }
            }
            Seen::Other(reply) => {
                accepted(&topic, plan.cursor.is_some(), reply);
                drop(permit.take().expect("one answer to the join"));
                counts.joined.fetch_add(1, Ordering::Relaxed);
            }
        });
        taken.await.expect("the connection stays");
        counts.received.fetch_add(received, Ordering::Relaxed);
    }
}

fn accepted(topic: &str, resumed: bool, reply: &[u8]) {
    let reply = String::from_utf8_lossy(reply);
    let resumed = format!("\"resumed\":{resumed}");
    assert!(reply.contains(r#""status":"ok""#) && reply.contains(&resumed), "the join of {topic}: {reply}");
}

/// Microseconds since a row's `sent`.
fn since(sent: u64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    (now.as_secs_f64() * 1e6) - Duration::from_micros(sent).as_secs_f64() * 1e6
}
