use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::change::catalogue::{DefinitionShape, TypeKind};
use crate::change::{Change, OldRow, PgTimestamp, ReplicaIdentity, Row};
use crate::replication::pgoutput::{self, Delete, Insert, Origin, RelationColumn, Update};

const INT4: Oid = 23;
const TEXT: Oid = 25;
const MOOD: Oid = 16_400;
const MOODS: Oid = 16_399;

fn row(values: &[&str]) -> Row {
    let mut tuple = BytesMut::new();
    tuple.put_u16(values.len().try_into().unwrap());
    for value in values {
        tuple.put_u8(b't');
        tuple.put_u32(value.len().try_into().unwrap());
        tuple.put_slice(value.as_bytes());
    }
    Row::parse(&mut tuple.freeze()).unwrap()
}

fn relation(id: Oid, types: &[Oid]) -> Message {
    let column = |(index, type_oid): (usize, &Oid)| RelationColumn {
        identity: index == 0,
        name: format!("column_{index}").into(),
        type_oid: *type_oid,
        type_modifier: -1,
    };
    Message::Relation(pgoutput::Relation {
        id: RelationId(id),
        schema: "public".into(),
        name: format!("table_{id}").into(),
        replica_identity: ReplicaIdentity::Default,
        columns: types.iter().enumerate().map(column).collect(),
    })
}

fn begin(lsn: u64) -> Message {
    let commit_timestamp = PgTimestamp::from_micros(5);
    Message::Begin(Begin { commit_lsn: Lsn::new(lsn), commit_timestamp, xid: 7 })
}

fn commit(lsn: u64) -> Message {
    let commit_timestamp = PgTimestamp::from_micros(5);
    Message::Commit(Commit { commit_lsn: Lsn::new(lsn), end_lsn: Lsn::new(lsn + 1), commit_timestamp })
}

fn insert(id: Oid, values: &[&str]) -> Message {
    Message::Insert(Insert { relation: RelationId(id), new: row(values) })
}

fn truncate(ids: &[Oid]) -> Message {
    let relations = ids.iter().copied().map(RelationId).collect();
    Message::Truncate(Truncate { relations, cascade: false, restart_identity: false })
}

fn logical(transactional: bool) -> LogicalMessage {
    LogicalMessage { transactional, lsn: Lsn::new(3), prefix: "p".into(), content: Bytes::new() }
}

/// What `walcast.broadcast` writes, or nearly: it counts, whether it can be read or not.
fn broadcast(payload: &str) -> Message {
    let content = [&[1, 1, 0, 0, 0, 1, b't', 0, 0, 0, 1, b'e'], payload.as_bytes()].concat();
    let content = if payload.len() > 9 { Bytes::new() } else { content.into() };
    Message::Logical(LogicalMessage { prefix: BROADCAST_PREFIX.into(), content, ..logical(true) })
}

fn limits(changes: usize, bytes: usize) -> PartLimits {
    PartLimits { changes, bytes }
}

/// The parts that come of messages which ask for no types.
fn parts(assembler: &mut Assembler, messages: impl IntoIterator<Item = Message>) -> Vec<TransactionPart> {
    let mut parts = Vec::new();
    for message in messages {
        match assembler.accept(message).unwrap() {
            Assembled::Part(part) => parts.push(part),
            Assembled::Nothing | Assembled::Message(_) => {}
            Assembled::NeedsTypes(oids) => panic!("{oids:?}"),
        }
    }
    parts
}

/// First and last ordinal of each part, and whether it is the first and the last of its transaction.
fn shape(parts: &[TransactionPart]) -> Vec<(Option<u64>, Option<u64>, bool, bool)> {
    let ordinal = |change: Option<&Change>| change.map(|change| change.ordinal);
    let shape = |part: &TransactionPart| {
        (ordinal(part.changes.first()), ordinal(part.changes.last()), part.first, part.end_lsn.is_some())
    };
    parts.iter().map(shape).collect()
}

