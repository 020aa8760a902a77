//! Reading a TOML document key by key, so that every mistake in it is found in one go.
//!
//! A deserializer stops at its first error; here a value that can't be used is reported, replaced by its default, and
//! reading goes on. What a section was asked for is what it may hold: every other key is unknown. This module knows
//! TOML and findings, and nothing of what the keys mean.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::code::Code;
use super::diagnostic::{Finding, Span, closest, quoted_list};
use super::expand::{Environment, Text, expand};
use super::quantity::{QuantityError, display_duration, display_size, parse_duration, parse_size};
use super::source::Source;

/// A table of the document, and which of its keys have been asked for.
#[derive(Debug)]
pub(super) struct Section<'d> {
    /// As in `limits` or `route.write`; empty for the document itself.
    name: &'static str,
    /// Its header, or the braces of an inline table. `None` when the section is not in the file.
    pub(super) span: Option<Span>,
    entries: Vec<Entry<'d>>,
    asked: Vec<&'static str>,
}

#[derive(Debug)]
struct Entry<'d> {
    key: &'d str,
    key_span: Span,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Section<'d> {
    /// The document itself.
    #[must_use]
    pub(super) fn root(table: &'d DeTable<'d>) -> Self {
        Self::new("", None, table)
    }

    const fn absent(name: &'static str) -> Self {
        Self { name, span: None, entries: Vec::new(), asked: Vec::new() }
    }

    fn new(name: &'static str, span: Option<Span>, table: &'d DeTable<'d>) -> Self {
        let entry = |(key, value): (&'d Spanned<_>, _)| Entry { key: text_of(key), key_span: key.span(), value };
        Self { name, span, entries: table.iter().map(entry).collect(), asked: Vec::new() }
    }

    fn entry(&mut self, key: &'static str) -> Option<&Entry<'d>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.entry(key).map(|entry| entry.value)
    }

    /// Where the key stands, if it does.
    pub(super) fn key_span(&mut self, key: &'static str) -> Option<Span> {
        self.entry(key).map(|entry| entry.key_span.clone())
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

fn text_of<'d>(key: &'d Spanned<std::borrow::Cow<'d, str>>) -> &'d str {
    key.get_ref()
}

/// A list of strings and where it stands.
#[derive(Debug)]
pub(super) struct TextList {
    pub(super) items: Vec<Text>,
    pub(super) span: Span,
}

/// Takes values out of sections and collects what is wrong with them.
pub(super) struct Reader<'a> {
    source: &'a Source,
    environment: &'a Environment<'a>,
    pub(super) findings: Vec<Finding>,
    /// Every key that was asked for, as in `limits.frame`: what the reference file must explain.
    pub(super) asked: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(source: &'a Source, environment: &'a Environment<'a>) -> Self {
        Self { source, environment, findings: Vec::new(), asked: Vec::new() }
    }

    /// The section `[name]`; an absent one reads as if it were empty.
    pub(super) fn section<'d>(&mut self, root: &mut Section<'d>, name: &'static str) -> Section<'d> {
        match root.value(name) {
            None => Section::absent(name),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => Section::new(name, Some(value.span()), table),
                other => {
                    self.wrong_type(
                        &format!("`{name}`"),
                        other,
                        value.span(),
                        "a section",
                        &format!("write `[{name}]`"),
                    );
                    Section::absent(name)
                }
            },
        }
    }

    /// The section `[name]` within another, known to findings as `path`; `None` where it is not there.
    pub(super) fn subsection<'d>(
        &mut self,
        section: &mut Section<'d>,
        name: &'static str,
        path: &'static str,
    ) -> Option<Section<'d>> {
        let value = section.value(name)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(path, Some(value.span()), table)),
            other => {
                let help = format!("write `[{path}]`");
                self.wrong_type(&format!("`{path}`"), other, value.span(), "a section", &help);
                None
            }
        }
    }

    /// Every `[[name]]`, in the order of the file.
    pub(super) fn sections<'d>(&mut self, root: &mut Section<'d>, name: &'static str) -> Vec<Section<'d>> {
        let Some(value) = root.value(name) else { return Vec::new() };
        let help = format!("write `[[{name}]]` above each one");
        let items: Vec<&Spanned<DeValue<'d>>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items {
            match (value.get_ref(), item.get_ref()) {
                (DeValue::Array(_), DeValue::Table(table)) => {
                    sections.push(Section::new(name, Some(item.span()), table));
                }
                (_, other) => self.wrong_type(&format!("`{name}`"), other, item.span(), "a list of sections", &help),
            }
        }
        sections
    }

    /// Reports every key that was never asked for. To be called when the section has been read.
    pub(super) fn finish(&mut self, section: Section<'_>) {
        let asked: Vec<String> = section.asked.iter().map(|key| section.path(key)).collect();
        for path in asked {
            if !self.asked.contains(&path) {
                self.asked.push(path);
            }
        }
        for entry in section.entries.iter().filter(|entry| !section.asked.contains(&entry.key)) {
            let (what, place) = match (section.name, entry.value.get_ref()) {
                ("", DeValue::Table(_) | DeValue::Array(_)) => ("section", "there is no such section".to_owned()),
                ("", _) => ("key", "every key stands in a section".to_owned()),
                (name, _) => ("key", format!("not a key of `{name}`")),
            };
            let guess = closest(entry.key, section.asked.iter().copied());
            let mut known = section.asked.clone();
            known.sort_unstable();
            let known = quoted_list(known);
            let help = guess.map_or_else(|| format!("known here: {known}"), |guess| format!("did you mean `{guess}`?"));
            self.findings.push(
                Finding::error(Code::UnknownKey, format!("unknown {what} `{}`", section.path(entry.key)))
                    .label(entry.key_span.clone(), place)
                    .help(help),
            );
        }
    }

    /// A key of the design that this version can't carry out. Ignoring it would be worse than refusing it.
    pub(super) fn refuse(&mut self, section: &mut Section<'_>, key: &'static str, why: &str, help: &str) {
        let path = section.path(key);
        if let Some(span) = section.key_span(key) {
            self.findings.push(
                Finding::error(Code::NotAvailable, format!("`{path}` is not available yet in this version"))
                    .label(span, "can't be carried out")
                    .note(why)
                    .help(help),
            );
        }
    }

    pub(super) fn text(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<Text> {
        let value = section.value(key)?;
        self.as_text(value, &format!("`{}`", section.path(key)))
    }

    /// Like [`Self::text`], for a key that must be written out; `help` says how.
    pub(super) fn required_text(&mut self, section: &mut Section<'_>, key: &'static str, help: &str) -> Option<Text> {
        if section.value(key).is_some() {
            return self.text(section, key);
        }
        self.missing(section, key, help);
        None
    }

    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str, help: &str) {
        let mut finding = Finding::error(Code::MissingKey, format!("`{}` is missing", section.path(key)));
        if let Some(span) = section.span.clone() {
            finding = finding.label(span, format!("`{key}` must stand in this section"));
        }
        self.findings.push(finding.help(help));
    }

    /// `true` or `false`, with its span where it is written.
    pub(super) fn flag(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<(bool, Span)> {
        let value = section.value(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some((*flag, value.span()));
        }
        let help = format!("write `{key} = true` or `{key} = false`");
        self.wrong_type(&format!("`{}`", section.path(key)), value.get_ref(), value.span(), "true or false", &help);
        None
    }

    /// The folder of the file, which relative paths in it start from.
    pub(super) fn folder(&self) -> &Path {
        Path::new(self.source.name()).parent().unwrap_or_else(|| Path::new(""))
    }

    pub(super) fn texts(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<TextList> {
        let value = section.value(key)?;
        let path = section.path(key);
        let DeValue::Array(items) = value.get_ref() else {
            let help = format!("write `{key} = [\"…\", \"…\"]`");
            self.wrong_type(&format!("`{path}`"), value.get_ref(), value.span(), "a list of strings", &help);
            return None;
        };
        let count = items.len();
        let items: Vec<Text> =
            items.iter().filter_map(|item| self.as_text(item, &format!("each of `{path}`"))).collect();
        // A list with an unusable item would be judged wrongly as a whole.
        (items.len() == count).then(|| TextList { items, span: value.span() })
    }

    /// Like [`Self::texts`], where one text stands for a list of one.
    pub(super) fn text_or_texts(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<TextList> {
        let value = section.value(key)?;
        if matches!(value.get_ref(), DeValue::Array(_)) {
            return self.texts(section, key);
        }
        let text = self.text(section, key)?;
        Some(TextList { span: text.span.clone(), items: vec![text] })
    }

    pub(super) fn duration(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Duration,
        allowed: RangeInclusive<Duration>,
    ) -> Duration {
        let help = format!("write it with a unit, in quotes, as in `{key} = \"{}\"`", display_duration(default));
        let Some(text) = self.quantity_text(section, key, "a duration", &help) else { return default };
        match parse_duration(&text.value) {
            Ok(duration) if allowed.contains(&duration) => duration,
            Ok(_) => {
                let bounds = (display_duration(*allowed.start()), display_duration(*allowed.end()));
                self.out_of_range(&section.path(key), text.span, &bounds);
                default
            }
            Err(error) => {
                self.bad_quantity(Code::BadDuration, "duration", &section.path(key), &text, error);
                default
            }
        }
    }

    /// In bytes.
    pub(super) fn size(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        default: u64,
        allowed: RangeInclusive<u64>,
    ) -> u64 {
        let help = format!("write it with a unit, in quotes, as in `{key} = \"{}\"`", display_size(default));
        let Some(text) = self.quantity_text(section, key, "a size", &help) else { return default };
        match parse_size(&text.value) {
            Ok(bytes) if allowed.contains(&bytes) => bytes,
            Ok(_) => {
                let bounds = (display_size(*allowed.start()), display_size(*allowed.end()));
                self.out_of_range(&section.path(key), text.span, &bounds);
                default
            }
            Err(error) => {
                self.bad_quantity(Code::BadSize, "size", &section.path(key), &text, error);
                default
            }
        }
    }

    pub(super) fn count(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        default: u32,
        allowed: RangeInclusive<u32>,
    ) -> u32 {
        let Some(value) = section.value(key) else { return default };
        let path = section.path(key);
        let DeValue::Integer(integer) = value.get_ref() else {
            let help = format!("write `{key} = {default}`");
            self.wrong_type(&format!("`{path}`"), value.get_ref(), value.span(), "a number", &help);
            return default;
        };
        match u32::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(count) if allowed.contains(&count) => count,
            _ => {
                let bounds = (allowed.start().to_string(), allowed.end().to_string());
                self.out_of_range(&path, value.span(), &bounds);
                default
            }
        }
    }

    /// One word out of several, with its span.
    pub(super) fn choice<T: Copy>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<(T, Span)> {
        let text = self.text(section, key)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) {
            return Some((*value, text.span));
        }
        let words = || choices.iter().map(|(word, _)| *word);
        let guess = closest(&text.value, words()).map(|guess| format!("did you mean `{guess}`?"));
        self.findings.push(
            Finding::error(Code::UnknownValue, format!("unknown value for `{}`", section.path(key)))
                .label(text.span, "not one of those below")
                .note(format!("possible values: {}", quoted_list(words())))
                .maybe_help(guess),
        );
        None
    }

    fn as_text(&mut self, value: &Spanned<DeValue<'_>>, what: &str) -> Option<Text> {
        let span = value.span();
        let DeValue::String(decoded) = value.get_ref() else {
            let raw = self.source.text().get(span.clone()).unwrap_or_default();
            let help = match value.get_ref() {
                DeValue::Array(_) | DeValue::Table(_) => "write one string in quotes".to_owned(),
                _ => format!("put it in quotes: `\"{raw}\"`"),
            };
            self.wrong_type(what, value.get_ref(), span, "a string", &help);
            return None;
        };
        let raw = self.source.text().get(span.clone()).unwrap_or_default();
        match expand(decoded, raw, span, self.environment) {
            Ok(text) => Some(text),
            Err(findings) => {
                self.findings.extend(findings);
                None
            }
        }
    }

    fn quantity_text(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        expected: &str,
        help: &str,
    ) -> Option<Text> {
        let value = section.value(key)?;
        if matches!(value.get_ref(), DeValue::String(_)) {
            return self.text(section, key);
        }
        self.wrong_type(&format!("`{}`", section.path(key)), value.get_ref(), value.span(), expected, help);
        None
    }

    fn wrong_type(&mut self, what: &str, value: &DeValue<'_>, span: Span, expected: &str, help: &str) {
        self.findings.push(
            Finding::error(Code::WrongType, format!("{what} must be {expected}"))
                .label(span, format!("this is {}", type_name(value)))
                .help(help),
        );
    }

    fn out_of_range(&mut self, path: &str, span: Span, (least, most): &(String, String)) {
        self.findings.push(
            Finding::error(Code::OutOfRange, format!("`{path}` is out of range"))
                .label(span, format!("must be between {least} and {most}"))
                .help(format!("write a value between {least} and {most}, or leave the key out for its default")),
        );
    }

    fn bad_quantity(&mut self, code: Code, noun: &str, path: &str, text: &Text, error: QuantityError) {
        self.findings.push(
            Finding::error(code, format!("`{path}` is not a {noun}"))
                .label(text.span_of(error.at), error.problem)
                .help(error.help),
        );
    }
}

const fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
