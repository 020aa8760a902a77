//! Topic templates: `orders:{customer_id}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::change::{Relation, Type};

use super::canonical::is_canonical;
use super::topic::{MAX_TOPIC_LENGTH, Topic};

/// The most `{column}`s in one template: bounds the work of splitting a joined topic; nobody is known to need four.
pub const MAX_COLUMNS: usize = 8;

/// Literal text and `{column}`s, parsed. There is always text between two columns.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    source: Box<str>,
    pieces: Box<[Piece]>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Literal(Box<str>),
    /// The column's name, exactly as the catalogue spells it.
    Column(Box<str>),
}

/// Text that is no template; `offset` is where, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct TemplateError {
    pub offset: usize,
    pub kind: TemplateErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateErrorKind {
    #[error("a topic can't be empty")]
    Empty,
    #[error("this brace is not closed: a column is written `{{column}}`")]
    UnclosedBrace,
    #[error("this brace was not opened: a column is written `{{column}}`")]
    UnopenedBrace,
    #[error("the braces hold no column's name")]
    EmptyName,
    #[error("two columns need text between them, or the topic can't be parsed back")]
    AdjacentColumns,
    #[error("this column stands in the topic already")]
    RepeatedColumn,
    #[error("a topic can have at most {MAX_COLUMNS} columns")]
    TooManyColumns,
    #[error("the text alone is longer than a topic can be ({MAX_TOPIC_LENGTH} bytes)")]
    TooLong,
}

impl Template {
    /// # Errors
    /// The first fault, from the left.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        Parser { source, at: 0, pieces: Vec::new() }.run()
    }

    /// The topic, where the template has no columns.
    #[must_use]
    pub fn as_static(&self) -> Option<&str> {
        match &*self.pieces {
            [Piece::Literal(topic)] => Some(topic),
            _ => None,
        }
    }

    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The columns' names, from the left.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column(name) => Some(&**name),
            Piece::Literal(_) => None,
        })
    }

    /// The topic for these values, in the order of [`Template::columns`]; `None` where their number is wrong or the
    /// result is no topic (see [`Topic::parse`]).
    #[must_use]
    pub fn render(&self, values: &[&str]) -> Option<Topic> {
        let mut values = values.iter();
        let parts = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => Some(&**text),
            Piece::Column(_) => values.next().copied(),
        });
        let text = parts.collect::<Option<String>>()?;
        values.next().is_none().then(|| Topic::parse(&text).ok()).flatten()
    }

    /// Whether the topic is some values' at all, of whatever types: where not, no table's rows can be there by this.
    #[must_use]
    pub fn may_give(&self, topic: &str) -> bool {
        let mut rest = Some(topic);
        let mut after_column = false;
        for piece in &self.pieces {
            match (piece, rest) {
                (Piece::Literal(text), Some(left)) if after_column => {
                    rest = left.find(&**text).and_then(|at| left.get(at + text.len()..));
                }
                (Piece::Literal(text), Some(left)) => rest = left.strip_prefix(&**text),
                (Piece::Column(_), Some(_)) => {}
                (_, None) => return false,
            }
            after_column = matches!(piece, Piece::Column(_));
        }
        match (rest, self.pieces.last()) {
            (None, _) | (_, None) => false,
            // What follows the last column may stand in a value, too.
            (Some(_), Some(Piece::Literal(text))) => {
                topic.ends_with(&**text) && (self.pieces.len() > 1 || rest == Some(""))
            }
            (Some(_), Some(Piece::Column(_))) => true,
        }
    }

    /// The values in a topic, if it can be split in exactly one way.
    #[must_use]
    pub fn captures<'t>(&self, topic: &'t str) -> Option<Vec<&'t str>> {
        self.captures_where(topic, |_, _| true)
    }

    /// Whether the topic has a value in canonical form for each of a relation's columns.
    #[must_use]
    pub fn names_rows_of(&self, relation: &Relation, topic: &str) -> bool {
        let types: Option<Vec<&Arc<Type>>> =
            self.columns().map(|name| Some(&relation.columns.get(relation.column(name)?)?.ty)).collect();
        let accepts = |column: usize, value: &str| {
            types.as_ref().and_then(|types| types.get(column)).is_some_and(|ty| is_canonical(ty, value))
        };
        self.captures_where(topic, accepts).is_some()
    }

    /// As [`Template::captures`], with only those splits counted whose values `accepts` takes; it is given the column's
    /// number, from 0, and a value.
    #[must_use]
    pub fn captures_where<'t>(&self, topic: &'t str, accepts: impl Fn(usize, &str) -> bool) -> Option<Vec<&'t str>> {
        if topic.is_empty() || topic.len() > MAX_TOPIC_LENGTH {
            return None;
        }
        let (mut pieces, start) = match self.pieces.split_first()? {
            (Piece::Literal(text), rest) => (rest, topic.starts_with(&**text).then_some(text.len())?),
            (Piece::Column(_), _) => (&*self.pieces, 0),
        };
        // Every place that can be reached after the pieces so far. One step takes a column and the text after it.
        let mut reached = BTreeMap::from([(start, Split::Only(Vec::new()))]);
        let mut column = 0;
        while let Some((_, rest)) = pieces.split_first() {
            let (literal, rest) = match rest.split_first() {
                Some((Piece::Literal(text), rest)) => (Some(&**text), rest),
                _ => (None, rest),
            };
            reached = advance(topic, &reached, literal, |value| accepts(column, value));
            column += 1;
            pieces = rest;
        }
        match reached.remove(&topic.len())? {
            Split::Only(values) => Some(values),
            Split::Several => None,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.source)
    }
}

