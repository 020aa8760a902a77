//! Where a key set is published.

use core::net::IpAddr;
use std::fmt;

use hyper::Uri;

/// An address that a key set is fetched from: `https`, or `http` where nobody is between.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl {
    pub(super) tls: bool,
    /// A name or an address, the latter without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What the request's head names as its host.
    pub(super) authority: String,
    pub(super) path_and_query: String,
    plain_http: bool,
}

/// Why an address is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksUrlError {
    #[error("an address is expected, as in https://id.example.com/.well-known/jwks.json")]
    NotAUrl,
    #[error("a user or password in the address is not used")]
    Credentials,
    #[error("`https` is expected")]
    Scheme,
    #[error("over `http` anyone on the way could put in keys of their own")]
    PlainHttp,
}

impl JwksUrl {
    /// Reads an address. `http` is for this machine only, unless `plain_http` allows it.
    ///
    /// # Errors
    /// See [`JwksUrlError`].
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, JwksUrlError> {
        let uri: Uri = text.parse().map_err(|_| JwksUrlError::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(JwksUrlError::NotAUrl);
        };
        if authority.as_str().contains('@') {
            return Err(JwksUrlError::Credentials);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match scheme {
            "https" => true,
            "http" if plain_http || is_loopback(&host) => false,
            "http" => return Err(JwksUrlError::PlainHttp),
            _ => return Err(JwksUrlError::Scheme),
        };
        if host.is_empty() {
            return Err(JwksUrlError::NotAUrl);
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path_and_query = uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
        Ok(Self { tls, host, port, authority: authority.to_string(), path_and_query, plain_http })
    }

    /// Where a redirect leads. Never from `https` to `http`.
    ///
    /// # Errors
    /// What it says is no address that would be used by itself.
    pub(super) fn redirected(&self, location: &str) -> Result<Self, JwksUrlError> {
        let next = if location.starts_with('/') && !location.starts_with("//") {
            let scheme = if self.tls { "https" } else { "http" };
            Self::parse(&format!("{scheme}://{}{location}", self.authority), self.plain_http)?
        } else {
            Self::parse(location, self.plain_http)?
        };
        if self.tls && !next.tls { Err(JwksUrlError::PlainHttp) } else { Ok(next) }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Without the query, which may hold a key of the issuer's.
impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let url = JwksUrl::parse("https://id.example.com/jwks?key=hunter2", false).unwrap();
        assert_eq!((url.tls, &*url.host, url.port), (true, "id.example.com", 443));
        assert_eq!(url.path_and_query, "/jwks?key=hunter2");
        assert_eq!(url.to_string(), "https://id.example.com/jwks");
        let url = JwksUrl::parse("http://[::1]:8080", false).unwrap();
        assert_eq!((url.tls, &*url.host, url.port, &*url.path_and_query), (false, "::1", 8080, "/"));
    }

    #[test]
    fn plain_http_is_for_this_machine_unless_it_is_allowed() {
        for local in ["http://localhost/k", "http://127.0.0.1:1/k", "http://127.9.9.9/k"] {
            assert!(JwksUrl::parse(local, false).is_ok(), "{local}");
        }
        for remote in ["http://id.example.com/k", "http://10.0.0.1/k", "http://localhost.evil.example/k"] {
            assert_eq!(JwksUrl::parse(remote, false), Err(JwksUrlError::PlainHttp), "{remote}");
            assert!(JwksUrl::parse(remote, true).is_ok(), "{remote}");
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for (text, error) in [
            ("", JwksUrlError::NotAUrl),
            ("id.example.com", JwksUrlError::NotAUrl),
            ("/jwks.json", JwksUrlError::NotAUrl),
            ("https://", JwksUrlError::NotAUrl),
            ("https://user:hunter2@id.example.com/k", JwksUrlError::Credentials),
            ("file:///etc/passwd", JwksUrlError::NotAUrl),
            ("ftp://id.example.com/k", JwksUrlError::Scheme),
        ] {
            assert_eq!(JwksUrl::parse(text, false), Err(error), "{text}");
        }
    }

    #[test]
    fn a_redirect_leads_where_the_address_itself_could_stand() {
        let from = JwksUrl::parse("https://a.example/k", false).unwrap();
        assert_eq!(from.redirected("/other?x=1").unwrap().path_and_query, "/other?x=1");
        assert_eq!(from.redirected("https://b.example/k").unwrap().host, "b.example");
        for (location, error) in [
            ("http://b.example/k", JwksUrlError::PlainHttp),
            ("http://127.0.0.1/k", JwksUrlError::PlainHttp),
            ("//b.example/k", JwksUrlError::NotAUrl),
            ("k", JwksUrlError::NotAUrl),
        ] {
            assert_eq!(from.redirected(location), Err(error), "{location}");
        }
    }
}
