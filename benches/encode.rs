//! How fast rows become JSON: `cargo bench --bench encode`.
//!
//! Inserts of a table like most tables, and of one with arrays, whose text must be taken apart. Each figure is the
//! median of several passes over the same rows, into one buffer that keeps its capacity, as the hub's does.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its figures, and fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use walcast::change::json::{ChangeEncoder, EncodeOptions, Int8Format, Shown};
use walcast::change::{Column, Oid, Operation, Relation, RelationId, ReplicaIdentity, Row, TypeCatalogue};

const ROWS: usize = 2_000;
const PASSES: usize = 41;
/// Long enough for the clock, short enough for the median to leave disturbances out.
const ROUNDS_PER_PASS: usize = 20;

const INT4: Oid = 23;
const INT8: Oid = 20;
const BOOL: Oid = 16;
const TEXT: Oid = 25;
const NUMERIC: Oid = 1700;
const TIMESTAMPTZ: Oid = 1184;
const JSONB: Oid = 3802;
const INT4_ARRAY: Oid = 1007;
const TEXT_ARRAY: Oid = 1009;

fn main() {
    measure("orders (8 columns)", &ORDERS, order);
    measure("tags (3 columns, 2 arrays)", &TAGS, tags);
}

const ORDERS: [(&str, Oid); 8] = [
    ("id", INT8),
    ("customer_id", INT4),
    ("status", TEXT),
    ("title", TEXT),
    ("total", NUMERIC),
    ("paid", BOOL),
    ("created_at", TIMESTAMPTZ),
    ("attributes", JSONB),
];

fn order(index: usize) -> Vec<String> {
    let status = ["open", "paid", "shipped", "cancelled"][index % 4];
    vec![
        (9_000_000_000 + index).to_string(),
        (index % 1_000).to_string(),
        status.to_owned(),
        format!("Order {index}: 3 × \"Großer Becher\", gift-wrapped, to be left at the door"),
        format!("{}.{:02}", index * 7 % 1_000, index % 100),
        if index.is_multiple_of(3) { "t" } else { "f" }.to_owned(),
        format!("2026-11-22 03:{:02}:{:02}.{:06}+00", index % 60, index % 59, index * 37 % 1_000_000),
        format!(r#"{{"channel": "web", "items": [{{"sku": "A-{index}", "count": 3}}], "gift": true, "weight": 1.25}}"#),
    ]
}

const TAGS: [(&str, Oid); 3] = [("id", INT8), ("tags", TEXT_ARRAY), ("counts", INT4_ARRAY)];

fn tags(index: usize) -> Vec<String> {
    vec![
        index.to_string(),
        format!(r#"{{news,"breaking news","say \"{index}\"",NULL,sports}}"#),
        format!("{{{index},2,3,4,5,6,7,8}}"),
    ]
}

fn measure(name: &str, columns: &[(&str, Oid)], row: fn(usize) -> Vec<String>) {
    let encoder = ChangeEncoder::new(&relation(columns), None::<&[&str]>, options());
    let inserts: Vec<Operation> = (0..ROWS).map(|index| Operation::Insert { new: tuple_data(&row(index)) }).collect();
    let text_bytes: usize = inserts.iter().map(text_length).sum();
    let mut out = Vec::new();
    let mut passes: Vec<Duration> = (0..PASSES).map(|_| pass(&encoder, &inserts, &mut out)).collect();
    passes.sort_unstable();
    let seconds = passes[PASSES / 2].as_secs_f64() / ROUNDS_PER_PASS as f64;
    println!(
        "{name}: {:.0} ns/row, {:.2} million rows/s, {:.0} MB/s of JSON ({} bytes/row out, {} in)",
        seconds * 1e9 / ROWS as f64,
        ROWS as f64 / seconds / 1e6,
        out.len() as f64 / seconds / 1e6,
        out.len() / ROWS,
        text_bytes / ROWS,
    );
}

/// Encodes all rows several times; `out` then has them once.
fn pass(encoder: &ChangeEncoder, inserts: &[Operation], out: &mut Vec<u8>) -> Duration {
    let started = Instant::now();
    for _ in 0..ROUNDS_PER_PASS {
        out.clear();
        for insert in inserts {
            let malformed = encoder.encode(out, black_box(insert), Shown::AsIs);
            assert!(malformed.is_empty());
        }
        black_box(&*out);
    }
    started.elapsed()
}

fn options() -> EncodeOptions {
    EncodeOptions { int8: Int8Format::Number, value_limit_bytes: 1 << 20 }
}

fn relation(columns: &[(&str, Oid)]) -> Arc<Relation> {
    let catalogue = TypeCatalogue::builtin();
    let column = |&(name, oid): &(&str, Oid)| Column {
        name: name.into(),
        identity: name == "id",
        ty: catalogue.get(oid).unwrap(),
    };
    Arc::new(Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: "orders".into(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns.iter().map(column).collect(),
    })
}

fn tuple_data(values: &[String]) -> Row {
    let mut data = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for text in values {
        data.push(b't');
        data.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    Row::parse(&mut Bytes::from(data)).unwrap()
}

fn text_length(insert: &Operation) -> usize {
    match insert {
        Operation::Insert { new } => new.size(),
        _ => 0,
    }
}
