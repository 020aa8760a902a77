//! `${VAR}` and `${VAR:-default}` in string values, with a way back from the expanded text to the file.
//!
//! A finding about a part of an expanded value must still point at the characters in the file that brought it about,
//! so that every piece of the result remembers where it comes from.

use std::env::VarError;
use std::ops::Range;

use super::code::Code;
use super::diagnostic::{Finding, Span};

/// Where variables come from: the process' environment, or a test's table.
pub type Environment<'e> = dyn Fn(&str) -> Result<String, VarError> + 'e;

/// A string value after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) value: String,
    /// The whole value in the file, its quotes included.
    pub(super) span: Span,
    /// In the order of `value`, without gaps. Empty when the way back is not known (the string has escapes).
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    value: Range<usize>,
    source: Span,
    /// Copied character by character, as opposed to filled in.
    literal: bool,
}

impl Text {
    /// The characters in the file that `range` of the value comes from.
    #[must_use]
    pub(super) fn span_of(&self, range: Range<usize>) -> Span {
        match (self.source_offset(range.start, false), self.source_offset(range.end, true)) {
            (Some(start), Some(end)) if start <= end => start..end,
            _ => self.span.clone(),
        }
    }

    /// A position between two pieces belongs to the one after it as a start, to the one before it as an end.
    fn source_offset(&self, offset: usize, is_end: bool) -> Option<usize> {
        let piece = if is_end {
            self.pieces.iter().find(|piece| offset > piece.value.start && offset <= piece.value.end)
        } else {
            self.pieces.iter().find(|piece| offset >= piece.value.start && offset < piece.value.end)
        };
        match piece {
            Some(piece) if piece.literal => Some(piece.source.start + (offset - piece.value.start)),
            Some(piece) if is_end => Some(piece.source.end),
            Some(piece) => Some(piece.source.start),
            // The end of the value (as a start) and its beginning (as an end).
            None if offset == 0 => self.pieces.first().map(|piece| piece.source.start),
            None => self.pieces.last().map(|piece| piece.source.end),
        }
    }
}

/// Expands `decoded`, the string that stands at `span` of the file as `raw` (quotes included).
///
/// # Errors
/// A finding for every variable that is unset or malformed; all of them, not just the first.
pub(super) fn expand(
    decoded: &str,
    raw: &str,
    span: Span,
    environment: &Environment<'_>,
) -> Result<Text, Vec<Finding>> {
    let mut expansion = Expansion {
        environment,
        base: content_offset(decoded, raw).map(|offset| span.start + offset),
        text: Text { value: String::with_capacity(decoded.len()), span, pieces: Vec::new() },
        findings: Vec::new(),
    };
    expansion.run(decoded);
    if expansion.findings.is_empty() { Ok(expansion.text) } else { Err(expansion.findings) }
}

/// How many bytes of quotes come first, when the content stands in the file as it is.
fn content_offset(decoded: &str, raw: &str) -> Option<usize> {
    let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
    let inside = raw.get(quotes..raw.len().checked_sub(quotes)?)?;
    // A line break right after three quotes is none of the string.
    let line_break = match quotes {
        3 if inside.starts_with("\r\n") => 2,
        3 if inside.starts_with('\n') => 1,
        _ => 0,
    };
    (inside.get(line_break..)? == decoded).then_some(quotes + line_break)
}

struct Expansion<'e> {
    environment: &'e Environment<'e>,
    /// The content's first byte in the file.
    base: Option<usize>,
    text: Text,
    findings: Vec<Finding>,
}

