//! A shard's sockets: what is read goes to the state, what the state says goes out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::auth::{Denied, Gate, Identity, wall_clock};
use crate::change::PgTimestamp;
use crate::hub::{Command, ConnectionKey, ShardId, ToShard};
use crate::sync::{Answer, Request};
use crate::transport::limits::Limits;
use crate::transport::link::Link;
use crate::transport::listener::{Count, Permit};
use crate::transport::wire::Wire;

use super::outbox::Outbox;
use super::posts::Posts;
use super::rounds::Round;
use super::sessions::Session;
use super::state::State;
use super::statistics::Statistics;
use super::stream::StreamEnd;

/// One buffer for all of the shard's reads: an idle connection has none.
const READ_BUFFER: usize = 64 * 1024;
/// Reads of one connection in a row, before others get their turn.
const READS_A_TURN: usize = 4;
/// Frames in one vectored write. Linux takes up to 1024; a batch is rarely more than a few.
const FRAMES_A_WRITE: usize = 64;
/// Commands that may wait for the hub before connections are no longer read from.
const COMMANDS_MAX: usize = 4096;
/// The same for the bytes of broadcasts among them.
const COMMAND_BYTES_MAX: usize = 4 << 20;

/// The state with its sockets. Shared by the shard's tasks, all on one thread; never borrowed across an await.
pub(in crate::transport) struct Shell {
    pub(super) state: State,
    pub(super) id: ShardId,
    pub(super) limits: Limits,
    gate: Gate,
    /// By the state's slots.
    sockets: Vec<Option<Socket>>,
    /// Clients that have no socket of their own, by slot.
    pub(super) guests: HashMap<usize, Guest>,
    pub(super) posts: Posts,
    /// Of the process' connections; sessions are among them.
    count: Count,
    /// The server stops: nobody comes in any more.
    pub(super) draining: bool,
    pub(super) next_serial: u64,
    buffer: Box<[u8]>,
    pub(super) round: Round,
    /// Connections that are not read from until the hub has taken commands.
    parked: Vec<Waker>,
    /// Tells the shard's main task that there are commands.
    pub(super) commands: Rc<Notify>,
    started: Instant,
}

/// A client that comes by plain HTTP.
pub(super) enum Guest {
    Session(Box<Session>),
    Stream(StreamEnd),
}

struct Socket {
    link: Link,
    /// Tells it from others in the same slot.
    serial: u64,
    /// The kernel's buffer is full: the connection's task waits for room.
    blocked: bool,
    waker: Option<Waker>,
    _permit: Permit,
}

