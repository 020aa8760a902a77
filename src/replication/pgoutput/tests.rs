use std::path::{Path, PathBuf};
use std::{fs, iter};

use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::encode::encode;
use super::*;
use crate::change::{Lsn, OldRow, PgTimestamp, RelationId, ReplicaIdentity, Row, RowError};

/// Every message that was captured from a real server; `tests/it/pgoutput.rs` checks what they say.
fn captured() -> Vec<Bytes> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pgoutput");
    let paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let texts = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| fs::read_to_string(path).unwrap());
    let messages = texts.flat_map(|text| {
        text.lines().map(|line| HEXLOWER.decode(line.as_bytes()).unwrap().into()).collect::<Vec<Bytes>>()
    });
    let messages: Vec<Bytes> = messages.collect();
    assert!(!messages.is_empty());
    messages
}

#[test]
fn nothing_of_a_captured_message_is_lost() {
    for message in captured() {
        assert_eq!(encode(&decode(message.clone()).unwrap()), message);
    }
}

#[test]
fn every_kind_of_message_was_captured() {
    let mut names: Vec<&str> = captured().into_iter().map(|message| decode(message).unwrap().name()).collect();
    names.sort_unstable();
    names.dedup();
    let all = ["Begin", "Commit", "Delete", "Insert", "Message", "Origin", "Relation", "Truncate", "Type", "Update"];
    assert_eq!(names, all);
}

#[test]
fn a_cut_or_lengthened_message_is_refused() {
    for message in captured() {
        for length in 0..message.len() {
            assert!(decode(message.slice(..length)).is_err(), "{length} bytes of {message:?}");
        }
        let longer = message.iter().copied().chain(iter::once(0)).collect();
        let tag = char::from(message[0]);
        let fault = Fault::TrailingBytes(1);
        assert_eq!(decode(longer), Err(DecodeError::Malformed { tag, length: message.len() + 1, fault }));
    }
}

#[test]
fn a_flipped_bit_gives_another_message_or_an_error() {
    for message in captured() {
        for bit in 0..message.len() * 8 {
            let mut flipped = message.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = decode(flipped.into()) {
                assert_eq!(decode(encode(&other)), Ok(other));
            }
        }
    }
}

#[test]
fn rows_and_contents_are_slices_of_the_message() {
    for message in captured() {
        let inside = message.as_ptr_range();
        let slice = match decode(message.clone()).unwrap() {
            Message::Insert(insert) => insert.new.data().clone(),
            Message::Update(update) => update.new.data().clone(),
            Message::Delete(delete) => delete.old.row().data().clone(),
            Message::Logical(logical) => logical.content,
            _ => continue,
        };
        assert!(slice.is_empty() || inside.contains(&slice.as_ptr()));
    }
}

#[track_caller]
fn check_refused(message: &[u8], expected: &str) {
    assert_eq!(decode(Bytes::copy_from_slice(message)).unwrap_err().to_string(), expected);
}

#[test]
fn refusals_say_what_is_wrong() {
    check_refused(b"", "empty pgoutput message");
    check_refused(b"Z12345", "unknown pgoutput tag 'Z' (0x5a) at the start of a message of 6 bytes");
    check_refused(b"\x00", "unknown pgoutput tag 0x00 at the start of a message of 1 bytes");
    check_refused(b"B1234", "malformed pgoutput message 'B' of 5 bytes: ends inside the commit LSN");
    check_refused(b"C\x01", "malformed pgoutput message 'C' of 2 bytes: the flags byte has the unknown value 0x01");
    check_refused(b"O12345678name", "malformed pgoutput message 'O' of 13 bytes: ends inside the origin's name");
    check_refused(b"O12345678\xff\0", "malformed pgoutput message 'O' of 11 bytes: the origin's name is not UTF-8");
    check_refused(
        b"R\0\0\0\x01s\0t\0x\0\0",
        "malformed pgoutput message 'R' of 12 bytes: the replica identity has the unknown value 'x' (0x78)",
    );
    check_refused(
        b"I\0\0\0\x01K\0\0",
        "malformed pgoutput message 'I' of 8 bytes: the tuple's kind has the unknown value 'K' (0x4b)",
    );
    check_refused(
        b"D\0\0\0\x01N\0\0",
        "malformed pgoutput message 'D' of 8 bytes: the tuple's kind has the unknown value 'N' (0x4e)",
    );
}

#[test]
fn announced_counts_are_compared_with_what_follows() {
    let too_many = |tag, length, count, field, remaining| {
        Err(DecodeError::Malformed { tag, length, fault: Fault::TooMany { count, field, remaining } })
    };
    let truncate = Bytes::from_static(b"T\xff\xff\xff\xff\0\0\0\0\x01");
    assert_eq!(decode(truncate), too_many('T', 10, 0xFFFF_FFFF, "relations", 4));
    let one_short = Bytes::from_static(b"T\0\0\0\x02\0\0\0\0\x01");
    assert_eq!(decode(one_short), too_many('T', 10, 2, "relations", 4));
    let relation = Bytes::from_static(b"R\0\0\0\x01s\0t\0d\xff\xff");
    assert_eq!(decode(relation), too_many('R', 12, 0xFFFF, "columns", 0));
    let content = Bytes::from_static(b"M\x0112345678p\0\xff\xff\xff\xff");
    let fault = Fault::UnexpectedEnd { field: "the content" };
    assert_eq!(decode(content), Err(DecodeError::Malformed { tag: 'M', length: 16, fault }));
}

