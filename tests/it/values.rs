//! Values as JSON, with Postgres as the oracle: for random values of every type, what [`ChangeEncoder`] makes of their
//! text output must be, byte for byte, what `row_to_json` gives.
//!
//! Reproducible: `WALCAST_TEST_SEED=<seed from the output> cargo test --test it values::`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy takes only the test functions themselves for tests"
)]

mod literals;
mod samples;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;
use samples::{Kind, TYPES};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use walcast::change::catalogue::{CatalogueRow, DEFINITIONS_SQL, Inexact};
use walcast::change::json::{
    ChangeEncoder, EncodeOptions, Int8Format, MalformedValue, SESSION_SETTINGS, Shown, ValueError, write_timestamp,
};
use walcast::change::{Column, Oid, Operation, PgTimestamp, Relation, RelationId, ReplicaIdentity, Row, TypeCatalogue};
use walcast::demo::cluster::{Binaries, Cluster};

const ROWS: usize = 120;
/// A row must fit a page, even where every value is a pointer to TOAST.
const COLUMNS_MAX: usize = 24;
const OPTIONS: EncodeOptions = EncodeOptions { int8: Int8Format::Number, value_limit_bytes: usize::MAX };

/// The server's own settings are others than [`SESSION_SETTINGS`] on purpose: those must make the difference.
const SERVER_SETTINGS: &[(&str, &str)] = &[
    ("DateStyle", "SQL, DMY"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "Asia/Kolkata"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "0"),
    ("autovacuum", "off"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_what_row_to_json_gives() {
    let started = Instant::now();
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Binaries::find().unwrap(), SERVER_SETTINGS).unwrap())
        .await
        .unwrap();
    let client = connect(&cluster).await;
    let mut rng = seeded();
    settings_fix_the_text(&client).await;
    let values = every_type(&client, &mut rng).await;
    timestamps(&client, &mut rng).await;
    a_cast_to_json_is_reported(&client).await;
    an_altered_type_is_reported(&client).await;
    println!("{values} values compared in {:?}", started.elapsed());
    drop(client);
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}

/// `row_to_json` follows the session, too, so that comparing with it can't tell that a setting is missing.
async fn settings_fix_the_text(client: &Client) {
    let sql = "select row_to_json(t)::text from (select interval '-1 day 02:00' as i, '\\xdead'::bytea as b,
                      0.1::float4 as f, timestamptz '2026-11-22 03:40:00Z' as tz, date '2026-11-22' as d) t";
    let json: String = client.query_one(sql, &[]).await.unwrap().get(0);
    let expected =
        r#"{"i":"-1 days +02:00:00","b":"\\xdead","f":0.1,"tz":"2026-11-22T03:40:00+00:00","d":"2026-11-22"}"#;
    assert_eq!(json, expected);
}

async fn every_type(client: &Client, rng: &mut Rng) -> usize {
    client.batch_execute(TYPES).await.unwrap();
    let kinds = samples::kinds(optional_kinds(client).await);
    let mut values = 0;
    for (index, kinds) in kinds.chunks(COLUMNS_MAX).enumerate() {
        let table = format!("values_{index}");
        fill(client, &table, kinds, rng).await;
        values += compare_with_row_to_json(client, &table).await * kinds.len();
    }
    values
}

/// A table with a column of each kind, and random rows.
async fn fill(client: &Client, table: &str, kinds: &[Kind], rng: &mut Rng) {
    // Names that need escapes in JSON.
    let column = |(index, kind): (usize, &Kind)| format!("\"c{index} \"\"\t\\é\" {}", kind.ty);
    let columns: Vec<String> = kinds.iter().enumerate().map(column).collect();
    client.batch_execute(&format!("create table {table} ({})", columns.join(","))).await.unwrap();
    for _ in 0..ROWS {
        let values: Vec<String> = kinds.iter().map(|kind| kind.value(rng)).collect();
        let insert = format!("insert into {table} values ({})", values.join(","));
        if let Err(error) = client.batch_execute(&insert).await {
            panic!("{}", culprit(client, kinds, &values).await.unwrap_or_else(|| format!("{error:?}")));
        }
    }
}

