//! HTTP answers that go out as they come: a topic's events, or its rows.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::auth::Identity;
use crate::phoenix::ClientMessage;
use crate::transport::wire::Wire;

use super::requests::Answer;
use super::shell::{Guest, Shell};

/// A stream's place in the shell.
pub(super) struct StreamEnd {
    /// Tells it from others in the same slot.
    serial: u64,
    /// Of the task that waits for the answer, or for more of the body.
    waker: Option<Waker>,
}

impl StreamEnd {
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The body of such an answer. The subscription ends with it.
pub(in crate::transport) struct Stream {
    shell: Rc<RefCell<Shell>>,
    slot: usize,
    serial: u64,
}

/// A stream that ended before its end: the connection is closed, so that the client knows.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the answer could not be read to its end")]
pub(in crate::transport) struct CutOff;

/// Why there is no stream.
pub(in crate::transport) enum NoStream {
    /// The server stops, or has too much to do.
    Unavailable,
    /// With `{"reason": …}`.
    Refused(crate::phoenix::Body),
}

/// Joins a topic in a client's name. The stream begins once that is known to have worked.
pub(in crate::transport) async fn open(
    shell: &Rc<RefCell<Shell>>,
    wire: Wire,
    identity: Identity,
    join: ClientMessage,
) -> Result<Stream, NoStream> {
    let stream = shell.borrow_mut().open_stream(wire, identity).map(|(slot, serial)| Stream {
        shell: Rc::clone(shell),
        slot,
        serial,
    });
    let stream = stream.ok_or(NoStream::Unavailable)?;
    shell.borrow_mut().request(stream.slot, join);
    let answer = poll_fn(|context| shell.borrow_mut().poll_answer(stream.slot, stream.serial, context)).await;
    match answer {
        Some(Answer::Ok) => Ok(stream),
        Some(Answer::Refused(response)) => Err(NoStream::Refused(response)),
        None => Err(NoStream::Unavailable),
    }
}

impl Shell {
    fn open_stream(&mut self, wire: Wire, identity: Identity) -> Option<(usize, u64)> {
        if self.draining || self.is_full() {
            return None;
        }
        let slot = self.state.open(wire, identity, self.now());
        self.next_serial += 1;
        self.guests.insert(slot, Guest::Stream(StreamEnd { serial: self.next_serial, waker: None }));
        Some((slot, self.next_serial))
    }

    fn request(&mut self, slot: usize, join: ClientMessage) {
        let now = self.now();
        self.state.request(slot, join, now);
        self.commands.notify_one();
    }

    /// Whether the join was accepted; none where the stream is gone.
    fn poll_answer(&mut self, slot: usize, serial: u64, context: &Context<'_>) -> Poll<Option<Answer>> {
        let Some(end) = self.stream(slot, serial) else { return Poll::Ready(None) };
        end.waker = Some(context.waker().clone());
        match self.state.take_answer(slot) {
            Some(answer) => Poll::Ready(Some(answer)),
            None if self.state.is_finished(slot) => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn poll_stream(&mut self, slot: usize, serial: u64, context: &Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        let Some(end) = self.stream(slot, serial) else { return Poll::Ready(Some(Err(CutOff))) };
        end.waker = Some(context.waker().clone());
        let now = self.now();
        if let Some(bytes) = self.state.pop(slot, now) {
            if self.state.waiting_commands() > 0 {
                self.commands.notify_one();
            }
            return Poll::Ready(Some(Ok(bytes)));
        }
        if !self.state.is_finished(slot) {
            return Poll::Pending;
        }
        match self.state.take_answer(slot) {
            Some(Answer::Refused(_)) => Poll::Ready(Some(Err(CutOff))),
            Some(Answer::Ok) | None => Poll::Ready(None),
        }
    }

    fn stream(&mut self, slot: usize, serial: u64) -> Option<&mut StreamEnd> {
        match self.guests.get_mut(&slot)? {
            Guest::Stream(end) if end.serial == serial => Some(end),
            _ => None,
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let polled = self.shell.borrow_mut().poll_stream(self.slot, self.serial, context);
        polled.map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut shell = self.shell.borrow_mut();
        if shell.stream(self.slot, self.serial).is_some() {
            shell.remove(self.slot);
            shell.commands.notify_one();
        }
    }
}
