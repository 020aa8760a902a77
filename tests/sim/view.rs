//! What a client asks to see of its topic.

use fastrand::Rng;
use serde_json::{Value as Json, json};
use walcast::hub;
use walcast::routing::{Filter, Op, Ops};

use crate::config::Known;

/// A column set always has the key: without it nobody could keep rows.
const COLUMN_SETS: [(&str, &[&str]); 4] =
    [("feed", &["id", "name", "owner"]), ("orders", &["id", "body"]), ("tags", &["name"]), ("mine", &["id", "owner"])];
const OP_SETS: [&[&str]; 3] = [&["insert", "update"], &["delete", "truncate"], &["insert", "update", "delete"]];
const ORDERS: [Wanted; 2] = [Wanted::LowIds, Wanted::Bodies];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) columns: Option<&'static [&'static str]>,
    pub(crate) ops: Option<&'static [&'static str]>,
    filter: Option<Wanted>,
}

/// Filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    LowIds,
    Bodies,
    /// Of a column that the replica identity lacks.
    Positive,
}

impl View {
    pub(crate) fn random(topic: &str, random: &mut Rng) -> Self {
        let (prefix, columns) = COLUMN_SETS.into_iter().find(|(prefix, _)| topic.starts_with(prefix)).unwrap();
        let wanted = match prefix {
            "feed" => None,
            "tags" => Some(Wanted::Positive),
            _ => Some(ORDERS[random.usize(..2)]),
        };
        Self {
            columns: (random.u8(0..4) == 0).then_some(columns),
            ops: (random.u8(0..4) == 0).then(|| OP_SETS[random.usize(..OP_SETS.len())]),
            filter: wanted.filter(|_| random.u8(0..3) == 0),
        }
    }

    /// Join params.
    pub(crate) fn ask(self, params: &mut Json) {
        if let Some(columns) = self.columns {
            params["columns"] = columns.into();
        }
        if let Some(ops) = self.ops {
            params["ops"] = ops.into();
        }
        if let Some(filter) = self.filter {
            params["filter"] = json!(filter.text());
        }
    }

    /// The same as the hub has it.
    pub(crate) fn of_hub(self) -> hub::View {
        hub::View {
            columns: self.columns.map(|columns| columns.iter().map(|&name| name.to_owned()).collect()),
            ops: self.ops.map_or(Ops::ALL, |ops| ops.iter().map(|op| op.parse::<Op>().unwrap()).collect()),
            filter: self.filter.map(|filter| Filter::parse(filter.text()).unwrap()),
        }
    }

    pub(crate) fn shows_op(self, op: &str) -> bool {
        self.ops.is_none_or(|ops| ops.contains(&op))
    }

    pub(crate) const fn has_filter(self) -> bool {
        self.filter.is_some()
    }

    /// Whether a row that is known like this is asked for; nothing where that depends on what is not known.
    pub(crate) fn wants<'a>(self, column: impl Fn(&str) -> Known<'a>) -> Option<bool> {
        let number = |name| column(name).map(|text| text.and_then(|text| text.parse::<i64>().ok()));
        match self.filter {
            None => Some(true),
            Some(Wanted::LowIds) => number("id").map(|id| id.is_some_and(|id| id < 4)),
            Some(Wanted::Bodies) => column("body").map(|body| body.is_some()),
            Some(Wanted::Positive) => number("n").map(|n| n.is_some_and(|n| n > 0)),
        }
    }
}

impl Wanted {
    const fn text(self) -> &'static str {
        match self {
            Self::LowIds => "id=lt.4",
            Self::Bodies => "body=not.is.null",
            Self::Positive => "n=gt.0",
        }
    }
}
