//! Where a request carries its token.

use hyper::header::{AUTHORIZATION, HeaderMap, SEC_WEBSOCKET_PROTOCOL};

use crate::phoenix::connect::{Param, Params, Subprotocols};

/// What the npm client's long-poll transport sends its `authToken` in.
const AUTH_TOKEN_HEADER: &str = "x-phoenix-authtoken";
/// The connection parameter, as in `new Socket(url, {params: {token}})`.
const TOKEN_PARAM: &str = "token";

/// The token that a request shows, if it shows one.
///
/// Where there are several, the first of these counts, whether it is valid or not:
///
/// 1. the subprotocol `base64url.bearer.phx.…` (the npm client's option `authToken` on a WebSocket),
/// 2. the header `Authorization: Bearer …`,
/// 3. the header `X-Phoenix-AuthToken` (the option `authToken` on long polling),
/// 4. the connection parameter `token`.
///
/// What can't be set from the address of a page comes first. Empty ones are none.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    #[must_use]
    pub fn of_request(headers: &HeaderMap, params: &Params) -> Option<Self> {
        let found = [subprotocol(headers), bearer(headers), header(headers), param(params)];
        found.into_iter().flatten().find(|token| !token.is_empty()).map(Self)
    }

    /// A token that came in a message.
    #[must_use]
    pub const fn new(token: String) -> Self {
        Self(token)
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a token of {} bytes", self.0.len())
    }
}

fn subprotocol(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    // One that can't be decoded is refused with the handshake; it is no token.
    Subprotocols::parse(&values.collect::<Vec<_>>().join(",")).ok()?.token
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn header(headers: &HeaderMap) -> Option<String> {
    headers.get(AUTH_TOKEN_HEADER)?.to_str().ok().map(|token| token.trim().to_owned())
}

fn param(params: &Params) -> Option<String> {
    match params.get(TOKEN_PARAM)? {
        Param::Text(token) => Some(token.to_owned()),
        Param::Nested => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&'static str, &str)], query: &str) -> Option<String> {
        let headers = headers.iter().map(|(name, value)| {
            (hyper::header::HeaderName::from_static(name), hyper::header::HeaderValue::from_str(value).unwrap())
        });
        let params = Params::parse(query).unwrap();
        Credential::of_request(&headers.collect(), &params).map(|token| token.expose().to_owned())
    }

    const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "phoenix, base64url.bearer.phx.b25l");
    const BEARER: (&str, &str) = ("authorization", "Bearer two");
    const HEADER: (&str, &str) = ("x-phoenix-authtoken", "three");

    #[test]
    fn the_first_of_several_counts() {
        let all = [PROTOCOL, BEARER, HEADER];
        for (from, token) in [(0, "one"), (1, "two"), (2, "three"), (3, "four")] {
            assert_eq!(found(&all[from..], "vsn=2.0.0&token=four").as_deref(), Some(token));
        }
        assert_eq!(found(&[], "vsn=2.0.0"), None);
    }

    #[test]
    fn every_form_is_read_as_it_is_sent() {
        assert_eq!(found(&[("authorization", "bearer  t ")], "").as_deref(), Some("t"));
        for value in ["Basic dTpw", "Bearer", "t", ""] {
            assert_eq!(found(&[("authorization", value)], ""), None, "{value}");
        }
        assert_eq!(found(&[], "token=a%2Eb%2Ec&").as_deref(), Some("a.b.c"));
        // A null or a map in the client's `params`, and an empty text.
        for query in ["&vsn=2.0.0", "token[a]=1", "token=", "token"] {
            assert_eq!(found(&[], query), None, "{query}");
        }
        assert_eq!(found(&[("authorization", "Bearer ")], "token=t").as_deref(), Some("t"));
        // Two subprotocol tokens are none, as in Phoenix, and neither is what is no base64.
        let two = "base64url.bearer.phx.b25l, base64url.bearer.phx.b25l";
        for value in [two, "base64url.bearer.phx.****"] {
            assert_eq!(found(&[("sec-websocket-protocol", value)], ""), None);
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(format!("{:?}", Credential::new("abc".to_owned())), "a token of 3 bytes");
    }
}
