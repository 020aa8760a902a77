//! Random values of every type, as SQL expressions: Postgres builds the values and writes both their text and their
//! JSON, so that nothing here shares an assumption with the code under test.

use std::rc::Rc;

use fastrand::Rng;

use super::literals::{
    bits, date, day, finite_point, float4, float8, interval, json, numeric, octets, point, points, short_text, text,
    time, timestamp,
};

/// What the types below need. `hstore` and `xml` are not in every installation: they come on top.
pub(super) const TYPES: &str = r#"
create type mood as enum ('sad', 'o"k', 'ha, ppy', 'NULL', 'b{a}d\', ' ');
create type textrange as range (subtype = text, multirange_type_name = textmultirange);
create type floatrange as range (subtype = float8, multirange_type_name = floatmultirange);
create domain dom_int8 as int8;
create domain dom_dom as dom_int8 check (value is distinct from 42);
create domain dom_numeric as numeric(20, 3);
create domain dom_text as text;
create domain dom_ts as timestamptz;
create domain dom_jsonb as jsonb;
create domain dom_mood as mood;
create domain dom_ints as int[];
create domain dom_texts as text[];
create type pair as ("we""ird	k\ey" int8, t text, ts timestamptz, b bool);
create domain dom_pair as pair;
create type one as (v text);
create type empty as ();
create type nested as
    (id int, gone int, p pair, ps pair[], j jsonb, d dom_ints, n numeric, dt date, tx text[], os one[]);
alter type nested drop attribute gone;
create table base_row (a int, b text, c float8[], d timestamp);
alter table base_row drop column b;
"#;

/// One in so many values is null.
const NULL_EVERY: usize = 12;

type Sample = Rc<dyn Fn(&mut Rng) -> String>;

/// A type and how to make values of it.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) ty: String,
    sample: Sample,
}

impl Kind {
    /// From an SQL expression, which is cast to the type.
    fn new(ty: &str, sample: impl Fn(&mut Rng) -> String + 'static) -> Self {
        Self { ty: ty.to_owned(), sample: Rc::new(sample) }
    }

    /// From a text that the type's input function reads.
    fn literal(ty: &str, sample: impl Fn(&mut Rng) -> String + 'static) -> Self {
        Self::new(ty, move |rng| quote(&sample(rng)))
    }

    fn choice(ty: &str, literals: &'static [&'static str]) -> Self {
        Self::literal(ty, move |rng| literals[rng.usize(..literals.len())].to_owned())
    }

    /// An expression of this type, now and then null.
    pub(super) fn value(&self, rng: &mut Rng) -> String {
        let expression = if rng.usize(..NULL_EVERY) == 0 { "null".to_owned() } else { (self.sample)(rng) };
        format!("({expression})::{}", self.ty)
    }

    /// Empty, of one or two dimensions, at times with lower bounds of its own.
    fn array(&self) -> Self {
        let element = self.clone();
        let ty = format!("{}[]", self.ty);
        let array_type = ty.clone();
        Self::new(&ty, move |rng| {
            let list = |rng: &mut Rng, length: usize| {
                let values: Vec<String> = (0..length).map(|_| element.value(rng)).collect();
                format!("array[{}]", values.join(","))
            };
            let (rows, length) = (rng.usize(1..3), rng.usize(1..4));
            match rng.u8(..6) {
                0 => "'{}'".to_owned(),
                1 => {
                    let rows: Vec<String> = (0..rows).map(|_| list(rng, length)).collect();
                    format!("array[{}]", rows.join(","))
                }
                2 => format!("'[-1:{}]=' || ({}::{array_type})::text", length as isize - 2, list(rng, length)),
                _ => list(rng, length),
            }
        })
    }

    fn domain(&self, ty: &str) -> Self {
        Self { ty: ty.to_owned(), sample: Rc::clone(&self.sample) }
    }

    /// `range_type(low, high)`, empty or without bounds at times.
    fn range(&self, ty: &str) -> Self {
        let (bound, name) = (self.clone(), ty.to_owned());
        Self::new(ty, move |rng| {
            if rng.u8(..10) == 0 {
                return "'empty'".to_owned();
            }
            let (low, high) = (bound.value(rng), bound.value(rng));
            let bounds = ["[]", "[)", "(]", "()"][rng.usize(..4)];
            // `least` passes over null, so that a range without a lower bound needs one of its own.
            let low_bound = if rng.bool() { format!("least({low}, {high})") } else { "null".to_owned() };
            format!("{name}({low_bound}, greatest({low}, {high}), '{bounds}')")
        })
    }

    fn multirange(&self, ty: &str) -> Self {
        let (range, name) = (self.clone(), ty.to_owned());
        Self::new(ty, move |rng| {
            let ranges: Vec<String> =
                (0..rng.usize(..4)).map(|_| format!("coalesce({}, 'empty')", range.value(rng))).collect();
            format!("{name}({})", ranges.join(","))
        })
    }
}

