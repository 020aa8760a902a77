//! pgoutput's messages as Postgres writes them, made from nothing but the manual: the decoder's own encoder would share
//! its mistakes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::table::{Column, Identity, Old, Table, Value};

pub(crate) fn begin(commit_lsn: u64, xid: u32) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'B');
    out.put_u64(commit_lsn);
    out.put_i64(0);
    out.put_u32(xid);
    out.freeze()
}

pub(crate) fn commit(commit_lsn: u64, end_lsn: u64) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'C');
    out.put_u8(0);
    out.put_u64(commit_lsn);
    out.put_u64(end_lsn);
    out.put_i64(0);
    out.freeze()
}

pub(crate) fn relation(table: &Table) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'R');
    out.put_u32(table.oid);
    text(&mut out, "public");
    text(&mut out, table.name);
    out.put_u8(match table.identity {
        Identity::Default => b'd',
        Identity::Index => b'i',
        Identity::Full => b'f',
    });
    out.put_u16(u16::try_from(table.columns.len()).unwrap());
    for Column { name, key, type_oid } in &table.columns {
        out.put_u8(u8::from(*key || table.identity == Identity::Full));
        text(&mut out, name);
        out.put_u32(*type_oid);
        out.put_i32(-1);
    }
    out.freeze()
}

pub(crate) fn insert(oid: u32, new: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'I');
    out.put_u32(oid);
    row(&mut out, b'N', new);
    out.freeze()
}

pub(crate) fn update(oid: u32, previous: Option<&Old>, new: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'U');
    out.put_u32(oid);
    if let Some(previous) = previous {
        old(&mut out, previous);
    }
    row(&mut out, b'N', new);
    out.freeze()
}

pub(crate) fn delete(oid: u32, previous: &Old) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'D');
    out.put_u32(oid);
    old(&mut out, previous);
    out.freeze()
}

pub(crate) fn truncate(oids: &[u32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'T');
    out.put_u32(u32::try_from(oids.len()).unwrap());
    out.put_u8(0);
    oids.iter().for_each(|oid| out.put_u32(*oid));
    out.freeze()
}

fn old(out: &mut BytesMut, previous: &Old) {
    match previous {
        Old::Key(values) => row(out, b'K', values),
        Old::Full(values) => row(out, b'O', values),
    }
}

fn row(out: &mut BytesMut, kind: u8, values: &[Value]) {
    out.put_u8(kind);
    out.put_u16(u16::try_from(values.len()).unwrap());
    for value in values {
        match value {
            Value::Null => out.put_u8(b'n'),
            Value::Unchanged => out.put_u8(b'u'),
            Value::Text(text) => {
                out.put_u8(b't');
                out.put_u32(u32::try_from(text.len()).unwrap());
                out.put_slice(text.as_bytes());
            }
        }
    }
}

fn text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}
