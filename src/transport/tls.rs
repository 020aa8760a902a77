//! TLS for clients: the handshake, and the certificate that it is made with at the time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, ProducesTickets};
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::complaint::Complaint;
use super::listener::Count;
use crate::tls::{Certificate, Validity};

/// Handshakes that a shard has begun and not ended. Each holds some 20 KiB of keys and messages, so that those who
/// never end theirs cost a shard 10 MiB at most; who comes then waits for a place, as long as a handshake may take.
const HANDSHAKES_MAX: usize = 512;
/// The first byte of a client that speaks TLS: a record with a handshake's message (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;
/// As much of a request without TLS is read, and dropped, as lets the answer through: who closes with unread bytes
/// cuts off what it has said.
const PLAIN_HTTP_READ_MAX: usize = 64 * 1024;
/// Upgrades are HTTP/1.1's, and so is everything else here.
const ALPN: &[u8] = b"http/1.1";

/// What public listeners encrypt with. Cheap to clone; every clone has the same certificate at any time.
#[derive(Clone)]
pub struct Tls(watch::Receiver<Current>);

#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    validity: Validity,
}

/// Puts another certificate in its place, and tells how it goes.
pub struct TlsControl {
    current: watch::Sender<Current>,
    tickets: Arc<dyn ProducesTickets>,
}

impl TlsControl {
    /// # Errors
    /// There is no randomness for the keys of session tickets.
    pub fn new(certificate: &Certificate) -> Result<Self, rustls::Error> {
        // Who comes back needs no signature of ours: a fleet that reconnects at once costs half as much.
        let tickets = aws_lc_rs::Ticketer::new()?;
        let current = watch::Sender::new(current(certificate, &tickets)?);
        Ok(Self { current, tickets })
    }

    /// For a listener.
    #[must_use]
    pub fn tls(&self) -> Tls {
        Tls(self.current.subscribe())
    }

    /// Whoever connects from now on is shown this one; who is connected notices nothing.
    ///
    /// # Errors
    /// There is none that is known; the former one stays then.
    pub fn replace(&self, certificate: &Certificate) -> Result<(), rustls::Error> {
        self.current.send_replace(current(certificate, &self.tickets)?);
        Ok(())
    }
}

fn current(certificate: &Certificate, tickets: &Arc<dyn ProducesTickets>) -> Result<Current, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let resolver = SingleCertAndKey::from(Arc::clone(&certificate.key));
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ticketer = Arc::clone(tickets);
    Ok(Current { config: Arc::new(config), validity: certificate.validity })
}

impl Tls {
    /// Of the certificate that is shown now.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.0.borrow().validity
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.borrow().config)
    }
}

/// A shard's handshakes.
pub(super) struct Handshakes {
    places: Semaphore,
    /// Who has it computes. It goes to the next one only after everybody else on the shard had a turn, so that a crowd
    /// that connects holds up nobody who is connected for longer than one signature takes.
    turn: Semaphore,
}

impl Handshakes {
    pub(super) fn new() -> Self {
        Self { places: Semaphore::new(HANDSHAKES_MAX), turn: Semaphore::new(1) }
    }

    /// A client's handshake, which may take this long; none where nothing came of it.
    pub(super) async fn perform(
        &self,
        tls: &Tls,
        stream: TcpStream,
        within: Duration,
        count: &Count,
    ) -> Option<TlsStream<TcpStream>> {
        // Boxed: it is large, and over long before the connection is.
        let handshake = Box::pin(self.handshake(tls, stream));
        let error = match tokio::time::timeout(within, handshake).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        count.handshake_failed();
        tracing::debug!(%error, "a client's TLS handshake came to nothing");
        None
    }

    async fn handshake(&self, tls: &Tls, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0; 1];
        // Who says nothing holds no place.
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [HANDSHAKE_RECORD] {
            return refuse_plain(stream, first).await;
        }
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let accept = {
            let _turn = self.turn.acquire().await.map_err(io::Error::other)?;
            let accept = hello.into_stream(tls.config());
            tokio::task::yield_now().await;
            accept
        };
        accept.await
    }
}

/// A client that does not speak TLS.
async fn refuse_plain(mut stream: TcpStream, first: [u8; 1]) -> io::Result<TlsStream<TcpStream>> {
    // A method's name; to anything else there is no answer that it would understand.
    if first.iter().all(u8::is_ascii_uppercase) {
        stream.write_all(&Complaint::TlsRequired.last_words()).await?;
        stream.shutdown().await?;
        let (mut dropped, mut buffer) = (0, [0; 512]);
        while dropped < PLAIN_HTTP_READ_MAX {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => dropped += read,
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS"))
}