#[track_caller]
fn check_refused(messages: Vec<Message>, expected: &str) {
    let mut assembler = Assembler::new(PartLimits::default());
    let mut results = messages.into_iter().map(|message| assembler.accept(message));
    let error = results.find_map(Result::err).unwrap();
    assert_eq!(error.to_string(), expected);
    assert!(results.next().is_none());
}

#[test]
fn a_small_transaction_comes_whole_with_its_commit() {
    let mut assembler = Assembler::new(PartLimits::default());
    let update = Update { relation: RelationId(1), old: Some(OldRow::Key(row(&["1"]))), new: row(&["2"]) };
    let delete = Delete { relation: RelationId(1), old: OldRow::Full(row(&["2"])) };
    let messages = [relation(1, &[INT4]), begin(10), insert(1, &["1"]), Message::Update(update.clone())];
    assert_eq!(parts(&mut assembler, messages), []);
    assert!(assembler.in_transaction());
    assert_eq!(assembler.position(), None);
    let parts = parts(&mut assembler, [Message::Delete(delete.clone()), truncate(&[1, 1]), commit(10)]);
    assert!(!assembler.in_transaction());
    assert_eq!(assembler.position(), Some((Lsn::new(10), 5)));

    let [part] = parts.try_into().unwrap();
    assert_eq!((part.header.xid, part.header.commit_lsn, part.first), (7, Lsn::new(10), true));
    assert_eq!(part.end_lsn, Some(Lsn::new(11)));
    let operations: Vec<Operation> = part.changes.iter().map(|change| change.operation.clone()).collect();
    let expected = [
        Operation::Insert { new: row(&["1"]) },
        Operation::Update { old: update.old, new: update.new },
        Operation::Delete { old: delete.old },
        Operation::Truncate,
        Operation::Truncate,
    ];
    assert_eq!(operations, expected);
    assert!(part.changes.iter().map(|change| change.ordinal).eq(1..=5));
    assert!(part.changes.iter().all(|change| &*change.relation.name == "table_1"));
}

#[test]
fn an_empty_transaction_gives_its_end() {
    let mut assembler = Assembler::new(PartLimits::default());
    let parts = parts(&mut assembler, [begin(10), commit(10)]);
    assert_eq!(shape(&parts), [(None, None, true, true)]);
    assert_eq!(assembler.position(), Some((Lsn::new(10), 0)));
}

#[test]
fn a_part_is_cut_off_when_the_next_change_comes() {
    let mut assembler = Assembler::new(limits(2, 1000));
    let inserts = |count| std::iter::repeat_with(|| insert(1, &["1"])).take(count);
    let messages = [relation(1, &[INT4]), begin(10)].into_iter().chain(inserts(2));
    assert_eq!(parts(&mut assembler, messages), []);
    let rest = parts(&mut assembler, inserts(2).chain([commit(10)]));
    assert_eq!(shape(&rest), [(Some(1), Some(2), true, false), (Some(3), Some(4), false, true)]);
}

#[test]
fn the_bytes_of_rows_cut_too() {
    // A value of 10 bytes takes 15 with its kind and length.
    let mut assembler = Assembler::new(limits(1000, 30));
    let old = Some(OldRow::Full(row(&["0123456789"])));
    let update = Message::Update(Update { relation: RelationId(1), old, new: row(&["0123456789"]) });
    let messages = [relation(1, &[TEXT]), begin(10), insert(1, &["0123456789"]), insert(1, &["0123456789"])];
    let messages = messages.into_iter().chain([update, insert(1, &["x"]), insert(1, &["x"]), commit(10)]);
    let expected = [(Some(1), Some(2), true, false), (Some(3), Some(3), false, false), (Some(4), Some(5), false, true)];
    assert_eq!(shape(&parts(&mut assembler, messages)), expected);
}

#[test]
fn a_truncate_is_not_divided() {
    let mut assembler = Assembler::new(limits(2, 1000));
    let messages = [
        relation(1, &[INT4]),
        relation(2, &[]),
        begin(10),
        insert(1, &["1"]),
        truncate(&[1, 2, 1]),
        insert(2, &[]),
        commit(10),
    ];
    let expected = [(Some(1), Some(4), true, false), (Some(5), Some(5), false, true)];
    assert_eq!(shape(&parts(&mut assembler, messages)), expected);
}

