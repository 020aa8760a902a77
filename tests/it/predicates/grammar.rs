//! Random tables, claims and expressions. An expression is written twice: as walcast reads it, with claims by name, and
//! as Postgres does, with their values as untyped literals.

use fastrand::Rng;

pub(super) const SCHEMA: &str = r#"
create type mood as enum ('sad', 'ok', 'happy');
create domain count as int check (value is null or value < 1000000000);
create domain label as varchar(20);
create table things (
  id int primary key, b bool, i2 int2, i4 int4, i8 int8, num numeric, f4 float4, f8 float8,
  t text, vc varchar(12), bc char(6), nm name, u uuid, by bytea, d date, ts timestamp, tz timestamptz, tm time,
  iv interval, ip inet, net cidr, mood mood, "Odd ""Name" text, dc count, dl label,
  tags text[], nums int4[], us uuid[], moods mood[], vcs varchar[], j json, p point);
"#;

/// A column, the kind of its values, and samples of these as untyped literals.
pub(super) struct Column {
    pub(super) sql: &'static str,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Integer,
    Decimal,
    Text,
    Uuid,
    Bytea,
    Moment,
    Time,
    Interval,
    Network,
    Mood,
    Texts,
    Integers,
    Uuids,
    Moods,
    Other,
}

pub(super) const COLUMNS: &[Column] = &[
    Column { sql: "id", kind: Kind::Integer },
    Column { sql: "b", kind: Kind::Bool },
    Column { sql: "i2", kind: Kind::Integer },
    Column { sql: "I4", kind: Kind::Integer },
    Column { sql: "i8", kind: Kind::Integer },
    Column { sql: "num", kind: Kind::Decimal },
    Column { sql: "f4", kind: Kind::Decimal },
    Column { sql: "f8", kind: Kind::Decimal },
    Column { sql: "t", kind: Kind::Text },
    Column { sql: "vc", kind: Kind::Text },
    Column { sql: "bc", kind: Kind::Text },
    Column { sql: "nm", kind: Kind::Text },
    Column { sql: "u", kind: Kind::Uuid },
    Column { sql: "by", kind: Kind::Bytea },
    Column { sql: "d", kind: Kind::Moment },
    Column { sql: "ts", kind: Kind::Moment },
    Column { sql: "tz", kind: Kind::Moment },
    Column { sql: "tm", kind: Kind::Time },
    Column { sql: "iv", kind: Kind::Interval },
    Column { sql: "ip", kind: Kind::Network },
    Column { sql: "net", kind: Kind::Network },
    Column { sql: "mood", kind: Kind::Mood },
    Column { sql: "\"Odd \"\"Name\"", kind: Kind::Text },
    Column { sql: "dc", kind: Kind::Integer },
    Column { sql: "dl", kind: Kind::Text },
    Column { sql: "tags", kind: Kind::Texts },
    Column { sql: "nums", kind: Kind::Integers },
    Column { sql: "us", kind: Kind::Uuids },
    Column { sql: "moods", kind: Kind::Moods },
    Column { sql: "vcs", kind: Kind::Texts },
    Column { sql: "j", kind: Kind::Other },
    Column { sql: "p", kind: Kind::Other },
];

