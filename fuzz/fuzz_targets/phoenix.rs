//! Any frames through both serializers and a session: messages or errors, no panic, and what goes out can be read.
//!
//! `cargo +nightly fuzz run phoenix`; frames to start from are in the tests of `src/phoenix`.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use walcast::phoenix::connect::{Params, Subprotocols};
use walcast::phoenix::{Body, ClientMessage, DecodeError, Effect, FrameKind, Refusal, Serializer, Session, Status};

/// Small, so that few messages reach it.
const MAX_CHANNELS: usize = 2;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        let _params = Params::parse(text);
        let _protocols = Subprotocols::parse(text);
        let _version = Serializer::negotiate(Some(text));
    }
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut session = Session::new(MAX_CHANNELS);
        for frame in split(Bytes::copy_from_slice(data)) {
            if let Ok(message) = decode(serializer, frame) {
                converse(serializer, &mut session, message);
            }
        }
    }
});

/// Each frame follows its length in one byte; the last takes what is left.
fn split(mut rest: Bytes) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(rest.split_to(1)[0]).min(rest.len());
        frames.push(rest.split_to(length));
    }
    frames
}

/// As text where it is text, else as a binary frame.
fn decode(serializer: Serializer, frame: Bytes) -> Result<ClientMessage, DecodeError> {
    match str::from_utf8(&frame) {
        Ok(text) if text.starts_with(['{', '[']) => serializer.decode_text(text),
        _ => serializer.decode_binary(frame),
    }
}

/// Answers whatever the session asks, by turns with yes and no.
fn converse(serializer: Serializer, session: &mut Session, message: ClientMessage) {
    let mut effects = Vec::new();
    session.receive(message, &mut effects);
    while !effects.is_empty() {
        let mut next = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    let mut out = Vec::new();
                    if serializer.encode(&message, &mut out) == Ok(FrameKind::Text) {
                        serde_json::from_slice::<serde::de::IgnoredAny>(&out).expect("text frames are JSON");
                    }
                }
                Effect::Join { join, .. } if join.0 % 4 == 3 => {
                    session.join_refused(join, Refusal::Unauthorized.response(), &mut next);
                }
                // Left in work, so that messages wait.
                Effect::Join { join, .. } if join.0 % 4 == 2 => {}
                Effect::Join { join, .. } => session.join_accepted(join, Body::EMPTY, &mut next),
                Effect::Event { join, reference, .. } => {
                    let response = Refusal::EventNotAllowed.response();
                    session.reply(join, reference, Status::Error, response, &mut next);
                }
                Effect::Leave { .. } | Effect::Close(_) => {}
            }
        }
        effects = next;
    }
    assert!(session.joins().count() <= MAX_CHANNELS);
}