#[test]
fn a_transaction_that_was_handed_on_does_not_come_again() {
    let transaction = || [relation(1, &[INT4]), begin(10), insert(1, &["1"]), insert(1, &["2"]), commit(10)];
    let mut assembler = Assembler::new(limits(1, 1000));
    let whole = parts(&mut assembler, transaction());
    assert_eq!(whole.len(), 2);
    assembler.restart(assembler.position());
    assert_eq!(parts(&mut assembler, transaction()), []);
    assert_eq!(assembler.position(), Some((Lsn::new(10), 2)));

    assembler.restart(Some((Lsn::new(10), 1)));
    assert_eq!(parts(&mut assembler, transaction()), whole[1..]);
    assembler.restart(Some((Lsn::new(9), 100)));
    assert_eq!(parts(&mut assembler, transaction()), whole);
    assembler.restart(None);
    assert_eq!(parts(&mut assembler, transaction()), whole);
}

#[test]
fn a_restart_forgets_the_session() {
    let mut assembler = Assembler::new(PartLimits::default());
    let before = parts(&mut assembler, [relation(1, &[INT4]), begin(10), insert(1, &["1"])]);
    assert_eq!(before, []);
    assembler.restart(None);
    assert!(!assembler.in_transaction());
    assert_eq!(parts(&mut assembler, [begin(9)]), []);
    let error = AssembleError::UnknownRelation { message: "Insert", relation: RelationId(1) };
    assert_eq!(assembler.accept(insert(1, &["1"])), Err(error));
}

#[test]
fn application_messages_are_passed_on() {
    let mut assembler = Assembler::new(PartLimits::default());
    assert_eq!(assembler.accept(Message::Logical(logical(false))), Ok(Assembled::Message(logical(false))));
    assert_eq!(parts(&mut assembler, [begin(10)]), []);
    assert_eq!(assembler.accept(Message::Logical(logical(true))), Ok(Assembled::Message(logical(true))));
    assembler.restart(Some((Lsn::new(10), 0)));
    assert_eq!(parts(&mut assembler, [begin(10)]), []);
    assert_eq!(assembler.accept(Message::Logical(logical(true))), Ok(Assembled::Nothing));
}

fn mood(name: &str) -> TypeDefinition {
    TypeDefinition { oid: MOOD, name: name.to_owned(), shape: DefinitionShape::Text }
}

fn moods() -> TypeDefinition {
    let shape = DefinitionShape::Array { element: MOOD, delimiter: b',' };
    TypeDefinition { oid: MOODS, name: "_mood".to_owned(), shape }
}

#[test]
fn types_that_are_not_built_in_are_asked_for() {
    let mut assembler = Assembler::new(PartLimits::default());
    assert_eq!(assembler.accept(relation(1, &[INT4, MOODS])), Ok(Assembled::NeedsTypes(vec![MOODS])));
    let error = AssembleError::TypesAwaited { message: "Begin", relation: "table_1".to_owned() };
    assert_eq!(assembler.accept(begin(10)), Err(error));
    assert_eq!(assembler.define_types(vec![moods()]), Ok(Assembled::NeedsTypes(vec![MOOD])));
    assert_eq!(assembler.define_types(vec![mood("mood")]), Ok(Assembled::Nothing));
    assert_eq!(assembler.define_types(vec![mood("mood")]), Err(AssembleError::NoTypesAwaited));
    let parts = parts(&mut assembler, [begin(10), insert(1, &["1", "{}"]), commit(10)]);
    let TypeKind::Array { element, .. } = &parts[0].changes[0].relation.columns[1].ty.kind else { panic!() };
    assert_eq!(&*element.name, "mood");
}

#[test]
fn a_type_that_is_gone_is_text() {
    let mut assembler = Assembler::new(PartLimits::default());
    assert_eq!(assembler.accept(relation(1, &[MOOD])), Ok(Assembled::NeedsTypes(vec![MOOD])));
    assert_eq!(assembler.define_types(vec![]), Ok(Assembled::Nothing));
    let parts = parts(&mut assembler, [begin(10), insert(1, &["sad"]), commit(10)]);
    assert_eq!(parts[0].changes[0].relation.columns[0].ty.kind, TypeKind::Text);
}

