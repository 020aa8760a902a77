//! What a client says when it connects: the query's parameters, and the token among the subprotocols.

use std::fmt;

use data_encoding::BASE64_NOPAD;

use super::serializer::{Serializer, UnsupportedVersion};

/// The most parameters in one query: a client's `params` object with its lists, flattened.
pub const MAX_PARAMS: usize = 256;
/// The subprotocol that the npm client offers along with its token.
pub const SUBPROTOCOL: &str = "phoenix";
/// What stands before the token among the offered subprotocols.
const BEARER_PREFIX: &str = "base64url.bearer.phx.";

/// The parameters of a connection, decoded as Plug does; the last of several with one name counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// A parameter's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Param<'a> {
    Text(&'a str),
    /// The name stands for a map or a list (`name[key]=…`, `name[]=…`).
    Nested,
}

/// A query string that can't be decoded; the handshake is refused with 400. Says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("query has `%` without two hexadecimal digits at byte {offset}")]
    InvalidPercent { offset: usize },
    #[error("query is not UTF-8 in the parameter at byte {offset}")]
    InvalidUtf8 { offset: usize },
    #[error("query has more than {MAX_PARAMS} parameters")]
    TooManyParams,
}

impl Params {
    /// Parses the part of the URL after `?`. Empty segments are skipped: the npm client leaves one for a null.
    ///
    /// # Errors
    /// A bad escape, text that is not UTF-8, or more than [`MAX_PARAMS`].
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut params = Vec::new();
        let mut offset = 0;
        for segment in query.split('&') {
            if !segment.is_empty() {
                let (name, value) = segment.split_once('=').unwrap_or((segment, ""));
                let value_offset = offset + name.len() + 1;
                params.push((decode(name, offset)?, decode(value, value_offset)?));
            }
            if params.len() > MAX_PARAMS {
                return Err(QueryError::TooManyParams);
            }
            offset += segment.len() + 1;
        }
        Ok(Self(params))
    }

    /// A parameter by its name, or an element of a nested one by its whole path (`a[b][0]`).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Param<'_>> {
        self.0.iter().rev().find_map(|(own, value)| match own.strip_prefix(name)? {
            "" => Some(Param::Text(value)),
            rest => rest.starts_with('[').then_some(Param::Nested),
        })
    }

    /// A parameter that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Param::Text(value) => Some(value),
            Param::Nested => None,
        }
    }

    /// Without the last one of this name, so that an earlier one counts: the npm client appends its long-poll session's
    /// `token` to the parameters that it was given.
    #[must_use]
    pub fn without_last(mut self, name: &str) -> Self {
        if let Some(index) = self.0.iter().rposition(|(own, _)| own == name) {
            self.0.remove(index);
        }
        self
    }

    /// Every name or path with its value, in the order of the query.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The serializer that the parameter `vsn` asks for.
    ///
    /// # Errors
    /// A version that is not spoken, or a `vsn` that is no text.
    pub fn serializer(&self) -> Result<Serializer, UnsupportedVersion> {
        match self.get("vsn") {
            None => Serializer::negotiate(None),
            Some(Param::Text(vsn)) => Serializer::negotiate(Some(vsn)),
            Some(Param::Nested) => Err(UnsupportedVersion),
        }
    }
}

impl fmt::Debug for Params {
    // Tokens are among the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl fmt::Debug for Param<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(value) => write!(f, "text of {} bytes", value.len()),
            Self::Nested => f.write_str("nested"),
        }
    }
}

/// `application/x-www-form-urlencoded`: `+` is a blank, `%` two hexadecimal digits of a byte.
fn decode(text: &str, offset: usize) -> Result<String, QueryError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|(_, byte)| char::from(byte).to_digit(16));
                let pair = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
                pair.ok_or(QueryError::InvalidPercent { offset: offset + at })?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| QueryError::InvalidUtf8 { offset })
}

/// Decodes a piece of a URL's path, where `+` is itself.
///
/// # Errors
/// A bad escape, or text that is not UTF-8.
pub fn decode_path(path: &str) -> Result<String, QueryError> {
    decode(&path.replace('+', "%2B"), 0)
}

/// What the header `sec-websocket-protocol` says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Subprotocols {
    /// [`SUBPROTOCOL`] is offered, and must be answered, or browsers fail the connection.
    pub phoenix: bool,
    /// Offered ones that are neither [`SUBPROTOCOL`] nor a token.
    pub others: bool,
    /// The one token, decoded.
    pub token: Option<String>,
}

/// A token that is no base64 of UTF-8; the handshake is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token in sec-websocket-protocol is not base64 of UTF-8 text")]
pub struct InvalidBearer;

impl Subprotocols {
    /// Parses the header's value; several headers are joined with commas before.
    ///
    /// Despite the prefix the npm client sends standard base64 without padding; both alphabets are taken. Of several
    /// tokens none counts, as in Phoenix.
    ///
    /// # Errors
    /// The one token can't be decoded.
    pub fn parse(header: &str) -> Result<Self, InvalidBearer> {
        let mut parsed = Self::default();
        let mut bearers = Vec::new();
        for protocol in header.split(',').map(str::trim).filter(|protocol| !protocol.is_empty()) {
            match protocol.strip_prefix(BEARER_PREFIX) {
                Some(bearer) => bearers.push(bearer),
                None if protocol == SUBPROTOCOL => parsed.phoenix = true,
                None => parsed.others = true,
            }
        }
        if let [bearer] = &*bearers {
            parsed.token = Some(decode_bearer(bearer)?);
        }
        Ok(parsed)
    }
}