/// Few values, so that they meet, and those at the edges.
pub(super) fn sample(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Bool => &["t", "f", "true", "no", "1"],
        Kind::Integer => &["0", "1", "-1", "7", "100", "32767", "-32768", "1000"],
        Kind::Decimal => &[
            "0",
            "1",
            "-1",
            "7",
            "0.1",
            "0.10",
            "1e2",
            "100",
            "-0.5",
            "NaN",
            "Infinity",
            "-Infinity",
            "1.5",
            "16777217",
            "9007199254740993",
            "0.30000000000000004",
            "3.4e38",
            "1e-30",
            "-0",
        ],
        Kind::Text => {
            &["", "a", "A", "ab", "a b", "a ", "ab  ", "b", "é", "É", "%", "a_b", "a\\b", "🦀", "o'k", "t", "7", "null"]
        }
        Kind::Uuid => &[
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{00000000-0000-0000-0000-000000000001}",
            "ffffffffffffffffffffffffffffffff",
        ],
        Kind::Bytea => &["\\x", "\\x00", "\\xdead", "\\xDEADbeef"],
        Kind::Moment => &[
            "2026-11-22",
            "2026-11-22 00:00:00",
            "2026-11-22T03:40:00Z",
            "2026-11-22 03:40:00.5+05:30",
            "1999-12-31",
            "0044-03-15 BC",
            "infinity",
            "-infinity",
            "2024-02-29 23:59:59.999999",
            "2026-11-22 03:40",
        ],
        Kind::Time => &["00:00:00", "03:40", "23:59:59.999999", "24:00:00", "03:40:00.5"],
        Kind::Interval => {
            &["1 day", "24:00:00", "1 mon", "30 days", "-1 days +02:03:04", "00:00:00.5", "1 year 2 mons"]
        }
        Kind::Network => {
            &["10.0.0.1", "10.0.0.0/8", "10.0.0.0/16", "::1", "fe80::/10", "10.0.0.1/32", "::ffff:1.2.3.4"]
        }
        Kind::Mood => &["sad", "ok", "happy"],
        Kind::Texts => {
            &["{}", "{a,b}", "{a,NULL}", "{\"a b\",\"o'k\",\"\\\\\"}", "{{a,b},{é,\"\"}}", "[2:3]={a,7}", "{ab}"]
        }
        Kind::Integers => &["{}", "{1,7}", "{0,NULL}", "{{1,2},{100,-1}}"],
        Kind::Uuids => &["{}", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}", "{ffffffff-ffff-ffff-ffff-ffffffffffff}"],
        Kind::Moods => &["{}", "{sad,ok}", "{happy,NULL}"],
        Kind::Other => &["1"],
    }
}

/// One row's values for the columns after `id`, as SQL.
pub(super) fn row(rng: &mut Rng, id: usize) -> String {
    let mut values = vec![id.to_string()];
    for column in &COLUMNS[1..] {
        let fits = |text: &&str| match column.sql {
            "net" => !text.starts_with("10.0.0.1") || text.ends_with("/32"),
            "i2" | "I4" | "i8" | "dc" => text.parse::<i16>().is_ok(),
            "f4" => !["9007199254740993"].contains(text),
            _ => true,
        };
        let samples: Vec<&str> = match column.sql {
            "j" => vec!["{}"],
            "p" => vec!["(1,2)"],
            _ => sample(column.kind).iter().copied().filter(fits).collect(),
        };
        values.push(match rng.u8(..8) {
            0 => "null".to_owned(),
            _ => quote(samples[rng.usize(..samples.len())]),
        });
    }
    format!("({})", values.join(","))
}

pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The same expression for both.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl Written {
    fn same(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { ours: text.clone(), theirs: text }
    }

    fn format(parts: &[&str], inside: &[&Self]) -> Self {
        let join = |of: fn(&Self) -> &str| {
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                text.push_str(part);
                if let Some(inner) = inside.get(index) {
                    text.push_str(of(inner));
                }
            }
            text
        };
        Self { ours: join(|it| &it.ours), theirs: join(|it| &it.theirs) }
    }
}