/// How a place in the topic can be reached.
#[derive(Clone)]
enum Split<'t> {
    Only(Vec<&'t str>),
    Several,
}

impl<'t> Split<'t> {
    fn then(&self, value: &'t str) -> Self {
        match self {
            Self::Only(values) => Self::Only(values.iter().copied().chain([value]).collect()),
            Self::Several => Self::Several,
        }
    }
}

/// From every place reached so far over one value and the `literal` after it; without one, to the end.
fn advance<'t>(
    topic: &'t str,
    reached: &BTreeMap<usize, Split<'t>>,
    literal: Option<&str>,
    accepts: impl Fn(&str) -> bool,
) -> BTreeMap<usize, Split<'t>> {
    let ends_here = |at: usize| match literal {
        Some(text) => topic.get(at..).is_some_and(|rest| rest.starts_with(text)),
        None => at == topic.len(),
    };
    let ends: Vec<usize> = (0..=topic.len()).filter(|at| ends_here(*at)).collect();
    let mut next = BTreeMap::new();
    for (start, split) in reached {
        for end in ends.iter().filter(|end| *end >= start) {
            let Some(value) = topic.get(*start..*end).filter(|value| accepts(value)) else { continue };
            let after = end + literal.map_or(0, str::len);
            next.entry(after).and_modify(|split| *split = Split::Several).or_insert_with(|| split.then(value));
        }
    }
    next
}

struct Parser<'s> {
    source: &'s str,
    at: usize,
    pieces: Vec<Piece>,
}

