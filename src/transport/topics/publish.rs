//! `POST /topics/{topic}/events`: what an app says to everyone on a topic, as `{"event": …, "payload": {…}}`.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{EVENTS_SUFFIX, PREFIX, json, refused};
use crate::change::is_reserved_event;
use crate::hub::{Content, Saying};
use crate::phoenix::connect::{Params, decode_path};
use crate::phoenix::{Payload, Refusal};
use crate::transport::http::{Reply, Server};
use crate::transport::shard::{content, publish};

/// An event's length stands in one byte of Phoenix' binary frames.
const EVENT_BYTES_MAX: usize = 255;
/// What stands around a payload: the event's name, with every byte of it escaped, and white space.
const ENVELOPE: usize = 4096;
/// The body of the answer to an event that is on its way.
const OK: Bytes = Bytes::from_static(b"{}");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    event: Box<str>,
    payload: Box<RawValue>,
}

/// Answers once the event has its place in the order that everyone on the topic hears.
pub(super) async fn serve(request: Request<Incoming>, server: &Server) -> Response<Reply> {
    let gate = &server.routers.gate;
    let Ok(params) = Params::parse(request.uri().query().unwrap_or_default()) else {
        return refused(&Refusal::InvalidPayload.response());
    };
    let identity = match gate.admit(request.headers(), &params).await {
        Ok(identity) => identity,
        Err(denied) => {
            server.shell.borrow_mut().count_post(denied.reason());
            return json(denied.status(), Bytes::from(denied.body()));
        }
    };
    let path = request.uri().path().strip_prefix(PREFIX).and_then(|path| path.strip_suffix(EVENTS_SUFFIX));
    let result = match path.map(decode_path) {
        Some(Ok(topic)) if gate.may_publish(&identity, &topic) => post(topic, request, server).await,
        Some(Ok(_)) => Err(Refusal::Unauthorized),
        Some(Err(_)) | None => Err(Refusal::UnmatchedTopic),
    };
    server.shell.borrow_mut().count_post(result.as_ref().map_or_else(Refusal::reason, |()| "done"));
    match result {
        Ok(()) => json(StatusCode::OK, OK),
        Err(refusal) => refused(&refusal.response()),
    }
}

async fn post(topic: String, request: Request<Incoming>, server: &Server) -> Result<(), Refusal> {
    let payload_max = server.limits.channels.broadcast;
    if topic.len() > server.limits.topic {
        return Err(Refusal::UnmatchedTopic);
    }
    let body = whole(request.into_body(), payload_max.saturating_add(ENVELOPE));
    let body = timeout(server.limits.handshake, body).await.unwrap_or(Err(Refusal::InvalidPayload))?;
    let (event, content) = read(&body, payload_max)?;
    if !server.routers.posts.take() {
        return Err(Refusal::RateLimited);
    }
    publish(&server.shell, Saying { topic: topic.into(), event, content, except: None }).await
}

/// A body of at most so many bytes.
async fn whole(mut body: Incoming, length_max: usize) -> Result<Vec<u8>, Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > length_max {
        return Err(Refusal::PayloadTooLarge);
    }
    let mut whole = Vec::with_capacity(announced);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        // An error: the body was cut off.
        let data = frame.map_err(|_| Refusal::InvalidPayload)?.into_data().unwrap_or_default();
        if whole.len() + data.len() > length_max {
            return Err(Refusal::PayloadTooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// The event and the payload that a body has.
fn read(body: &[u8], payload_max: usize) -> Result<(Arc<str>, Content), Refusal> {
    let Posted { event, payload } = serde_json::from_slice(body).map_err(|_| Refusal::InvalidPayload)?;
    let invalid = |message: &str| Err(Refusal::InvalidEvent { message: message.to_owned() });
    if !(1..=EVENT_BYTES_MAX).contains(&event.len()) {
        return invalid("an event's name has 1 to 255 bytes");
    }
    if is_reserved_event(&event) {
        return invalid("this event has a meaning of its own to clients");
    }
    Ok((event.into(), content(&Payload::Json(payload), payload_max)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> Refusal {
        read(body.as_bytes(), 20).expect_err(body)
    }

    #[test]
    fn a_body_has_an_event_and_an_object() {
        let (event, content) = read(br#" {"payload": {"a": [1.50]} , "event":"s\u0061id"} "#, 20).unwrap();
        assert_eq!((&*event, content), ("said", Content::Json(Bytes::from_static(br#"{"a": [1.50]}"#))));
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "{\"event\":\"e\"}",
            "{\"payload\":{}}",
            "{\"event\":7,\"payload\":{}}",
            "{\"event\":\"e\",\"payload\":[]}",
            "{\"event\":\"e\",\"payload\":null}",
            "{\"event\":\"e\",\"payload\":\"{}\"}",
            "{\"event\":\"e\",\"payload\":{}",
            "{\"event\":\"e\",\"event\":\"f\",\"payload\":{}}",
            "{\"event\":\"e\",\"payload\":{},\"topic\":\"t\"}",
        ] {
            assert_eq!(refusal(body), Refusal::InvalidPayload, "{body}");
        }
        assert_eq!(read(b"{\"event\":\"e\",\"payload\":{\"a\":\"\xFF\"}}", 20), Err(Refusal::InvalidPayload));
        let long = "e".repeat(256);
        for event in ["", "phx_reply", "chan_reply_1", "presence_diff", "cursor", &long] {
            let body = format!("{{\"event\":\"{event}\",\"payload\":{{}}}}");
            assert!(matches!(refusal(&body), Refusal::InvalidEvent { .. }), "{event}");
        }
        assert_eq!(refusal(r#"{"event":"e","payload":{"a":"aaaaaaaaaaaaa"}}"#), Refusal::PayloadTooLarge);
        assert!(read(br#"{"event":"e","payload":{"a":"aaaaaaaaaaaa"}}"#, 20).is_ok());
    }
}
