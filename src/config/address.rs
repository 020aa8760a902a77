//! Where walcast listens: an IP address and a port, or a name in the file system.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What stands before a path.
const UNIX: &str = "unix:";
/// Linux' `sockaddr_un` has 108 bytes, the last of which is a null.
const PATH_BYTES_MAX: usize = 107;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Why a text is no address, and what would be one.
#[derive(Debug, PartialEq, Eq)]
pub struct AddressError {
    pub(super) problem: String,
    /// An address that the writer is likely to have meant.
    pub(super) guess: Option<String>,
}

impl Address {
    /// Relative paths start at `folder`.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return unix(path, folder);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let problem = "an IP address and a port are expected".to_owned();
        Err(AddressError { problem, guess: guess(text) })
    }

    /// For sockets that listen there: `None` where that is a path.
    #[must_use]
    pub const fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether nobody can listen at both. Every interface includes each single one.
    pub(super) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let same = || one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
                one.port() != 0 && one.port() == other.port() && same()
            }
            (Self::Unix(one), Self::Unix(other)) => one == other,
            _ => false,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// A relative path starts where the process does.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, Path::new(""))
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, guess } = self;
        let example = guess.as_deref().unwrap_or("127.0.0.1:4001");
        write!(f, "{problem}, as in {example}")
    }
}

impl std::error::Error for AddressError {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

fn unix(path: &str, folder: &Path) -> Result<Address, AddressError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    let whole = folder.join(path);
    let length = whole.as_os_str().len();
    let problem = if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        "a path is expected, to a file that is made when walcast starts".to_owned()
    } else if length > PATH_BYTES_MAX {
        format!("the path has {length} bytes, and the system takes {PATH_BYTES_MAX}")
    } else {
        return Ok(Address::Unix(whole));
    };
    Err(AddressError { problem, guess: Some("unix:/run/walcast/public.sock".to_owned()) })
}

/// `:4000`, `localhost:4000`, a bare path and an url are what people write first.
fn guess(text: &str) -> Option<String> {
    if text.starts_with('/') {
        return Some(format!("{UNIX}{text}"));
    }
    let text = ["http://", "https://", "ws://", "wss://"].iter().find_map(|it| text.strip_prefix(it)).unwrap_or(text);
    let (host, port) = text.trim_end_matches('/').rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    match host {
        "" | "*" => Some(format!("0.0.0.0:{port}")),
        "localhost" => Some(format!("127.0.0.1:{port}")),
        host => host.parse().ok().map(|ip| SocketAddr::new(ip, port).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        Address::parse(text, Path::new("/etc/walcast"))
    }

    #[test]
    fn an_address_is_a_socket_s_or_a_path() {
        for (text, shown) in [
            ("0.0.0.0:4000", "0.0.0.0:4000"),
            ("[::]:4000", "[::]:4000"),
            ("unix:/run/walcast/public.sock", "unix:/run/walcast/public.sock"),
            ("unix:///run/public.sock", "unix:/run/public.sock"),
            ("unix:public.sock", "unix:/etc/walcast/public.sock"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_was_meant_is_guessed() {
        for (text, guess) in [
            (":4000", Some("0.0.0.0:4000")),
            ("*:4000", Some("0.0.0.0:4000")),
            ("localhost:4000", Some("127.0.0.1:4000")),
            ("http://localhost:4000/", Some("127.0.0.1:4000")),
            ("ws://10.0.0.1:4000", Some("10.0.0.1:4000")),
            ("::1:4000", Some("[::1]:4000")),
            ("/run/public.sock", Some("unix:/run/public.sock")),
            ("unix:", Some("unix:/run/walcast/public.sock")),
            ("unix:/run/walcast/", Some("unix:/run/walcast/public.sock")),
            ("example.com:4000", None),
            ("4000", None),
        ] {
            assert_eq!(parse(text).unwrap_err().guess.as_deref(), guess, "{text}");
        }
        let long = parse(&format!("unix:/{}", "x".repeat(107))).unwrap_err();
        assert_eq!(long.problem, "the path has 108 bytes, and the system takes 107");
        assert!(parse(&format!("unix:/{}", "x".repeat(106))).is_ok());
    }

    #[test]
    fn one_place_has_one_listener() {
        for (one, other, collide) in [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "127.0.0.1:1", false),
        ] {
            assert_eq!(parse(one).unwrap().collides(&parse(other).unwrap()), collide, "{one} {other}");
        }
    }
}
