//! Serializer 1.0.0: `{"topic": …, "event": …, "payload": …, "ref": …}`, text only.
#![deny(clippy::indexing_slicing)]

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json::push_string;
use super::message::{Body, ClientMessage, Event, Outgoing, Payload, Ref};
use super::serializer::{DecodeError, EncodeError, FrameKind};

/// What stands after the payload where there is no ref.
pub(super) const SUFFIX_WITHOUT_REF: &str = r#","ref":null}"#;

/// Every key but `join_ref` must be there; others are ignored.
#[derive(Deserialize)]
struct Frame<'a> {
    topic: String,
    event: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    // Not a plain `Option`, which serde would take for optional.
    #[serde(rename = "ref", borrow, deserialize_with = "required")]
    reference: &'a RawValue,
    #[serde(borrow)]
    join_ref: Option<&'a RawValue>,
}

fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de RawValue, D::Error> {
    <&RawValue>::deserialize(deserializer)
}

pub(super) fn decode(text: &str) -> Result<ClientMessage, DecodeError> {
    let frame: Frame<'_> = serde_json::from_str(text)?;
    // serde would also take an array of the fields.
    if !text.trim_start().starts_with('{') {
        return Err(DecodeError::NotAMessage);
    }
    Ok(ClientMessage {
        join_ref: frame.join_ref.map_or(Ok(None), |join_ref| Ref::from_json(join_ref.get()))?,
        reference: Ref::from_json(frame.reference.get())?,
        topic: frame.topic,
        event: frame.event,
        payload: Payload::Json(frame.payload.to_owned()),
    })
}

