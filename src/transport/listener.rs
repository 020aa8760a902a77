//! Accepting: a socket goes to a shard before any runtime knows it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

use super::complaint::Complaint;
use super::shard::{Accepted, Control};
use super::tls::Tls;
use super::unix_socket::{self, SocketFile};

/// Connections that the kernel holds while the process is busy: a fleet that reconnects at once must find room.
const BACKLOG: i32 = 4096;
/// After an accept that failed for want of descriptors or memory, which trying at once would not mend.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Who is gone without a word is noticed within two minutes, where nothing else tells: an event stream that is quiet,
/// a request that is slow. It takes the kernel no more than a packet a minute.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
/// The same where something waits for it: a client that takes or acknowledges nothing for so long is gone, and what
/// waits for it goes, too. The kernel's own bound is a quarter of an hour; below a few minutes a phone in a tunnel
/// would be taken for gone. Who comes back resumes by its cursor.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(300);

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
    handshakes_failed: Arc<AtomicU64>,
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

    pub(super) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// TLS handshakes that clients could not end, or not in time.
    #[must_use]
    pub fn handshakes_failed(&self) -> u64 {
        self.handshakes_failed.load(Ordering::Relaxed)
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

/// A listening socket. Dropped, it is none any longer, and a Unix socket's name is gone.
pub enum Listener {
    /// With TLS for whoever connects, or without.
    Tcp(std::net::TcpListener, Option<Tls>),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// A client's socket, not yet in any runtime.
pub enum Arrival {
    Tcp(std::net::TcpStream, Option<Tls>),
    Unix(std::os::unix::net::UnixStream),
}

impl Listener {
    /// Binds to an address. What is set here holds for the connections, too: Linux hands it on to each.
    ///
    /// # Errors
    /// The address is in use, or not ours.
    pub fn tcp(address: SocketAddr, tls: Option<Tls>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // What goes out is written once a batch: to wait for more would only be late.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&KEEPALIVE)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self::Tcp(socket.into(), tls))
    }

    /// Binds to a name in the file system, which gets the permissions `mode`.
    ///
    /// # Errors
    /// Somebody listens there, another kind of file is there, or the folder is not there or not ours.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        let (listener, file) = unix_socket::bind(path, mode, BACKLOG)?;
        Ok(Self::Unix(listener, file))
    }

    /// Where a TCP socket listens, with the port that the system chose.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr().map(Some),
            Self::Unix(..) => Ok(None),
        }
    }

    fn register(self) -> io::Result<Registered> {
        Ok(match self {
            Self::Tcp(listener, tls) => Registered::Tcp(TcpListener::from_std(listener)?, tls),
            Self::Unix(listener, file) => Registered::Unix(UnixListener::from_std(listener)?, file),
        })
    }
}

/// The same in a runtime.
enum Registered {
    Tcp(TcpListener, Option<Tls>),
    Unix(UnixListener, #[expect(dead_code, reason = "goes with the listener")] SocketFile),
}

impl Registered {
    /// A shard registers it with its own runtime.
    async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                Ok(Arrival::Tcp(stream.into_std()?, tls.clone()))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Arrival::Unix(stream.into_std()?))
            }
        }
    }

    async fn next(&self) -> Arrival {
        loop {
            match self.accept().await {
                Ok(arrival) => return arrival,
                Err(error) => {
                    tracing::warn!(%error, "accepting a client did not work; trying again");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// Accepts until it is dropped, giving each shard its turn. Over `limit` connections a client gets a 503.
pub async fn accept(
    listener: Listener,
    entrance: Entrance,
    shards: Vec<mpsc::Sender<Control>>,
    count: Count,
    limit: usize,
) -> io::Result<()> {
    let listener = listener.register()?;
    for shard in shards.iter().cycle() {
        let arrival = listener.next().await;
        let Some(permit) = count.permit_within(limit) else {
            refuse(arrival);
            continue;
        };
        if shard.send(Control::Accept(Accepted { arrival, entrance, permit })).await.is_err() {
            break; // the shard has ended, and so has the process
        }
    }
    Ok(())
}

/// Too many connections: said in one write, which a new socket's buffer takes. Under TLS it would be a handshake away,
/// which is what there are too many of.
fn refuse(arrival: Arrival) {
    let answer = Complaint::TooManyConnections.last_words();
    let written = match arrival {
        Arrival::Tcp(_, Some(_)) => Ok(()),
        Arrival::Tcp(mut stream, None) => io::Write::write_all(&mut stream, &answer),
        Arrival::Unix(mut stream) => io::Write::write_all(&mut stream, &answer),
    };
    if let Err(error) = written {
        tracing::debug!(%error, "a client over the connection limit was gone already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux hands on what is set on a listening socket; nothing is asked of the kernel for each client.
    #[tokio::test]
    async fn a_client_s_socket_is_set_up_as_the_listener_s_is() {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = listener.address().unwrap().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let Arrival::Tcp(stream, None) = listener.register().unwrap().next().await else { panic!("not by TCP") };
        let socket = Socket::from(stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap() && socket.nonblocking().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
    }
}
