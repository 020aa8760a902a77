//! Serializer 2.0.0: `[join_ref, ref, topic, event, payload]`, and binary frames for binary payloads.
//!
//! A binary frame is a kind, one-byte lengths, as many strings in the same order, and the payload up to the end:
//!
//! | direction | kind | lengths and strings |
//! | --- | --- | --- |
//! | client to server, push | 0 | join_ref, ref, topic, event |
//! | server to client, push | 0 | join_ref, topic, event |
//! | server to client, reply | 1 | join_ref, ref, topic, status |
//! | server to client, broadcast | 2 | topic, event |
#![deny(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::push_string;
use super::message::{Body, ClientMessage, Event, Outgoing, Payload, Ref};
use super::serializer::{DecodeError, EncodeError, FrameKind};

const PUSH: u8 = 0;
const REPLY: u8 = 1;
const BROADCAST: u8 = 2;

/// What stands after the payload in a text frame.
pub(super) const SUFFIX: &str = "]";

/// The first five elements; more are ignored.
struct Frame<'a> {
    join_ref: &'a RawValue,
    reference: &'a RawValue,
    topic: String,
    event: String,
    payload: &'a RawValue,
}

impl<'de> Deserialize<'de> for Frame<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FrameVisitor)
    }
}

struct FrameVisitor;

impl<'de> Visitor<'de> for FrameVisitor {
    type Value = Frame<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of join_ref, ref, topic, event and payload")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Frame<'de>, A::Error> {
        fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(elements: &mut A, index: usize) -> Result<T, A::Error> {
            elements.next_element()?.ok_or_else(|| Error::invalid_length(index, &FrameVisitor))
        }
        let frame = Frame {
            join_ref: next(&mut elements, 0)?,
            reference: next(&mut elements, 1)?,
            topic: next(&mut elements, 2)?,
            event: next(&mut elements, 3)?,
            payload: next(&mut elements, 4)?,
        };
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(frame)
    }
}

pub(super) fn decode_text(text: &str) -> Result<ClientMessage, DecodeError> {
    let frame: Frame<'_> = serde_json::from_str(text)?;
    Ok(ClientMessage {
        join_ref: Ref::from_json(frame.join_ref.get())?,
        reference: Ref::from_json(frame.reference.get())?,
        topic: frame.topic,
        event: frame.event,
        payload: Payload::Json(frame.payload.to_owned()),
    })
}