/// Claims: their names, what they are as JSON, and as an untyped literal.
pub(super) fn claims() -> Vec<(String, serde_json::Value, String)> {
    let mut claims = Vec::new();
    for kind in [
        Kind::Bool,
        Kind::Integer,
        Kind::Decimal,
        Kind::Text,
        Kind::Uuid,
        Kind::Moment,
        Kind::Mood,
        Kind::Network,
        Kind::Bytea,
        Kind::Time,
        Kind::Interval,
    ] {
        for (index, text) in sample(kind).iter().enumerate() {
            let number = matches!(kind, Kind::Integer).then(|| text.parse::<i64>().unwrap().into());
            let json = number.unwrap_or_else(|| serde_json::Value::from(*text));
            claims.push((format!("{kind:?}_{index}").to_lowercase(), json, quote(text)));
        }
        let list = sample(kind).iter().take(4).map(|text| serde_json::Value::from(*text)).collect::<Vec<_>>();
        let quoted: Vec<String> =
            sample(kind).iter().take(4).map(|text| format!("\"{}\"", text.replace('\\', "\\\\"))).collect();
        let literal = quote(&format!("{{{}}}", quoted.join(",")));
        claims.push((format!("{kind:?}_list").to_lowercase(), list.into(), literal));
    }
    claims.push(("yes".to_owned(), true.into(), "'true'".to_owned()));
    claims.push(("half".to_owned(), 0.5.into(), "'0.5'".to_owned()));
    claims.push(("nothing".to_owned(), serde_json::Value::Null, "null".to_owned()));
    claims.push(("none".to_owned(), serde_json::json!([]), "'{}'".to_owned()));
    claims.push(("holes".to_owned(), serde_json::json!(["a", null]), "'{a,NULL}'".to_owned()));
    claims
}

pub(super) struct Grammar<'r> {
    pub(super) rng: &'r mut Rng,
}

