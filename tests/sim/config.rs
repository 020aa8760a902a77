//! Configurations: which routes there are, what they show of a row, and to whom.

use std::sync::Arc;

use fastrand::Rng;
use serde_json::{Value as Json, json};
use walcast::routing::{self, Expression, Int8Format, Ops, RouteSpec, RouteTable, TablePattern, Template};

use crate::table::{FEED, Identity, MINE, Table};

/// Who somebody is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) owner: u8,
    pub(crate) staff: bool,
}

impl Claims {
    pub(crate) fn random(random: &mut Rng) -> Self {
        Self { owner: random.u8(1..4), staff: random.bool() }
    }

    pub(crate) fn json(self) -> Json {
        json!({"owner": self.owner, "role": if self.staff { "staff" } else { "guest" }})
    }

    pub(crate) fn verified(self) -> routing::Claims {
        let Json::Object(claims) = self.json() else { unreachable!("an object") };
        routing::Claims::new(claims)
    }

    pub(crate) fn of(claims: &routing::Claims) -> Self {
        let owner = claims.get(["owner"]).and_then(Json::as_u64).unwrap_or(0);
        let staff = claims.get(["role"]).is_some_and(|role| role == "staff");
        Self { owner: u8::try_from(owner).unwrap(), staff }
    }
}

/// What differs from one configuration to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Config {
    /// `tags` feed the topic of everything.
    feed_tags: bool,
    /// Only orders with low numbers have topics of their own.
    low_only: bool,
    /// Of these the topics show only some columns.
    narrow: bool,
    /// Only their owners and the staff may join them.
    guarded: bool,
    mine: Mine,
}

/// Which orders are whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mine {
    /// There is no such topic.
    Absent,
    Owned,
    /// And the first ones, by the same route.
    OwnedOrFirst,
    /// The same by two routes, of which one has a rule without claims.
    TwoRoutes,
}

const MINES: [Mine; 4] = [Mine::Absent, Mine::Owned, Mine::OwnedOrFirst, Mine::TwoRoutes];
const LOW: i64 = 4;
const FIRST: i64 = 2;
const NARROW: &[&str] = &["id", "body"];

/// What is known of a column: its text or null, or nothing.
pub(crate) type Known<'a> = Option<Option<&'a str>>;

impl Config {
    pub(crate) fn random(random: &mut Rng) -> Self {
        Self {
            feed_tags: random.u8(0..4) > 0,
            low_only: random.bool(),
            narrow: random.bool(),
            guarded: random.bool(),
            mine: MINES[random.usize(..MINES.len())],
        }
    }

    /// With one thing changed, or nothing.
    pub(crate) fn edited(self, random: &mut Rng) -> Self {
        match random.u8(0..6) {
            0 => Self { feed_tags: !self.feed_tags, ..self },
            1 => Self { low_only: !self.low_only, ..self },
            2 => Self { narrow: !self.narrow, ..self },
            3 => Self { guarded: !self.guarded, ..self },
            4 => Self { mine: MINES[random.usize(..MINES.len())], ..self },
            _ => self,
        }
    }

