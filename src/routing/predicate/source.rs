//! The SQL text: its tokens, and places in it.

use std::ops::Range;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{self, Location, Token, TokenWithSpan, Tokenizer};

use super::error::{ExpressionError, ExpressionErrorKind};
use super::expression::MAX_DEPTH;
use super::node::Span;
use crate::change::is_reserved;

/// The reserved words that the subset has a use for; `with` is for `timestamp with time zone`.
const KNOWN_WORDS: [&str; 21] = [
    "all", "and", "any", "array", "as", "cast", "collate", "distinct", "false", "from", "ilike", "in", "is", "isnull",
    "like", "not", "null", "or", "some", "true", "with",
];

pub(super) struct Source<'s> {
    sql: &'s str,
    /// The byte at which each character begins, by line.
    lines: Vec<Vec<usize>>,
}

impl<'s> Source<'s> {
    pub(super) fn new(sql: &'s str) -> Self {
        let mut lines = vec![Vec::new()];
        for (at, character) in sql.char_indices() {
            if let Some(line) = lines.last_mut() {
                line.push(at);
            }
            if character == '\n' {
                lines.push(Vec::new());
            }
        }
        Self { sql, lines }
    }

    /// The tokens, all of which the subset has a use for, and no deeper than allowed.
    pub(super) fn tokens(&self) -> Result<Vec<TokenWithSpan>, ExpressionError> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, self.sql).tokenize_with_location();
        let tokens = tokens.map_err(|error| {
            let at = self.offset(error.location);
            ExpressionError::new(at..self.sql.len(), ExpressionErrorKind::Syntax(error.message))
        })?;
        // Of brackets, and of `not` after `not`.
        let (mut depth, mut nots) = (0_usize, 0_usize);
        for token in &tokens {
            self.check(token)?;
            match &token.token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
                Token::Word(word) if word.value.eq_ignore_ascii_case("not") => nots += 1,
                Token::Whitespace(_) => {}
                _ => nots = 0,
            }
            if depth + nots > MAX_DEPTH {
                return Err(ExpressionError::new(self.span(token.span).0, ExpressionErrorKind::TooDeep));
            }
        }
        Ok(tokens)
    }

    fn check(&self, token: &TokenWithSpan) -> Result<(), ExpressionError> {
        let refuse =
            |what: String, help: Option<&str>| Err(ExpressionError::unsupported(self.span(token.span).0, what, help));
        match &token.token {
            Token::Number(digits, false) if is_number(digits) => Ok(()),
            Token::Number(..) => refuse("this form of a number".to_owned(), Some("write it in decimal")),
            Token::Word(word) if word.quote_style.is_none() => {
                let name = word.value.to_ascii_lowercase();
                match name.as_str() {
                    "select" | "table" => refuse("a subquery".to_owned(), None),
                    "current_date" | "current_timestamp" | "localtimestamp" | "current_time" | "localtime" => refuse(
                        format!("`{name}`"),
                        Some("a row doesn't move when time passes: nothing would tell the clients"),
                    ),
                    _ if is_reserved(&name) && !KNOWN_WORDS.contains(&name.as_str()) => refuse(
                        format!("the reserved word `{name}`"),
                        Some(&format!("a column of this name is written \"{name}\"")),
                    ),
                    _ => Ok(()),
                }
            }
            Token::EscapedStringLiteral(_) | Token::UnicodeStringLiteral(_) | Token::DollarQuotedString(_) => {
                refuse("this kind of string".to_owned(), Some("write it as 'text'; a quote inside is doubled"))
            }
            Token::Plus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => {
                refuse(format!("the operator `{}`", token.token), Some("keep what it gives in a column"))
            }
            Token::EOF
            | Token::Word(_)
            | Token::SingleQuotedString(_)
            | Token::Comma
            | Token::Whitespace(_)
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Minus
            | Token::LParen
            | Token::RParen
            | Token::LBracket
            | Token::RBracket
            | Token::Period
            | Token::DoubleColon => Ok(()),
            Token::DoubleEq => refuse("the operator `==`".to_owned(), Some("equality is `=`")),
            other => refuse(format!("`{other}`"), None),
        }
    }

    pub(super) const fn whole(&self) -> Span {
        Span(0..self.sql.len())
    }

    pub(super) fn span(&self, span: tokenizer::Span) -> Span {
        if span.start.line == 0 {
            return Span(0..self.sql.len());
        }
        Span(self.offset(span.start)..self.offset(span.end).max(self.offset(span.start)))
    }

    /// A message of the parser, which ends in the place where it has one.
    pub(super) fn syntax_error(&self, message: &str) -> ExpressionError {
        let (text, place) = message.rsplit_once(" at Line: ").unwrap_or((message, ""));
        let location = place.split_once(", Column: ").and_then(|(line, column)| {
            Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
        });
        let span: Range<usize> = location.map_or(0..self.sql.len(), |at| self.offset(at)..self.sql.len());
        let message =
            text.strip_prefix("Expected: ").map_or_else(|| text.to_owned(), |text| format!("expected {text}"));
        ExpressionError::new(span, ExpressionErrorKind::Syntax(message.replace(", found: EOF", ", found the end")))
    }

    /// Lines and columns count from 1, columns in characters.
    fn offset(&self, location: Location) -> usize {
        let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let found = self.lines.get(index(location.line)).and_then(|line| line.get(index(location.column)));
        found.copied().unwrap_or(self.sql.len())
    }
}

/// Digits with a point or an exponent: what every version of Postgres reads as decimal.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
}
