//! From which pages browsers may connect.
//!
//! Only browsers send `Origin`, and they can't be made to lie about it: the check keeps the pages of others from using
//! their visitors' way into a network. It is no substitute for tokens: any other program sends what it likes.

use hyper::Uri;
use hyper::header::{HeaderMap, ORIGIN};

/// An entry of `server.origins`, as Phoenix' `check_origin` has them: `https://app.example.com`, `//app.example.com`,
/// `//*.example.com` (the domain itself too), each with a port if wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Option<String>,
    host: String,
    /// Any subdomain will do.
    subdomains: bool,
    port: Option<u16>,
}

/// The list; `None` lets every origin in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Option<Vec<Origin>>);

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("a scheme and a host are expected, or `//` and a host")]
    NoHost,
    #[error("an origin has no path, user or query")]
    Path,
    #[error("`*` stands for subdomains only, as in `//*.example.com`")]
    Wildcard,
}

impl Origin {
    /// Reads an entry of the list.
    ///
    /// # Errors
    /// It could never match what a browser sends, or would match more than it seems.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("//").ok_or(OriginError::NoHost)?;
        let scheme = match scheme.strip_suffix(':') {
            Some(scheme) if !scheme.is_empty() => Some(scheme.to_ascii_lowercase()),
            None if scheme.is_empty() => None,
            _ => return Err(OriginError::NoHost),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(OriginError::Path);
        }
        let (subdomains, rest) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
        if rest.contains('*') {
            return Err(OriginError::Wildcard);
        }
        let uri: Uri = format!("http://{rest}/").parse().map_err(|_| OriginError::NoHost)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(OriginError::NoHost)?.to_ascii_lowercase();
        let port = uri.port_u16().or_else(|| default_port(scheme.as_deref()?));
        Ok(Self { scheme, host, subdomains, port })
    }

    fn matches(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        self.scheme.as_deref().is_none_or(|own| own == scheme)
            && self.port.is_none_or(|own| port == Some(own))
            && (host == self.host
                || self.subdomains && host.strip_suffix(&self.host).is_some_and(|rest| rest.ends_with('.')))
    }
}

impl Origins {
    #[must_use]
    pub const fn only(list: Vec<Origin>) -> Self {
        Self(Some(list))
    }

    /// Whether a request may go on. One without `Origin` comes from no page.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(list) = &self.0 else { return true };
        headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(|origin| is_listed(list, origin)))
    }
}

/// Origins without a host (`null`, `file://`) are on no list.
fn is_listed(list: &[Origin], origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host().filter(|host| !host.is_empty())) else {
        return false;
    };
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let port = uri.port_u16().or_else(|| default_port(&scheme));
    list.iter().any(|entry| entry.matches(&scheme, &host, port))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn allows(list: &[&str], origin: &str) -> bool {
        let list = list.iter().map(|entry| Origin::parse(entry).unwrap()).collect();
        Origins::only(list).allow(&HeaderMap::from_iter([(ORIGIN, HeaderValue::from_str(origin).unwrap())]))
    }

    #[test]
    fn entries_match_as_phoenix_check_origin_does() {
        for (entry, yes, no) in [
            (
                "https://example.com",
                &["https://example.com", "https://EXAMPLE.com", "https://example.com:443"][..],
                &[
                    "http://example.com",
                    "https://example.com:8443",
                    "https://www.example.com",
                    "https://example.com.evil",
                ][..],
            ),
            ("//example.com", &["http://example.com", "https://example.com:8443"], &["https://badexample.com"]),
            (
                "//*.example.com",
                &["https://example.com", "http://a.b.example.com:1"],
                &["https://badexample.com", "https://example.com.evil", "https://example.org"],
            ),
            ("http://localhost:3000", &["http://localhost:3000"], &["http://localhost", "https://localhost:3000"]),
            ("//[::1]:3000", &["http://[::1]:3000"], &["http://[::2]:3000"]),
        ] {
            yes.iter().for_each(|origin| assert!(allows(&[entry], origin), "{entry} and {origin}"));
            no.iter().for_each(|origin| assert!(!allows(&[entry], origin), "{entry} and {origin}"));
        }
        assert!(allows(&["//a.example", "//b.example"], "https://b.example"));
    }

    #[test]
    fn what_has_no_host_is_on_no_list() {
        for origin in ["null", "file://", "", "about:blank", "/path", "https://"] {
            assert!(!allows(&["//*.example.com"], origin), "{origin}");
        }
        assert!(!allows(&[], "https://example.com"));
    }

    #[test]
    fn without_a_list_or_an_origin_nothing_is_refused() {
        let from_a_page = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("null"))]);
        assert!(Origins::default().allow(&from_a_page));
        assert!(Origins::only(Vec::new()).allow(&HeaderMap::new()));
    }

    #[test]
    fn one_bad_origin_of_several_is_enough() {
        let mut headers = HeaderMap::new();
        headers.append(ORIGIN, HeaderValue::from_static("https://example.com"));
        headers.append(ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(!Origins::only(vec![Origin::parse("//example.com").unwrap()]).allow(&headers));
    }

    #[test]
    fn entries_that_could_not_mean_what_they_say_are_refused() {
        for (entry, error) in [
            ("example.com", OriginError::NoHost),
            ("*", OriginError::NoHost),
            ("//", OriginError::NoHost),
            ("https//example.com", OriginError::NoHost),
            ("://example.com", OriginError::NoHost),
            ("https://example.com/app", OriginError::Path),
            ("https://u@example.com", OriginError::Path),
            ("//*", OriginError::Wildcard),
            ("//a.*.com", OriginError::Wildcard),
        ] {
            assert_eq!(Origin::parse(entry), Err(error), "{entry}");
        }
        assert_eq!(Origin::parse("https://example.com/"), Origin::parse("https://example.com:443"));
    }
}
