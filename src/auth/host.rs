//! By which names browsers may address walcast.
//!
//! A page can point a name of its own at another's address (DNS rebinding): its visitors' browsers then take whatever
//! listens there for the page's own server, and let the page read it. They can't be made to lie about the name, though:
//! it stands in `Host`. Addresses and `localhost` can be pointed nowhere else, so that they are always good.

use core::net::IpAddr;

use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::Authority;

/// An entry of `server.hosts`: `admin.example.com`, or `*.example.com` for a domain and its subdomains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    /// Any subdomain will do.
    subdomains: bool,
}

/// The list, beside addresses and `localhost`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<Host>);

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("a host's name is expected, without a scheme, port or path")]
    NoName,
    #[error("`*` stands for subdomains only, as in `*.example.com`")]
    Wildcard,
}

impl Host {
    /// Reads an entry of the list.
    ///
    /// # Errors
    /// It could never match what a browser sends, or would match more than it seems.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let (subdomains, name) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        if name.contains('*') {
            return Err(HostError::Wildcard);
        }
        let authority: Authority = name.parse().map_err(|_| HostError::NoName)?;
        if authority.host() != name || name.is_empty() {
            return Err(HostError::NoName);
        }
        Ok(Self { name: name.to_ascii_lowercase(), subdomains })
    }

    fn matches(&self, name: &str) -> bool {
        let is_below = |rest: &str| rest.ends_with('.');
        name == self.name || self.subdomains && name.strip_suffix(&self.name).is_some_and(is_below)
    }
}

impl Hosts {
    #[must_use]
    pub const fn new(list: Vec<Host>) -> Self {
        Self(list)
    }

    /// Whether a request is addressed to us. One without `Host` comes from no browser.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        headers.get_all(HOST).iter().all(|host| host.to_str().is_ok_and(|host| self.is_ours(host)))
    }

    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let is_local = name == "localhost" || name.ends_with(".localhost");
        is_local || address.parse::<IpAddr>().is_ok() || self.0.iter().any(|entry| entry.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn allows(list: &[&str], host: &str) -> bool {
        let list = list.iter().map(|entry| Host::parse(entry).unwrap()).collect();
        let Ok(value) = HeaderValue::from_str(host) else { return false };
        Hosts::new(list).allow(&HeaderMap::from_iter([(HOST, value)]))
    }

    #[test]
    fn names_that_anyone_can_point_here_are_not_ours() {
        for host in ["127.0.0.1", "127.0.0.1:4001", "[::1]", "[::1]:4001", "10.0.0.7:80", "localhost", "LOCALHOST:4001"]
        {
            assert!(allows(&[], host), "{host}");
        }
        assert!(allows(&[], "walcast.localhost:4001") && allows(&[], "localhost."));
        let strangers =
            ["evil.example", "evil.example:4001", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"];
        for host in strangers {
            assert!(!allows(&[], host), "{host}");
        }
        assert!(Hosts::default().allow(&HeaderMap::new()), "no browser");
    }

    #[test]
    fn listed_names_are_ours() {
        let list = ["Admin.example.com", "*.internal"];
        for host in
            ["admin.example.com", "admin.example.com:443", "admin.example.com.", "db.internal", "a.db.internal:80"]
        {
            assert!(allows(&list, host), "{host}");
        }
        for host in ["example.com", "x.admin.example.com", "notinternal", "internal.evil.example"] {
            assert!(!allows(&list, host), "{host}");
        }
    }

    #[test]
    fn entries_are_names() {
        for text in ["", "http://a", "a:80", "a/b", "user@a", "a b"] {
            assert_eq!(Host::parse(text), Err(HostError::NoName), "{text}");
        }
        assert_eq!(Host::parse("*"), Err(HostError::Wildcard));
        assert_eq!(Host::parse("a.*.b"), Err(HostError::Wildcard));
    }

    proptest! {
        #[test]
        fn any_header_has_an_answer(host in ".{0,30}") {
            let _either = allows(&["a.example"], &host);
        }
    }
}
