//! The bytes between Postgres and the gateway, cut anywhere: a walsender's messages as copy-data one way, status
//! updates the other way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use walcast::change::{Lsn, PgTimestamp};
use walcast::replication::progress::StandbyStatus;
use walcast::replication::wire::{ReplicationMessage, ReplicationStream, StatusUpdate, WireError};

/// What a walsender sends.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    Data { wal_end: u64, data: Bytes },
    Keepalive { wal_end: u64, reply_requested: bool },
}

/// A status update is a copy-data message of the letter, three positions, the time, and whether an answer is wanted.
const STATUS_LENGTH: usize = 5 + 1 + 3 * 8 + 8 + 1;

#[derive(Debug, Default)]
struct Buffers {
    /// Sent by Postgres, and on its way.
    sent: VecDeque<u8>,
    /// How much of that the gateway's socket has.
    arrived: usize,
    /// On its way to Postgres.
    up: Vec<u8>,
}

/// The gateway's end.
#[derive(Debug, Clone, Default)]
struct Pipe(Rc<RefCell<Buffers>>);

/// A replication connection.
pub(crate) struct Wire {
    pipe: Pipe,
    stream: ReplicationStream<Pipe>,
}

impl Wire {
    pub(crate) fn new() -> Self {
        let pipe = Pipe::default();
        Self { stream: ReplicationStream::over(pipe.clone()), pipe }
    }

    /// The server sends a message.
    pub(crate) fn send(&self, sent: &Sent) {
        let mut body = Vec::new();
        match sent {
            Sent::Data { wal_end, data } => {
                body.put_u8(b'w');
                body.put_u64(*wal_end);
                body.put_u64(*wal_end);
                body.put_i64(0);
                body.put_slice(data);
            }
            Sent::Keepalive { wal_end, reply_requested } => {
                body.put_u8(b'k');
                body.put_u64(*wal_end);
                body.put_i64(0);
                body.put_u8(u8::from(*reply_requested));
            }
        }
        let sent = &mut self.pipe.0.borrow_mut().sent;
        sent.push_back(b'd');
        sent.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        sent.extend(body);
    }

    /// So many bytes more have come; whether there were any.
    pub(crate) fn arrive(&self, bytes: usize) -> bool {
        let mut buffers = self.pipe.0.borrow_mut();
        let before = buffers.arrived;
        buffers.arrived = buffers.sent.len().min(before.saturating_add(bytes));
        buffers.arrived > before
    }

    /// The next message that is whole.
    pub(crate) fn next(&mut self) -> Result<Option<ReplicationMessage>, WireError> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(self.stream.next()).poll(&mut context) {
            Poll::Ready(message) => message.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// The gateway sends a status update.
    pub(crate) fn send_status(&mut self, status: StandbyStatus) -> Result<(), WireError> {
        let StandbyStatus { write, flush, apply } = status;
        let mut context = Context::from_waker(Waker::noop());
        let update = StatusUpdate { write, flush, apply };
        match pin!(self.stream.send_status(update, PgTimestamp::from_micros(0))).poll(&mut context) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    /// Postgres gets a status update: its flush position.
    pub(crate) fn take_status(&self) -> Option<Lsn> {
        let up = &mut self.pipe.0.borrow_mut().up;
        let update: Vec<u8> = up.get(..STATUS_LENGTH)?.to_vec();
        up.drain(..STATUS_LENGTH);
        assert_eq!(&update[..6], b"d\0\0\0\x26r");
        Some(Lsn::new(u64::from_be_bytes(*update[14..].first_chunk().unwrap())))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut buffers = self.0.borrow_mut();
        let count = buffers.arrived.min(buffer.remaining());
        if count == 0 {
            return Poll::Pending;
        }
        buffers.arrived -= count;
        let bytes: Vec<u8> = buffers.sent.drain(..count).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().up.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
