//! Which topics a channel's rules are for: `notifications:*`, `rooms:{room}`.

use std::fmt;

use super::topic::MAX_TOPIC_LENGTH;

/// The most `{name}`s in one pattern, as in a route's topic.
const MAX_VARIABLES: usize = super::MAX_COLUMNS;

/// Literal text, `*` for any characters (also none, also colons) and `{name}` for one or more characters other than a
/// colon. A `{name}` shares its part of the topic, between colons, with literal text only, so that a topic gives it one
/// value at most.
#[derive(Clone, PartialEq, Eq)]
pub struct TopicPattern {
    source: Box<str>,
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(Box<str>),
    Variable(Box<str>),
    AnyRun,
}

/// Text that is no pattern; `offset` is where, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct TopicPatternError {
    pub offset: usize,
    pub kind: TopicPatternErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicPatternErrorKind {
    #[error("a topic can't be empty")]
    Empty,
    #[error("this brace is not closed: a variable is written `{{name}}`")]
    UnclosedBrace,
    #[error("this brace was not opened: a variable is written `{{name}}`")]
    UnopenedBrace,
    #[error("the braces hold no name")]
    EmptyName,
    #[error("this variable stands in the topic already")]
    RepeatedVariable,
    #[error("a variable can't share its part of the topic, between colons, with another or with `*`")]
    CrowdedPart,
    #[error("beside variables a topic can have one `*`")]
    SecondStar,
    #[error("a topic can have at most {MAX_VARIABLES} variables")]
    TooManyVariables,
    #[error("the text alone is longer than a topic can be ({MAX_TOPIC_LENGTH} bytes)")]
    TooLong,
}

impl TopicPattern {
    /// # Errors
    /// The first fault, from the left.
    pub fn parse(source: &str) -> Result<Self, TopicPatternError> {
        let tokens = Parser { source, at: 0, tokens: Vec::new(), part: Part::default() }.run()?;
        Ok(Self { source: source.into(), tokens: tokens.into() })
    }

    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.captures(topic).is_some()
    }

    /// The variables' values in a topic, by name, from the left; `None` where the topic does not match.
    #[must_use]
    pub fn captures<'p, 't>(&'p self, topic: &'t str) -> Option<Vec<(&'p str, &'t str)>> {
        let mut captures = Vec::new();
        let mut runs = self.tokens.split(|token| *token == Token::AnyRun).peekable();
        let mut rest = take_run(runs.next()?, topic, &mut captures)?;
        if runs.peek().is_none() {
            return rest.is_empty().then_some(captures);
        }
        while let Some(run) = runs.next() {
            let is_last = runs.peek().is_none();
            // The first place is as good as any: what is skipped is the star's, and only the last run must end the
            // text.
            let mut places = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            rest = places.find_map(|place| {
                let mut found = Vec::new();
                let after = take_run(run, rest.get(place..)?, &mut found)?;
                (!is_last || after.is_empty()).then(|| captures.append(&mut found)).map(|()| after)
            })?;
        }
        Some(captures)
    }

    /// Every topic of `other` is one of this pattern, as far as the texts alone show it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if let [Token::Literal(topic)] = &*other.tokens {
            return self.matches(topic);
        }
        match &*self.tokens {
            [Token::AnyRun] => true,
            [Token::Literal(prefix), Token::AnyRun] => other.prefix().starts_with(&**prefix),
            own => {
                let same = |(own, other): (&Token, &Token)| match (own, other) {
                    (Token::Variable(_), Token::Variable(_)) => true,
                    (own, other) => own == other,
                };
                own.len() == other.tokens.len() && own.iter().zip(&other.tokens).all(same)
            }
        }
    }

    /// The literal text that each of its topics begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.tokens.first() {
            Some(Token::Literal(text)) => text,
            _ => "",
        }
    }

    /// The variables' names, from the left.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Variable(name) => Some(&**name),
            Token::Literal(_) | Token::AnyRun => None,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicPattern({})", self.source)
    }
}

/// What is left of `text` behind a run of literals and variables at its beginning.
fn take_run<'p, 't>(run: &'p [Token], text: &'t str, captures: &mut Vec<(&'p str, &'t str)>) -> Option<&'t str> {
    let mut rest = text;
    let mut tokens = run.iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            Token::Literal(literal) => rest = rest.strip_prefix(&**literal)?,
            Token::Variable(name) => {
                let part = rest.split(':').next().unwrap_or(rest);
                // The literal text behind it, as far as it belongs to the same part.
                let behind = match tokens.peek() {
                    Some(Token::Literal(literal)) => literal.split(':').next().unwrap_or(literal),
                    _ => "",
                };
                let value = part.strip_suffix(behind).filter(|value| !value.is_empty())?;
                captures.push((name, value));
                rest = rest.get(value.len()..)?;
            }
            Token::AnyRun => return None,
        }
    }
    Some(rest)
}

