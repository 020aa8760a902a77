//! A load balancer over TCP: each connection goes to the first gateway whose `/readyz` says yes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::gateway::{Gateway, get};

/// Where clients go, and where readiness is asked.
type Ports = (u16, u16);

/// Dropped, everything that goes through it breaks.
pub(crate) struct Balancer {
    pub(crate) port: u16,
    gateways: Arc<Mutex<Vec<Ports>>>,
    _accepting: JoinSet<()>,
}

impl Balancer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let gateways = Arc::new(Mutex::new(Vec::new()));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&gateways)));
        Self { port, gateways, _accepting: accepting }
    }

    pub(crate) fn add(&self, gateway: &Gateway) {
        let ports = (gateway.port(), gateway.admin_port());
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner).push(ports);
    }
}

async fn accept(listener: TcpListener, gateways: Arc<Mutex<Vec<Ports>>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let gateways = gateways.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connections.spawn(pass_on(client, gateways));
        while connections.try_join_next().is_some() {}
    }
}

/// Who finds no gateway ready is hung up on.
async fn pass_on(mut client: TcpStream, gateways: Vec<Ports>) {
    for (port, admin) in gateways {
        let ready = matches!(get(admin, "/readyz").await, Some((200, _)));
        if !ready {
            continue;
        }
        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
            let _either_hung_up = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