#[test]
fn a_relation_that_did_not_change_stays_the_same() {
    let mut assembler = Assembler::new(PartLimits::default());
    let mut insert_after = |messages: Vec<Message>, name: &str, lsn| {
        for message in messages {
            let mut assembled = assembler.accept(message).unwrap();
            while let Assembled::NeedsTypes(_) = assembled {
                assembled = assembler.define_types(vec![mood(name)]).unwrap();
            }
        }
        let parts = parts(&mut assembler, [begin(lsn), insert(1, &["sad"]), commit(lsn)]);
        Arc::clone(&parts[0].changes[0].relation)
    };
    let first = insert_after(vec![relation(1, &[MOOD])], "mood", 10);
    let same = insert_after(vec![relation(1, &[MOOD])], "mood", 20);
    assert!(Arc::ptr_eq(&first, &same));
    let altered_type = insert_after(vec![relation(1, &[MOOD])], "temper", 30);
    assert_eq!(&*altered_type.columns[0].ty.name, "temper");
    assert_eq!(&*first.columns[0].ty.name, "mood");
    let other_type = insert_after(vec![relation(1, &[TEXT])], "temper", 40);
    assert_eq!(&*other_type.columns[0].ty.name, "text");
}

#[test]
fn the_system_schema_gets_its_name() {
    let mut assembler = Assembler::new(PartLimits::default());
    let Message::Relation(mut described) = relation(1, &[]) else { panic!() };
    described.schema = "".into();
    let messages = [Message::Relation(described), begin(10), insert(1, &[]), commit(10)];
    let parts = parts(&mut assembler, messages);
    assert_eq!(parts[0].changes[0].relation.to_string(), "pg_catalog.table_1");
}

#[test]
fn a_broken_stream_is_refused() {
    let origin = || Message::Origin(Origin { commit_lsn: Lsn::new(1), name: "o".into() });
    check_refused(vec![commit(10)], "Commit message outside a transaction");
    check_refused(vec![origin()], "Origin message outside a transaction");
    check_refused(vec![Message::Logical(logical(true))], "Message message outside a transaction");
    check_refused(vec![relation(1, &[]), insert(1, &[])], "Insert message outside a transaction");
    check_refused(vec![relation(1, &[]), truncate(&[1])], "Truncate message outside a transaction");
    check_refused(vec![begin(16), begin(32)], "transaction 0/20 begins inside transaction 0/10");
    check_refused(vec![begin(16), commit(32)], "transaction 0/10 ends with the commit of 0/20");
    check_refused(
        vec![begin(16), commit(16), begin(16)],
        "transaction 0/10 comes after transaction 0/10, which committed later",
    );
    check_refused(
        vec![begin(16), origin(), truncate(&[9])],
        "Truncate message for relation 9, which this session has not described",
    );
    check_refused(
        vec![relation(1, &[INT4]), begin(16), insert(1, &["1", "2"])],
        "row with 2 columns for public.table_1, which has 1",
    );
    let update = Update { relation: RelationId(1), old: Some(OldRow::Key(row(&[]))), new: row(&["1"]) };
    check_refused(
        vec![relation(1, &[INT4]), begin(16), Message::Update(update)],
        "row with 0 columns for public.table_1, which has 1",
    );
}

#[test]
fn what_a_server_sent_is_assembled_whole() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pgoutput");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut assembler = Assembler::new(PartLimits::default());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "hex")) {
        assembler.restart(None);
        let (mut sent, mut assembled) = (0, 0);
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let message = pgoutput::decode(data_encoding::HEXLOWER.decode(line.as_bytes()).unwrap().into()).unwrap();
            sent += match &message {
                Message::Insert(_) | Message::Update(_) | Message::Delete(_) => 1,
                Message::Truncate(truncate) => truncate.relations.len(),
                _ => 0,
            };
            match assembler.accept(message).unwrap() {
                Assembled::Part(part) => assembled += part.changes.len(),
                Assembled::NeedsTypes(_) => assert_eq!(assembler.define_types(vec![]), Ok(Assembled::Nothing)),
                Assembled::Nothing | Assembled::Message(_) => {}
            }
        }
        assert!(!assembler.in_transaction());
        assert!(sent > 0);
        assert_eq!(assembled, sent);
    }
}