fn composite(ty: &str, fields: Vec<Kind>) -> Kind {
    Kind::new(ty, move |rng| {
        let values: Vec<String> = fields.iter().map(|field| field.value(rng)).collect();
        format!("row({})", values.join(","))
    })
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn numbers() -> Vec<Kind> {
    vec![
        Kind::choice("bool", &["t", "f"]),
        Kind::literal("int2", |rng| [i16::MIN, i16::MAX, 0, rng.i16(..)][rng.usize(..4)].to_string()),
        Kind::literal("int4", |rng| [i32::MIN, i32::MAX, 0, rng.i32(..)][rng.usize(..4)].to_string()),
        Kind::literal("int8", |rng| [i64::MIN, i64::MAX, 0, rng.i64(..)][rng.usize(..4)].to_string()),
        Kind::literal("float4", float4),
        Kind::literal("float8", float8),
        Kind::literal("numeric", numeric),
        Kind::literal("money", |rng| {
            format!("{}.{:02}", rng.i64(-92_233_720_368_547_757..92_233_720_368_547_757), rng.u8(..100))
        }),
        Kind::literal("oid", |rng| rng.u32(..).to_string()),
        Kind::literal("xid", |rng| rng.u32(..).to_string()),
        Kind::literal("cid", |rng| rng.u32(..).to_string()),
        Kind::literal("xid8", |rng| rng.u64(..).to_string()),
        Kind::literal("tid", |rng| format!("({},{})", rng.u32(..), rng.u16(..))),
        Kind::literal("pg_lsn", |rng| format!("{:X}/{:X}", rng.u32(..), rng.u32(..))),
        Kind::choice("pg_snapshot", &["10:20:10,14,15", "1:1:"]),
        Kind::choice("txid_snapshot", &["10:20:10,14,15", "1:1:"]),
    ]
}

fn texts() -> Vec<Kind> {
    vec![
        Kind::literal("text", text),
        Kind::literal("varchar", text),
        Kind::literal("varchar(400)", |rng| short_text(rng, 400)),
        Kind::literal("char(12)", |rng| short_text(rng, 12)),
        Kind::literal("name", |rng| short_text(rng, 15)),
        Kind::choice("\"char\"", &["a", "\"", "\\", "", " ", ",", "{"]),
        Kind::literal("refcursor", text),
        Kind::new("bytea", |rng| {
            let length = rng.usize(..20);
            format!("'\\x{}'", octets(rng, length, ""))
        }),
        Kind::literal("json", |rng| json(rng, 3, true)),
        Kind::literal("jsonb", |rng| json(rng, 3, false)),
        Kind::choice(
            "jsonpath",
            &["$", "$.a[*] ? (@.b > 1)", "strict $.\"we\\\"ird\"", "$.** ? (@ like_regex \"^a\")"],
        ),
        Kind::literal("uuid", |rng| octets(rng, 16, "")),
        Kind::new("tsvector", |rng| match rng.bool() {
            true => format!("to_tsvector('simple', {})", quote(&text(rng))),
            false => format!("array_to_tsvector(array[{}])", quote(&format!("x{}", short_text(rng, 400)))),
        }),
        Kind::choice("tsvector", &["'a b':1A,2 c:3B", "'it''s':1 '\\\\':2"]),
        Kind::new("tsquery", |rng| match rng.bool() {
            true => format!("phraseto_tsquery('simple', {})", quote(&short_text(rng, 100))),
            false => "'a & !b:*A | ''c d\"'' <2> e'".to_owned(),
        }),
        Kind::choice("int2vector", &["", "1", "1 -2 3"]),
        Kind::choice("oidvector", &["", "1", "1 2 4294967295"]),
        Kind::choice("mood", &["sad", "o\"k", "ha, ppy", "NULL", "b{a}d\\", " "]),
    ]
}

fn times() -> Vec<Kind> {
    vec![
        Kind::new("date", date),
        Kind::literal("time", time),
        Kind::literal("time(0)", time),
        Kind::literal("timetz", |rng| {
            format!("{}{}", time(rng), ["+00", "+05:30", "-15:59:59", "+14"][rng.usize(..4)])
        }),
        Kind::new("timestamp", |rng| timestamp(rng, "timestamp")),
        Kind::new("timestamp(3)", |rng| timestamp(rng, "timestamp")),
        Kind::new("timestamptz", |rng| timestamp(rng, "timestamptz")),
        Kind::new("interval", interval),
    ]
}

fn networks_bits_shapes() -> Vec<Kind> {
    vec![
        Kind::new("bit(5)", |rng| format!("B'{}'", bits(rng, 5, 5))),
        Kind::new("varbit", |rng| format!("B'{}'", bits(rng, 0, 70))),
        Kind::new("inet", |rng| format!("inet '::' + {}", rng.i64(0..))),
        Kind::literal("inet", |rng| format!("10.{}.{}.1/{}", rng.u8(..), rng.u8(..), rng.u8(..33))),
        Kind::literal("cidr", |rng| format!("{}.{}.0.0/16", rng.u8(..), rng.u8(..))),
        Kind::literal("macaddr", |rng| octets(rng, 6, ":")),
        Kind::literal("macaddr8", |rng| octets(rng, 8, ":")),
        Kind::literal("point", point),
        Kind::literal("lseg", |rng| format!("[{},{}]", point(rng), finite_point(rng))),
        Kind::literal("box", |rng| format!("{},{}", finite_point(rng), finite_point(rng))),
        Kind::literal("path", |rng| format!("[{}]", points(rng))),
        Kind::literal("path", |rng| format!("({})", points(rng))),
        Kind::literal("polygon", |rng| format!("({})", points(rng))),
        Kind::literal("line", |rng| format!("{{{},1.5,{}}}", rng.i32(..), rng.i32(..))),
        Kind::literal("circle", |rng| format!("<{},{}>", finite_point(rng), rng.u16(..))),
    ]
}

fn catalogue_names() -> Vec<Kind> {
    vec![
        Kind::choice("regclass", &["pg_class", "values_0", "information_schema.tables", "12345"]),
        Kind::choice("regtype", &["int4", "pair[]", "mood", "\"char\"", "timestamptz"]),
        Kind::choice("regproc", &["current_database", "pg_typeof"]),
        Kind::choice("regprocedure", &["now()", "abs(int4)", "substr(text,int4,int4)"]),
        Kind::choice("regoperator", &["+(int4,int4)", "||(text,text)"]),
        Kind::choice("regnamespace", &["pg_catalog", "public"]),
        Kind::choice("regrole", &["postgres", "pg_monitor"]),
        Kind::choice("regconfig", &["simple", "english"]),
        Kind::choice("aclitem", &["postgres=r*w/postgres", "=X/postgres"]),
        Kind::choice("information_schema.cardinal_number", &["0", "12"]),
        Kind::choice("information_schema.yes_or_no", &["YES", "NO"]),
    ]
}

/// Ranges, multiranges, domains and composites over the others.
fn made_of(kind: impl Fn(&str) -> Kind) -> Vec<Kind> {
    let ranges = [
        ("int4", "int4range", "int4multirange"),
        ("int8", "int8range", "int8multirange"),
        ("numeric", "numrange", "nummultirange"),
        ("date", "daterange", "datemultirange"),
        ("timestamp", "tsrange", "tsmultirange"),
        ("timestamptz", "tstzrange", "tstzmultirange"),
        ("text", "textrange", "textmultirange"),
        ("float8", "floatrange", "floatmultirange"),
    ];
    let bounds = |name: &str| match name {
        // The extremes have no successor, which `[]` asks for.
        "int4" | "int8" => Kind::literal(name, |rng| rng.i32(-1_000_000..1_000_000).to_string()),
        "date" => Kind::new("date", |rng| format!("date '2000-01-01' + ({})", day(rng, 1_000_000))),
        // An index row, and with it a range's bound, is no place for long texts.
        other => kind(other),
    };
    let mut kinds: Vec<Kind> = Vec::new();
    for (bound, range, multirange) in ranges {
        let range = bounds(bound).range(range);
        kinds.push(range.multirange(multirange));
        kinds.push(range);
    }
    let pair = composite("pair", vec![kind("int8"), kind("text"), kind("timestamptz"), kind("bool")]);
    let one = composite("one", vec![kind("text")]);
    let ints = kind("int4").array().domain("dom_ints");
    let nested = vec![
        kind("int4"),
        pair.clone(),
        pair.array(),
        kind("jsonb"),
        ints.clone(),
        kind("numeric"),
        kind("date"),
        kind("text").array(),
        one.array(),
    ];
    let small = Kind::literal("numeric", |rng| format!("{}.{}", rng.i32(..), rng.u16(..1_000)));
    kinds.extend([
        kind("int8").domain("dom_int8"),
        kind("int8").domain("dom_dom"),
        small.domain("dom_numeric"),
        kind("text").domain("dom_text"),
        kind("timestamptz").domain("dom_ts"),
        kind("jsonb").domain("dom_jsonb"),
        kind("mood").domain("dom_mood"),
        kind("text").array().domain("dom_texts"),
        ints,
        pair.domain("dom_pair"),
        pair,
        one,
        composite("empty", vec![]),
        composite("nested", nested),
        composite("base_row", vec![kind("int4"), kind("float8").array(), kind("timestamp")]),
    ]);
    kinds
}

/// `hstore`, where the extension is there.
pub(super) fn hstore() -> Kind {
    Kind::new("hstore", |rng| {
        let quoted = |rng: &mut Rng| quote(&text(rng));
        let pairs = rng.usize(..5);
        let keys: Vec<String> = (0..pairs).map(|_| quoted(rng)).collect();
        let values: Vec<String> =
            (0..pairs).map(|_| if rng.u8(..5) == 0 { "null".to_owned() } else { quoted(rng) }).collect();
        format!("hstore(array[{}]::text[], array[{}]::text[])", keys.join(","), values.join(","))
    })
}

/// `xml`, where the server was built with it.
pub(super) fn xml() -> Kind {
    Kind::choice("xml", &["<a b=\"c, d\">x &amp; é</a>", "text", "<?xml version=\"1.0\"?><a/>", "<!-- \\ {} () -->"])
}

/// Every type and its array type; `more` are those that not every server has.
pub(super) fn kinds(more: Vec<Kind>) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = [numbers(), texts(), times(), networks_bits_shapes(), catalogue_names()].concat();
    let by_name = kinds.clone();
    let find = move |ty: &str| by_name.iter().find(|kind| kind.ty == ty).unwrap_or_else(|| panic!("no {ty}")).clone();
    kinds.extend(made_of(find));
    kinds.extend(more);
    let arrays: Vec<Kind> = kinds.iter().map(Kind::array).collect();
    kinds.extend(arrays);
    kinds
}
