//! The answer, from what is known: pure.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::change::{Datum, Relation, Type};
use crate::config::{Channel, Config, Route};
use crate::routing::{Claims, Explanation, Expression, Filter, Op, Predicate, Scope, Values, Verdict};

/// What is asked.
pub(super) struct Question<'q> {
    pub(super) config: &'q Config,
    pub(super) topic: &'q str,
    pub(super) claims: &'q Claims,
    pub(super) op: Option<Op>,
    pub(super) filter: Option<&'q Filter>,
}

/// A row's values, in the order of its relation's columns.
pub(super) struct Row {
    pub(super) printed: Vec<Option<String>>,
    /// `value::text`, of which topics are made.
    pub(super) text: Vec<Option<String>>,
}

impl Values for Row {
    fn value(&self, index: usize) -> Option<Datum<'_>> {
        Some(self.printed.get(index)?.as_ref().map_or(Datum::Null, |text| Datum::Text(text.as_bytes())))
    }
}

/// The row, before it if it was another, and their table.
pub(super) type Rows<'r> = (&'r Arc<Relation>, &'r Row, Option<&'r Row>);

/// Whether a route has a row in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Yes,
    No,
    /// The rule fails, for Postgres too.
    Failed,
}

impl<'q> Question<'q> {
    /// The routes that could feed the topic, with their numbers in the file.
    fn routes(&self) -> impl Iterator<Item = (usize, &'q Route)> {
        let feeds = |route: &Route| match route.spec.topic.as_static() {
            Some(topic) => topic == self.topic,
            None => route.spec.topic.captures(self.topic).is_some(),
        };
        self.config.routes.iter().enumerate().filter(move |(_, route)| feeds(route)).map(|(at, route)| (at + 1, route))
    }

    /// Whether some row can be in the topic by the route. Of tables that are not published nothing is known.
    fn is_fed_by(&self, route: &Route, relations: &[Arc<Relation>]) -> bool {
        let mut tables = relations.iter().filter(|it| route.spec.table.matches(&it.schema, &it.name)).peekable();
        let template = &route.spec.topic;
        template.as_static().is_some()
            || tables.peek().is_none()
            || tables.any(|relation| template.names_rows_of(relation, self.topic))
    }

    /// The topic's channel, with its number in the file.
    fn channel(&self) -> Option<(usize, &'q Channel)> {
        let mut channels = self.config.channels.iter().enumerate();
        channels.find(|(_, channel)| channel.spec.topic.matches(self.topic)).map(|(at, channel)| (at + 1, channel))
    }

    /// The one table that the topic's rows are of, or the one that is named.
    ///
    /// # Errors
    /// There is none, or a choice.
    pub(super) fn table<'r>(
        &self,
        relations: &'r [Arc<Relation>],
        name: Option<&str>,
    ) -> Result<&'r Arc<Relation>, String> {
        let taken = |relation: &&Arc<Relation>| {
            self.routes().any(|(_, route)| route.spec.table.matches(&relation.schema, &relation.name))
        };
        let tables: Vec<&Arc<Relation>> = match name {
            Some(name) => relations.iter().filter(|relation| relation.to_string() == name).collect(),
            None => relations.iter().filter(taken).collect(),
        };
        match &tables[..] {
            [table] => Ok(table),
            [] => Err(match name {
                Some(name) => format!("the publication has no table `{name}`"),
                None => format!("no published table is routed to `{}`", self.topic),
            }),
            _ => {
                let names: Vec<String> = tables.iter().map(|table| format!("--table {table}")).collect();
                Err(format!("whose row is it? Say one of {}", names.join(", ")))
            }
        }
    }

    pub(super) fn answer(&self, relations: &[Arc<Relation>], rows: Option<Rows<'_>>) -> String {
        let mut report = Report { question: self, text: format!("topic {}\n", self.topic) };
        let routes: Vec<(usize, &Route)> = self.routes().collect();
        let channel = self.channel();
        let (mut feeds, mut may_join, mut before, mut after) = (false, true, Seen::No, Seen::No);
        for (number, route) in &routes {
            let _infallible =
                write!(report.text, "\nroute {number}: {} to {}\n", route.spec.table.as_str(), topic_source(route));
            if !self.is_fed_by(route, relations) {
                report.line(1, "has no such topic: a value in it is not spelled as Postgres prints it");
                continue;
            }
            feeds = true;
            may_join &= report.join(route, relations);
            let Some((relation, new, old)) = rows else { continue };
            if !route.spec.table.matches(&relation.schema, &relation.name) {
                report.line(1, &format!("does not take {relation}"));
                continue;
            }
            if let Some(op) = self.op.filter(|op| !route.spec.ops.contains(*op)) {
                report.line(1, &format!("does not take {}s", op.as_str()));
                continue;
            }
            if let Some(old) = old {
                before = merged(before, report.row("old row", route, relation, old));
            }
            after = merged(after, report.row(if old.is_some() { "new row" } else { "row" }, route, relation, new));
        }
        if let Some((number, channel)) = channel {
            let _infallible = write!(report.text, "\nchannel {number}: {}\n", channel.spec.topic);
            may_join &= report.enter(channel);
        }
        let nothing = !feeds && channel.is_none();
        report.conclude(nothing, may_join, rows.map(|(_, _, old)| (old.map(|_| before), after)));
        report.text.trim_end().to_owned()
    }
}

