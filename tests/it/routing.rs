//! Topics against Postgres itself: a `{column}` is what `value::text` gives, and a joined topic is taken exactly if
//! Postgres prints the value in it that way.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails where it stands")]

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use walcast::change::{Change, Column, Operation, Relation, RelationId, ReplicaIdentity, Row, Type, TypeKind};
use walcast::demo::cluster::{Binaries, Cluster};
use walcast::routing::{Int8Format, Ops, Plan, RouteSpec, RouteTable, Scratch, TablePattern, Target, Template};

/// What the values depend on, as the replication connection fixes it.
const SESSION: &str = "set timezone = 'UTC'; set datestyle = 'ISO, MDY'";

/// Null where the text is no value of the type.
const TEXT_OF: &str = "
    create function pg_temp.text_of(value text, type text) returns text language plpgsql as $$
    declare result text;
    begin
        execute format('select %L::%s::text', value, type) into result;
        return result;
    exception when others then
        return null;
    end $$";

/// Types with values whose output and text are to be compared.
const VALUES: [(&str, &[&str]); 16] = [
    ("bool", &["t", "f"]),
    ("char(5)", &["ab", "", "abcde", " a"]),
    ("varchar", &["ab  ", ""]),
    ("text", &["ab  ", "ä:/ö"]),
    ("inet", &["10.0.0.1", "10.0.0.0/8", "::1", "fe80::/10", "10.1.2.3/32", "::ffff:1.2.3.4"]),
    ("cidr", &["10.0.0.0/8", "10.0.0.1"]),
    ("\"char\"", &["x"]),
    ("name", &["x y "]),
    ("xml", &["<a/>"]),
    ("int8", &["-7", "9223372036854775807"]),
    ("numeric(8,2)", &["7", "-0.001", "NaN"]),
    ("float8", &["1e20", "0.1", "-0"]),
    ("uuid", &["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"]),
    ("date", &["2026-11-22", "0044-03-15 BC", "infinity", "4714-11-24 BC", "5874897-12-31"]),
    ("timestamp", &["2026-11-22 03:40:00.120", "0044-03-15 00:00 BC", "294276-12-31 23:59:59.999999"]),
    ("timestamptz", &["2026-11-22 03:40:00+02", "0044-03-15 00:00+00 BC", "-infinity"]),
];