/// Encodes every row of a table, and returns how many there were.
async fn compare_with_row_to_json(client: &Client, table: &str) -> usize {
    let relation = load_relation(client, table).await;
    let inexact = relation.columns.iter().find_map(|column| column.ty.inexact());
    assert_eq!(inexact, None);
    let encoder = ChangeEncoder::new(&relation, None::<&[&str]>, OPTIONS);
    let answer = client.simple_query(&format!("select t.*, row_to_json(t)::text from {table} t")).await.unwrap();
    let mut rows = 0;
    for message in answer {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let texts: Vec<Option<&str>> = (0..relation.columns.len()).map(|index| row.get(index)).collect();
        let mut encoded = Vec::new();
        let operation = Operation::Insert { new: tuple_data(&texts) };
        assert_eq!(encoder.encode(&mut encoded, &operation, Shown::AsIs), []);
        let record = row.get(relation.columns.len()).unwrap();
        let expected = format!(r#"{{"op":"insert","schema":"public","table":"{table}","record":{record}}}"#);
        assert_same(&String::from_utf8(encoded).unwrap(), &expected);
        rows += 1;
    }
    rows
}

/// `write_timestamp` against `to_json(timestamptz)`, from the microseconds that Postgres itself has.
async fn timestamps(client: &Client, rng: &mut Rng) {
    let seconds: Vec<String> = (0..2_000)
        .map(|_| format!("({}, {}.{:06})", rng.i32(-2_451_000..100_000_000), rng.u32(..86_400), rng.u32(..1_000_000)))
        .collect();
    let sql = format!(
        "with stamps (at) as (
           select timestamptz '2000-01-01' + make_interval(days => d, secs => s) from (values {}) as v (d, s)
           union all values (timestamptz 'infinity'), ('-infinity'), ('2000-01-01'), ('0001-12-31 23:59:59.5 BC'))
         select encode(timestamptz_send(at), 'hex'), to_json(at)::text from stamps",
        seconds.join(",")
    );
    for message in client.simple_query(&sql).await.unwrap() {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let micros = u64::from_str_radix(row.get(0).unwrap(), 16).unwrap().cast_signed();
        let mut written = Vec::new();
        write_timestamp(&mut written, PgTimestamp::from_micros(micros));
        assert_eq!(str::from_utf8(&written).unwrap(), row.get(1).unwrap(), "{micros}");
    }
}

/// Only Postgres can run a type's own cast to JSON: the catalogue says which types have one.
async fn a_cast_to_json_is_reported(client: &Client) {
    let sql = "create type colour as enum ('red');
               create function colour_to_json(colour) returns json language sql immutable as $$ select '{}'::json $$;
               create cast (colour as json) with function colour_to_json(colour);
               create table painted (id int, colours colour[]);";
    client.batch_execute(sql).await.unwrap();
    let relation = load_relation(client, "painted").await;
    let (ty, reason) = relation.columns[1].ty.inexact().unwrap();
    assert_eq!((&*ty.name, reason), ("colour", Inexact::JsonCast));
}

/// A composite type that got another attribute under the same OID: no wrong value goes out, and a new look-up mends it.
async fn an_altered_type_is_reported(client: &Client) {
    let sql = "create type size as (width int); create table shapes (id int, size size, sizes size[]);
               insert into shapes values (1, row(2), array[row(3)::size])";
    client.batch_execute(sql).await.unwrap();
    let stale = load_relation(client, "shapes").await;
    client.batch_execute("alter type size add attribute height int").await.unwrap();
    let encoder = ChangeEncoder::new(&stale, None::<&[&str]>, OPTIONS);
    let mut encoded = Vec::new();
    let new = tuple_data(&[Some("1"), Some("(2,)"), Some("{\"(3,)\"}")]);
    let malformed = encoder.encode(&mut encoded, &Operation::Insert { new }, Shown::AsIs);
    let error = ValueError::FieldCount { expected: 1 };
    let expected = ["size", "sizes"].map(|column| MalformedValue { column: column.into(), error });
    assert_eq!(malformed, expected);
    let expected = r#"{"op":"insert","schema":"public","table":"shapes","record":{"id":1},"omitted":["size","sizes"]}"#;
    assert_same(str::from_utf8(&encoded).unwrap(), expected);
    assert_eq!(compare_with_row_to_json(client, "shapes").await, 1);
}

