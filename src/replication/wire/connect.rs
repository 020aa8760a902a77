//! From a connection string to a session: servers in turn, `sslmode`'s attempts in turn, within a time limit.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::config::{SslMode as BasicSslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::config::{ConnectionConfig, Endpoint};
use super::error::{ConfigError, WireError};
use super::session::session_settings;
use super::socket::{Encryption, Socket};

/// An ordinary connection for catalogue queries: the same servers, TLS rules and session settings as the replication
/// connection.
///
/// The task that drives the connection ends by itself once the client is dropped and its last query is done, or when
/// the server goes; queries on a client whose connection is gone fail at once ([`Client::is_closed`]).
///
/// # Errors
/// No server of the connection string can be reached, or the first that can be refuses.
pub async fn connect_sql(config: &ConnectionConfig) -> Result<Client, WireError> {
    establish(config, &SqlSession).await
}

/// How a session begins on a socket that is connected, and encrypted where it is to be.
pub(super) trait Session {
    type Client;

    fn start(
        &self,
        config: &ConnectionConfig,
        socket: Socket,
        endpoint: &Endpoint,
    ) -> impl Future<Output = Result<Self::Client, WireError>> + Send;
}

struct SqlSession;

impl Session for SqlSession {
    type Client = Client;

    async fn start(&self, config: &ConnectionConfig, socket: Socket, endpoint: &Endpoint) -> Result<Client, WireError> {
        start_sql(config, socket, endpoint).await
    }
}

async fn start_sql(config: &ConnectionConfig, socket: Socket, endpoint: &Endpoint) -> Result<Client, WireError> {
    let mut postgres = config.postgres.clone();
    if socket.is_encrypted() {
        // "TLS without asking first" is how tokio-postgres takes a stream that is encrypted already.
        postgres.ssl_mode(BasicSslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    } else {
        postgres.ssl_mode(BasicSslMode::Disable).ssl_negotiation(SslNegotiation::Postgres);
    }
    let (client, connection) = postgres.connect_raw(socket, AlreadyEncrypted).await.map_err(startup_error)?;
    check_session(config, endpoint, |name| connection.parameter(name))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "catalogue connection ended");
        }
    });
    Ok(client)
}

/// tokio-postgres tells its own refusals apart by their texts only.
fn startup_error(error: tokio_postgres::Error) -> WireError {
    let reason = || error.source().map(ToString::to_string).unwrap_or_default();
    match error.to_string() {
        text if text.starts_with("invalid configuration") => match reason().as_str() {
            "password missing" => WireError::PasswordMissing,
            _ => WireError::Query { error },
        },
        text if text.starts_with("authentication error") => match reason().as_str() {
            "unsupported authentication method" => WireError::AuthenticationUnsupported("an unknown kind of"),
            "unsupported SASL mechanism" => WireError::AuthenticationUnsupported("an unknown kind of SASL"),
            "server did not use channel binding" => {
                WireError::ChannelBinding("the connection has nothing to bind to, or the server does not offer it")
            }
            reason => WireError::Scram(reason.to_owned()),
        },
        _ => error.into(),
    }
}

/// Tries every server, each with what `sslmode` allows, until a session has begun on one.
///
/// As in libpq, a server that answers and refuses who we are ends the search.
pub(super) async fn establish<S: Session>(config: &ConnectionConfig, session: &S) -> Result<S::Client, WireError> {
    let mut failure = WireError::Config(ConfigError::NoHost);
    for endpoint in config.endpoints() {
        for encryption in Encryption::attempts(config.tls.mode, &endpoint.host) {
            let limit = config.connect_timeout();
            let attempt = async {
                let socket = Socket::open(config, &endpoint, *encryption).await?;
                session.start(config, socket, &endpoint).await
            };
            let late = |_| WireError::TimedOut { action: format!("connect to {endpoint}"), limit };
            match timeout(limit, attempt).await.unwrap_or_else(|elapsed| Err(late(elapsed))) {
                Ok(session) => return Ok(session),
                Err(error) => failure = error,
            }
            if !depends_on_encryption(&failure) {
                break;
            }
        }
        if is_refusal_of_identity(&failure) {
            break;
        }
    }
    Err(failure)
}

/// `pg_hba.conf` can have lines for encrypted or for plain connections only, and a handshake can fail.
fn depends_on_encryption(error: &WireError) -> bool {
    match error {
        WireError::Tls { .. } => true,
        WireError::Server(error) => error.code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        _ => false,
    }
}

fn is_refusal_of_identity(error: &WireError) -> bool {
    const AUTHORIZATION_CLASS: &str = "28";
    match error {
        WireError::PasswordMissing | WireError::AuthenticationUnsupported(_) | WireError::Scram(_) => true,
        WireError::Server(error) => error.code.code().starts_with(AUTHORIZATION_CLASS),
        _ => false,
    }
}

/// Checks what the server reports of the new session: that values will come in the form that we decode (a pooler in
/// between may have dropped our settings), and that it is the kind of server that was asked for.
pub(super) fn check_session<'a>(
    config: &ConnectionConfig,
    endpoint: &Endpoint,
    parameter: impl Fn(&str) -> Option<&'a str>,
) -> Result<(), WireError> {
    for (name, wanted) in session_settings() {
        if let Some(found) = parameter(name) {
            // DateStyle is reported with the order of day and month, which ISO output does not depend on.
            let style = found.split(',').next().unwrap_or_default();
            if !style.eq_ignore_ascii_case(wanted) {
                return Err(WireError::SessionSetting { name, wanted, found: found.to_owned() });
            }
        }
    }
    let on = |name| parameter(name) == Some("on");
    let read_only = on("in_hot_standby") || on("default_transaction_read_only");
    let (wanted, found) = match config.session_attributes() {
        TargetSessionAttrs::ReadWrite if read_only => ("read-write", "read-only"),
        TargetSessionAttrs::ReadOnly if !read_only => ("read-only", "read-write"),
        _ => return Ok(()),
    };
    Err(WireError::SessionAttributes { host: endpoint.to_string(), found, wanted })
}

/// Hands tokio-postgres a socket whose TLS handshake is behind it.
struct AlreadyEncrypted;

/// A [`Socket`] that can say what SCRAM may bind to.
struct Encrypted(Socket);

impl TlsConnect<Socket> for AlreadyEncrypted {
    type Stream = Encrypted;
    type Error = Infallible;
    type Future = Ready<Result<Encrypted, Infallible>>;

    fn connect(self, socket: Socket) -> Self::Future {
        ready(Ok(Encrypted(socket)))
    }
}

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
