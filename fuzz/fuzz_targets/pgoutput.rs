//! Any bytes through the pgoutput decoder and the assembler: values or errors, no panic, memory in proportion.
//!
//! `cargo +nightly fuzz run pgoutput`; messages from a real server to start from are in `tests/fixtures/pgoutput`.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use walcast::replication::pgoutput::{self, Message};
use walcast::replication::transaction::{Assembled, Assembler, PartLimits};

/// Small, so that few messages reach them.
const LIMITS: PartLimits = PartLimits { changes: 3, bytes: 64 };

fuzz_target!(|data: &[u8]| {
    // As one message, of any length …
    let whole = Bytes::copy_from_slice(data);
    if let Ok(message) = pgoutput::decode(whole.clone()) {
        check_rows(&message);
    }
    // … and as a session of short ones.
    let mut assembler = Assembler::new(LIMITS);
    for message in split(whole) {
        if let Ok(message) = pgoutput::decode(message) {
            accept(&mut assembler, message);
        }
    }
});

/// Each message follows its length in one byte; the last takes what is left.
fn split(mut rest: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(rest.split_to(1)[0]).min(rest.len());
        messages.push(rest.split_to(length));
    }
    messages
}

/// Reading a row that was accepted gives as many values as it says.
fn check_rows(message: &Message) {
    let rows = match message {
        Message::Insert(insert) => [Some(&insert.new), None],
        Message::Update(update) => [Some(&update.new), update.old.as_ref().map(|old| old.row())],
        Message::Delete(delete) => [Some(delete.old.row()), None],
        _ => [None, None],
    };
    for row in rows.into_iter().flatten() {
        assert_eq!(row.iter().count(), row.len());
    }
}

/// Types that are asked for are answered as gone; a refused stream begins anew after what was handed on.
fn accept(assembler: &mut Assembler, message: Message) {
    let before = assembler.position();
    let mut result = assembler.accept(message);
    while let Ok(Assembled::NeedsTypes(_)) = result {
        result = assembler.define_types(Vec::new());
    }
    match result {
        Ok(Assembled::Part(part)) => {
            assert!(assembler.position() > before);
            assert!(part.changes.iter().all(|change| Some((part.header.commit_lsn, change.ordinal)) > before));
        }
        Ok(_) => assert_eq!(assembler.position(), before),
        Err(_) => assembler.restart(assembler.position()),
    }
}