impl Grammar<'_> {
    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.rng.usize(..of.len())]
    }

    fn one_in(&mut self, count: u8) -> bool {
        self.rng.u8(..count) == 0
    }

    pub(super) fn expression(&mut self, depth: u8) -> Written {
        if depth == 0 || self.one_in(3) {
            return self.test();
        }
        match self.rng.u8(..8) {
            0..3 => {
                Written::format(&["(", ") and (", ")"], &[&self.expression(depth - 1), &self.expression(depth - 1)])
            }
            3..5 => Written::format(&["", " or ", ""], &[&self.test(), &self.test()]),
            5 => Written::format(&["not ", ""], &[&self.test()]),
            6 => {
                let is = *self.pick(&[
                    "true",
                    "false",
                    "unknown",
                    "not true",
                    "not false",
                    "not unknown",
                    "null",
                    "not null",
                ]);
                Written::format(&["(", &format!(") is {is}")], &[&self.expression(depth - 1)])
            }
            _ => Written::format(&["not (", ")"], &[&self.expression(depth - 1)]),
        }
    }

    fn test(&mut self) -> Written {
        let column = self.pick(COLUMNS);
        match column.kind {
            Kind::Texts | Kind::Integers | Kind::Uuids | Kind::Moods if !self.one_in(6) => {
                return self.element_of(column);
            }
            _ => {}
        }
        match self.rng.u8(..20) {
            0..7 => self.comparison(column),
            7..9 => self.in_list(column),
            9 => {
                let is = *self.pick(&["is null", "is not null"]);
                Written::same(format!("{} {is}", column.sql))
            }
            10 => self.between(column),
            11 => {
                let not = *self.pick(&["", "not "]);
                let value = self.value(column.kind);
                Written::format(&[&format!("{} is {not}distinct from ", column.sql), ""], &[&value])
            }
            12..15 => self.like(),
            15..17 => self.any_of(column),
            17 => {
                let bool_column =
                    *self.pick(&["b", "b is true", "not b", "b is not false", "b is unknown", "b is null"]);
                Written::same(bool_column)
            }
            18 => self.columns(),
            _ => {
                let constant = *self.pick(&[
                    "true",
                    "false",
                    "null",
                    "'t'",
                    "1 = 1.0",
                    "1 is null",
                    "'a' < 'b' collate \"C\"",
                    "claims.yes",
                ]);
                Written { ours: constant.to_owned(), theirs: constant.replace("claims.yes", "'true'") }
            }
        }
    }

    /// A column, at times in another type.
    fn operand(&mut self, column: &Column) -> String {
        if self.one_in(6) {
            let to = *self.pick(&["text", "varchar", "numeric", "int8", "float8", "timestamptz", "timestamp"]);
            return format!("({}::{to})", column.sql);
        }
        column.sql.to_owned()
    }

    fn operator(&mut self) -> &'static str {
        self.pick::<&str>(&["=", "<>", "!=", "<", "<=", ">", ">=", "=", "="])
    }

    fn comparison(&mut self, column: &Column) -> Written {
        let (mut operand, op) = (self.operand(column), self.operator());
        let kind = if operand.ends_with("text)") || operand.ends_with("varchar)") { Kind::Text } else { column.kind };
        if kind == Kind::Text && self.one_in(2) {
            operand.push_str(" collate \"C\"");
        }
        let value = self.value(kind);
        if self.one_in(4) {
            Written::format(&["", &format!(" {op} {operand}")], &[&value])
        } else {
            Written::format(&[&format!("{operand} {op} "), ""], &[&value])
        }
    }

    fn between(&mut self, column: &Column) -> Written {
        let not = *self.pick(&["", "not "]);
        let collate = if column.kind == Kind::Text { " collate \"C\"" } else { "" };
        let (low, high) = (self.value(column.kind), self.value(column.kind));
        Written::format(&[&format!("{}{collate} {not}between ", column.sql), " and ", ""], &[&low, &high])
    }

    fn in_list(&mut self, column: &Column) -> Written {
        let values: Vec<Written> = (0..self.rng.usize(1..5)).map(|_| self.value(column.kind)).collect();
        let not = *self.pick(&["", "not "]);
        let join = |of: fn(&Written) -> &str| values.iter().map(of).collect::<Vec<_>>().join(", ");
        Written {
            ours: format!("{} {not}in ({})", column.sql, join(|it| &it.ours)),
            theirs: format!("{} {not}in ({})", column.sql, join(|it| &it.theirs)),
        }
    }

    fn any_of(&mut self, column: &Column) -> Written {
        let (op, quantifier) = (self.operator(), *self.pick(&["any", "all", "some"]));
        let collate = if column.kind == Kind::Text && self.one_in(2) { " collate \"C\"" } else { "" };
        let list = match self.rng.u8(..4) {
            0 => {
                let values: Vec<Written> = (0..self.rng.usize(1..4)).map(|_| self.value(column.kind)).collect();
                let join = |of: fn(&Written) -> &str| values.iter().map(of).collect::<Vec<_>>().join(", ");
                Written {
                    ours: format!("array[{}]", join(|it| &it.ours)),
                    theirs: format!("array[{}]", join(|it| &it.theirs)),
                }
            }
            1 => Written::same(*self.pick(&[
                "'{}'",
                "'{1,7}'",
                "'{a,NULL}'",
                "null",
                "'{a, b}'::text[]",
                "'{1,7}'::int[]",
            ])),
            _ => {
                let name = format!("{:?}_list", column.kind).to_lowercase();
                let name = if self.one_in(4) { (*self.pick(&["none", "holes", "nothing"])).to_owned() } else { name };
                let (_, _, literal) = claims().into_iter().find(|(known, _, _)| *known == name).unwrap_or((
                    "nothing".to_owned(),
                    serde_json::Value::Null,
                    "null".to_owned(),
                ));
                Written { ours: format!("claims.{name}"), theirs: literal }
            }
        };
        Written::format(&[&format!("{}{collate} {op} {quantifier} (", column.sql), ")"], &[&list])
    }

    fn element_of(&mut self, column: &Column) -> Written {
        let kind = match column.kind {
            Kind::Integers => Kind::Integer,
            Kind::Uuids => Kind::Uuid,
            Kind::Moods => Kind::Mood,
            _ => Kind::Text,
        };
        let value = match self.rng.u8(..5) {
            0 => Written::same(self.column_of(kind)),
            _ => self.value(kind),
        };
        let (op, quantifier) = (*self.pick(&["=", "<>", "=", ">"]), *self.pick(&["any", "all"]));
        Written::format(&["", &format!(" {op} {quantifier} ({})", column.sql)], &[&value])
    }

    fn column_of(&mut self, kind: Kind) -> String {
        let columns: Vec<&Column> = COLUMNS.iter().filter(|column| column.kind == kind).collect();
        self.pick(&columns).sql.to_owned()
    }

    /// Two columns, often of kinds that go together.
    fn columns(&mut self) -> Written {
        let left = self.pick(COLUMNS);
        let numbers = [Kind::Integer, Kind::Decimal];
        let kind = match numbers.contains(&left.kind) {
            true => *self.pick(&numbers),
            false if self.one_in(5) => self.pick(COLUMNS).kind,
            false => left.kind,
        };
        let (right, op) = (self.column_of(kind), self.operator());
        let collate = if left.kind == Kind::Text { " collate \"C\"" } else { "" };
        match self.rng.u8(..3) {
            0 => Written::same(format!("{} is distinct from {right}", left.sql)),
            1 => Written::same(format!("{} in ({right}, {})", left.sql, self.column_of(left.kind))),
            _ => Written::same(format!("{}{collate} {op} {right}", left.sql)),
        }
    }

    fn like(&mut self) -> Written {
        const PATTERNS: &[&str] = &[
            "%", "a%", "%b", "_", "__", "a_b", "%a%", "a\\_b", "\\%", "", "A%", "é", "É%", "%é%", "a!_b", "ab  ",
            "ab%", "%\\\\%",
        ];
        let operand = match self.rng.u8(..5) {
            0 => format!("({}::text)", self.pick(COLUMNS).sql),
            _ => self.column_of(Kind::Text),
        };
        let (not, like) = (*self.pick(&["", "not "]), *self.pick(&["like", "like", "ilike"]));
        let collate = if like == "ilike" || self.one_in(4) { " collate \"C\"" } else { "" };
        let escape = *self.pick(&["", "", "", " escape '!'", " escape ''"]);
        let pattern: &str = self.pick::<&str>(PATTERNS);
        let pattern = quote(pattern);
        Written::same(format!("{operand}{collate} {not}{like} {pattern}{escape}"))
    }

    /// A filter, percent-encoded, and what it means as SQL.
    pub(super) fn filter(&mut self) -> Written {
        let conditions: Vec<Written> = (0..self.rng.usize(1..4)).map(|_| self.condition()).collect();
        let join = |of: fn(&Written) -> &str, by| conditions.iter().map(of).collect::<Vec<_>>().join(by);
        Written { ours: join(|it| &it.ours, "&"), theirs: join(|it| &it.theirs, " and ") }
    }

    fn condition(&mut self) -> Written {
        let column = self.pick(COLUMNS);
        let name = column.sql.trim_matches('"').replace("\"\"", "\"");
        let name = if column.sql.starts_with('"') { name } else { name.to_lowercase() };
        let (not, sql_not) = *self.pick(&[("", ""), ("", ""), ("not.", "not ")]);
        let mut text = || {
            let kind = if self.one_in(25) { self.pick(COLUMNS).kind } else { column.kind };
            *self.pick(sample(kind))
        };
        let (one, other) = (text(), text());
        let is_text = column.kind == Kind::Text;
        let (asked, sql) = match self.rng.u8(..14) {
            0..8 => {
                let operators =
                    [("eq", "="), ("eq", "="), ("neq", "<>"), ("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")];
                let (name, op) = *self.pick(&operators);
                let collate = if is_text && !["=", "<>"].contains(&op) { " collate \"C\"" } else { "" };
                (format!("{name}.{one}"), format!("{}{collate} {op} {}", column.sql, quote(one)))
            }
            8..10 => {
                let escaped = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
                let (ours, theirs) = (escaped(other), quote(other));
                (format!("in.({},{ours})", escaped(one)), format!("{} in ({}, {theirs})", column.sql, quote(one)))
            }
            10 => ("is.null".to_owned(), format!("{} is null", column.sql)),
            11 => {
                let truth = *self.pick(&["true", "false", "unknown"]);
                (format!("is.{truth}"), format!("{} is {truth}", column.sql))
            }
            _ => {
                let (like, collate) = *self.pick(&[("like", ""), ("ilike", " collate \"C\"")]);
                let (pattern, sql) =
                    *self.pick(&[("a*", "a%"), ("*b", "%b"), ("A_", "A_"), ("*\\_*", "%\\_%"), ("é", "é"), ("%", "%")]);
                (format!("{like}.{pattern}"), format!("{}{collate} {like} {}", column.sql, quote(sql)))
            }
        };
        let ours = format!("{}={}", encoded(&name), encoded(&format!("{not}{asked}")));
        Written { ours, theirs: format!("{sql_not}({sql})") }
    }

    /// A literal or claim, mostly of the kind.
    fn value(&mut self, kind: Kind) -> Written {
        let of_kind = if self.one_in(25) { self.pick(COLUMNS).kind } else { kind };
        let samples = sample(of_kind);
        let index = self.rng.usize(..samples.len());
        let text = samples[index];
        match self.rng.u8(..10) {
            0 => Written::same("null"),
            1 => Written { ours: "claims.nothing".to_owned(), theirs: "null".to_owned() },
            2..4 if !matches!(of_kind, Kind::Texts | Kind::Integers | Kind::Uuids | Kind::Moods | Kind::Other) => {
                let name = format!("{of_kind:?}_{index}").to_lowercase();
                Written { ours: format!("claims.{name}"), theirs: quote(text) }
            }
            4..6 if matches!(of_kind, Kind::Integer | Kind::Decimal) => Written::same(self.number(text)),
            6 => self.cast(of_kind, text),
            7 if of_kind == Kind::Bool => Written::same(*self.pick(&["true", "false"])),
            _ => Written::same(quote(text)),
        }
    }

    /// Without quotes, where it can be written so.
    fn number(&mut self, text: &str) -> String {
        const MORE: &[&str] = &[
            "2147483648",
            "-2147483648",
            "9223372036854775808",
            "1.0",
            ".5",
            "5.",
            "1e-3",
            "7.0000000000000000000001",
        ];
        let text = if self.one_in(4) { self.pick(MORE) } else { text };
        if text.bytes().all(|byte| byte.is_ascii_digit() || b".e-".contains(&byte)) {
            text.to_owned()
        } else {
            quote(text)
        }
    }

    fn cast(&mut self, kind: Kind, text: &str) -> Written {
        let types: &[&str] = match kind {
            Kind::Bool => &["bool", "boolean", "text"],
            Kind::Integer => &["int", "bigint", "smallint", "numeric", "float8", "text", "real"],
            Kind::Decimal => &["numeric", "float8", "real", "double precision"],
            Kind::Text => &["text", "varchar", "bpchar", "name"],
            Kind::Uuid => &["uuid", "text"],
            Kind::Bytea => &["bytea"],
            Kind::Moment => &["date", "timestamp", "timestamptz", "timestamp with time zone"],
            Kind::Time => &["time"],
            Kind::Interval => &["interval"],
            Kind::Network => &["inet", "inet", "cidr"],
            _ => &["text"],
        };
        let to = *self.pick(types);
        let literal = quote(text);
        Written::same(match self.rng.u8(..3) {
            0 => format!("cast({literal} as {to})"),
            1 if !["bpchar", "inet", "cidr", "name", "timestamptz"].contains(&to) => format!("{to} {literal}"),
            _ => format!("{literal}::{to}"),
        })
    }
}

/// Everything but letters and digits, blanks as `+`.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        _ if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