impl Shell {
    pub(super) fn new(id: ShardId, limits: Limits, gate: Gate, count: Count, commands: Rc<Notify>) -> Self {
        Self {
            state: State::new(id, limits),
            id,
            limits,
            gate,
            sockets: Vec::new(),
            guests: HashMap::new(),
            posts: Posts::default(),
            count,
            draining: false,
            next_serial: 0,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            round: Round::default(),
            parked: Vec::new(),
            commands,
            started: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn told(&mut self, messages: Vec<ToShard>) {
        let now = self.now();
        messages.into_iter().for_each(|message| self.state.told(message, now));
        self.answer_posts();
    }

    /// How long ago the commits were that have just been written.
    pub(super) fn measure(&mut self) {
        if self.state.has_sent() {
            let now = pg_now_micros();
            self.state.sent(|commit| Duration::from_micros(u64::try_from(now - commit).unwrap_or(0)));
        }
    }

    pub(super) fn statistics(&self) -> Statistics {
        self.state.statistics(self.now())
    }

    fn verified(&mut self, connection: ConnectionKey, result: Result<Identity, Denied>) {
        let now = self.now();
        self.state.verified(connection, result, now);
        self.commands.notify_one();
    }

    pub(super) fn tick(&mut self) {
        self.state.expire(wall_clock(), self.now());
        for slot in self.state.tick(self.now()) {
            self.remove(slot);
        }
        self.tick_sessions();
    }

    /// Closes up to `count` connections because the server stops; how many are not gone yet.
    pub(super) fn drain(&mut self, count: usize) -> usize {
        self.draining = true;
        self.state.drain(count, self.now());
        while self.write_some() {}
        self.drain_sessions();
        self.state.connections()
    }

    /// The server stops, and whoever comes now goes elsewhere.
    pub(in crate::transport) const fn is_draining(&self) -> bool {
        self.draining
    }

    /// A place among the process' connections for one without a socket.
    pub(super) fn admit_guest(&self) -> Option<Permit> {
        if self.draining { None } else { self.count.permit_within(self.limits.connections) }
    }

    /// The next command for the hub; connections that waited for room are read from again.
    pub(super) fn next_command(&mut self) -> Option<Command> {
        let command = self.state.next_command();
        if !self.is_full() {
            self.parked.drain(..).for_each(Waker::wake);
        }
        command
    }

    /// The hub must take commands before clients may give more.
    pub(super) fn is_full(&self) -> bool {
        self.state.waiting_commands() >= COMMANDS_MAX || self.state.waiting_bytes() >= COMMAND_BYTES_MAX
    }

    /// The next request for those who write.
    pub(super) fn next_write(&mut self) -> Option<Request> {
        self.state.next_write()
    }

    pub(super) fn written(&mut self, answer: Answer) {
        let now = self.now();
        self.state.written(answer, now);
    }

    /// Those who write have no room for a request.
    pub(super) fn refuse_write(&mut self, number: u32) {
        let now = self.now();
        self.state.refuse_write(number, now);
    }

    /// Writes what waits, as far as the socket takes it. On failure the connection's own task finds out, too.
    pub(super) fn flush(&mut self, slot: usize) {
        let Some(Some(socket)) = self.sockets.get_mut(slot) else { return self.flush_guest(slot) };
        if socket.blocked {
            return;
        }
        let Some(outbox) = self.state.outbox_mut(slot) else { return };
        while !outbox.is_empty() {
            match write(&mut socket.link, outbox) {
                Ok(taken) => outbox.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.blocked = true;
                    break;
                }
                Err(_) => return self.remove(slot),
            }
        }
        match socket.link.try_flush() {
            Ok(flushed) => socket.blocked |= !flushed,
            Err(_) => return self.remove(slot),
        }
        // A finished connection's task ends it, and a blocked one's task waits for room.
        if (socket.blocked || self.state.is_finished(slot))
            && let Some(waker) = socket.waker.take()
        {
            waker.wake();
        }
        self.state.flushed(slot);
    }

    fn flush_guest(&mut self, slot: usize) {
        match self.guests.get_mut(&slot) {
            Some(Guest::Session(_)) => self.answer_poll(slot),
            Some(Guest::Stream(end)) => end.wake(),
            None => {}
        }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        if let Some(Guest::Stream(mut end)) = self.guests.remove(&slot) {
            end.wake();
        }
        if let Some(mut socket) = self.sockets.get_mut(slot).and_then(Option::take) {
            socket.link.finish();
            if let Some(waker) = socket.waker {
                waker.wake();
            }
        }
        self.state.ended(slot);
    }

    /// Drives one connection; ready when it is over.
    fn poll_connection(&mut self, slot: usize, serial: u64, context: &mut Context<'_>) -> Poll<()> {
        let poll = self.read_and_write(slot, serial, context);
        // What was read asks for something, or what was written makes room for more of the log.
        if self.state.waiting_commands() > 0 || self.state.has_writes() || !self.state.dirty.is_empty() {
            self.commands.notify_one();
        }
        poll
    }

    fn read_and_write(&mut self, slot: usize, serial: u64, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.sockets.get_mut(slot) {
                Some(Some(socket)) if socket.serial == serial => {}
                _ => return Poll::Ready(()),
            }
            if let Poll::Ready(End) = self.poll_read(slot, context) {
                // It may still listen, having only said its last word: our answer to that is due.
                self.flush(slot);
                self.remove(slot);
                return Poll::Ready(());
            }
            self.flush(slot);
            self.state.wrote(slot);
            let Some(Some(socket)) = self.sockets.get_mut(slot) else { return Poll::Ready(()) };
            if self.state.is_finished(slot) && !socket.blocked {
                self.remove(slot);
                return Poll::Ready(());
            }
            socket.waker = Some(context.waker().clone());
            if !socket.blocked {
                return Poll::Pending;
            }
            match ready!(socket.link.poll_write_ready(context)) {
                Ok(()) => socket.blocked = false,
                Err(_) => {
                    self.remove(slot);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Reads what is there; ready when the socket has ended.
    fn poll_read(&mut self, slot: usize, context: &mut Context<'_>) -> Poll<End> {
        for _ in 0..READS_A_TURN {
            if self.is_full() {
                self.parked.push(context.waker().clone());
                return Poll::Pending;
            }
            let Some(Some(socket)) = self.sockets.get_mut(slot) else { return Poll::Ready(End) };
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match ready!(Pin::new(&mut socket.link).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(End),
                Ok(()) => {}
                Err(_) => return Poll::Ready(End),
            }
            let now = self.started.elapsed();
            self.state.received(slot, buffer.filled_mut(), now);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The wall clock as commits have it: microseconds since 2000. What lies before that is as good as 2000.
fn pg_now_micros() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(unix.as_micros()).unwrap_or(i64::MAX);
    micros.saturating_sub(PgTimestamp::UNIX_EPOCH_OFFSET_SECONDS * 1_000_000)
}

/// The client is gone.
struct End;

fn write(link: &mut Link, outbox: &Outbox) -> io::Result<usize> {
    // The most common case needs no array of many.
    if let Some(frame) = outbox.only() {
        return link.try_write(&[IoSlice::new(frame)]);
    }
    let mut slices = [IoSlice::new(&[]); FRAMES_A_WRITE];
    let filled = outbox.slices(&mut slices);
    link.try_write(slices.get(..filled).unwrap_or_default())
}

/// A connection's task: nothing but its key, so that an idle connection costs next to nothing.
struct Connection {
    shell: Rc<RefCell<Shell>>,
    slot: usize,
    serial: u64,
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let poll = self.shell.borrow_mut().poll_connection(self.slot, self.serial, context);
        verify_tokens(&self.shell);
        poll
    }
}

/// A client that was let in.
pub(in crate::transport) struct Newcomer {
    pub(in crate::transport) wire: Wire,
    pub(in crate::transport) identity: Identity,
    pub(in crate::transport) permit: Permit,
}

/// Takes over an upgraded socket, with what the client sent right behind its handshake.
pub(in crate::transport) fn adopt(shell: &Rc<RefCell<Shell>>, link: Link, newcomer: Newcomer, early: &[u8]) {
    let Newcomer { wire, identity, permit } = newcomer;
    let mut inner = shell.borrow_mut();
    let now = inner.now();
    let slot = inner.state.open(wire, identity, now);
    inner.next_serial += 1;
    let serial = inner.next_serial;
    if inner.sockets.len() <= slot {
        inner.sockets.resize_with(slot + 1, || None);
    }
    if let Some(place) = inner.sockets.get_mut(slot) {
        *place = Some(Socket { link, serial, blocked: false, waker: None, _permit: permit });
    }
    if !early.is_empty() {
        inner.state.received(slot, &mut early.to_vec(), now);
        inner.commands.notify_one();
    }
    drop(inner);
    verify_tokens(shell);
    tokio::task::spawn_local(Connection { shell: Rc::clone(shell), slot, serial });
}

/// Has the tokens verified that clients have shown on their connections, each by a task: a key may have to be fetched
/// first, and nobody else waits for that. To be called after whatever gives the state bytes of clients.
pub(super) fn verify_tokens(shell: &Rc<RefCell<Shell>>) {
    loop {
        let next = shell.borrow_mut().state.next_token();
        let Some((connection, token)) = next else { return };
        let shell = Rc::clone(shell);
        tokio::task::spawn_local(async move {
            let gate = shell.borrow().gate.clone();
            let result = gate.verify(&token).await;
            shell.borrow_mut().verified(connection, result);
            verify_tokens(&shell);
        });
    }
}
