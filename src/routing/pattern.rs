//! Which tables a route takes.

use std::fmt;

use crate::change::quoted_identifier;

/// Where walcast keeps what it remembers: what came of clients' writes is nobody else's business.
const OWN_SCHEMA: &str = "walcast";

/// `schema.table` with the globs `*` and `?`; the module's rules say what quotes do.
#[derive(Clone, PartialEq, Eq)]
pub struct TablePattern {
    source: Box<str>,
    schema: Glob,
    table: Glob,
}

/// Text that is no table pattern; `offset` is where, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct PatternError {
    pub offset: usize,
    pub kind: PatternErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternErrorKind {
    #[error("a table needs its schema: write `schema.table`")]
    MissingSchema,
    #[error("the schema's name is empty: write `schema.table`")]
    EmptySchema,
    #[error("the table's name is empty: write `schema.table`")]
    EmptyTable,
    #[error("a second dot: write `schema.table`, and a name with a dot in double quotes")]
    SecondDot,
    #[error("the double quote is not closed")]
    UnclosedQuote,
}

impl TablePattern {
    /// # Errors
    /// Anything but two names with a dot between them.
    pub fn parse(source: &str) -> Result<Self, PatternError> {
        let (schema, rest) = parse_name(source, 0)?;
        let error = |offset, kind| Err(PatternError { offset, kind });
        let Some(table_at) = rest else { return error(0, PatternErrorKind::MissingSchema) };
        if schema.0.is_empty() {
            return error(0, PatternErrorKind::EmptySchema);
        }
        let (table, rest) = parse_name(source, table_at)?;
        if let Some(after_dot) = rest {
            return error(after_dot - 1, PatternErrorKind::SecondDot);
        }
        if table.0.is_empty() {
            return error(table_at, PatternErrorKind::EmptyTable);
        }
        Ok(Self { source: source.into(), schema, table })
    }

    /// The text that [`TablePattern::parse`] reads as this one table, in quotes where it must be.
    #[must_use]
    pub fn text_of(schema: &str, table: &str) -> String {
        let part = |name: &str| {
            let plain = !name.contains(['"', '.', '*', '?']);
            if plain { name.to_owned() } else { quoted_identifier(name) }
        };
        format!("{}.{}", part(schema), part(table))
    }

    /// Both names as the catalogue spells them. Globs leave walcast's own tables alone.
    #[must_use]
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        let is_own = schema == OWN_SCHEMA && !self.is_exact();
        !is_own && self.schema.matches(schema) && self.table.matches(table)
    }

    /// No globs: at most one table matches.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.schema.is_exact() && self.table.is_exact()
    }

    /// The names of the one table that can match, as schema and table; `None` where there are globs.
    #[must_use]
    pub fn names(&self) -> Option<(String, String)> {
        Some((self.schema.name()?, self.table.name()?))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TablePattern({})", self.source)
    }
}

/// One name's pattern.
#[derive(Clone, PartialEq, Eq)]
struct Glob(Box<[Token]>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Character(char),
    /// `?`
    AnyOne,
    /// `*`
    AnyRun,
}

impl Glob {
    fn name(&self) -> Option<String> {
        let character = |token: &Token| match token {
            Token::Character(character) => Some(*character),
            Token::AnyOne | Token::AnyRun => None,
        };
        self.0.iter().map(character).collect()
    }

    fn is_exact(&self) -> bool {
        self.0.iter().all(|token| matches!(token, Token::Character(_)))
    }

    /// Linear but for going back to the last `*`: a later star never needs an earlier one to take more.
    fn matches(&self, name: &str) -> bool {
        let (mut tokens, mut rest) = (&*self.0, name.chars());
        let mut last_star = None;
        loop {
            if let Some((Token::AnyRun, after)) = tokens.split_first() {
                (tokens, last_star) = (after, Some((after, rest.clone())));
                continue;
            }
            match (tokens.split_first(), rest.next()) {
                (None, None) => return true,
                (Some((token, after)), Some(c)) if token.takes(c) => tokens = after,
                _ => {
                    let Some((after, from)) = &mut last_star else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (tokens, rest) = (after, from.clone());
                }
            }
        }
    }
}

impl Token {
    fn takes(self, c: char) -> bool {
        match self {
            Self::Character(own) => own == c,
            Self::AnyOne | Self::AnyRun => true,
        }
    }
}

