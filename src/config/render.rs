//! Findings as text in rustc's manner, and as JSON for programs.

use std::io::IsTerminal;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::diagnostic::{Finding, Label, Severity, Span};
use super::source::Source;

/// Wide enough for a finding's longest line; the terminal wraps what it can't show.
const WIDTH: usize = 140;

/// Whether escape sequences colour the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Coloured,
}

impl Style {
    /// Coloured for a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !refused { Self::Coloured } else { Self::Plain }
    }
}

/// One block of lines for each finding, with a blank line between them and a newline at the end.
#[must_use]
pub fn text(findings: &[Finding], source: &Source, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    let renderer = renderer.term_width(WIDTH);
    let shown = source.shown();
    let blocks: Vec<String> =
        findings.iter().map(|finding| renderer.render(&[group(finding, source.name(), &shown)]) + "\n").collect();
    blocks.join("\n")
}

fn group<'f>(finding: &'f Finding, name: &'f str, shown: &'f str) -> Group<'f> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let group = Group::with_title(level.primary_title(finding.message.as_str()).id(finding.code.name()));
    let group = match finding.labels.split_first() {
        None => group.element(Origin::path(name)),
        Some((primary, others)) => {
            let window = Window::around(&finding.labels, shown);
            let snippet = Snippet::source(window.text)
                .path(name)
                .line_start(window.first_line)
                .annotation(AnnotationKind::Primary.span(window.span(primary)).label(primary.text.as_str()));
            group.element(snippet.annotations(
                others.iter().map(|label| AnnotationKind::Context.span(window.span(label)).label(label.text.as_str())),
            ))
        }
    };
    let notes = finding.notes.iter().map(|note| Level::NOTE.message(note.as_str()));
    let help = finding.help.iter().map(|help| Level::HELP.message(help.as_str()));
    group.elements(notes.chain(help))
}

/// The lines that a finding is about: looking at the whole file for each of many findings would take its square.
struct Window<'t> {
    text: &'t str,
    start: usize,
    first_line: usize,
}

impl<'t> Window<'t> {
    fn around(labels: &[Label], shown: &'t str) -> Self {
        let first = labels.iter().map(|label| label.span.start).min().unwrap_or(0);
        let last = labels.iter().map(|label| label.span.end).max().unwrap_or(0);
        let (before, after) = (shown.get(..first).unwrap_or(shown), shown.get(last..).unwrap_or_default());
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after.find('\n').map_or(shown.len(), |newline| shown.len() - after.len() + newline);
        let first_line = shown[..start].matches('\n').count() + 1;
        Self { text: shown.get(start..end).unwrap_or_default(), start, first_line }
    }

    fn span(&self, label: &Label) -> Span {
        let within = |offset: usize| offset.saturating_sub(self.start).min(self.text.len());
        within(label.span.start)..within(label.span.end)
    }
}

/// How many there are of each, for the last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    pub routes: usize,
    pub errors: usize,
    pub warnings: usize,
}

impl Summary {
    #[must_use]
    pub fn new(routes: usize, findings: &[Finding]) -> Self {
        let errors = findings.iter().filter(|finding| finding.is_error()).count();
        Self { routes, errors, warnings: findings.len() - errors }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let Self { routes, errors, warnings } = *self;
        write!(f, "{}, {}, {}", counted(routes, "route"), counted(errors, "error"), counted(warnings, "warning"))
    }
}

/// `{"file", "summary", "findings"}` on one line; lines and columns count from 1, columns in characters.
///
/// # Errors
/// None in practice: everything in it is text and numbers.
pub fn json(findings: &[Finding], source: &Source, summary: Summary) -> serde_json::Result<String> {
    let findings = findings.iter().map(|finding| JsonFinding::new(finding, source)).collect();
    serde_json::to_string(&JsonReport { file: source.name(), summary, findings })
}

#[derive(Serialize)]
struct JsonReport<'f> {
    file: &'f str,
    summary: Summary,
    findings: Vec<JsonFinding<'f>>,
}

#[derive(Serialize)]
struct JsonFinding<'f> {
    code: &'static str,
    /// What the code means, whatever the case at hand.
    description: &'static str,
    severity: &'static str,
    message: &'f str,
    labels: Vec<JsonLabel<'f>>,
    notes: &'f [String],
    help: &'f [String],
}

#[derive(Serialize)]
struct JsonLabel<'f> {
    start: JsonPosition,
    end: JsonPosition,
    text: &'f str,
}

#[derive(Serialize)]
struct JsonPosition {
    line: usize,
    column: usize,
}

impl<'f> JsonFinding<'f> {
    fn new(finding: &'f Finding, source: &Source) -> Self {
        let position = |offset| {
            let (line, column) = source.position(offset);
            JsonPosition { line, column }
        };
        Self {
            code: finding.code.name(),
            description: finding.code.description(),
            severity: match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            message: &finding.message,
            labels: finding
                .labels
                .iter()
                .map(|label| JsonLabel {
                    start: position(label.span.start),
                    end: position(label.span.end),
                    text: &label.text,
                })
                .collect(),
            notes: &finding.notes,
            help: &finding.help,
        }
    }
}
