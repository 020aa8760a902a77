//! A byte stream to the server: TCP or Unix socket, plain or under TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::config::Host;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::{ConnectionConfig, Endpoint, KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES, SslMode, TCP_USER_TIMEOUT};
use super::error::WireError;
use super::tls;

/// One way to treat encryption; `sslmode` names up to two, tried in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    Plain,
    /// TLS, or plain where the server does not offer it.
    Offered,
    Required,
}

impl Encryption {
    /// What to try at an endpoint, in turn. As in libpq, a Unix socket needs no TLS, whatever the mode.
    pub(super) const fn attempts(mode: SslMode, host: &Host) -> &'static [Self] {
        match (host, mode) {
            (Host::Unix(_), _) | (_, SslMode::Disable) => &[Self::Plain],
            (_, SslMode::Allow) => &[Self::Plain, Self::Required],
            (_, SslMode::Prefer) => &[Self::Offered, Self::Plain],
            (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Self::Required],
        }
    }
}

/// An open connection to a server.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    pub(super) async fn open(
        config: &ConnectionConfig,
        endpoint: &Endpoint,
        encryption: Encryption,
    ) -> Result<Self, WireError> {
        match &endpoint.host {
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", endpoint.port));
                let stream = UnixStream::connect(&path).await;
                stream.map(Self::Unix).map_err(|source| connecting(endpoint, source))
            }
            Host::Tcp(name) => {
                let stream = open_tcp(config, endpoint, name).await?;
                encrypt(config, endpoint, name, stream, encryption).await
            }
        }
    }

    /// What SCRAM may bind a password to: the hash of the server's certificate.
    pub(super) fn channel_binding(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        tls::channel_binding(stream.get_ref().1.peer_certificates()?.first()?)
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

async fn open_tcp(config: &ConnectionConfig, endpoint: &Endpoint, name: &str) -> Result<TcpStream, WireError> {
    let addresses: Vec<_> = match endpoint.address {
        Some(address) => vec![(address, endpoint.port).into()],
        None => {
            let found = lookup_host((name, endpoint.port)).await;
            found.map_err(|source| WireError::io(format!("look up {name}"), source))?.collect()
        }
    };
    let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                configure(config, &stream).map_err(|source| connecting(endpoint, source))?;
                return Ok(stream);
            }
            Err(error) => refusal = error,
        }
    }
    Err(connecting(endpoint, refusal))
}

/// A half-open connection must be noticed: the slot stays in use for as long as either side believes in it.
fn configure(config: &ConnectionConfig, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if config.postgres.get_keepalives() {
        let keepalive = TcpKeepalive::new()
            .with_time(config.keepalive_idle())
            .with_interval(config.postgres.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL))
            .with_retries(config.postgres.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(config.postgres.get_tcp_user_timeout().copied().unwrap_or(TCP_USER_TIMEOUT)))?;
    Ok(())
}

async fn encrypt(
    config: &ConnectionConfig,
    endpoint: &Endpoint,
    name: &str,
    mut stream: TcpStream,
    encryption: Encryption,
) -> Result<Socket, WireError> {
    if encryption == Encryption::Plain {
        return Ok(Socket::Tcp(stream));
    }
    if !config.tls.direct && !server_offers_tls(&mut stream).await.map_err(|source| connecting(endpoint, source))? {
        return match encryption {
            Encryption::Offered => Ok(Socket::Tcp(stream)),
            _ => Err(WireError::TlsNotOffered { host: endpoint.to_string() }),
        };
    }
    let failed = |source| WireError::Tls { host: endpoint.to_string(), source };
    let server = ServerName::try_from(name.to_owned())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connector = TlsConnector::from(Arc::new(tls::client_config(&config.tls)?));
    let stream = connector.connect(server, stream).await.map_err(failed)?;
    Ok(Socket::Tls(Box::new(stream)))
}

/// `SSLRequest`, which a server answers with one byte before anything is encrypted.
async fn server_offers_tls(stream: &mut TcpStream) -> io::Result<bool> {
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    match stream.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        other => {
            let problem = format!("answered {other:#04x} to the question for TLS: is it a Postgres server?");
            Err(io::Error::new(io::ErrorKind::InvalidData, problem))
        }
    }
}

fn connecting(endpoint: &Endpoint, source: io::Error) -> WireError {
    WireError::io(format!("connect to {endpoint}"), source)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sslmode_says_what_is_tried() {
        let tcp = Host::Tcp("h".to_owned());
        assert_eq!(Encryption::attempts(SslMode::Prefer, &tcp), [Encryption::Offered, Encryption::Plain]);
        assert_eq!(Encryption::attempts(SslMode::Allow, &tcp), [Encryption::Plain, Encryption::Required]);
        assert_eq!(Encryption::attempts(SslMode::VerifyCa, &tcp), [Encryption::Required]);
        let unix = Host::Unix("/run".into());
        assert_eq!(Encryption::attempts(SslMode::VerifyFull, &unix), [Encryption::Plain]);
    }
}