    pub(crate) fn routes(self) -> Arc<RouteTable> {
        let expression = |sql: &str| Expression::parse(sql).unwrap();
        let route = |table: &str, topic: &str| RouteSpec {
            table: TablePattern::parse(&format!("public.{table}")).unwrap(),
            topic: Template::parse(topic).unwrap(),
            columns: None,
            ops: Ops::ALL,
            event: "new_updates".into(),
            int8: Int8Format::Number,
            filter: None,
            allow: None,
        };
        let mine = |rule: &str| RouteSpec { filter: Some(expression(rule)), ..route("orders", MINE) };
        let mut routes = vec![route("articles", FEED), route("orders", FEED)];
        if self.feed_tags {
            routes.push(RouteSpec { event: "tags_changed".into(), ..route("tags", FEED) });
        }
        routes.push(RouteSpec {
            columns: self.narrow.then(|| NARROW.iter().map(|&name| name.to_owned()).collect()),
            filter: self.low_only.then(|| expression("id < 4")),
            allow: self.guarded.then(|| expression("claims.owner = owner or claims.role = 'staff'")),
            ..route("orders", "orders:{owner}")
        });
        routes.push(route("tags", "tags:{name}"));
        match self.mine {
            Mine::Absent => {}
            Mine::Owned => routes.push(mine("owner = claims.owner")),
            Mine::OwnedOrFirst => routes.push(mine("owner = claims.owner or id < 2")),
            Mine::TwoRoutes => routes.extend([mine("owner = claims.owner"), mine("id < 2")]),
        }
        Arc::new(RouteTable::new(routes).unwrap())
    }

    /// Whether a topic's rows are the same with another configuration.
    pub(crate) fn is_same_for(self, topic: &str, other: Self) -> bool {
        match topic.split(':').next() {
            Some("orders") => (self.low_only, self.narrow) == (other.low_only, other.narrow),
            Some("tags") => true,
            Some(MINE) => self.mine == other.mine,
            _ => self.feed_tags == other.feed_tags,
        }
    }

    pub(crate) fn has(self, topic: &str) -> bool {
        topic != MINE || self.mine != Mine::Absent
    }

    pub(crate) fn admits(self, topic: &str, claims: Claims) -> bool {
        let owner = topic.strip_prefix("orders:").filter(|_| self.guarded);
        owner.is_none_or(|owner| claims.staff || owner == claims.owner.to_string())
    }

    /// Whether some row of the table is in the topic.
    pub(crate) fn feeds(self, table: &str, topic: &str) -> bool {
        match topic.split(':').next() {
            Some(MINE) => self.mine != Mine::Absent && table == "orders",
            Some(prefix @ ("orders" | "tags")) => table == prefix,
            _ => table != "tags" || self.feed_tags,
        }
    }

    /// Whether the topic's routes can't take the table's changes as it is described.
    pub(crate) fn is_hole(topic: &str, table: &Table) -> bool {
        table.name == "orders" && topic != FEED && table.identity != Identity::Full
    }

    pub(crate) fn columns(self, topic: &str) -> Option<&'static [&'static str]> {
        (self.narrow && topic.starts_with("orders:")).then_some(NARROW)
    }

    /// Whether a row that is known like this is in the topic for somebody; the table feeds it.
    pub(crate) fn shows<'a>(self, topic: &str, claims: Claims, column: impl Fn(&str) -> Known<'a>) -> bool {
        let number = |name| column(name).expect("of the identity").and_then(|text| text.parse::<i64>().ok());
        let mut parts = topic.split(':');
        match (parts.next(), parts.next()) {
            (Some("orders"), owner) => {
                column("owner") == Some(owner) && (!self.low_only || number("id").is_some_and(|id| id < LOW))
            }
            (Some("tags"), name) => column("name") == Some(name),
            (Some(MINE), _) => {
                let first = self.mine != Mine::Owned && number("id").is_some_and(|id| id < FIRST);
                first || number("owner") == Some(i64::from(claims.owner))
            }
            _ => true,
        }
    }

    /// Whether a record that was sent is one that somebody may see, as far as it says so itself.
    pub(crate) fn may_see(self, topic: &str, claims: Claims, record: &Json) -> bool {
        if record["id"].is_null() || topic == MINE && record.get("owner").is_none() {
            return true;
        }
        let texts = [("id", record["id"].to_string()), ("owner", record["owner"].to_string())];
        let owner = topic.strip_prefix("orders:").filter(|_| record.get("owner").is_none());
        self.shows(topic, claims, |name| {
            let text = texts.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str());
            let text = if name == "owner" { owner.or(text) } else { text };
            Some(text.filter(|text| *text != "null"))
        })
    }
}