/// Types whose text form is known, with texts to begin from: values at their limits, and what is nearly one.
const STRICT: [(&str, &[&str]); 11] = [
    ("bool", &["true", "false", "t"]),
    ("int2", &["0", "-32768", "32767", "100", "07", "-0"]),
    ("int4", &["0", "-2147483648", "2147483647", "7"]),
    ("int8", &["0", "-9223372036854775808", "9223372036854775807", "-1"]),
    ("oid", &["0", "4294967295", "16384"]),
    ("numeric", &["0", "0.00", "-0.5", "-0.0", "00.5", "12.50", "NaN", "-Infinity", "1e3"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    (
        "date",
        &[
            "2026-11-22",
            "2024-02-29",
            "1900-02-29",
            "2000-02-29",
            "0001-02-29 BC",
            "0044-03-15 BC",
            "4714-11-24 BC",
            "4714-11-23 BC",
            "5874897-12-31",
            "0000-01-01",
            "infinity",
        ],
    ),
    (
        "timestamp",
        &[
            "2026-11-22 03:40:00.123456",
            "2026-11-22 03:40:00.10",
            "2026-11-22 24:00:00",
            "2026-11-22 03:40:60",
            "0044-03-15 00:00:00 BC",
            "294276-12-31 23:59:59.5",
            "294277-01-01 00:00:00",
            "infinity",
        ],
    ),
    (
        "timestamptz",
        &[
            "2026-11-22 03:40:00.123456+00",
            "2026-11-22 03:40:00.5+01",
            "0044-03-15 00:00:00+00 BC",
            "294276-12-31 23:59:59+00",
            "-infinity",
        ],
    ),
    ("bpchar", &["ab c", "", "ab "]),
];

/// Texts made of each text to begin from.
const MUTANTS: usize = 300;

#[tokio::test]
async fn topics_are_postgres_texts() {
    let cluster = Cluster::start(Binaries::find().unwrap(), &[]).unwrap();
    let (client, connection) = tokio_postgres::connect(&cluster.url(), NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(SESSION).await.unwrap();
    client.batch_execute(TEXT_OF).await.unwrap();
    for (name, values) in VALUES {
        check_texts(&client, name, values).await;
    }
    for (name, seeds) in STRICT {
        check_canonical_forms(&client, name, seeds).await;
    }
    drop(client);
    driver.await.unwrap().unwrap();
}

/// The row's topic is the cast to text, and can be joined.
async fn check_texts(client: &Client, name: &str, values: &[&str]) {
    let route = Route::of(client, name).await;
    for value in values {
        let sql = format!("select v, 'x' || v::text from (select '{value}'::{name} as v) as value");
        let messages = client.simple_query(&sql).await.unwrap();
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let (output, topic) = (row.unwrap().get(0).unwrap(), row.unwrap().get(1).unwrap());
        assert_eq!(route.topics_of(output), [topic], "{name}: {output}");
        assert!(route.takes(topic), "{name}: {topic}");
    }
}

/// A text is taken exactly if Postgres prints it again as it is.
async fn check_canonical_forms(client: &Client, name: &str, seeds: &[&str]) {
    let route = Route::of(client, name).await;
    let mut random = fastrand::Rng::with_seed(1);
    let mutants = seeds.iter().flat_map(|seed| (0..MUTANTS).map(|_| mutant(seed, &mut random)).collect::<Vec<_>>());
    let texts: Vec<String> = seeds.iter().map(|seed| (*seed).to_owned()).chain(mutants).collect();
    let sql = "select text, coalesce(pg_temp.text_of(text, $2) = text, false) from unnest($1::text[]) as text";
    let mut taken = 0;
    for row in client.query(sql, &[&texts, &name]).await.unwrap() {
        let (text, is_printed): (&str, bool) = (row.get(0), row.get(1));
        assert_eq!(route.takes(&format!("x{text}")), is_printed, "{name}: `{text}`");
        taken += usize::from(is_printed);
    }
    assert!(taken > 0 && taken < texts.len(), "{name}: {taken} of {} texts show nothing", texts.len());
}

/// One to three characters changed, added or taken out.
fn mutant(seed: &str, random: &mut fastrand::Rng) -> String {
    let mut characters: Vec<char> = seed.chars().collect();
    for _ in 0..random.usize(1..=3) {
        let at = random.usize(0..=characters.len());
        let new = char::from(*random.choice(b"0123456789-+.: aeftBCTZ").unwrap());
        match random.u8(0..3) {
            0 => characters.insert(at, new),
            1 if at < characters.len() => characters[at] = new,
            _ if at < characters.len() => drop(characters.remove(at)),
            _ => {}
        }
    }
    characters.into_iter().collect()
}

/// A route from a table with one column to `x{value}`.
struct Route {
    table: RouteTable,
    plan: Plan,
    relation: Arc<Relation>,
}

impl Route {
    async fn of(client: &Client, type_name: &str) -> Self {
        let row = client.query_one("select to_regtype($1)::oid", &[&type_name]).await.unwrap();
        let oid = row.get(0);
        let ty = Arc::new(Type { oid, base_oid: oid, name: type_name.into(), kind: TypeKind::Text });
        let relation = Arc::new(Relation {
            id: RelationId(1),
            schema: "public".into(),
            name: "t".into(),
            replica_identity: ReplicaIdentity::Full,
            columns: vec![Column { name: "value".into(), identity: true, ty }],
        });
        let table = RouteTable::new(vec![RouteSpec {
            table: TablePattern::parse("public.t").unwrap(),
            topic: Template::parse("x{value}").unwrap(),
            columns: None,
            ops: Ops::ALL,
            event: "new_updates".into(),
            int8: Int8Format::Number,
            filter: None,
            allow: None,
        }])
        .unwrap();
        Self { plan: table.plan(&relation), table, relation }
    }

    fn topics_of(&self, output: &str) -> Vec<String> {
        let mut data = vec![0, 1, b't'];
        data.extend(u32::try_from(output.len()).unwrap().to_be_bytes());
        data.extend(output.as_bytes());
        let operation = Operation::Insert { new: Row::parse(&mut Bytes::from(data)).unwrap() };
        let change = Change { relation: Arc::clone(&self.relation), operation, ordinal: 1 };
        let mut topics = Vec::new();
        self.plan.route(&change, &mut Scratch::default(), &mut |target| match target {
            Target::Topic { topic, .. } => topics.push(topic.to_owned()),
            target => topics.push(format!("{target:?}")),
        });
        topics
    }

    fn takes(&self, topic: &str) -> bool {
        !self.table.routes_for_topic(topic, [&self.plan].into_iter()).is_empty()
    }
}
