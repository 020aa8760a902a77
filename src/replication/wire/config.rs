//! Where the database is, who we are there, and how far its certificate is trusted: a parsed connection string.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as BasicSslMode, SslNegotiation, TargetSessionAttrs};

use super::conninfo;
use super::error::{ConfigError, WireError};
use super::session::startup_options;

/// Shown in `pg_stat_activity` and `pg_stat_replication`, where the connection string has no `application_name`.
pub const APPLICATION_NAME: &str = "walcast";
/// For one attempt: socket, TLS and authentication. libpq would wait for ever, and a gateway that hangs is worse than
/// one that says so and tries again.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long data that we sent may stay unacknowledged before the connection counts as dead: a vanished server is
/// noticed by the next status update and this.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may be silent before the kernel asks the peer, then how often and how many times.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub const KEEPALIVE_RETRIES: u32 = 3;

/// tokio-postgres' own default, by which an unset `keepalives_idle` is told.
const UNSET_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);
const DEFAULT_PORT: u16 = 5432;

/// What tokio-postgres does not know, or reads otherwise than libpq.
const OWN_PARAMETERS: &[&str] =
    &["sslmode", "sslrootcert", "tcp_user_timeout", "keepalives_count", "gssencmode", "sslcert", "sslkey"];

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Without TLS first; with it where the server refuses that.
    Allow,
    /// TLS where the server offers it; without where it does not, the handshake fails or `pg_hba.conf` refuses.
    #[default]
    Prefer,
    /// TLS, whoever the server is; with a root certificate file as `verify-ca`.
    Require,
    /// TLS with a certificate that the given authority has signed, whatever its name.
    VerifyCa,
    /// The same, and the certificate is for the host that we connect to.
    VerifyFull,
}

/// Against what a server's certificate is checked (`sslrootcert`).
///
/// libpq's default file `~/.postgresql/root.crt` is not looked for: a service has no business in a home folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RootCertificates {
    /// Nothing: encrypted, but anyone could be at the other end.
    #[default]
    None,
    /// The operating system's authorities.
    System,
    /// A PEM file.
    File(PathBuf),
}

/// How the connection is encrypted and what proves that the server is the right one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub mode: SslMode,
    pub roots: RootCertificates,
    /// `sslnegotiation=direct`: TLS from the first byte (Postgres 17 and later).
    pub direct: bool,
}

/// A parsed connection string. `Debug` shows no password.
#[derive(Clone)]
pub struct ConnectionConfig {
    pub(super) postgres: Config,
    pub(super) tls: TlsSettings,
    /// One server of the list alone, whatever it is.
    only: Option<usize>,
}

/// One server of the connection string's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: Host,
    /// `hostaddr`: saves the name look-up; the name still serves to check the certificate.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

impl ConnectionConfig {
    /// Parses a `postgres://` URL or a `key=value` string, in libpq's syntax.
    ///
    /// A missing user is the operating system's, a missing database is named as the user, a missing
    /// `application_name` is `walcast`. Environment variables and password files are not read.
    ///
    /// # Errors
    /// The text is neither, a parameter is unknown or has an unusable value, or parameters contradict each other.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        let split = conninfo::take(text, OWN_PARAMETERS)?;
        let mut postgres: Config = split.rest.parse().map_err(|error| ConfigError::Syntax(cause(&error)))?;
        let mut own = OwnParameters::default();
        for (key, value) in split.taken {
            own.accept(&key, value, &mut postgres)?;
        }
        let direct = postgres.get_ssl_negotiation() == SslNegotiation::Direct;
        let tls = TlsSettings { direct, ..own.tls()? };
        if direct && matches!(tls.mode, SslMode::Disable | SslMode::Allow | SslMode::Prefer) {
            return Err(ConfigError::DirectNeedsTls.into());
        }
        check_hosts(&postgres)?;
        complete(&mut postgres)?;
        Ok(Self { postgres, tls, only: None })
    }

    /// The database that we connect to.
    #[must_use]
    pub fn database(&self) -> &str {
        self.postgres.get_dbname().unwrap_or_default()
    }

    /// The role that we connect as.
    #[must_use]
    pub fn user(&self) -> &str {
        self.postgres.get_user().unwrap_or_default()
    }

    /// How the connection is encrypted.
    #[must_use]
    pub const fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// The same for each server alone, whether it takes writes or not.
    #[must_use]
    pub fn each_host(&self) -> Vec<Self> {
        let numbers = 0..self.endpoints().len();
        numbers.map(|number| Self { only: Some(number), ..self.clone() }).collect()
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.postgres.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT)
    }

    pub(super) fn keepalive_idle(&self) -> Duration {
        match self.postgres.get_keepalives_idle() {
            UNSET_KEEPALIVE_IDLE => KEEPALIVE_IDLE,
            idle => idle,
        }
    }

    /// The servers in the order in which they are tried. `load_balance_hosts` has no say in it: the slot is on one of
    /// them, and catalogue queries must go to the same.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let (hosts, addresses) = (self.postgres.get_hosts(), self.postgres.get_hostaddrs());
        let ports = self.postgres.get_ports();
        (0..hosts.len().max(addresses.len()))
            .filter_map(|index| {
                let address = addresses.get(index).copied();
                let host = hosts.get(index).cloned().or_else(|| Some(Host::Tcp(address?.to_string())))?;
                let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(DEFAULT_PORT);
                Some(Endpoint { host, address, port })
            })
            .enumerate()
            .filter(|(number, _)| self.only.is_none_or(|only| only == *number))
            .map(|(_, endpoint)| endpoint)
            .collect()
    }

    /// Whether a server that takes no writes will not do, and the other way round.
    pub(super) fn session_attributes(&self) -> TargetSessionAttrs {
        self.only.map_or_else(|| self.postgres.get_target_session_attrs(), |_| TargetSessionAttrs::Any)
    }
}

impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Config` leaves its password out.
        f.debug_struct("ConnectionConfig").field("postgres", &self.postgres).field("tls", &self.tls).finish()
    }
}

impl fmt::Display for ConnectionConfig {
    /// `user@host:port/database`, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.user())?;
        for (index, endpoint) in self.endpoints().iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{endpoint}")?;
        }
        write!(f, "/{}", self.database())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Host::Tcp(host) => write!(f, "{host}:{}", self.port),
            Host::Unix(folder) => write!(f, "{}/.s.PGSQL.{}", folder.display(), self.port),
        }
    }
}

/// The values of [`OWN_PARAMETERS`].
#[derive(Default)]
struct OwnParameters {
    mode: Option<SslMode>,
    roots: RootCertificates,
}

impl OwnParameters {
    fn accept(&mut self, key: &str, value: String, postgres: &mut Config) -> Result<(), ConfigError> {
        match key {
            "sslmode" => self.mode = Some(ssl_mode(&value)?),
            "sslrootcert" => {
                self.roots = match value.as_str() {
                    "" => RootCertificates::None,
                    "system" => RootCertificates::System,
                    path => RootCertificates::File(PathBuf::from(path)),
                }
            }
            // libpq counts milliseconds here, tokio-postgres seconds.
            "tcp_user_timeout" => match number("tcp_user_timeout", &value)? {
                0 => {}
                millis => {
                    postgres.tcp_user_timeout(Duration::from_millis(millis.into()));
                }
            },
            "keepalives_count" => {
                postgres.keepalives_retries(number("keepalives_count", &value)?);
            }
            "gssencmode" if value == "require" => return Err(ConfigError::Unsupported("gssencmode=require")),
            "sslcert" if !value.is_empty() => return Err(ConfigError::Unsupported("sslcert")),
            "sslkey" if !value.is_empty() => return Err(ConfigError::Unsupported("sslkey")),
            _ => {}
        }
        Ok(())
    }

    fn tls(self) -> Result<TlsSettings, ConfigError> {
        let system = self.roots == RootCertificates::System;
        // As libpq: trusting every public authority is no reason to skip the name.
        let mode = self.mode.unwrap_or(if system { SslMode::VerifyFull } else { SslMode::default() });
        match (mode, &self.roots) {
            (SslMode::VerifyFull, RootCertificates::None) => {
                Err(ConfigError::NoRootCertificate { mode: "verify-full", system: " or sslrootcert=system" })
            }
            (SslMode::VerifyCa, RootCertificates::None) => {
                Err(ConfigError::NoRootCertificate { mode: "verify-ca", system: "" })
            }
            (SslMode::VerifyFull, _) => Ok(()),
            (_, RootCertificates::System) => Err(ConfigError::SystemRootsNeedFullVerification),
            _ => Ok(()),
        }?;
        Ok(TlsSettings { mode, roots: self.roots, direct: false })
    }
}

fn ssl_mode(value: &str) -> Result<SslMode, ConfigError> {
    Ok(match value {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" | "" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            let expected = "use disable, allow, prefer, require, verify-ca or verify-full";
            return Err(ConfigError::Value { key: "sslmode", value: value.to_owned(), expected });
        }
    })
}

fn number(key: &'static str, value: &str) -> Result<u32, ConfigError> {
    let expected = "use a whole number, 0 or more";
    value.trim().parse().map_err(|_| ConfigError::Value { key, value: value.to_owned(), expected })
}

fn check_hosts(config: &Config) -> Result<(), ConfigError> {
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
    let ports = config.get_ports().len();
    match (hosts, ports) {
        (0, _) => Err(ConfigError::NoHost),
        (_, 0 | 1) => Ok(()),
        _ if hosts == ports => Ok(()),
        _ => Err(ConfigError::PortCount { ports, hosts }),
    }
}

/// Fills in what both kinds of connection need, so that they can't differ.
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    if config.get_user().is_none_or(str::is_empty) {
        let user = whoami::username().map_err(|error| ConfigError::NoUser(error.to_string()))?;
        config.user(user);
    }
    if config.get_dbname().is_none_or(str::is_empty) {
        let user = config.get_user().unwrap_or_default().to_owned();
        config.dbname(user);
    }
    if config.get_application_name().is_none() {
        config.application_name(APPLICATION_NAME);
    }
    let options = startup_options(config.get_options());
    config.options(options);
    // TLS is ours: by the time tokio-postgres sees a stream, it is encrypted or need not be.
    config.ssl_mode(BasicSslMode::Disable);
    Ok(())
}

/// The innermost reason: the outer ones only say "invalid connection string".
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ConnectionConfig {
        ConnectionConfig::parse(text).unwrap()
    }

    fn refusal(text: &str) -> String {
        ConnectionConfig::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_every_sslmode_of_libpq() {
        let mode = |text: &str| parse(text).tls.mode;
        assert_eq!(mode("host=h"), SslMode::Prefer);
        assert_eq!(mode("host=h sslmode=allow"), SslMode::Allow);
        assert_eq!(mode("postgres://h?sslmode=require"), SslMode::Require);
        assert_eq!(mode("host=h sslmode=verify-ca sslrootcert=/ca"), SslMode::VerifyCa);
        assert_eq!(mode("host=h sslrootcert=system"), SslMode::VerifyFull);
        assert!(refusal("host=h sslmode=verify").contains("verify-full"));
        assert!(refusal("host=h sslmode=verify-full").contains("sslrootcert=system"));
        assert!(refusal("host=h sslmode=verify-ca").contains("sslrootcert=PATH"));
        assert!(refusal("host=h sslmode=require sslrootcert=system").contains("verify-full"));
        assert!(refusal("host=h sslnegotiation=direct").contains("sslmode=require"));
        assert!(parse("host=h sslnegotiation=direct sslmode=require").tls.direct);
    }

    #[test]
    fn fills_in_user_database_and_name() {
        let config = parse("postgres://alice@h");
        assert_eq!((config.user(), config.database()), ("alice", "alice"));
        assert_eq!(config.postgres.get_application_name(), Some("walcast"));
        assert!(!parse("host=h").user().is_empty());
    }

    #[test]
    fn lists_the_servers() {
        let config = parse("postgres://a@h1:1,%2Frun%2Fpg:2,[::1]:3/db");
        assert_eq!(config.to_string(), "a@h1:1,/run/pg/.s.PGSQL.2,[::1]:3/db");
        assert_eq!(parse("host=a,b user=u").to_string(), "u@a:5432,b:5432/u");
        assert_eq!(parse("hostaddr=10.0.0.1 port=6000 user=u").to_string(), "u@10.0.0.1:6000/u");
        assert!(refusal("host=a,b port=1,2,3").contains("3 ports for 2 hosts"));
        assert!(refusal("user=u").contains("no host"));
    }

    #[test]
    fn says_what_is_wrong_and_never_shows_the_password() {
        assert!(refusal("host=h fllor=1").contains("fllor"));
        assert!(refusal("host=h sslcert=/c").contains("sslcert"));
        assert!(refusal("postgres://u:secret@h:port/db?x=1").len() > 1);
        let config = parse("postgres://u:secret@h/db");
        assert!(!format!("{config:?} {config}").contains("secret"));
    }

    #[test]
    fn time_limits_are_libpqs_or_ours() {
        let config = parse("host=h tcp_user_timeout=1500 connect_timeout=3");
        assert_eq!(config.postgres.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
        assert_eq!(config.connect_timeout(), Duration::from_secs(3));
        assert_eq!(parse("host=h").connect_timeout(), CONNECT_TIMEOUT);
        assert_eq!(parse("host=h").keepalive_idle(), KEEPALIVE_IDLE);
    }
}