pub(super) fn decode_binary(frame: Bytes) -> Result<ClientMessage, DecodeError> {
    let (kind, rest) = frame.split_first().ok_or(DecodeError::Truncated)?;
    if *kind != PUSH {
        return Err(DecodeError::UnknownKind(*kind));
    }
    let (lengths, mut rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
    let mut take = |length: u8| {
        let (name, after) = rest.split_at_checked(usize::from(length)).ok_or(DecodeError::Truncated)?;
        rest = after;
        str::from_utf8(name).map_err(|_| DecodeError::InvalidUtf8)
    };
    let [join_ref, reference, topic, event] = lengths.map(&mut take);
    let (join_ref, reference) = (Ref::from_bare(join_ref?), Ref::from_bare(reference?));
    let (topic, event) = (topic?.to_owned(), event?.to_owned());
    let payload = Payload::Binary(frame.slice_ref(rest));
    Ok(ClientMessage { join_ref, reference, topic, event, payload })
}

pub(super) fn encode(message: &Outgoing, out: &mut Vec<u8>) -> Result<FrameKind, EncodeError> {
    let Outgoing { join_ref, topic, event } = message;
    let join_ref = join_ref.as_ref();
    match event {
        Event::Reply { reference, status, response: Body::Json(response) } => {
            prefix(join_ref, reference.as_ref(), topic, "phx_reply", out);
            out.extend_from_slice(br#"{"status":""#);
            out.extend_from_slice(status.as_str().as_bytes());
            out.extend_from_slice(br#"","response":"#);
            out.extend_from_slice(response);
            out.push(b'}');
        }
        Event::Reply { reference, status, response: Body::Binary(response) } => {
            let names = [&*bare(join_ref), &*bare(reference.as_ref()), topic, status.as_str()];
            return encode_binary(REPLY, &names, response, out);
        }
        Event::Push { event, payload: Body::Json(payload) } => {
            prefix(join_ref, None, topic, event, out);
            out.extend_from_slice(payload);
        }
        Event::Push { event, payload: Body::Binary(payload) } => {
            return encode_binary(PUSH, &[&*bare(join_ref), topic, event], payload, out);
        }
        Event::Close => {
            prefix(join_ref, join_ref, topic, "phx_close", out);
            out.extend_from_slice(b"{}");
        }
        Event::Error { payload: Body::Json(payload) } => {
            prefix(join_ref, join_ref, topic, "phx_error", out);
            out.extend_from_slice(payload);
        }
        // Binary frames have no place for a push's ref.
        Event::Error { payload: Body::Binary(payload) } => {
            return encode_binary(PUSH, &[&*bare(join_ref), topic, "phx_error"], payload, out);
        }
    }
    out.extend_from_slice(SUFFIX.as_bytes());
    Ok(FrameKind::Text)
}

pub(super) fn encode_binary_broadcast(
    topic: &str,
    event: &str,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<FrameKind, EncodeError> {
    encode_binary(BROADCAST, &[topic, event], payload, out)
}

pub(super) fn prefix(join_ref: Option<&Ref>, reference: Option<&Ref>, topic: &str, event: &str, out: &mut Vec<u8>) {
    out.push(b'[');
    for reference in [join_ref, reference] {
        out.extend_from_slice(reference.map_or("null", Ref::as_json).as_bytes());
        out.push(b',');
    }
    push_string(topic, out);
    out.push(b',');
    push_string(event, out);
    out.push(b',');
}

fn bare(reference: Option<&Ref>) -> Cow<'_, str> {
    reference.map_or(Cow::Borrowed(""), Ref::bare)
}

fn encode_binary(kind: u8, names: &[&str], payload: &[u8], out: &mut Vec<u8>) -> Result<FrameKind, EncodeError> {
    let length = |name: &&str| u8::try_from(name.len()).map_err(|_| EncodeError::NameTooLong { length: name.len() });
    let lengths = names.iter().map(length).collect::<Result<Vec<u8>, _>>()?;
    out.push(kind);
    out.extend_from_slice(&lengths);
    out.extend(names.iter().flat_map(|name| name.bytes()));
    out.extend_from_slice(payload);
    Ok(FrameKind::Binary)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::Status;
    use super::super::serializer::Serializer;
    use super::*;

    fn reference(json: &str) -> Option<Ref> {
        Ref::from_json(json).unwrap()
    }

    fn binary(data: &'static [u8]) -> Body {
        Body::Binary(Bytes::from_static(data))
    }

    #[test]
    fn decodes_arrays() {
        let message = decode_text(r#"["1","2","a:1","phx_join",{"x": 1}]"#).unwrap();
        assert_eq!((message.join_ref, message.reference), (reference(r#""1""#), reference(r#""2""#)));
        assert_eq!((&*message.topic, &*message.event), ("a:1", "phx_join"));
        assert!(matches!(message.payload, Payload::Json(payload) if payload.get() == r#"{"x": 1}"#));
        let message = decode_text(r#" [ null , 7 , "t" , "\u00e4" , null , "more", [1] ] "#).unwrap();
        assert_eq!((message.join_ref, message.reference, &*message.event), (None, reference("7"), "ä"));
    }

    #[test]
    fn refs_are_echoed_as_they_came() {
        for json in [r#""1""#, "1", "1.50", r#""\u0031""#, r#"{"a": [1,  2]}"#, "true"] {
            let message = decode_text(&format!(r#"[{json},{json},"t","e",{{}}]"#)).unwrap();
            let mut out = Vec::new();
            prefix(message.join_ref.as_ref(), message.reference.as_ref(), "t", "e", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!(r#"[{json},{json},"t","e","#));
        }
    }

    #[test]
    fn refuses_what_is_no_message() {
        for text in [
            "[]",
            r#"["1","2","t","e"]"#,
            r#"["1","2",3,"e",{}]"#,
            r#"["1","2","t",null,{}]"#,
            r#"{"topic":"t","event":"e","payload":{},"ref":1}"#,
            "7",
        ] {
            assert_eq!(decode_text(text).unwrap_err(), DecodeError::NotAMessage, "{text}");
        }
        for text in ["", "[", r#"["1","2","t","e",{}"#, r#"["1","2","t","e",{}]]"#, r#"["1","2","t","e",{]"#, "x"] {
            assert!(matches!(decode_text(text).unwrap_err(), DecodeError::NotJson { .. }), "{text}");
        }
        let long = format!(r#"["{}","2","t","e",{{}}]"#, "1".repeat(511));
        assert_eq!(decode_text(&long).unwrap_err(), DecodeError::RefTooLong);
    }

    #[test]
    fn a_deeply_nested_payload_is_only_text() {
        let deep = format!(r#"[null,"1","t","e",{}{}]"#, "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(decode_text(&deep).unwrap().payload.len(), 400_000);
    }

    /// As the npm client sends join_ref "6", ref "19", topic "ok", event "bin", payload 01 02 03.
    const PUSH_FRAME: &[u8] = b"\x00\x01\x02\x02\x03619okbin\x01\x02\x03";

    #[test]
    fn decodes_binary_pushes() {
        let message = decode_binary(Bytes::from_static(PUSH_FRAME)).unwrap();
        assert_eq!(
            message,
            ClientMessage {
                join_ref: reference(r#""6""#),
                reference: reference(r#""19""#),
                topic: "ok".into(),
                event: "bin".into(),
                payload: Payload::Binary(Bytes::from_static(b"\x01\x02\x03")),
            }
        );
        let bare = decode_binary(Bytes::from_static(b"\x00\x00\x00\x01\x01te")).unwrap();
        assert_eq!((bare.join_ref, bare.reference, bare.payload.len()), (None, None, 0));
    }

    #[test]
    fn refuses_other_binary_frames() {
        let decode = |frame: &'static [u8]| decode_binary(Bytes::from_static(frame)).unwrap_err();
        assert_eq!(decode(b""), DecodeError::Truncated);
        assert_eq!(decode(b"\x01\x00\x00\x00\x00"), DecodeError::UnknownKind(1));
        assert_eq!(decode(b"\x00\x00\x00\x01\x01\xff\xff"), DecodeError::InvalidUtf8);
        for end in 1..PUSH_FRAME.len() - 3 {
            assert_eq!(decode(&PUSH_FRAME[..end]), DecodeError::Truncated, "{end}");
        }
    }

    fn encoded(event: Event) -> Vec<u8> {
        let message = Outgoing { join_ref: reference(r#""1""#), topic: r#"a"b"#.into(), event };
        let mut out = Vec::new();
        let kind = Serializer::V2.encode(&message, &mut out).unwrap();
        assert_eq!(kind == FrameKind::Text, out.first() == Some(&b'['));
        out
    }

    #[test]
    fn encodes_text() {
        let check = |event, expected: &str| assert_eq!(String::from_utf8(encoded(event)).unwrap(), expected);
        let response = Body::Json(Bytes::from_static(b"7"));
        check(
            Event::Reply { reference: reference("2"), status: Status::Error, response },
            r#"["1",2,"a\"b","phx_reply",{"status":"error","response":7}]"#,
        );
        check(Event::Push { event: "e".into(), payload: Body::EMPTY }, r#"["1",null,"a\"b","e",{}]"#);
        check(Event::Close, r#"["1","1","a\"b","phx_close",{}]"#);
        check(Event::Error { payload: Body::EMPTY }, r#"["1","1","a\"b","phx_error",{}]"#);
    }

    #[test]
    fn encodes_binary_frames() {
        let reply = |reference, response| Event::Reply { reference, status: Status::Ok, response };
        assert_eq!(encoded(reply(reference(r#""23""#), binary(b"\xff"))), b"\x01\x01\x02\x03\x02123a\"bok\xff");
        assert_eq!(encoded(reply(reference("23"), binary(b""))), b"\x01\x01\x02\x03\x02123a\"bok");
        assert_eq!(encoded(reply(None, binary(b"x"))), b"\x01\x01\x00\x03\x021a\"bokx");
        assert_eq!(encoded(Event::Push { event: "e".into(), payload: binary(b"x") }), b"\x00\x01\x03\x011a\"bex");
        assert_eq!(encoded(Event::Error { payload: binary(b"x") }), b"\x00\x01\x03\x091a\"bphx_errorx");
    }

    #[test]
    fn encodes_broadcasts() {
        let mut out = Vec::new();
        assert_eq!(Serializer::V2.broadcast("t", "e", &Body::EMPTY, &mut out), Ok(FrameKind::Text));
        assert_eq!(String::from_utf8(out).unwrap(), r#"[null,null,"t","e",{}]"#);
        let mut out = Vec::new();
        assert_eq!(Serializer::V2.broadcast("t", "ev", &binary(b"\x00x"), &mut out), Ok(FrameKind::Binary));
        assert_eq!(out, b"\x02\x01\x02tev\x00x");
    }

    #[test]
    fn a_name_too_long_for_a_binary_frame_is_an_error() {
        let mut out = Vec::new();
        let result = Serializer::V2.broadcast(&"t".repeat(256), "e", &binary(b"x"), &mut out);
        assert_eq!((result, out.len()), (Err(EncodeError::NameTooLong { length: 256 }), 0));
    }

    proptest! {
        #[test]
        fn a_text_message_comes_back(topic in ".{0,10}", event in ".{0,10}", join_ref in ".{0,4}") {
            let json = |text: &str| serde_json::to_string(text).unwrap();
            let text = format!(r#"[{},null,{},{},{{}}]"#, json(&join_ref), json(&topic), json(&event));
            let message = decode_text(&text).unwrap();
            prop_assert_eq!((&message.topic, &message.event), (&topic, &event));
            let mut out = Vec::new();
            prefix(message.join_ref.as_ref(), None, &message.topic, &message.event, &mut out);
            let again: (String, Option<String>, String, String) =
                serde_json::from_str(&format!("{}]", String::from_utf8(out).unwrap().trim_end_matches(','))).unwrap();
            prop_assert_eq!(again, (join_ref, None, topic, event));
        }

        #[test]
        fn a_binary_message_comes_back(
            topic in ".{0,10}", event in ".{0,10}", refs in ["[\u{1}-ä]{1,4}", ".{1,4}"], data: Vec<u8>,
        ) {
            let mut frame = Vec::new();
            encode_binary(PUSH, &[&refs[0], &refs[1], &topic, &event], &data, &mut frame).unwrap();
            let message = decode_binary(Bytes::from(frame)).unwrap();
            let [join_ref, reference] = [&message.join_ref, &message.reference].map(|r| bare(r.as_ref()).into_owned());
            prop_assert_eq!([join_ref, reference], refs);
            prop_assert_eq!((message.topic, message.event), (topic, event));
            prop_assert_eq!(message.payload, Payload::Binary(data.into()));
        }
    }
}