/// The kinds that not every installation has; says which are missing.
async fn optional_kinds(client: &Client) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (kind, sql) in [(samples::hstore(), "create extension hstore"), (samples::xml(), "select '<a/>'::xml")] {
        match client.batch_execute(sql).await {
            Ok(()) => kinds.push(kind),
            Err(error) => println!("not tried, this server has no {}: {error}", kind.ty),
        }
    }
    kinds
}

/// As the replication connection does: round by round until every part of every type is known.
pub(crate) async fn load_relation(client: &Client, table: &str) -> Arc<Relation> {
    let sql = "select attname::text, atttypid from pg_attribute
                where attrelid = $1::text::regclass and attnum > 0 and not attisdropped order by attnum";
    let columns: Vec<(String, Oid)> =
        client.query(sql, &[&table]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut catalogue = TypeCatalogue::builtin();
    let mut wanted = catalogue.missing(columns.iter().map(|(_, oid)| *oid));
    while !wanted.is_empty() {
        let rows = client.query(DEFINITIONS_SQL, &[&wanted]).await.unwrap();
        wanted = catalogue.define(&wanted, rows.iter().map(|row| catalogue_row(row).into()).collect());
    }
    let column = |(name, oid): &(String, Oid)| Column {
        name: name.as_str().into(),
        identity: false,
        ty: catalogue.get(*oid).unwrap(),
    };
    Arc::new(Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: table.into(),
        replica_identity: ReplicaIdentity::Nothing,
        columns: columns.iter().map(column).collect(),
    })
}

fn catalogue_row(row: &tokio_postgres::Row) -> CatalogueRow {
    CatalogueRow {
        oid: row.get(0),
        name: row.get(1),
        category: row.get(2),
        base: row.get(3),
        element: row.get(4),
        delimiter: row.get(5),
        field_names: row.get(6),
        field_types: row.get(7),
        has_json_cast: row.get(8),
    }
}

/// The values as a WAL message has them.
fn tuple_data(values: &[Option<&str>]) -> Row {
    let mut data = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            None => data.push(b'n'),
            Some(text) => {
                data.push(b't');
                data.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                data.extend_from_slice(text.as_bytes());
            }
        }
    }
    Row::parse(&mut Bytes::from(data)).unwrap()
}

#[track_caller]
fn assert_same(encoded: &str, expected: &str) {
    if encoded == expected {
        return;
    }
    let differs = encoded.bytes().zip(expected.bytes()).position(|(left, right)| left != right);
    let at = differs.unwrap_or(encoded.len().min(expected.len()));
    let around = |text: &str| {
        String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(120)..text.len().min(at + 80)]).into_owned()
    };
    panic!("differs at byte {at}\n  encoded: {}\n expected: {}", around(encoded), around(expected));
}

/// Which value Postgres did not take: a mistake in the samples.
async fn culprit(client: &Client, kinds: &[Kind], values: &[String]) -> Option<String> {
    for (kind, value) in kinds.iter().zip(values) {
        if let Err(error) = client.simple_query(&format!("select {value}")).await {
            return Some(format!("{}: {value}: {:?}", kind.ty, error.as_db_error()));
        }
    }
    None
}

pub(crate) fn seeded() -> Rng {
    let seed = std::env::var("WALCAST_TEST_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("WALCAST_TEST_SEED={seed}");
    Rng::with_seed(seed)
}

pub(crate) async fn connect(cluster: &Cluster) -> Client {
    let (client, connection) = tokio_postgres::connect(&cluster.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    for (name, value) in SESSION_SETTINGS {
        client.batch_execute(&format!("set {name} = '{value}'")).await.unwrap();
    }
    client
}
