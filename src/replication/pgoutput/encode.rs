//! The other direction, for round trips: what Postgres would have sent.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Begin, Commit, Delete, Insert, LogicalMessage, Message, Origin, Relation, Truncate, Type, Update, change, logical,
    relation, tag,
};
use crate::change::{OldRow, ReplicaIdentity, Row};

pub(crate) fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        Message::Begin(begin) => put_begin(&mut out, begin),
        Message::Commit(commit) => put_commit(&mut out, commit),
        Message::Origin(origin) => put_origin(&mut out, origin),
        Message::Relation(relation) => put_relation(&mut out, relation),
        Message::Type(ty) => put_type(&mut out, ty),
        Message::Insert(insert) => put_insert(&mut out, insert),
        Message::Update(update) => put_update(&mut out, update),
        Message::Delete(delete) => put_delete(&mut out, delete),
        Message::Truncate(truncate) => put_truncate(&mut out, truncate),
        Message::Logical(message) => put_logical(&mut out, message),
    }
    out.freeze()
}

fn put_begin(out: &mut BytesMut, begin: &Begin) {
    out.put_u8(tag::BEGIN);
    out.put_u64(begin.commit_lsn.as_u64());
    out.put_i64(begin.commit_timestamp.as_micros());
    out.put_u32(begin.xid);
}

fn put_commit(out: &mut BytesMut, commit: &Commit) {
    out.put_u8(tag::COMMIT);
    out.put_u8(0);
    out.put_u64(commit.commit_lsn.as_u64());
    out.put_u64(commit.end_lsn.as_u64());
    out.put_i64(commit.commit_timestamp.as_micros());
}

fn put_origin(out: &mut BytesMut, origin: &Origin) {
    out.put_u8(tag::ORIGIN);
    out.put_u64(origin.commit_lsn.as_u64());
    put_name(out, &origin.name);
}

fn put_relation(out: &mut BytesMut, relation: &Relation) {
    out.put_u8(tag::RELATION);
    out.put_u32(relation.id.0);
    put_name(out, &relation.schema);
    put_name(out, &relation.name);
    out.put_u8(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.put_u16(relation.columns.len().try_into().unwrap());
    for column in &relation.columns {
        out.put_u8(if column.identity { relation::IDENTITY_FLAG } else { 0 });
        put_name(out, &column.name);
        out.put_u32(column.type_oid);
        out.put_i32(column.type_modifier);
    }
}

fn put_type(out: &mut BytesMut, ty: &Type) {
    out.put_u8(tag::TYPE);
    out.put_u32(ty.oid);
    put_name(out, &ty.schema);
    put_name(out, &ty.name);
}

fn put_insert(out: &mut BytesMut, insert: &Insert) {
    out.put_u8(tag::INSERT);
    out.put_u32(insert.relation.0);
    put_row(out, tag::NEW_TUPLE, &insert.new);
}

fn put_update(out: &mut BytesMut, update: &Update) {
    out.put_u8(tag::UPDATE);
    out.put_u32(update.relation.0);
    if let Some(old) = &update.old {
        put_old(out, old);
    }
    put_row(out, tag::NEW_TUPLE, &update.new);
}

fn put_delete(out: &mut BytesMut, delete: &Delete) {
    out.put_u8(tag::DELETE);
    out.put_u32(delete.relation.0);
    put_old(out, &delete.old);
}

fn put_truncate(out: &mut BytesMut, truncate: &Truncate) {
    out.put_u8(tag::TRUNCATE);
    out.put_u32(truncate.relations.len().try_into().unwrap());
    let cascade = if truncate.cascade { change::CASCADE_FLAG } else { 0 };
    let restart_identity = if truncate.restart_identity { change::RESTART_IDENTITY_FLAG } else { 0 };
    out.put_u8(cascade | restart_identity);
    for relation in &truncate.relations {
        out.put_u32(relation.0);
    }
}

fn put_logical(out: &mut BytesMut, message: &LogicalMessage) {
    out.put_u8(tag::MESSAGE);
    out.put_u8(if message.transactional { logical::TRANSACTIONAL_FLAG } else { 0 });
    out.put_u64(message.lsn.as_u64());
    put_name(out, &message.prefix);
    out.put_u32(message.content.len().try_into().unwrap());
    out.put_slice(&message.content);
}

fn put_old(out: &mut BytesMut, old: &OldRow) {
    match old {
        OldRow::Key(row) => put_row(out, tag::KEY_TUPLE, row),
        OldRow::Full(row) => put_row(out, tag::OLD_TUPLE, row),
    }
}

fn put_row(out: &mut BytesMut, kind: u8, row: &Row) {
    out.put_u8(kind);
    out.put_u16(row.len().try_into().unwrap());
    out.put_slice(row.data());
}

fn put_name(out: &mut BytesMut, name: &str) {
    out.put_slice(name.as_bytes());
    out.put_u8(0);
}