/// What a part of the topic, between colons, holds so far.
#[derive(Default)]
struct Part {
    variable: bool,
    star: bool,
}

struct Parser<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token>,
    part: Part,
}

impl Parser<'_> {
    fn run(mut self) -> Result<Vec<Token>, TopicPatternError> {
        use TopicPatternErrorKind as Kind;
        if self.source.is_empty() {
            return Err(TopicPatternError { offset: 0, kind: Kind::Empty });
        }
        while let Some(rest) = self.source.get(self.at..).filter(|rest| !rest.is_empty()) {
            match rest.chars().next() {
                Some('{') => self.variable(rest)?,
                Some('}') => return self.error(Kind::UnopenedBrace),
                Some('*') => self.star()?,
                _ => self.literal(rest),
            }
        }
        let length = |token: &Token| if let Token::Literal(text) = token { text.len() } else { 0 };
        match self.tokens.iter().map(length).sum::<usize>() {
            0..=MAX_TOPIC_LENGTH => Ok(self.tokens),
            _ => Err(TopicPatternError { offset: 0, kind: Kind::TooLong }),
        }
    }

    fn literal(&mut self, rest: &str) {
        let text = rest.find(['{', '}', '*']).and_then(|end| rest.get(..end)).unwrap_or(rest);
        if text.contains(':') {
            self.part = Part::default();
        }
        self.at += text.len();
        self.tokens.push(Token::Literal(text.into()));
    }

    fn variable(&mut self, rest: &str) -> Result<(), TopicPatternError> {
        use TopicPatternErrorKind as Kind;
        let name = match rest.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some((name, _)) if !name.contains('{') => name,
            _ => return self.error(Kind::UnclosedBrace),
        };
        let token = Token::Variable(name.into());
        let kind = if name.is_empty() {
            Kind::EmptyName
        } else if self.part.variable || self.part.star {
            Kind::CrowdedPart
        } else if self.tokens.contains(&token) {
            Kind::RepeatedVariable
        } else if self.stars() > 1 {
            Kind::SecondStar
        } else if self.variables() == MAX_VARIABLES {
            Kind::TooManyVariables
        } else {
            self.at += name.len() + 2;
            self.part.variable = true;
            self.tokens.push(token);
            return Ok(());
        };
        self.error(kind)
    }

    fn star(&mut self) -> Result<(), TopicPatternError> {
        if self.part.variable {
            return self.error(TopicPatternErrorKind::CrowdedPart);
        }
        if self.variables() > 0 && self.stars() > 0 {
            return self.error(TopicPatternErrorKind::SecondStar);
        }
        self.at += 1;
        self.part.star = true;
        self.tokens.push(Token::AnyRun);
        Ok(())
    }

    fn stars(&self) -> usize {
        self.tokens.iter().filter(|token| **token == Token::AnyRun).count()
    }

    fn variables(&self) -> usize {
        self.tokens.iter().filter(|token| matches!(token, Token::Variable(_))).count()
    }

    const fn error<T>(&self, kind: TopicPatternErrorKind) -> Result<T, TopicPatternError> {
        Err(TopicPatternError { offset: self.at, kind })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text).unwrap()
    }

    #[test]
    fn topics_match() {
        for (text, topic) in [
            ("lobby", "lobby"),
            ("notifications:*", "notifications:lobby"),
            ("notifications:*", "notifications:"),
            ("rooms:*", "rooms:a:b"),
            ("*", "ä"),
            ("*:chat", "a:b:chat"),
            ("a*b*c", "abcbc"),
            ("a**", "a"),
            ("rooms:{room}", "rooms:7"),
            ("*:{last}", "a:b:c"),
        ] {
            assert!(pattern(text).matches(topic), "{text} {topic}");
        }
        for (text, topic) in [
            ("lobby", "lobby2"),
            ("notifications:*", "notification"),
            ("rooms:{room}", "rooms:"),
            ("rooms:{room}", "rooms:a:b"),
            ("a*b*c", "abcb"),
            ("*:chat", "chat"),
            ("*:{last}", "a:b:"),
        ] {
            assert!(!pattern(text).matches(topic), "{text} {topic}");
        }
    }

    #[test]
    fn variables_have_one_value() {
        let captures = |text, topic| {
            let pattern = pattern(text);
            let captures = pattern.captures(topic).unwrap();
            captures.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(captures("rooms:{room}:{thread}", "rooms:1:2"), "room=1 thread=2");
        assert_eq!(captures("rooms:{room}:*", "rooms:1:2:3"), "room=1");
        assert_eq!(captures("*:x{a}y:z", "q:r:xxyy:z"), "a=xy");
        assert_eq!(captures("{a}:*:{b}", "1:2:3:4"), "a=1 b=4");
        assert_eq!(captures("lobby", "lobby"), "");
    }

    #[test]
    fn errors_point_at_the_culprit() {
        use TopicPatternErrorKind::*;
        for (text, offset, kind) in [
            ("", 0, Empty),
            ("ä:{id", 3, UnclosedBrace),
            ("a:{id{x}", 2, UnclosedBrace),
            ("a:id}", 4, UnopenedBrace),
            ("a:{}", 2, EmptyName),
            ("{a}{b}", 3, CrowdedPart),
            ("{a}-{b}", 4, CrowdedPart),
            ("a:{x}*", 5, CrowdedPart),
            ("*b{x}", 2, CrowdedPart),
            ("{x}:{x}", 4, RepeatedVariable),
            ("*:{x}:*", 6, SecondStar),
            ("*:*:{x}", 4, SecondStar),
            ("{a}:{b}:{c}:{d}:{e}:{f}:{g}:{h}:{i}", 32, TooManyVariables),
        ] {
            assert_eq!(TopicPattern::parse(text).unwrap_err(), TopicPatternError { offset, kind }, "{text}");
        }
        assert_eq!(TopicPattern::parse(&"a".repeat(256)).unwrap_err().kind, TooLong);
    }

    #[test]
    fn covering_is_seen() {
        for (first, later) in
            [("*", "a:{b}"), ("a:*", "a:b"), ("a:*", "a:b:*"), ("a:*", "a:{b}"), ("a:{x}", "a:{y}"), ("a:{x}", "a:b")]
        {
            assert!(pattern(first).covers(&pattern(later)), "{first} {later}");
        }
        for (first, later) in [("a:b", "a:*"), ("a:{x}", "a:*"), ("a:*", "b:*"), ("a:*", "*"), ("a:{x}", "a:b:c")] {
            assert!(!pattern(first).covers(&pattern(later)), "{first} {later}");
        }
    }

    /// The definition, by recursion; exponential, hence only for small inputs.
    fn slowly(tokens: &[Token], text: &str) -> bool {
        let splits = || text.char_indices().map(|(at, _)| at).chain([text.len()]);
        match tokens {
            [] => text.is_empty(),
            [Token::Literal(literal), after @ ..] => {
                text.strip_prefix(&**literal).is_some_and(|rest| slowly(after, rest))
            }
            [Token::AnyRun, after @ ..] => splits().any(|at| slowly(after, &text[at..])),
            [Token::Variable(_), after @ ..] => {
                splits().any(|at| at > 0 && !text[..at].contains(':') && slowly(after, &text[at..]))
            }
        }
    }

    proptest! {
        #[test]
        fn patterns_match_by_definition(source in "([ab:]|\\*|\\{x\\}|\\{y\\}){1,6}", topic in "[ab:ä]{0,8}") {
            if let Ok(pattern) = TopicPattern::parse(&source) {
                prop_assert_eq!(pattern.matches(&topic), slowly(&pattern.tokens, &topic));
            }
        }

        #[test]
        fn what_is_covered_is_matched(
            first in "([ab:]|\\*|\\{x\\}){1,4}", later in "([ab:]|\\*|\\{y\\}){1,4}", topic in "[ab:]{0,6}",
        ) {
            if let (Ok(first), Ok(later)) = (TopicPattern::parse(&first), TopicPattern::parse(&later)) {
                prop_assert!(!first.covers(&later) || !later.matches(&topic) || first.matches(&topic));
            }
        }

        #[test]
        fn any_text_gives_a_pattern_or_an_error(text in "[a{}*: ä]{0,12}") {
            match TopicPattern::parse(&text) {
                Ok(pattern) => prop_assert_eq!(pattern.to_string(), text),
                Err(error) => prop_assert!(text.is_char_boundary(error.offset)),
            }
        }
    }
}
