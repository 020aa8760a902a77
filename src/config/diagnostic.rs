//! What is wrong with a configuration, said so that the reader can mend it.
//!
//! A [`Finding`] is data: a stable code, a sentence, places in the file, and a fix. How it looks is decided by
//! [`super::render`]; what it means is decided where it is made.

use std::ops::Range;

use super::code::Code;

/// A byte range in the configuration file.
pub type Span = Range<usize>;

/// Whether walcast can run in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// A place in the configuration file and what is to be seen there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One thing that is wrong, or likely to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    pub severity: Severity,
    pub message: String,
    /// The first is where the mistake is, the others say why it is one.
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
    /// What to do; each line is a fix of its own.
    pub help: Vec<String>,
}

impl Finding {
    #[must_use]
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message.into())
    }

    #[must_use]
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message.into())
    }

    const fn new(code: Code, severity: Severity, message: String) -> Self {
        Self { code, severity, message, labels: Vec::new(), notes: Vec::new(), help: Vec::new() }
    }

    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Adds the help where there is one.
    #[must_use]
    pub fn maybe_help(self, text: Option<String>) -> Self {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Puts findings into the order of the file; those without a place come last.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| finding.labels.first().map_or(usize::MAX, |label| label.span.start));
}

/// The candidate that the reader most likely meant, as in "did you mean `publication`?".
#[must_use]
pub fn closest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Below this similarity (0 to 1) a guess confuses more often than it helps.
    const SIMILARITY_MIN: f64 = 0.75;
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// "a, b and c", each in backquotes.
#[must_use]
pub fn quoted_list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_made_only_when_it_is_likely() {
        assert_eq!(closest("publicaton", ["slot", "publication"]), Some("publication"));
        assert_eq!(closest("Orders", ["orders", "articles"]), Some("orders"));
        assert_eq!(closest("xyzzy", ["slot", "publication"]), None);
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(quoted_list(["a"]), "`a`");
        assert_eq!(quoted_list(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