impl fmt::Debug for Subprotocols {
    // The token is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phoenix, others, token } = self;
        write!(f, "Subprotocols {{ phoenix: {phoenix}, others: {others}, token: {} }}", token.is_some())
    }
}

fn decode_bearer(bearer: &str) -> Result<String, InvalidBearer> {
    let standard = bearer.trim_end_matches('=').replace('-', "+").replace('_', "/");
    let token = BASE64_NOPAD.decode(standard.as_bytes()).map_err(|_| InvalidBearer)?;
    String::from_utf8(token).map_err(|_| InvalidBearer)
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL_NOPAD};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_the_query_that_the_npm_client_sends() {
        let params = Params::parse("a=1&b%5Bc%5D=2&&l%5B0%5D=1&l%5B1%5D=2&vsn=2.0.0").unwrap();
        let all: Vec<_> = params.iter().collect();
        assert_eq!(all, [("a", "1"), ("b[c]", "2"), ("l[0]", "1"), ("l[1]", "2"), ("vsn", "2.0.0")]);
        assert_eq!(params.serializer(), Ok(Serializer::V2));
        assert_eq!((params.text("b[c]"), params.text("b"), params.text("c")), (Some("2"), None, None));
        assert_eq!(params.get("b"), Some(Param::Nested));
    }

    #[test]
    fn decodes_as_forms_do() {
        let params = Params::parse("token=a%2Bb+c%C3%A4&flag&=x&token2=1&e==&").unwrap();
        assert_eq!(params.text("token"), Some("a+b cä"));
        assert_eq!((params.text("flag"), params.text(""), params.text("e")), (Some(""), Some("x"), Some("=")));
        assert_eq!(Params::parse("").unwrap(), Params::default());
        let twice = Params::parse("a=1&b=3&a=2").unwrap();
        assert_eq!(twice.text("a"), Some("2"));
        assert_eq!(twice.without_last("a").without_last("c").text("a"), Some("1"));
    }

    #[test]
    fn decodes_paths() {
        assert_eq!(decode_path("orders:a+b%20c%2F%C3%A4").as_deref(), Ok("orders:a+b c/ä"));
        assert!(decode_path("orders:%f").is_err());
    }

    #[test]
    fn the_version_must_be_a_text() {
        let serializer = |query| Params::parse(query).unwrap().serializer();
        assert_eq!(serializer(""), Ok(Serializer::V1));
        assert_eq!(serializer("vsn=1.0.0&vsn2=x"), Ok(Serializer::V1));
        for query in ["vsn=", "vsn", "vsn=2", "vsn[]=2.0.0", "vsn%5Ba%5D=2.0.0"] {
            assert_eq!(serializer(query), Err(UnsupportedVersion), "{query}");
        }
    }

    #[test]
    fn refuses_what_can_not_be_decoded() {
        assert_eq!(Params::parse("a=1&b=x%2").unwrap_err(), QueryError::InvalidPercent { offset: 7 });
        assert_eq!(Params::parse("a=%zz").unwrap_err(), QueryError::InvalidPercent { offset: 2 });
        assert_eq!(Params::parse("a=1&b=%ff").unwrap_err(), QueryError::InvalidUtf8 { offset: 6 });
        assert!(Params::parse(&"a=1&".repeat(MAX_PARAMS)).is_ok());
        assert_eq!(Params::parse(&"a=1&".repeat(MAX_PARAMS + 1)).unwrap_err(), QueryError::TooManyParams);
    }

    #[test]
    fn debug_shows_no_values() {
        let params = Params::parse("token=secret").unwrap();
        let protocols = Subprotocols::parse("base64url.bearer.phx.c2VjcmV0").unwrap();
        let shown = format!("{params:?} {:?} {protocols:?}", params.get("token"));
        assert!(shown.contains("token") && !shown.contains("secret"), "{shown}");
    }

    fn token(header: &str) -> Option<String> {
        Subprotocols::parse(header).unwrap().token
    }

    #[test]
    fn finds_the_token_among_the_subprotocols() {
        let parsed = Subprotocols::parse("phoenix, base64url.bearer.phx.dG9rPz8/fn5-").unwrap();
        assert_eq!(parsed, Subprotocols { phoenix: true, others: false, token: Some("tok???~~~".into()) });
        assert_eq!(token("phoenix"), None);
        assert_eq!(token("base64url.bearer.phx.dG9r,base64url.bearer.phx.dG9r"), None, "one or none");
        assert_eq!(Subprotocols::parse("graphql-ws").unwrap(), Subprotocols { others: true, ..Default::default() });
        assert_eq!(Subprotocols::parse("").unwrap(), Subprotocols::default());
        for bearer in ["d", "!!!!", "/w"] {
            assert_eq!(Subprotocols::parse(&format!("phoenix,{BEARER_PREFIX}{bearer}")).unwrap_err(), InvalidBearer);
        }
    }

    proptest! {
        #[test]
        fn any_token_comes_back_in_both_alphabets(text in ".{0,30}") {
            let standard = BASE64_NOPAD.encode(text.as_bytes());
            let (url, padded) = (BASE64URL_NOPAD.encode(text.as_bytes()), BASE64.encode(text.as_bytes()));
            for bearer in [standard, url, padded] {
                prop_assert_eq!(token(&format!("phoenix, {BEARER_PREFIX}{bearer}")), Some(text.clone()));
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-c%&=+\\[\\]0-9ä]{0,30}", header in ".{0,40}") {
            let _params = Params::parse(&text);
            let _protocols = Subprotocols::parse(&header);
        }
    }
}