impl Expansion<'_> {
    fn run(&mut self, decoded: &str) {
        let mut position = 0;
        while let Some(found) = decoded[position..].find("${") {
            let start = position + found;
            if decoded[..start].ends_with('$') {
                // `$${` stands for a literal `${`.
                self.literal(decoded, position..start - 1);
                self.literal(decoded, start..start + 2);
                position = start + 2;
                continue;
            }
            self.literal(decoded, position..start);
            let Some(length) = decoded[start..].find('}') else {
                return self.malformed(start..decoded.len(), "`${` without a closing `}`");
            };
            let end = start + length + 1;
            self.variable(&decoded[start + 2..end - 1], start..end);
            position = end;
        }
        self.literal(decoded, position..decoded.len());
    }

    fn literal(&mut self, decoded: &str, range: Range<usize>) {
        self.push(&decoded[range.clone()], range, true);
    }

    fn push(&mut self, text: &str, source: Range<usize>, literal: bool) {
        let start = self.text.value.len();
        self.text.value.push_str(text);
        if let Some(base) = self.base {
            let source = base + source.start..base + source.end;
            self.text.pieces.push(Piece { value: start..self.text.value.len(), source, literal });
        }
    }

    fn variable(&mut self, inside: &str, range: Range<usize>) {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !is_name(name) {
            return self.malformed(range, "not the name of an environment variable");
        }
        match ((self.environment)(name), default) {
            // As in a shell, `:-` also stands in for a variable that is set to nothing.
            (Ok(value), Some(default)) if value.is_empty() => self.push(default, range, false),
            (Ok(value), _) => self.push(&value, range, false),
            (Err(VarError::NotPresent), Some(default)) => self.push(default, range, false),
            (Err(VarError::NotPresent), None) => self.unset(name, range),
            (Err(VarError::NotUnicode(_)), _) => self.malformed(range, "the variable's value is not UTF-8"),
        }
    }

    fn unset(&mut self, name: &str, range: Range<usize>) {
        let span = self.in_file(range);
        self.findings.push(
            Finding::error(Code::UnsetVariable, format!("the environment variable `{name}` is not set"))
                .label(span, "needed here")
                .help(format!("set it (`export {name}=…`), or give a default: `${{{name}:-…}}`")),
        );
    }

    fn malformed(&mut self, range: Range<usize>, what: &str) {
        let span = self.in_file(range);
        self.findings.push(
            Finding::error(Code::BadVariable, "this `${…}` can't be expanded")
                .label(span, what)
                .help("write `${NAME}` or `${NAME:-default}`; a literal `${` is written `$${`"),
        );
    }

    fn in_file(&self, range: Range<usize>) -> Span {
        self.base.map_or_else(|| self.text.span.clone(), |base| base + range.start..base + range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Result<String, VarError> {
        match name {
            "HOST" => Ok("db.internal".to_owned()),
            "EMPTY" => Ok(String::new()),
            _ => Err(VarError::NotPresent),
        }
    }

    /// Expands a TOML string that stands at byte 10 of its file.
    fn expanded(decoded: &str) -> Result<Text, Vec<Finding>> {
        let raw = format!("\"{decoded}\"");
        expand(decoded, &raw, 10..10 + raw.len(), &environment)
    }

    #[test]
    fn variables_and_defaults_are_filled_in() {
        let value = |decoded| expanded(decoded).unwrap().value;
        assert_eq!(value("pg://${HOST}/app"), "pg://db.internal/app");
        assert_eq!(value("${NONE:-a b}"), "a b");
        assert_eq!(value("${EMPTY:-x}${EMPTY}"), "x");
        assert_eq!(value("costs $5, $${HOST}"), "costs $5, ${HOST}");
    }

    #[test]
    fn a_part_of_the_result_leads_back_to_the_file() {
        // 10: the quote, 11: a, 12..19: ${HOST}, 19: z
        let text = expanded("a${HOST}z").unwrap();
        assert_eq!(text.span_of(0..1), 11..12);
        assert_eq!(text.span_of(3..5), 12..19);
        assert_eq!(text.span_of(12..13), 19..20);
        assert_eq!(text.span_of(0..13), 11..20);
        assert_eq!(text.span_of(13..13), 20..20);
    }

    #[test]
    fn a_string_with_escapes_is_pointed_at_as_a_whole() {
        let text = expand("a\tb", "\"a\\tb\"", 10..16, &environment).unwrap();
        assert_eq!(text.span_of(2..3), 10..16);
    }

    #[test]
    fn every_bad_variable_is_reported() {
        let findings = expanded("${NONE}${not a name}${open").unwrap_err();
        let codes: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::UnsetVariable, Code::BadVariable, Code::BadVariable]);
        assert_eq!(findings[0].labels[0].span, 11..18);
    }
}
