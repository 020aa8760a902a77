//! Where clients and operators come in: the configured addresses, bound.

use std::io;

use tokio::task::JoinHandle;

use super::certificates::Certificates;
use super::{AppError, Shard};
use crate::config::{Address, Server};
use crate::transport::{self, Count, Entrance, Listener, Tls};

/// Every listening socket, before anybody is accepted.
pub(super) struct Listeners {
    pub(super) listeners: Vec<(Listener, Entrance)>,
    /// With the ports that the system chose.
    pub(super) public: Vec<Address>,
    pub(super) admin: Vec<Address>,
    /// What the public ones encrypt with.
    pub(super) certificates: Option<Certificates>,
}

impl Listeners {
    /// # Errors
    /// An address can't be bound, or the certificate can't be used. Nothing is left bound then.
    pub(super) fn bind(server: &Server) -> Result<Self, AppError> {
        let certificates = server.tls.clone().map(Certificates::read).transpose()?;
        let tls = certificates.as_ref().map(Certificates::tls);
        let (mut listeners, mut public, mut admin) = (Vec::new(), Vec::new(), Vec::new());
        for (addresses, bound, entrance) in
            [(&server.listen, &mut public, Entrance::Public), (&server.admin, &mut admin, Entrance::Admin)]
        {
            let tls = tls.as_ref().filter(|_| entrance == Entrance::Public);
            for address in addresses {
                let (listener, address) = bind(address, server, tls)?;
                listeners.push((listener, entrance));
                bound.push(address);
            }
        }
        Ok(Self { listeners, public, admin, certificates })
    }
}

/// The tasks that take connections in.
#[derive(Default)]
pub(super) struct Accepting {
    pub(super) public: Vec<JoinHandle<io::Result<()>>>,
    pub(super) admin: Vec<JoinHandle<io::Result<()>>>,
}

/// Begins to accept, giving each shard its turn.
pub(super) fn accept(listeners: Vec<(Listener, Entrance)>, shards: &[Shard], count: &Count, limit: usize) -> Accepting {
    let mut accepting = Accepting::default();
    for (listener, entrance) in listeners {
        let shards = shards.iter().map(|shard| shard.control.clone()).collect();
        let task = tokio::spawn(transport::accept(listener, entrance, shards, count.clone(), limit));
        match entrance {
            Entrance::Public => accepting.public.push(task),
            Entrance::Admin => accepting.admin.push(task),
        }
    }
    accepting
}

/// Tells operators where they are.
pub(super) fn say(public: &[Address], admin: &[Address], shards: usize) {
    let list = |addresses: &[Address]| addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(public = list(public), admin = list(admin), shards, "listening");
}

fn bind(address: &Address, server: &Server, tls: Option<&Tls>) -> Result<(Listener, Address), AppError> {
    let refuse = |source| AppError::Bind { address: address.clone(), source };
    let listener = match address {
        Address::Tcp(address) => Listener::tcp(*address, tls.cloned()),
        Address::Unix(path) => Listener::unix(path, server.socket_mode.0),
    };
    let listener = listener.map_err(refuse)?;
    let bound = listener.address().map_err(refuse)?.map_or_else(|| address.clone(), Address::Tcp);
    Ok((listener, bound))
}
