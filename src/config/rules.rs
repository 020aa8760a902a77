//! `where` and `allow`: from SQL text to [`Expression`]s, and the mistakes that can be seen without a database.

use std::ops::Range;

use super::code::Code;
use super::diagnostic::{Finding, Span, closest, quoted_list};
use super::document::Reader;
use super::expand::Text;
use super::{Auth, Channel, Route};
use crate::routing::{ChannelSpec, Expression, ExpressionError, ExpressionErrorKind, Template};

/// An SQL text of the file, with a way back from its characters to the file's.
#[derive(Debug, Clone)]
pub struct SqlText {
    text: Text,
}

impl SqlText {
    /// The characters in the file that a part of the SQL comes from.
    #[must_use]
    pub fn span_of(&self, part: Range<usize>) -> Span {
        self.text.span_of(part)
    }

    /// The whole value, its quotes included.
    #[must_use]
    pub fn span(&self) -> Span {
        self.text.span.clone()
    }

    /// A finding about a part of it.
    #[must_use]
    pub(super) fn finding(&self, code: Code, message: String, error: &ExpressionError) -> Finding {
        let label = error.to_string();
        Finding::error(code, message).label(self.span_of(error.span.clone()), label).maybe_help(error.help())
    }
}

/// The expression, where it is one. `key` is as findings call it, as in `route.where`.
pub(super) fn expression(reader: &mut Reader<'_>, key: &str, text: Text) -> Option<(Expression, SqlText)> {
    let parsed = Expression::parse(&text.value);
    let sql = SqlText { text };
    match parsed {
        Ok(expression) => Some((expression, sql)),
        Err(error) => {
            refuse(reader, key, &sql, &error);
            None
        }
    }
}

fn refuse(reader: &mut Reader<'_>, key: &str, sql: &SqlText, error: &ExpressionError) {
    let message = format!("`{key}` is not an expression that can be followed");
    reader.findings.push(sql.finding(Code::BadExpression, message, error));
}

/// The types of a pattern's variables are known without a database.
pub(super) fn check_channel(reader: &mut Reader<'_>, channel: &ChannelSpec, sql: &SqlText) {
    let known: Vec<&str> = channel.topic.variables().collect();
    let allow = channel.allow.as_ref();
    for (name, place) in allow.into_iter().flat_map(Expression::places).filter(|(name, _)| !known.contains(name)) {
        let guess = closest(name, known.iter().copied()).map(|guess| format!("did you mean `{guess}`?"));
        let help = if known.is_empty() {
            format!("ask for claims, as in `claims.role = 'admin'`, or name a part of the topic: `{{{name}}}`")
        } else {
            format!("the pattern's variables: {}", quoted_list(known.iter().copied()))
        };
        reader.findings.push(
            Finding::error(Code::UnknownVariable, format!("the topic doesn't say what `{name}` is"))
                .label(sql.span_of(place), "known are the claims and the pattern's variables")
                .maybe_help(guess)
                .help(help),
        );
    }
    let problems = channel.problems();
    for error in problems.iter().filter(|error| !matches!(error.kind, ExpressionErrorKind::UnknownColumn { .. })) {
        refuse(reader, "channel.allow", sql, error);
    }
}

/// Whoever joins has named a topic and no row: `allow` can only be about what the topic says.
pub(super) fn check_variables(reader: &mut Reader<'_>, allow: &Expression, sql: &SqlText, topic: &Template) {
    let known = || topic.columns();
    for (name, place) in allow.places().into_iter().filter(|(name, _)| known().all(|column| column != *name)) {
        let finding = Finding::error(Code::UnknownVariable, format!("the topic doesn't say what `{name}` is"))
            .label(sql.span_of(place), "known are the claims and the topic's columns");
        let guess = closest(name, known()).map(|guess| format!("did you mean `{guess}`?"));
        let help = if known().next().is_none() {
            format!("ask for claims, as in `claims.role = 'admin'`, or put the column into the topic: `{{{name}}}`")
        } else {
            format!("the topic's columns: {}; rows are kept back by `where`", quoted_list(known()))
        };
        reader.findings.push(finding.maybe_help(guess).help(help));
    }
}

/// Where nobody has to say who they are, a rule about claims is true of nobody.
pub(super) fn judge_claims(reader: &mut Reader<'_>, routes: &[Route], channels: &[Channel], auth: &Auth) {
    if !matches!(auth, Auth::None) {
        return;
    }
    let of_routes = routes
        .iter()
        .flat_map(|route| [(&route.spec.filter, &route.spans.filter), (&route.spec.allow, &route.spans.allow)]);
    let of_channels = channels.iter().map(|channel| (&channel.spec.allow, &channel.spans.allow));
    for (rule, sql) in of_routes.chain(of_channels) {
        if let (Some(_), Some(sql)) = (rule.as_ref().filter(|rule| rule.has_claims()), sql) {
            reader.findings.push(
                Finding::warning(Code::ClaimsUnknown, "nobody has claims: every one of them is null")
                    .label(sql.span(), "asks for claims")
                    .note("under `auth.mode = \"none\"` nobody says who they are")
                    .help("write `mode = \"jwt\"` in `[auth]`, or ask for nothing but columns"),
            );
        }
    }
}
