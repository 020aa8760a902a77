//! How fast the stream is taken in: pgoutput decoding and transaction assembly, of inserts that lie in memory.
//!
//! `cargo bench --bench decode`. Nothing is read from a socket and nothing is routed or encoded.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for the terminal; what it builds is valid")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use walcast::replication::pgoutput::decode;
use walcast::replication::transaction::{Assembled, Assembler, PartLimits};

const ROWS: usize = 400_000;
const PASSES: usize = 9;
/// Postgres sends one read's worth of messages together; each message is a slice of such a buffer.
const BUFFER_BYTES: usize = 64 * 1024;

const RELATION: u32 = 16_385;
const INT8: u32 = 20;
const TEXT: u32 = 25;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;
const BOOL: u32 = 16;

const COLUMNS: [(&str, u32); 8] = [
    ("id", INT8),
    ("customer_id", INT8),
    ("status", TEXT),
    ("total", NUMERIC),
    ("email", TEXT),
    ("note", TEXT),
    ("paid", BOOL),
    ("created_at", TIMESTAMPTZ),
];

fn main() {
    println!("rows of {} bytes with {} columns, median of {PASSES} passes over {ROWS}", row(1).len(), COLUMNS.len());
    for changes in [1, 1000] {
        let messages = stream(changes);
        measure(&format!("decode, transactions of {changes}"), &messages, decode_all);
        measure(&format!("decode and assemble, transactions of {changes}"), &messages, assemble_all);
    }
}

/// Runs `pass`, which returns how many rows it saw, and prints the median.
fn measure(what: &str, messages: &[Bytes], pass: fn(&[Bytes]) -> usize) {
    let mut times: Vec<Duration> = (0..PASSES)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(pass(messages), ROWS);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let seconds = times[PASSES / 2].as_secs_f64();
    let rows = f64::from(u32::try_from(ROWS).unwrap());
    println!("{what:<45} {:>6.2} million rows/s  {:>6.1} ns/row", rows / seconds / 1e6, seconds / rows * 1e9);
}

fn decode_all(messages: &[Bytes]) -> usize {
    let inserts = messages.iter().filter(|message| {
        let decoded = black_box(decode(Bytes::clone(message)).unwrap());
        decoded.name() == "Insert"
    });
    inserts.count()
}

fn assemble_all(messages: &[Bytes]) -> usize {
    let mut assembler = Assembler::new(PartLimits::default());
    let mut rows = 0;
    for message in messages {
        match assembler.accept(decode(message.clone()).unwrap()).unwrap() {
            Assembled::Part(part) => rows += black_box(part).changes.len(),
            Assembled::Nothing => {}
            other => unreachable!("{other:?}"),
        }
    }
    rows
}

/// A relation, then transactions of so many inserts, as slices of read buffers.
fn stream(changes: usize) -> Vec<Bytes> {
    let mut messages = vec![relation()];
    for transaction in 0..ROWS / changes {
        let lsn = u64::try_from(transaction + 1).unwrap() * 1_000_000;
        messages.push(begin(lsn));
        messages.extend((0..changes).map(|index| insert(transaction * changes + index)));
        messages.push(commit(lsn));
    }
    into_buffers(messages)
}

fn into_buffers(messages: Vec<Vec<u8>>) -> Vec<Bytes> {
    let mut slices = Vec::with_capacity(messages.len());
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    for message in messages {
        if buffer.capacity() < message.len() {
            buffer = BytesMut::with_capacity(BUFFER_BYTES);
        }
        buffer.put_slice(&message);
        slices.push(buffer.split().freeze());
    }
    slices
}

fn begin(lsn: u64) -> Vec<u8> {
    let mut out = vec![b'B'];
    out.put_u64(lsn);
    out.put_i64(0);
    out.put_u32(700);
    out
}

fn commit(lsn: u64) -> Vec<u8> {
    let mut out = vec![b'C', 0];
    out.put_u64(lsn);
    out.put_u64(lsn + 48);
    out.put_i64(0);
    out
}

fn relation() -> Vec<u8> {
    let mut out = vec![b'R'];
    out.put_u32(RELATION);
    out.put_slice(b"public\0orders\0d");
    out.put_u16(COLUMNS.len().try_into().unwrap());
    for (name, type_oid) in COLUMNS {
        out.put_u8(u8::from(name == "id"));
        out.put_slice(name.as_bytes());
        out.put_u8(0);
        out.put_u32(type_oid);
        out.put_i32(-1);
    }
    out
}

fn insert(index: usize) -> Vec<u8> {
    let mut out = vec![b'I'];
    out.put_u32(RELATION);
    out.put_u8(b'N');
    out.put_slice(&row(index));
    out
}

fn row(index: usize) -> Vec<u8> {
    let values = [
        format!("{}", 4_000_000 + index),
        format!("{}", 1000 + index % 5000),
        "processing".to_owned(),
        format!("{}.{:02}", 10 + index % 900, index % 100),
        format!("customer.{}@example.com", 1000 + index % 5000),
        "Please leave the parcel with the neighbours on the second floor.".to_owned(),
        "t".to_owned(),
        "2026-11-22 03:40:00.123456+00".to_owned(),
    ];
    let mut out = Vec::new();
    out.put_u16(values.len().try_into().unwrap());
    for value in values {
        out.put_u8(b't');
        out.put_u32(value.len().try_into().unwrap());
        out.put_slice(value.as_bytes());
    }
    out
}
