//! Many subscribers on one thread, with what they have counted.

use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::LocalSet;

use super::client::{Client, Door, SharedBuffer, shared_buffer};
use super::frames::Seen;
use super::now_us;

/// Without progress for this long, something is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Handshakes and joins that are unfinished at once, where that is not what is measured.
pub(crate) const JOINS_AT_ONCE: usize = 64;

/// Who subscribes to what.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) port: u16,
    pub(crate) door: Door,
    pub(crate) connections: u64,
    /// `{i}` is the connection's number.
    pub(crate) topic: &'static str,
    /// Where to resume.
    pub(crate) cursor: Option<String>,
    /// Connects and joins that are unfinished at once.
    pub(crate) at_once: usize,
    /// Keep how long each message took.
    pub(crate) latencies: bool,
}

#[derive(Debug, Default)]
struct Counts {
    joined: AtomicU64,
    received: AtomicU64,
    /// What whoever waits, waits for.
    awaited: AtomicU64,
    reached: Notify,
    /// In microseconds from `sent` to its arrival.
    latencies: Mutex<Vec<f64>>,
}

/// Running subscribers. Dropped, they disconnect. Any gap or repeat, or a closed connection, makes whoever waits for
/// them panic.
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
            LocalSet::new().block_on(&runtime, subscribe(plan, Arc::clone(&counted), stopped));
            counted.reached.notify_one();
        });
        Self { counts, stop: Some(stop), thread: Some(thread) }
    }

    /// Until so many have joined.
    pub(crate) async fn joined(&self, count: u64) {
        self.wait("joins", &self.counts.joined, count).await;
    }

    /// Until so many messages have come, all subscribers taken together, and no more than that.
    pub(crate) async fn received(&self, count: u64) {
        self.reached(count).await;
        assert_eq!(self.counts.received.load(Ordering::Relaxed), count, "more came than was published");
    }

    /// The same while more may be on its way.
    pub(crate) async fn reached(&self, count: u64) {
        self.wait("deliveries", &self.counts.received, count).await;
    }

    /// The latencies since the last call, in microseconds.
    pub(crate) fn take_latencies(&self) -> Vec<f64> {
        std::mem::take(&mut self.counts.latencies.lock().expect("no subscriber has panicked"))
    }

    async fn wait(&self, what: &str, counter: &AtomicU64, count: u64) {
        self.counts.awaited.store(count, Ordering::SeqCst);
        let mut seen = 0;
        loop {
            let now = counter.load(Ordering::SeqCst);
            if now >= count {
                return;
            }
            assert!(!self.thread.as_ref().is_some_and(JoinHandle::is_finished), "a subscriber has failed, see above");
            let woken = tokio::time::timeout(PATIENCE, self.counts.reached.notified()).await;
            assert!(woken.is_ok() || now > seen, "{now} of {count} {what}, and no more for {PATIENCE:?}");
            seen = now;
        }
    }
}

impl Counts {
    fn count(&self, counter: &AtomicU64, more: u64) {
        let now = counter.fetch_add(more, Ordering::SeqCst) + more;
        if now >= self.awaited.load(Ordering::SeqCst) && more > 0 {
            self.reached.notify_one();
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
    let coming = come_in(&plan, &topic, buffer).await;
    let mut client = coming.unwrap_or_else(|error| panic!("subscriber {number} does not get in: {error}"));
    let (mut permit, mut expected) = (Some(permit), 0);
    if plan.door == Door::Path {
        drop(permit.take());
        counts.count(&counts.joined, 1);
    }
    loop {
        let mut received = 0;
        let taken = client.read(|seen| match seen {
            Seen::Update { sent, n } => {
                assert_eq!(n, expected, "{topic}: a gap or a repeat");
                expected += 1;
                received += 1;
                if plan.latencies {
                    counts.latencies.lock().expect("no subscriber has panicked").push(now_us() - sent as f64);
                }
            }
            Seen::Other(reply) => {
                accepted(&topic, plan.cursor.is_some(), reply);
                drop(permit.take().expect("one answer to the join"));
                counts.count(&counts.joined, 1);
            }
        });
        taken.await.expect("the connection stays");
        counts.count(&counts.received, received);
    }
}

async fn come_in(plan: &Plan, topic: &str, buffer: SharedBuffer) -> io::Result<Client> {
    match plan.door {
        Door::Join => Client::join(plan.port, topic, plan.cursor.as_deref(), buffer).await,
        Door::Path => Client::connect(plan.port, &format!("/sub/{topic}"), buffer).await,
    }
}

fn accepted(topic: &str, resumes: bool, reply: &[u8]) {
    let reply = String::from_utf8_lossy(reply);
    let resumed = reply.contains(r#""resumed":true"#);
    assert!(reply.contains(r#""status":"ok""#) && resumed == resumes, "the join of {topic}: {reply}");
}