impl Parser<'_> {
    fn run(mut self) -> Result<Template, TemplateError> {
        if self.source.is_empty() {
            return Err(TemplateError { offset: 0, kind: TemplateErrorKind::Empty });
        }
        while let Some(rest) = self.source.get(self.at..).filter(|rest| !rest.is_empty()) {
            match rest.strip_prefix('{') {
                Some(inside) => self.column(inside)?,
                None => self.literal(rest)?,
            }
        }
        self.check_length()?;
        Ok(Template { source: self.source.into(), pieces: self.pieces.into() })
    }

    fn literal(&mut self, rest: &str) -> Result<(), TemplateError> {
        let text = rest.find(['{', '}']).and_then(|end| rest.get(..end)).unwrap_or(rest);
        if rest.get(text.len()..).is_some_and(|after| after.starts_with('}')) {
            return Err(TemplateError { offset: self.at + text.len(), kind: TemplateErrorKind::UnopenedBrace });
        }
        self.pieces.push(Piece::Literal(text.into()));
        self.at += text.len();
        Ok(())
    }

    fn column(&mut self, inside: &str) -> Result<(), TemplateError> {
        let error = |kind| Err(TemplateError { offset: self.at, kind });
        let name = match inside.split_once('}') {
            Some((name, _)) if !name.contains('{') => name,
            _ => return error(TemplateErrorKind::UnclosedBrace),
        };
        if name.is_empty() {
            return error(TemplateErrorKind::EmptyName);
        }
        if matches!(self.pieces.last(), Some(Piece::Column(_))) {
            return error(TemplateErrorKind::AdjacentColumns);
        }
        let piece = Piece::Column(name.into());
        if self.pieces.contains(&piece) {
            return error(TemplateErrorKind::RepeatedColumn);
        }
        if self.pieces.iter().filter(|piece| matches!(piece, Piece::Column(_))).count() == MAX_COLUMNS {
            return error(TemplateErrorKind::TooManyColumns);
        }
        self.pieces.push(piece);
        self.at += name.len() + 2;
        Ok(())
    }

    fn check_length(&self) -> Result<(), TemplateError> {
        let length = |piece: &Piece| match piece {
            Piece::Literal(text) => text.len(),
            Piece::Column(_) => 0,
        };
        match self.pieces.iter().map(length).sum::<usize>() {
            0..=MAX_TOPIC_LENGTH => Ok(()),
            _ => Err(TemplateError { offset: 0, kind: TemplateErrorKind::TooLong }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn captures<'t>(template: &str, topic: &'t str) -> Option<Vec<&'t str>> {
        Template::parse(template).unwrap().captures(topic)
    }

    #[test]
    fn parses_text_and_columns() {
        let template = Template::parse("a:{x y}/{Z}!").unwrap();
        let piece = |text: &str| Piece::Literal(text.into());
        let column = |name: &str| Piece::Column(name.into());
        assert_eq!(template.pieces(), [piece("a:"), column("x y"), piece("/"), column("Z"), piece("!")]);
        assert_eq!(template.as_static(), None);
        assert_eq!(Template::parse("updates:feed").unwrap().as_static(), Some("updates:feed"));
    }

    #[test]
    fn errors_point_at_the_culprit() {
        use TemplateErrorKind::*;
        for (template, offset, kind) in [
            ("", 0, Empty),
            ("ä:{id", 3, UnclosedBrace),
            ("a:{id{x}", 2, UnclosedBrace),
            ("a:id}", 4, UnopenedBrace),
            ("a:{id}}", 6, UnopenedBrace),
            ("a:{}", 2, EmptyName),
            ("a:{x}{y}", 5, AdjacentColumns),
            ("a:{x}:{x}", 6, RepeatedColumn),
            ("{a}.{b}.{c}.{d}.{e}.{f}.{g}.{h}.{i}", 32, TooManyColumns),
        ] {
            assert_eq!(Template::parse(template).unwrap_err(), TemplateError { offset, kind }, "{template}");
        }
        assert!(Template::parse(&"a".repeat(255)).is_ok());
        assert_eq!(Template::parse(&format!("{}{{x}}ab", "a".repeat(254))).unwrap_err().kind, TooLong);
    }

    #[test]
    fn renders_within_the_length_of_a_topic() {
        let template = Template::parse("a:{x}").unwrap();
        assert_eq!(template.render(&["7"]).unwrap().as_str(), "a:7");
        assert_eq!(template.render(&["x".repeat(253).as_str()]).unwrap().len(), 255);
        assert_eq!(template.render(&["x".repeat(254).as_str()]), None);
        assert_eq!(template.render(&[]), None);
        assert_eq!(template.render(&["1", "2"]), None);
    }

    #[test]
    fn captures_what_can_be_split_in_one_way() {
        assert_eq!(captures("a:{x}", "a:7").unwrap(), ["7"]);
        assert_eq!(captures("a:{x}", "a:").unwrap(), [""]);
        assert_eq!(captures("{x}:b", "a:b:b").unwrap(), ["a:b"]);
        assert_eq!(captures("{x}-{y}!", "1-2!").unwrap(), ["1", "2"]);
        assert_eq!(captures("{x}", "ä").unwrap(), ["ä"]);
        assert_eq!(captures("updates", "updates").unwrap(), Vec::<&str>::new());
        for (template, topic) in [("a:{x}", "b:7"), ("a:{x}", ""), ("{x}:b", "a:c"), ("updates", "updates2")] {
            assert_eq!(captures(template, topic), None, "{template} {topic}");
        }
    }

    #[test]
    fn an_ambiguous_topic_has_no_captures() {
        assert_eq!(captures("{x}:{y}", "a:b:c"), None);
        assert_eq!(captures("{x}::{y}", "a:::b"), None);
        let digits = |_, value: &str| value.bytes().all(|b| b.is_ascii_digit());
        let template = Template::parse("{x}:{y}").unwrap();
        assert_eq!(template.captures_where("1:2:3", digits), None);
        assert_eq!(
            template.captures_where("1:2:a", |column, value| column == 1 || digits(0, value)).unwrap(),
            ["1", "2:a"]
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_a_template_or_an_error(text in "[a{}: ä]{0,12}") {
            match Template::parse(&text) {
                Ok(template) => prop_assert_eq!(template.to_string(), text),
                Err(error) => prop_assert!(text.is_char_boundary(error.offset)),
            }
        }

        #[test]
        fn captures_are_what_was_rendered_or_nothing(x in "[a:]{0,5}", y in "[b:]{0,5}", after in "[:c]{0,2}") {
            let template = Template::parse(&format!("t:{{x}}:{{y}}{after}")).unwrap();
            let topic = template.render(&[&x, &y]).unwrap();
            let captures = template.captures(&topic);
            let colons = x.contains(':') || y.contains(':');
            prop_assert!(colons || captures.is_some());
            if let Some(values) = captures {
                prop_assert_eq!(values, [x, y]);
            }
        }

        #[test]
        fn one_column_always_comes_back(x in ".{0,20}", before in "[a:]{0,3}", after in "[a:]{0,3}") {
            let template = Template::parse(&format!("{before}{{x}}{after}")).unwrap();
            if let Some(topic) = template.render(&[&x]) {
                prop_assert_eq!(template.captures(&topic).unwrap(), [x]);
            }
        }
    }
}