pub(super) fn encode(message: &Outgoing, out: &mut Vec<u8>) -> Result<FrameKind, EncodeError> {
    let Outgoing { join_ref, topic, event } = message;
    match event {
        Event::Reply { reference, status, response: Body::Json(response) } => {
            prefix(topic, "phx_reply", out);
            out.extend_from_slice(br#"{"status":""#);
            out.extend_from_slice(status.as_str().as_bytes());
            out.extend_from_slice(br#"","response":"#);
            out.extend_from_slice(response);
            out.push(b'}');
            suffix(reference.as_ref(), out);
        }
        Event::Push { event, payload: Body::Json(payload) } => {
            prefix(topic, event, out);
            out.extend_from_slice(payload);
            suffix(None, out);
        }
        Event::Close => {
            prefix(topic, "phx_close", out);
            out.extend_from_slice(b"{}");
            suffix(join_ref.as_ref(), out);
        }
        Event::Error { payload: Body::Json(payload) } => {
            prefix(topic, "phx_error", out);
            out.extend_from_slice(payload);
            suffix(join_ref.as_ref(), out);
        }
        Event::Reply { .. } | Event::Push { .. } | Event::Error { .. } => return Err(EncodeError::BinaryInV1),
    }
    Ok(FrameKind::Text)
}

pub(super) fn prefix(topic: &str, event: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"topic":"#);
    push_string(topic, out);
    out.extend_from_slice(br#","event":"#);
    push_string(event, out);
    out.extend_from_slice(br#","payload":"#);
}

fn suffix(reference: Option<&Ref>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","ref":"#);
    out.extend_from_slice(reference.map_or("null", Ref::as_json).as_bytes());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::message::Status;
    use super::super::serializer::Serializer;
    use super::*;

    fn reference(json: &str) -> Option<Ref> {
        Ref::from_json(json).unwrap()
    }

    #[test]
    fn decodes_objects() {
        let message = decode(r#" {"topic":"a:1","event":"phx_join","payload":{"x": 1},"ref":"3","more":[]} "#).unwrap();
        assert_eq!(message.join_ref, None);
        assert_eq!(message.reference, reference(r#""3""#));
        assert_eq!((&*message.topic, &*message.event), ("a:1", "phx_join"));
        assert!(matches!(message.payload, Payload::Json(payload) if payload.get() == r#"{"x": 1}"#));
        let message = decode(r#"{"ref":null,"join_ref":7,"event":"e","topic":"t","payload":null}"#).unwrap();
        assert_eq!((message.join_ref, message.reference), (reference("7"), None));
        let message = decode(r#"{"ref":1,"join_ref":null,"event":"e","topic":"t","payload":null}"#).unwrap();
        assert_eq!((message.join_ref, message.reference), (None, reference("1")));
    }

    #[test]
    fn refuses_what_is_no_message() {
        for text in [
            r#"{"topic":"t","event":"e","payload":{}}"#,
            r#"{"topic":"t","event":"e","ref":1}"#,
            r#"{"topic":"t","payload":{},"ref":1}"#,
            r#"{"event":"e","payload":{},"ref":1}"#,
            r#"{"topic":1,"event":"e","payload":{},"ref":1}"#,
            r#"{"topic":"t","event":null,"payload":{},"ref":1}"#,
            r#"["t","e",{},"1","1"]"#,
            "[]",
            "null",
            "7",
        ] {
            assert_eq!(decode(text).unwrap_err(), DecodeError::NotAMessage, "{text}");
        }
        for text in ["", "{", "nope", r#"{"topic":"t","event":"e","payload":{},"ref":1}x"#] {
            assert!(matches!(decode(text).unwrap_err(), DecodeError::NotJson { .. }), "{text}");
        }
        let long = format!(r#"{{"topic":"t","event":"e","payload":{{}},"ref":"{}"}}"#, "1".repeat(511));
        assert_eq!(decode(&long).unwrap_err(), DecodeError::RefTooLong);
    }

    fn encoded(event: Event) -> String {
        let message = Outgoing { join_ref: reference(r#""1""#), topic: r#"a"b"#.into(), event };
        let mut out = Vec::new();
        assert_eq!(Serializer::V1.encode(&message, &mut out), Ok(FrameKind::Text));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn encodes_without_join_ref() {
        let reply = Event::Reply { reference: reference("2"), status: Status::Ok, response: Body::EMPTY };
        assert_eq!(
            encoded(reply),
            r#"{"topic":"a\"b","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":2}"#
        );
        let push = Event::Push { event: "e".into(), payload: Body::EMPTY };
        assert_eq!(encoded(push), r#"{"topic":"a\"b","event":"e","payload":{},"ref":null}"#);
        assert_eq!(encoded(Event::Close), r#"{"topic":"a\"b","event":"phx_close","payload":{},"ref":"1"}"#);
        let error = Event::Error { payload: Body::Json(Bytes::from_static(br#"{"reason":"x"}"#)) };
        assert_eq!(encoded(error), r#"{"topic":"a\"b","event":"phx_error","payload":{"reason":"x"},"ref":"1"}"#);
    }

    #[test]
    fn encodes_broadcasts() {
        let mut out = Vec::new();
        assert_eq!(Serializer::V1.broadcast("t", "e", &Body::EMPTY, &mut out), Ok(FrameKind::Text));
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"topic":"t","event":"e","payload":{},"ref":null}"#);
    }

    #[test]
    fn has_no_form_for_binary_payloads() {
        let binary = || Body::Binary(Bytes::from_static(b"x"));
        let mut out = Vec::new();
        for event in [
            Event::Reply { reference: None, status: Status::Ok, response: binary() },
            Event::Push { event: "e".into(), payload: binary() },
            Event::Error { payload: binary() },
        ] {
            let message = Outgoing { join_ref: None, topic: "t".into(), event };
            assert_eq!(Serializer::V1.encode(&message, &mut out), Err(EncodeError::BinaryInV1));
        }
        assert_eq!(Serializer::V1.broadcast("t", "e", &binary(), &mut out), Err(EncodeError::BinaryInV1));
        assert!(out.is_empty());
    }
}
