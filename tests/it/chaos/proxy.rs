//! A TCP proxy between clients and the gateway, whose connections can be cut wherever they are.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Socket buffers on the way, in bytes: small, so that a client that does not read is felt by the gateway.
const BUFFER: u32 = 16 * 1024;

/// Dropped, everything that goes through it breaks.
pub(super) struct Proxy {
    pub(super) port: u16,
    cuts: watch::Sender<u64>,
    _connections: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, cut) = watch::channel(0);
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, upstream, cut));
        Self { port, cuts, _connections: connections }
    }

    /// Cuts every connection in the middle of what is sent next, in either direction.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn accept(listener: TcpListener, upstream: u16, cut: watch::Receiver<u64>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        connections.spawn(connection(client, upstream, cut.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Ends, and closes both sides, when either does.
async fn connection(client: TcpStream, upstream: u16, mut cut: watch::Receiver<u64>) {
    cut.mark_unchanged();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    socket2::SockRef::from(&client).set_send_buffer_size(BUFFER as usize).unwrap();
    let Ok(server) = socket.connect(SocketAddr::from(([127, 0, 0, 1], upstream))).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, cut.clone()) => {}
        () = pump(from_server, to_client, cut) => {}
    }
}

async fn pump(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, cut: watch::Receiver<u64>) {
    let mut buffer = vec![0; 8192];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let cutting = cut.has_changed().unwrap_or(true);
        let passed = if cutting { fastrand::usize(..length) } else { length };
        if to.write_all(&buffer[..passed]).await.is_err() || cutting {
            return;
        }
    }
}