#[test]
fn a_binary_column_is_refused() {
    let insert = Bytes::from_static(b"I\0\0\0\x01N\0\x01b\0\0\0\x01x");
    let fault = Fault::Row(RowError::Binary { column: 0 });
    assert_eq!(decode(insert), Err(DecodeError::Malformed { tag: 'I', length: 14, fault }));
}

#[test]
fn modes_that_are_not_asked_for_have_their_own_error() {
    for tag in "SEcAbPKrp".chars() {
        assert_eq!(decode(vec![u8::try_from(tag).unwrap(), 0, 0].into()), Err(DecodeError::NotRequested(tag)));
    }
}

#[test]
fn an_application_message_does_not_show_its_content() {
    let lsn = Lsn::new(7);
    let message =
        LogicalMessage { transactional: true, lsn, prefix: "p".into(), content: Bytes::from_static(b"secret") };
    let shown = format!("{message:?}");
    assert!(shown.contains("content_bytes: 6") && !shown.contains("secret"), "{shown}");
}

fn a_name() -> impl Strategy<Value = std::sync::Arc<str>> {
    "\\PC{0,12}".prop_map(Into::into)
}

fn a_row() -> impl Strategy<Value = Row> {
    let value = prop_oneof![
        Just((b'n', Vec::new())),
        Just((b'u', Vec::new())),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|text| (b't', text)),
    ];
    prop::collection::vec(value, 0..8).prop_map(|values| {
        let mut tuple = BytesMut::new();
        tuple.put_u16(values.len().try_into().unwrap());
        for (kind, text) in values {
            tuple.put_u8(kind);
            if kind == b't' {
                tuple.put_u32(text.len().try_into().unwrap());
                tuple.put_slice(&text);
            }
        }
        Row::parse(&mut tuple.freeze()).unwrap()
    })
}

fn an_old_row() -> impl Strategy<Value = OldRow> {
    prop_oneof![a_row().prop_map(OldRow::Key), a_row().prop_map(OldRow::Full)]
}

fn a_relation_id() -> impl Strategy<Value = RelationId> {
    any::<u32>().prop_map(RelationId)
}

fn a_relation() -> impl Strategy<Value = Relation> {
    let column =
        (any::<bool>(), a_name(), any::<u32>(), any::<i32>()).prop_map(|(identity, name, type_oid, type_modifier)| {
            RelationColumn { identity, name, type_oid, type_modifier }
        });
    let identity = prop::sample::select(vec![
        ReplicaIdentity::Default,
        ReplicaIdentity::Nothing,
        ReplicaIdentity::Full,
        ReplicaIdentity::Index,
    ]);
    (a_relation_id(), a_name(), a_name(), identity, prop::collection::vec(column, 0..8)).prop_map(
        |(id, schema, name, replica_identity, columns)| Relation { id, schema, name, replica_identity, columns },
    )
}

fn a_boundary() -> impl Strategy<Value = Message> {
    (any::<bool>(), any::<u64>(), any::<u64>(), any::<i64>(), any::<u32>()).prop_map(
        |(begin, commit_lsn, end_lsn, micros, xid)| {
            let (commit_lsn, end_lsn) = (Lsn::new(commit_lsn), Lsn::new(end_lsn));
            let commit_timestamp = PgTimestamp::from_micros(micros);
            if begin {
                Message::Begin(Begin { commit_lsn, commit_timestamp, xid })
            } else {
                Message::Commit(Commit { commit_lsn, end_lsn, commit_timestamp })
            }
        },
    )
}

fn a_message() -> impl Strategy<Value = Message> {
    let truncate = (prop::collection::vec(a_relation_id(), 0..8), any::<bool>(), any::<bool>())
        .prop_map(|(relations, cascade, restart_identity)| Truncate { relations, cascade, restart_identity });
    let content = prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let logical = (any::<bool>(), any::<u64>().prop_map(Lsn::new), a_name(), content)
        .prop_map(|(transactional, lsn, prefix, content)| LogicalMessage { transactional, lsn, prefix, content });
    prop_oneof![
        a_boundary(),
        (any::<u64>(), a_name()).prop_map(|(lsn, name)| Message::Origin(Origin { commit_lsn: Lsn::new(lsn), name })),
        a_relation().prop_map(Message::Relation),
        (any::<u32>(), a_name(), a_name()).prop_map(|(oid, schema, name)| Message::Type(Type { oid, schema, name })),
        (a_relation_id(), a_row()).prop_map(|(relation, new)| Message::Insert(Insert { relation, new })),
        (a_relation_id(), prop::option::of(an_old_row()), a_row())
            .prop_map(|(relation, old, new)| Message::Update(Update { relation, old, new })),
        (a_relation_id(), an_old_row()).prop_map(|(relation, old)| Message::Delete(Delete { relation, old })),
        truncate.prop_map(Message::Truncate),
        logical.prop_map(Message::Logical),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(message in a_message()) {
        prop_assert_eq!(decode(encode(&message)), Ok(message));
    }

    #[test]
    fn any_bytes_give_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = decode(bytes.into());
    }

    #[test]
    fn any_bytes_after_a_known_tag_give_a_message_or_an_error(
        tag in prop::sample::select(b"BCORYIUDTM".to_vec()),
        body in prop::collection::vec(prop_oneof![Just(0), Just(b'N'), Just(b't'), 1..9_u8, any::<u8>()], 0..100),
    ) {
        let bytes: Bytes = iter::once(tag).chain(body).collect();
        if let Ok(message) = decode(bytes) {
            prop_assert_eq!(decode(encode(&message)), Ok(message));
        }
    }
}
