//! Server-sent events, as `EventSource` reads them: `id`, `event` and `data` lines, and a blank one.
//!
//! An event's id is the cursor that a client has with it; browsers show the last one when they come back. An id without
//! data moves that cursor and is no event to the page.

use std::time::Duration;

use bytes::Bytes;

use crate::hub::{Form, Publication};
use crate::phoenix::{Body, Refusal};

/// An empty id, after which a browser shows none when it comes back.
const FORGET_ID: &[u8] = b"id:\n";
/// How a payload begins whose cursor would be too long: who comes back then begins afresh, and must not do so from an
/// older one.
const NO_CURSOR: &[u8] = br#"{"cursor":null"#;
/// How long a client waits before it comes back after a connection was lost.
const RETRY: Duration = Duration::from_secs(1);
/// The same after a refusal that coming back does not mend.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(10);
/// When the server stops, clients come back spread over this, and not all at once.
const DRAIN_SPREAD: Duration = Duration::from_secs(4);
/// What stands around a payload, about.
const ENVELOPE_SIZE_GUESS: usize = 256;

/// An empty comment: it keeps proxies from taking a quiet stream for a dead one.
pub(in crate::transport) const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// The beginning of a stream: how to come back, and with which cursor.
pub(in crate::transport) fn greeting(cursor: Option<&str>) -> Bytes {
    let mut out = format!("retry: {}\n", RETRY.as_millis()).into_bytes();
    push_id(&mut out, cursor);
    out.push(b'\n');
    out.into()
}

/// A message of the topic; nothing for a binary payload, which has no form here.
pub(in crate::transport) fn of_publication(publication: &Publication) -> Bytes {
    match publication.form {
        Form::Binary => Bytes::new(),
        // Whatever it looks like: its payload is somebody's own. What the database said has a cursor beside it.
        Form::Json => message(&publication.event, publication.id().as_deref(), false, &publication.payload),
        Form::Feed => {
            let forgets = publication.payload.starts_with(NO_CURSOR);
            message(&publication.event, publication.id().as_deref(), forgets, &publication.payload)
        }
    }
}

fn message(event: &str, cursor: Option<&str>, forgets: bool, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + ENVELOPE_SIZE_GUESS);
    if forgets {
        out.extend_from_slice(FORGET_ID);
    }
    push_id(&mut out, cursor);
    // A quiet topic's cursor is an id without data.
    if event != "cursor" {
        push_event(&mut out, event, payload);
    }
    out.push(b'\n');
    out.into()
}

/// What only this client is sent; none for a binary payload, which has no form here.
pub(in crate::transport) fn of_push(event: &str, payload: &Body) -> Option<Bytes> {
    let Body::Json(payload) = payload else { return None };
    let mut out = Vec::new();
    push_event(&mut out, event, payload);
    out.push(b'\n');
    Some(out.into())
}

/// The subscription is over, and the stream with it.
///
/// Where its position can't be continued, an empty id makes the browser forget it: it comes back without one, and finds
/// the topic live.
pub(in crate::transport) fn of_error(payload: &Body) -> Bytes {
    let mut out = Vec::new();
    if *payload == Refusal::ResyncRequired.response() {
        out.extend_from_slice(FORGET_ID);
    } else {
        out.extend_from_slice(format!("retry: {}\n", RETRY_AFTER_ERROR.as_millis()).as_bytes());
    }
    if let Body::Json(payload) = payload {
        push_event(&mut out, "phx_error", payload);
    }
    out.push(b'\n');
    out.into()
}

/// A stream that ends before it begins: the server can't serve it now, and will soon.
pub(in crate::transport) fn not_now() -> Bytes {
    format!(": not ready\nretry: {}\n\n", RETRY.as_millis()).into()
}

/// The server stops: another one, or the same, is there soon. `number` tells clients apart.
pub(in crate::transport) fn drain(number: usize) -> Bytes {
    let spread = DRAIN_SPREAD.as_millis();
    // Neighbours among the numbers are far apart in time.
    let later = (number as u128).wrapping_mul(2_654_435_761) % spread;
    format!(": server restarts\nretry: {}\n\n", RETRY.as_millis() + later).into()
}

fn push_id(out: &mut Vec<u8>, cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(cursor.as_bytes());
        out.push(b'\n');
    }
}

fn push_event(out: &mut Vec<u8>, event: &str, payload: &[u8]) {
    out.extend_from_slice(b"event: ");
    // A name with a line's end in it would be two lines, the second one of its author's choice.
    out.extend(event.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    // Between JSON's tokens a line's end is white space, so that any of them may become any other.
    for line in payload.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(line);
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_payload_of_several_lines_is_one_event() {
        let payload = Body::Json(Bytes::from_static(b"{\"a\":\r\n[1,\n2]}"));
        let event = of_push("new\nupdates", &payload).unwrap();
        assert_eq!(text(&event), "event: newupdates\ndata: {\"a\":\ndata: \ndata: [1,\ndata: 2]}\n\n");
        assert_eq!(of_push("x", &Body::Binary(Bytes::new())), None);
    }

    #[test]
    fn a_position_that_can_not_be_continued_is_forgotten() {
        let error = of_error(&Refusal::ResyncRequired.response());
        assert_eq!(text(&error), "id:\nevent: phx_error\ndata: {\"reason\":\"resync_required\"}\n\n");
        let error = of_error(&Refusal::TokenExpired.response());
        assert_eq!(text(&error), "retry: 10000\nevent: phx_error\ndata: {\"reason\":\"token_expired\"}\n\n");
    }

    #[test]
    fn a_message_moves_the_id_to_its_cursor() {
        let event = message("new_updates", Some("abc"), false, br#"{"cursor":"abc"}"#);
        assert_eq!(text(&event), "id: abc\nevent: new_updates\ndata: {\"cursor\":\"abc\"}\n\n");
        assert_eq!(text(&message("cursor", Some("abc"), false, br#"{"cursor":"abc"}"#)), "id: abc\n\n");
        // A snapshot's rows have none yet, and a cursor that is too long is none to come back with.
        assert!(text(&message("new_updates", None, false, br#"{"snapshot":true}"#)).starts_with("event:"));
        assert!(text(&message("new_updates", None, true, br#"{"cursor":null}"#)).starts_with("id:\nevent:"));
    }

    #[test]
    fn the_greeting_has_the_cursor() {
        assert_eq!(text(&greeting(Some("abc"))), "retry: 1000\nid: abc\n\n");
        assert_eq!(text(&greeting(None)), "retry: 1000\n\n");
    }

    #[test]
    fn clients_of_a_server_that_stops_come_back_one_by_one() {
        let times: std::collections::HashSet<Bytes> = (0..100).map(drain).collect();
        assert!(times.len() > 90, "{}", times.len());
    }
}