/// The name that begins at `start`, and where the next begins if a dot follows.
fn parse_name(source: &str, start: usize) -> Result<(Glob, Option<usize>), PatternError> {
    let mut tokens = Vec::new();
    let mut characters = source.char_indices().skip_while(|(at, _)| *at < start).peekable();
    let mut opened = None;
    while let Some((at, c)) = characters.next() {
        match (c, opened) {
            ('"', Some(_)) if characters.next_if(|(_, next)| *next == '"').is_some() => {
                tokens.push(Token::Character('"'));
            }
            ('"', Some(_)) => opened = None,
            ('"', None) => opened = Some(at),
            ('.', None) => return Ok((Glob(tokens.into()), Some(at + 1))),
            ('*', None) => tokens.push(Token::AnyRun),
            ('?', None) => tokens.push(Token::AnyOne),
            (c, _) => tokens.push(Token::Character(c)),
        }
    }
    match opened {
        Some(offset) => Err(PatternError { offset, kind: PatternErrorKind::UnclosedQuote }),
        None => Ok((Glob(tokens.into()), None)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, schema: &str, table: &str) -> bool {
        TablePattern::parse(pattern).unwrap().matches(schema, table)
    }

    #[test]
    fn names_are_exact_unless_globbed() {
        assert!(matches("public.orders", "public", "orders"));
        assert!(!matches("public.orders", "public", "Orders"));
        assert!(!matches("public.orders", "public", "orders2"));
        assert!(TablePattern::parse("public.orders").unwrap().is_exact());
        assert!(!TablePattern::parse("public.*").unwrap().is_exact());
    }

    #[test]
    fn globs_stay_within_their_name() {
        assert!(matches("public.*", "public", "anything.at all"));
        assert!(matches("*.orders", "", "orders"));
        assert!(matches("tenant_?.orders_*", "tenant_ß", "orders_"));
        assert!(matches("a.*_log*_x", "a", "m_log_log_y_x"));
        assert!(!matches("tenant_?.orders", "tenant_", "orders"));
        assert!(!matches("a.*_log*_x", "a", "m_log_log_y_"));
        assert!(!matches("a*.b", "a.b", "c"));
    }

    #[test]
    fn quotes_take_characters_as_they_are() {
        assert!(matches(r#""my.schema".orders"#, "my.schema", "orders"));
        assert!(matches(r#"public."a*""b"?"#, "public", "a*\"bc"));
        assert!(TablePattern::parse(r#"public."a*""#).unwrap().is_exact());
    }

    #[test]
    fn errors_point_at_the_culprit() {
        use PatternErrorKind::*;
        for (pattern, offset, kind) in [
            ("", 0, MissingSchema),
            ("orders", 0, MissingSchema),
            (".orders", 0, EmptySchema),
            ("public.", 7, EmptyTable),
            ("db.public.orders", 9, SecondDot),
            ("db..", 3, SecondDot),
            (r#"ä."orders"#, 3, UnclosedQuote),
            (r#""public.orders"#, 0, UnclosedQuote),
        ] {
            assert_eq!(TablePattern::parse(pattern).unwrap_err(), PatternError { offset, kind }, "{pattern}");
        }
    }

    /// The definition, by recursion; exponential, hence only for small inputs.
    fn slowly(tokens: &[Token], name: &[char]) -> bool {
        match (tokens, name) {
            ([], []) => true,
            ([Token::AnyRun, after @ ..], _) => (0..=name.len()).any(|taken| slowly(after, &name[taken..])),
            ([token, after @ ..], [c, rest @ ..]) => token.takes(*c) && slowly(after, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_pattern_or_an_error(text in ".{0,20}") {
            if let Err(error) = TablePattern::parse(&text) {
                prop_assert!(text.is_char_boundary(error.offset));
            }
        }

        #[test]
        fn any_names_can_be_written(schema in ".{1,8}", table in "[a.*?\" \u{e4}]{1,8}") {
            let pattern = TablePattern::parse(&TablePattern::text_of(&schema, &table)).unwrap();
            prop_assert_eq!(pattern.names(), Some((schema, table)));
        }

        #[test]
        fn globs_match_by_definition(glob in "[ab*?]{1,8}", name in "[ab]{0,8}") {
            let pattern = TablePattern::parse(&format!("{glob}.t")).unwrap();
            let expected = slowly(&pattern.schema.0, &name.chars().collect::<Vec<_>>());
            prop_assert_eq!(pattern.matches(&name, "t"), expected);
        }
    }
}
