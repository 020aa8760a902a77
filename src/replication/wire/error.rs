//! What can go wrong between walcast and a Postgres server.

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use tokio_postgres::error::SqlState;

/// A connection string that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "the connection string is neither a URL (postgres://user:password@host:5432/database) nor \
         `key=value` pairs (host=… user=… dbname=…): {0}"
    )]
    Syntax(String),
    #[error("{key}={value} is no value of `{key}`: {expected}")]
    Value { key: &'static str, value: String, expected: &'static str },
    #[error("sslmode={mode} checks the server's certificate: say against what with sslrootcert=PATH{system}")]
    NoRootCertificate { mode: &'static str, system: &'static str },
    #[error("sslrootcert=system trusts every public authority, so that only sslmode=verify-full makes sense with it")]
    SystemRootsNeedFullVerification,
    #[error("sslnegotiation=direct begins with TLS: it needs sslmode=require, verify-ca or verify-full")]
    DirectNeedsTls,
    #[error("`{0}` is not supported: take it out of the connection string")]
    Unsupported(&'static str),
    #[error("the connection string names no host: add one (a folder, as in host=/var/run/postgresql, for a socket)")]
    NoHost,
    #[error("{ports} ports for {hosts} hosts: give one port, or one for each host")]
    PortCount { ports: usize, hosts: usize },
    #[error("no user in the connection string, and the operating system names none: {0}")]
    NoUser(String),
}

/// An `ErrorResponse`, as far as walcast acts on it or shows it.
///
/// `detail` can quote row values (a duplicate key), so that it is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub severity: String,
    pub code: SqlState,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {}", self.severity, self.message, self.code.code())?;
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint})"),
            None => f.write_str(")"),
        }
    }
}

/// Why there is no connection, or no longer. [`classify`](super::classify) says what to do about each.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{action}: {source}")]
    Io { action: String, source: io::Error },
    #[error("{action}: no answer within {limit:?}")]
    TimedOut { action: String, limit: Duration },
    #[error("the server closed the connection while walcast was {0}")]
    Closed(&'static str),
    #[error("root certificates from {origin}: {problem}")]
    RootCertificates { origin: String, problem: String },
    #[error("{host} does not offer TLS, and sslmode does not allow to go on without")]
    TlsNotOffered { host: String },
    #[error("TLS handshake with {host}: {source}")]
    Tls { host: String, source: io::Error },
    #[error("the server asks for a password, and the connection string has none")]
    PasswordMissing,
    #[error("the server asks for {0} authentication, which walcast does not speak")]
    AuthenticationUnsupported(&'static str),
    #[error("the server could not prove that it knows the password: {0}")]
    Scram(String),
    #[error("channel_binding=require, but {0}")]
    ChannelBinding(&'static str),
    #[error("{host} is {found}, and target_session_attrs asks for {wanted}")]
    SessionAttributes { host: String, found: &'static str, wanted: &'static str },
    #[error("the session's {name} is `{found}` though `{wanted}` was asked for")]
    SessionSetting { name: &'static str, wanted: &'static str, found: String },
    #[error("{0}")]
    Server(ServerError),
    #[error("unexpected bytes from the server while {during}: {problem}")]
    Protocol { during: &'static str, problem: String },
    #[error("a message of {length} bytes, more than the {limit} that Postgres can send")]
    FrameTooLarge { length: u64, limit: u64 },
    #[error("query: {error}{}", cause(error))]
    Query { error: tokio_postgres::Error },
}

impl WireError {
    pub(super) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }

    pub(super) fn protocol(during: &'static str, problem: impl fmt::Display) -> Self {
        Self::Protocol { during, problem: problem.to_string() }
    }

    /// The server's own error, where it is one.
    #[must_use]
    pub const fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }
}

impl From<tokio_postgres::Error> for WireError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(server) => Self::Server(ServerError {
                severity: server.severity().to_owned(),
                code: server.code().clone(),
                message: server.message().to_owned(),
                hint: server.hint().map(str::to_owned),
            }),
            None if error.is_closed() => Self::Closed("querying"),
            None if is_io(&error) => match error.into_source().and_then(|source| source.downcast::<io::Error>().ok()) {
                Some(source) => Self::io("talk to the server", *source),
                None => Self::Closed("querying"),
            },
            None => Self::Query { error },
        }
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(<dyn Error>::is::<io::Error>)
}

/// tokio-postgres' messages leave out what is behind them.
fn cause(error: &tokio_postgres::Error) -> String {
    error.source().map(|source| format!(": {source}")).unwrap_or_default()
}