struct Report<'r> {
    question: &'r Question<'r>,
    text: String,
}

impl Report<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        let _infallible = writeln!(self.text, "{}{text}", "  ".repeat(depth));
    }

    fn explanation(&mut self, depth: usize, explanation: &Explanation) {
        self.line(depth, &format!("{} → {}", explanation.text, explanation.verdict));
        for part in &explanation.parts {
            self.explanation(depth + 1, part);
        }
    }

    /// Whether the route lets the identity join.
    fn join(&mut self, route: &Route, relations: &[Arc<Relation>]) -> bool {
        let Some(allow) = &route.spec.allow else {
            self.line(1, "allow: everyone");
            return true;
        };
        let captured = route.spec.topic.captures(self.question.topic).unwrap_or_default();
        let relation = relations.iter().find(|it| route.spec.table.matches(&it.schema, &it.name));
        let typed = |name| Some((name, &relation?.columns.get(relation?.column(name)?)?.ty));
        let Some(variables) = route.spec.topic.columns().map(typed).collect::<Option<Vec<(&str, &Arc<Type>)>>>() else {
            self.line(1, "allow: unknown, for no published table has the topic's columns");
            return false;
        };
        let values: Vec<Option<&str>> = captured.into_iter().map(Some).collect();
        self.judge("allow", allow, &Scope::of_variables(&variables), &*values) == Seen::Yes
    }

    /// Whether the channel lets the identity join.
    fn enter(&mut self, channel: &Channel) -> bool {
        let Some(allow) = &channel.spec.allow else {
            self.line(1, "allow: everyone");
            return true;
        };
        let captured = channel.spec.topic.captures(self.question.topic).unwrap_or_default();
        let values: Vec<Option<&str>> = captured.into_iter().map(|(_, value)| Some(value)).collect();
        self.judge("allow", allow, &channel.spec.scope(), &*values) == Seen::Yes
    }

    /// Whether the route has the row in the topic, for this identity.
    fn row(&mut self, what: &str, route: &Route, relation: &Relation, row: &Row) -> Seen {
        self.line(1, what);
        let value = |name| row.text.get(relation.column(name)?)?.as_deref();
        let topic = match route.spec.topic.as_static() {
            Some(topic) => Some(topic.to_owned()),
            None => {
                let values: Option<Vec<&str>> = route.spec.topic.columns().map(value).collect();
                values.and_then(|values| route.spec.topic.render(&values)).map(|topic| topic.to_string())
            }
        };
        let belongs = topic.as_deref() == Some(self.question.topic);
        let place = topic.map_or_else(|| "no topic, for a column is null".to_owned(), |topic| format!("topic {topic}"));
        self.line(2, &format!("belongs to {place}"));
        if !belongs {
            return Seen::No;
        }
        let scope = Scope::of_relation(relation);
        let seen = match &route.spec.filter {
            None => {
                self.line(2, "where: every row");
                Seen::Yes
            }
            Some(filter) => self.judge_at(2, "where", filter, &scope, row),
        };
        let shown = |name: &str| route.spec.columns.as_ref().is_none_or(|columns| columns.iter().any(|it| it == name));
        match self.question.filter.map(|filter| filter.compile(&scope.only(shown))) {
            None => seen,
            Some(Ok(predicate)) => least(seen, self.explained(2, "filter", &predicate, row)),
            Some(Err(error)) => {
                self.line(2, &format!("filter: refused, {error}"));
                Seen::Failed
            }
        }
    }

    fn judge<V: Values + ?Sized>(&mut self, key: &str, rule: &Expression, scope: &Scope<'_>, values: &V) -> Seen {
        self.judge_at(1, key, rule, scope, values)
    }

    fn judge_at<V: Values + ?Sized>(
        &mut self,
        depth: usize,
        key: &str,
        rule: &Expression,
        scope: &Scope<'_>,
        values: &V,
    ) -> Seen {
        match rule.close(self.question.claims).compile(scope) {
            Ok(predicate) => self.explained(depth, &format!("{key}: {rule}"), &predicate, values),
            Err(error) => {
                self.line(depth, &format!("{key}: {rule}"));
                self.line(depth + 1, &format!("fails: {error}"));
                Seen::Failed
            }
        }
    }

    fn explained<V: Values + ?Sized>(&mut self, depth: usize, title: &str, rule: &Predicate, values: &V) -> Seen {
        self.line(depth, title);
        let explanation = rule.explain(values);
        self.explanation(depth + 1, &explanation);
        match explanation.verdict {
            Verdict::True => Seen::Yes,
            Verdict::False | Verdict::Null => Seen::No,
            Verdict::Unsent | Verdict::Failed(_) => Seen::Failed,
        }
    }

    fn conclude(&mut self, nothing: bool, may_join: bool, rows: Option<(Option<Seen>, Seen)>) {
        self.text.push('\n');
        if nothing {
            let text = "no route feeds this topic, and no channel has it: a join is answered with \"unmatched topic\"";
            return self.line(0, text);
        }
        if !may_join {
            return self.line(0, "may not join: every route of a topic has to allow it, and its channel");
        }
        let row = match rows {
            None => "may join",
            Some((None | Some(Seen::Yes), Seen::Yes)) => "may join, and sees the row",
            Some((Some(Seen::No), Seen::Yes)) => "may join, and sees the row enter, as an insert",
            Some((Some(Seen::Yes), Seen::No)) => "may join, and sees the row leave, as a delete",
            Some((_, Seen::Failed) | (Some(Seen::Failed), _)) => {
                "the rule can't be followed, and the subscription ends"
            }
            Some((_, Seen::No)) => "may join, and does not see the row",
        };
        self.line(0, row);
    }
}

fn topic_source(route: &Route) -> String {
    let mut text = String::new();
    for piece in route.spec.topic.pieces() {
        match piece {
            crate::routing::Piece::Literal(literal) => text.push_str(literal),
            crate::routing::Piece::Column(name) => {
                let _infallible = write!(text, "{{{name}}}");
            }
        }
    }
    text
}

/// Of two routes: a row is there if one of them brings it.
const fn merged(one: Seen, other: Seen) -> Seen {
    match (one, other) {
        (Seen::Failed, _) | (_, Seen::Failed) => Seen::Failed,
        (Seen::Yes, _) | (_, Seen::Yes) => Seen::Yes,
        _ => Seen::No,
    }
}

/// Of two conditions: a row has to meet both.
const fn least(one: Seen, other: Seen) -> Seen {
    match (one, other) {
        (Seen::Failed, _) | (_, Seen::Failed) => Seen::Failed,
        (Seen::Yes, Seen::Yes) => Seen::Yes,
        _ => Seen::No,
    }
}
