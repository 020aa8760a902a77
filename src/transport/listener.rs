//! Accepting: a socket goes to a shard before any runtime knows it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::shard::{Accepted, Control};

/// Connections that the kernel holds while the process is busy: a fleet that reconnects at once must find room.
const BACKLOG: i32 = 4096;
/// After an accept that failed for want of descriptors or memory, which trying at once would not mend.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Which listener a client came in by, and so what it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    Public,
    Admin,
}

/// The process' connections, counted.
#[derive(Debug, Clone, Default)]
pub struct Count {
    open: Arc<AtomicUsize>,
    refused: Arc<AtomicU64>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Count {
    /// One more, unless there are as many as may be.
    pub(super) fn permit_within(&self, limit: usize) -> Option<Permit> {
        let permit = self.permit();
        let within = self.get() <= limit;
        if !within {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        within.then_some(permit)
    }

    /// How many were turned away because there were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn permit(&self) -> Permit {
        self.open.fetch_add(1, Ordering::Relaxed);
        Permit(Arc::clone(&self.open))
    }

    fn get(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Binds a listening socket.
///
/// # Errors
/// The address is in use, or not ours.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until it is dropped, giving each shard its turn. Over `limit` connections a client gets a 503.
pub async fn accept(
    listener: std::net::TcpListener,
    entrance: Entrance,
    shards: Vec<mpsc::Sender<Control>>,
    count: Count,
    limit: usize,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    for shard in shards.iter().cycle() {
        let stream = next(&listener).await;
        let Some(permit) = count.permit_within(limit) else {
            refuse(stream);
            continue;
        };
        if shard.send(Control::Accept(Accepted { stream, entrance, permit })).await.is_err() {
            break; // the shard has ended, and so has the process
        }
    }
    Ok(())
}

async fn next(listener: &TcpListener) -> std::net::TcpStream {
    loop {
        match listener.accept().await {
            // A shard registers it with its own runtime.
            Ok((stream, _)) => match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
                Ok(stream) => return stream,
                Err(error) => tracing::debug!(%error, "a client was gone before it was accepted"),
            },
            Err(error) => {
                tracing::warn!(%error, "accepting a client did not work; trying again");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

/// Too many connections: said in one write, which a new socket's buffer takes.
fn refuse(mut stream: std::net::TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 5\r\n\r\n";
    if let Err(error) = io::Write::write_all(&mut stream, ANSWER) {
        tracing::debug!(%error, "a client over the connection limit was gone already");
    }
}