/// A transaction's messages and how many changes they are.
#[derive(Debug, Clone)]
struct Sent {
    lsn: u64,
    messages: Vec<Message>,
    changes: u64,
}

impl Sent {
    fn operations(&self) -> impl Iterator<Item = Operation> {
        self.messages.iter().flat_map(|message| match message.clone() {
            Message::Insert(insert) => vec![Operation::Insert { new: insert.new }],
            Message::Update(update) => vec![Operation::Update { old: update.old, new: update.new }],
            Message::Delete(delete) => vec![Operation::Delete { old: delete.old }],
            Message::Truncate(truncate) => vec![Operation::Truncate; truncate.relations.len()],
            _ => vec![],
        })
    }
}

fn a_step() -> impl Strategy<Value = (Message, u64)> {
    let value = || "[a-z]{0,12}";
    let update = (value(), prop::option::of(value()), value(), any::<bool>()).prop_map(|(old, note, new, full)| {
        let old = note.map(|note| if full { row(&[&old, &note]) } else { row(&[&old, ""]) });
        Message::Update(Update { relation: RelationId(1), old: old.map(OldRow::Full), new: row(&[&new, "n"]) })
    });
    prop_oneof![
        4 => value().prop_map(|text| (insert(1, &[&text, "i"]), 1)),
        2 => update.prop_map(|update| (update, 1)),
        1 => value().prop_map(|text| {
            let old = OldRow::Key(row(&[&text, ""]));
            (Message::Delete(Delete { relation: RelationId(1), old }), 1)
        }),
        1 => (0..5_u64).prop_map(|count| (truncate(&vec![1; usize::try_from(count).unwrap()]), count)),
        1 => Just((relation(1, &[INT4, TEXT]), 0)),
        1 => value().prop_map(|text| (broadcast(&text), 1)),
        1 => any::<bool>().prop_map(|transactional| (Message::Logical(logical(transactional)), 0)),
    ]
}

/// A session's worth of transactions, from its start.
fn a_history() -> impl Strategy<Value = Vec<Sent>> {
    let transactions = prop::collection::vec(prop::collection::vec(a_step(), 0..14), 1..5);
    transactions.prop_map(|transactions| {
        let sent = (1..).zip(transactions).map(|(index, steps)| {
            let lsn = index * 100;
            let changes = steps.iter().map(|(_, changes)| changes).sum();
            let steps = steps.into_iter().map(|(message, _)| message);
            let messages = [begin(lsn), relation(1, &[INT4, TEXT])].into_iter().chain(steps).chain([commit(lsn)]);
            Sent { lsn, messages: messages.collect(), changes }
        });
        sent.collect()
    })
}

fn small_limits() -> impl Strategy<Value = PartLimits> {
    (0..6_usize, 1..60_usize).prop_map(|(changes, bytes)| limits(changes, bytes))
}

fn all(history: &[Sent]) -> impl Iterator<Item = Message> {
    history.iter().flat_map(|sent| sent.messages.clone())
}

fn row_bytes(changes: &[Change]) -> usize {
    changes.iter().map(|change| open::row_bytes(&change.operation)).sum()
}

/// Nothing was added to the part after it was full; only a truncate of several tables goes past a limit of changes.
fn is_within(part: &TransactionPart, limits: PartLimits) -> bool {
    let rows = part.changes.iter().filter(|change| change.operation != Operation::Truncate).count();
    let before_last = part.changes.split_last().map_or(0, |(_, before)| row_bytes(before));
    rows + part.announcements.len() <= limits.changes.max(1) && before_last < limits.bytes
}

