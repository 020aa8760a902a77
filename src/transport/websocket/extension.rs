//! What a client offers in `Sec-WebSocket-Extensions`, and what of it is taken (RFC 6455, 9.1; RFC 7692, 7.1).
#![deny(clippy::indexing_slicing)]

use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use super::deflate::Window;

const NAME: &str = "permessage-deflate";
/// Offers that are looked at. Browsers make one, libraries two or three.
const OFFERS_MAX: usize = 16;

/// What was agreed, and how the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) struct Agreement {
    pub(in crate::transport) window: Window,
    pub(in crate::transport) answer: HeaderValue,
}

/// The first of a client's offers that can be fulfilled to the letter; none where there is no such, which means that
/// nothing is deflated.
pub(in crate::transport) fn agree(request: &HeaderMap) -> Option<Agreement> {
    let headers = request.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().filter_map(|value| value.to_str().ok());
    headers.flat_map(split(',')).take(OFFERS_MAX).find_map(accept)
}

/// Neither side ever takes context over, which a server may demand whatever was offered (7.1.1). The client's own
/// window may be of any size: we inflate with the largest.
fn accept(offer: &str) -> Option<Agreement> {
    let mut parts = split(';')(offer);
    if parts.next()?.trim() != NAME {
        return None;
    }
    let mut seen = Vec::new();
    let mut window = None;
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (part.trim(), None),
        };
        // Given twice, it has two meanings.
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(value)) => drop(bits(value)?),
            ("server_max_window_bits", Some(value)) => window = Some(bits(value)?),
            _ => return None,
        }
    }
    let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
    if let Some(bits) = window {
        answer.push_str(&format!("; server_max_window_bits={bits}"));
    }
    let answer = HeaderValue::try_from(answer).ok()?;
    Some(Agreement { window: Window::of_bits(window.unwrap_or(WINDOW_BITS_MAX)), answer })
}

/// Deflate's own: 32 KiB.
const WINDOW_BITS_MAX: u8 = 15;

/// 8 to 15, without leading zeros (7.1.2.1).
fn bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=WINDOW_BITS_MAX).contains(bits))?;
    (value == bits.to_string()).then_some(bits)
}

/// A value may be quoted; what could be escaped in it is in none that is allowed.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// Splits at a separator that is not within quotes.
fn split<'t>(separator: char) -> impl Fn(&'t str) -> std::vec::IntoIter<&'t str> {
    move |text| {
        let mut quoted = false;
        let parts = text.split(|c: char| {
            quoted ^= c == '"';
            c == separator && !quoted
        });
        parts.collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn agreed(headers: &[&str]) -> Option<(Window, String)> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(header).unwrap());
        }
        agree(&map).map(|it| (it.window, it.answer.to_str().unwrap().to_owned()))
    }

    #[test]
    fn every_parameter_is_honoured() {
        for (offer, window, more) in [
            ("permessage-deflate", 15, ""),
            ("permessage-deflate; client_max_window_bits", 15, ""),
            ("permessage-deflate;client_max_window_bits=9", 15, ""),
            ("permessage-deflate; server_no_context_takeover ; client_no_context_takeover", 15, ""),
            ("permessage-deflate; server_max_window_bits=10", 10, "; server_max_window_bits=10"),
            ("permessage-deflate; server_max_window_bits=\"8\"", 8, "; server_max_window_bits=8"),
            ("permessage-deflate; server_max_window_bits=15", 15, "; server_max_window_bits=15"),
            ("x-webkit-deflate-frame, permessage-deflate", 15, ""),
            (
                "x; y=\"a,permessage-deflate; z\", permessage-deflate; server_max_window_bits=9",
                9,
                "; server_max_window_bits=9",
            ),
            ("permessage-deflate; server_max_window_bits=7, permessage-deflate", 15, ""),
            ("permessage-deflate; server_max_window_bits=12, permessage-deflate", 12, "; server_max_window_bits=12"),
        ] {
            assert_eq!(agreed(&[offer]), Some((Window::of_bits(window), format!("{PLAIN}{more}"))), "{offer}");
        }
        assert_eq!(agreed(&["x-other", "permessage-deflate"]), Some((Window::of_bits(15), PLAIN.to_owned())));
    }

    #[test]
    fn what_can_not_be_honoured_is_declined() {
        for offer in [
            "",
            "permessage-deflat",
            "PERMESSAGE-DEFLATE",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate;",
            "\"permessage-deflate\"",
        ] {
            assert_eq!(agreed(&[offer]), None, "{offer}");
        }
        assert_eq!(agreed(&[]), None);
    }

    proptest! {
        #[test]
        fn any_header_is_agreed_with_or_not(offer in "[permsag\\-dflt;,=\"0-9_ ]{0,60}|permessage-deflate[;,=\" a-z0-9_]{0,60}") {
            let _any = agreed(&[&offer]);
        }
    }
}
