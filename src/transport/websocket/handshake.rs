//! The upgrade request and its answer.

use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tungstenite::handshake::derive_accept_key;

/// A request that is no WebSocket handshake: the header that makes it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum HandshakeError {
    #[error("'connection' header must contain 'upgrade'")]
    Connection,
    #[error("'upgrade' header must contain 'websocket'")]
    Upgrade,
    #[error("'sec-websocket-version' header must be '13'")]
    Version,
    #[error("'sec-websocket-key' header must be a base64 key of 16 bytes")]
    Key,
}

/// Checks a request's headers; the headers of the 101 answer.
pub(in crate::transport) fn accept(request: &HeaderMap) -> Result<HeaderMap, HandshakeError> {
    if !has_token(request, &CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if !has_token(request, &UPGRADE, "websocket") {
        return Err(HandshakeError::Upgrade);
    }
    if request.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(HandshakeError::Version);
    }
    let key = request.get(SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?;
    let decoded = data_encoding::BASE64.decode(key.as_bytes()).map_err(|_| HandshakeError::Key)?;
    if decoded.len() != KEY_LENGTH {
        return Err(HandshakeError::Key);
    }
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| HandshakeError::Key)?;
    Ok(HeaderMap::from_iter([
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ]))
}

/// RFC 6455, 4.1: a nonce of 16 bytes.
const KEY_LENGTH: usize = 16;

/// Whether a comma-separated header has a token, in any case.
fn has_token(headers: &HeaderMap, name: &hyper::header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(without: &str, with: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let defaults = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in defaults.iter().filter(|(name, _)| *name != without).chain(with) {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn answers_the_example_of_the_rfc() {
        let answer = accept(&request("", &[])).unwrap();
        assert_eq!(answer.get(SEC_WEBSOCKET_ACCEPT).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn names_the_header_that_is_wrong() {
        for (headers, error) in [
            (request("connection", &[]), HandshakeError::Connection),
            (request("", &[("connection", "close")]), HandshakeError::Connection),
            (request("upgrade", &[]), HandshakeError::Upgrade),
            (request("sec-websocket-version", &[]), HandshakeError::Version),
            (request("", &[("sec-websocket-version", "8")]), HandshakeError::Version),
            (request("sec-websocket-key", &[]), HandshakeError::Key),
            (request("", &[("sec-websocket-key", "short")]), HandshakeError::Key),
        ] {
            assert_eq!(accept(&headers), Err(error));
        }
    }
}