/// The bytes of a broadcast that can't be read are nobody's any more, but counted.
fn is_full(part: &TransactionPart, limits: PartLimits) -> bool {
    let count = part.changes.len() + part.announcements.len();
    count >= limits.changes || row_bytes(&part.changes) + 21 * part.announcements.len() >= limits.bytes
}

fn ordinals<'a>(parts: impl Iterator<Item = &'a TransactionPart>) -> Vec<u64> {
    let of_part = |part: &TransactionPart| {
        let announced = part.announcements.iter().map(|announcement| announcement.ordinal);
        let mut ordinals: Vec<u64> = part.changes.iter().map(|change| change.ordinal).chain(announced).collect();
        ordinals.sort_unstable();
        ordinals
    };
    parts.flat_map(of_part).collect()
}

proptest! {
    #[test]
    fn parts_together_are_the_transaction(history in a_history(), limits in small_limits()) {
        let parts = parts(&mut Assembler::new(limits), all(&history));
        for sent in &history {
            let own: Vec<_> = parts.iter().filter(|part| part.header.commit_lsn == Lsn::new(sent.lsn)).collect();
            let changes = || own.iter().flat_map(|part| &part.changes);
            prop_assert!(ordinals(own.iter().copied()).into_iter().eq(1..=sent.changes));
            prop_assert!(changes().map(|change| change.operation.clone()).eq(sent.operations()));
            let (last, others) = own.split_last().unwrap();
            prop_assert!(own.iter().enumerate().all(|(index, part)| part.first == (index == 0)));
            prop_assert!(others.iter().all(|part| part.end_lsn.is_none() && part.last_ordinal().is_some()));
            prop_assert_eq!(last.end_lsn, Some(Lsn::new(sent.lsn + 1)));
            prop_assert!(last.last_ordinal().is_some() || sent.changes == 0);
            prop_assert!(own.iter().all(|part| is_within(part, limits)));
            prop_assert!(others.iter().all(|part| is_full(part, limits)));
        }
    }

    /// The connection breaks after any message; Postgres sends again from the beginning of any transaction that was
    /// not handed on whole, or from an earlier one.
    #[test]
    fn a_reconnect_changes_nothing(
        history in a_history(), limits in small_limits(), cut: prop::sample::Index, resent: prop::sample::Index,
    ) {
        let whole = parts(&mut Assembler::new(limits), all(&history));

        let mut assembler = Assembler::new(limits);
        let messages: Vec<Message> = all(&history).collect();
        let mut pieces = parts(&mut assembler, messages[..cut.index(messages.len() + 1)].to_vec());
        let position = assembler.position();
        let complete = pieces.iter().filter(|part| part.end_lsn.is_some()).count();
        assembler.restart(position);
        let from = resent.index(complete + 1);
        pieces.extend(parts(&mut assembler, all(&history[from..])));
        prop_assert_eq!(pieces, whole);
    }

    /// A position inside of a part too: whatever was taken out of a part, its end stays where it was.
    #[test]
    fn what_was_handed_on_is_dropped_and_no_more(
        history in a_history(), limits in small_limits(), transaction: prop::sample::Index, change: prop::sample::Index,
    ) {
        let sent = transaction.get(&history);
        let after = (Lsn::new(sent.lsn), change.index(usize::try_from(sent.changes).unwrap() + 1) as u64);
        let is_after = |part: &TransactionPart, change: &Change| (part.header.commit_lsn, change.ordinal) > after;
        let mut whole = parts(&mut Assembler::new(limits), all(&history));
        whole.retain_mut(|part| {
            let (first, last) = (part.first, part.last_ordinal().unwrap_or(0));
            part.first = first && (part.header.commit_lsn != after.0 || after.1 == 0);
            let changes = std::mem::take(&mut part.changes);
            part.changes = changes.into_iter().filter(|change| is_after(part, change)).collect();
            let lsn = part.header.commit_lsn;
            part.announcements.retain(|announcement| (lsn, announcement.ordinal) > after);
            (part.header.commit_lsn, last) > after
        });

        let mut assembler = Assembler::new(limits);
        assembler.restart(Some(after));
        prop_assert_eq!(parts(&mut assembler, all(&history)), whole);
    }
}
