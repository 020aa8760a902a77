//! A shard's thread: a single-threaded runtime, the main task, and a task for each connection.

use std::cell::RefCell;
use std::future::ready;
use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{LocalSet, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::hub::{Command, ShardId, ToShard};
use crate::sync::{Answer, Queued};
use crate::transport::http::{self, Routers};
use crate::transport::limits::Limits;
use crate::transport::listener::{Arrival, Count, Entrance, Permit};
use crate::transport::long_poll::{Peers, SessionRequest};
use crate::transport::tls::Handshakes;

use super::shell::{Shell, verify_tokens};
use super::statistics::Statistics;

/// How often idle and closing connections are looked at.
const TICK: Duration = Duration::from_secs(1);

/// A client that has connected.
pub struct Accepted {
    pub arrival: Arrival,
    pub entrance: Entrance,
    pub permit: Permit,
}

/// What the process asks of a shard.
pub enum Control {
    Accept(Accepted),
    /// Close up to `count` connections with 1012; the answer is how many are not gone yet.
    Drain {
        count: usize,
        remaining: oneshot::Sender<usize>,
    },
}

/// The shard's ends of its channels.
pub struct ShardChannels {
    pub control: mpsc::Receiver<Control>,
    pub from_hub: mpsc::Receiver<Vec<ToShard>>,
    pub commands: mpsc::Sender<Command>,
    /// To those who write, and from them. They wait for a shard, and no shard for them.
    pub writes: mpsc::Sender<Queued>,
    pub written: mpsc::Receiver<Answer>,
    /// What other shards are asked for long-poll sessions of this one, and ways to all of them.
    pub sessions: mpsc::Receiver<SessionRequest>,
    pub peers: Peers,
    /// The process' connections.
    pub count: Count,
    /// How the shard is doing, once a second.
    pub statistics: watch::Sender<Statistics>,
}

/// A running shard. It ends when its control channel is closed.
pub struct ShardThread {
    handle: JoinHandle<()>,
    runtime: Handle,
}

impl ShardThread {
    /// Starts the thread. Once the shard has ended, the thread goes on until `tenants` has: others may run on it, too.
    ///
    /// # Errors
    /// The system gives no thread, or no runtime for it.
    pub fn spawn(
        id: ShardId,
        limits: Limits,
        routers: Routers,
        channels: ShardChannels,
        tenants: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let own = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let runtime = own.handle().clone();
        let handle = std::thread::Builder::new().name(format!("shard-{}", id.0)).spawn(move || {
            let local = LocalSet::new();
            let shard = Shard::new(id, limits, routers, channels);
            local.block_on(&own, shard.run());
            drop(local);
            own.block_on(tenants);
        })?;
        Ok(Self { handle, runtime })
    }

    /// Where others can run on this thread, as long as `tenants` says that they do.
    #[must_use]
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for its end; false where that was a panic.
    #[must_use]
    pub fn join(self) -> bool {
        self.handle.join().is_ok()
    }
}

struct Shard {
    limits: Limits,
    shell: Rc<RefCell<Shell>>,
    routers: Routers,
    channels: ShardChannels,
    commands_waiting: Rc<Notify>,
    handshakes: Rc<Handshakes>,
}

impl Shard {
    fn new(id: ShardId, limits: Limits, routers: Routers, channels: ShardChannels) -> Self {
        let commands_waiting = Rc::new(Notify::new());
        let (gate, count) = (routers.gate.clone(), channels.count.clone());
        let shell = Shell::new(id, limits, gate, count, Rc::clone(&commands_waiting));
        let (shell, handshakes) = (Rc::new(RefCell::new(shell)), Rc::new(Handshakes::new()));
        Self { limits, shell, routers, channels, commands_waiting, handshakes }
    }

    async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batches = Vec::new();
        let mut hub_open = true;
        loop {
            // Those of clients without a socket; the others' own tasks have seen to theirs.
            verify_tokens(&self.shell);
            self.pass_writes();
            let (writing, room) = self.write_some();
            let hub_is_full = !self.pass_commands();
            if writing {
                // Clients, posts and newcomers have their turn before the next few are written to.
                yield_now().await;
            }
            tokio::select! {
                taken = self.channels.from_hub.recv_many(&mut batches, room), if hub_open && room > 0 => {
                    hub_open = taken > 0;
                    let mut shell = self.shell.borrow_mut();
                    shell.round.took(taken);
                    batches.drain(..).for_each(|messages| shell.told(messages));
                }
                Some(answer) = self.channels.written.recv() => self.shell.borrow_mut().written(answer),
                control = self.channels.control.recv() => match control {
                    Some(control) => self.take(control),
                    None => return,
                },
                Some(request) = self.channels.sessions.recv() => self.shell.borrow_mut().ask(request),
                permit = self.channels.commands.reserve(), if hub_is_full => {
                    if let (Ok(permit), Some(command)) = (permit, self.shell.borrow_mut().next_command()) {
                        permit.send(command);
                    }
                }
                () = self.commands_waiting.notified() => {}
                () = ready(()), if writing => {}
                _ = tick.tick() => {
                    let mut shell = self.shell.borrow_mut();
                    shell.tick();
                    self.channels.statistics.send_replace(shell.statistics());
                }
            }
        }
    }

    /// Hands on requests to write; those for which there is no room are refused.
    fn pass_writes(&self) {
        let mut shell = self.shell.borrow_mut();
        while let Some(request) = shell.next_write() {
            let number = request.number;
            if self.channels.writes.try_send((Instant::now(), request)).is_err() {
                shell.refuse_write(number);
            }
        }
    }

    /// Writes to some of those who have got something: whether others are left, and how many batches of the hub there
    /// is room for before they have been.
    fn write_some(&self) -> (bool, usize) {
        let mut shell = self.shell.borrow_mut();
        (shell.write_some(), shell.round.room())
    }

    /// Hands the hub what it has room for; false where something is left. Never waits: the hub may be waiting for us.
    fn pass_commands(&self) -> bool {
        loop {
            if self.shell.borrow().state.waiting_commands() == 0 {
                return true;
            }
            let Ok(permit) = self.channels.commands.try_reserve() else { return false };
            if let Some(command) = self.shell.borrow_mut().next_command() {
                permit.send(command);
            }
        }
    }

    fn take(&self, control: Control) {
        match control {
            Control::Accept(accepted) => {
                let (shell, routers) = (Rc::clone(&self.shell), self.routers.clone());
                let (peers, count) = (self.channels.peers.clone(), self.channels.count.clone());
                let (handshakes, limits) = (Rc::clone(&self.handshakes), self.limits);
                let server = http::Server { shell, routers, peers, limits, handshakes, count };
                tokio::task::spawn_local(server.serve(accepted));
            }
            Control::Drain { count, remaining } => {
                let open = self.shell.borrow_mut().drain(count);
                // The drain gave up waiting: nobody needs the number.
                let _given_up = remaining.send(open);
            }
        }
    }
}
