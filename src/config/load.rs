//! From a path to a [`Config`], or to everything that is wrong with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::code::Code;
use super::defaults::FILE_BYTES_MAX;
use super::diagnostic::{Finding, sort};
use super::document::{Reader, Section};
use super::expand::Environment;
use super::source::Source;
use super::{Config, auth, channels, routes, rules, sections, server, write};

/// Why there is no text to judge.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no configuration file {}: correct the name, or create it", .path.display())]
    Missing { path: PathBuf },
    #[error("the configuration file {} is not UTF-8 text: is it the right one?", .path.display())]
    NotText { path: PathBuf },
    #[error("cannot read the configuration file {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the configuration file {} is larger than {FILE_BYTES_MAX} bytes: is it the right one?", .path.display())]
    TooLarge { path: PathBuf },
}

/// What became of a file.
#[derive(Debug)]
pub struct Loaded {
    pub source: Arc<Source>,
    /// `None` when a finding is an error.
    pub config: Option<Config>,
    /// In the order of the file.
    pub findings: Vec<Finding>,
    /// How many `[[route]]`s were seen, usable or not.
    pub routes: usize,
    /// Every key that may be set, as in `limits.frame`.
    pub known_keys: Vec<String>,
}

/// Reads and judges the file at `path`.
///
/// # Errors
/// The file can't be read. Everything else is a finding.
pub fn read(path: &Path, environment: &Environment<'_>) -> Result<Loaded, ReadError> {
    Ok(parse(read_source(path)?, environment))
}

/// The file at `path`, whatever stands in it.
pub(super) fn read_source(path: &Path) -> Result<Source, ReadError> {
    let path = || path.to_owned();
    match read_text(&path()) {
        Ok(Some(text)) => Ok(Source::new(path().display().to_string(), text)),
        Ok(None) => Err(ReadError::TooLarge { path: path() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ReadError::Missing { path: path() }),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(ReadError::NotText { path: path() }),
        Err(source) => Err(ReadError::Io { path: path(), source }),
    }
}

/// `None` when the file is too large.
fn read_text(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok((text.len() as u64 <= FILE_BYTES_MAX).then_some(text))
}

/// Judges a file that has been read. Pure but for what `environment` does, and for the files with keys and
/// certificates that it names.
#[must_use]
pub fn parse(source: Source, environment: &Environment<'_>) -> Loaded {
    let source = Arc::new(source);
    let (document, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        // What was recovered may lack the very lines that are broken: judging it would invent mistakes.
        let findings = errors.iter().map(|error| syntax_finding(error, source.text())).collect();
        return Loaded { source, config: None, findings, routes: 0, known_keys: Vec::new() };
    }
    let mut reader = Reader::new(&source, environment);
    let (draft, routes) = read_document(&mut reader, document.get_ref());
    let Reader { mut findings, asked: known_keys, .. } = reader;
    sort(&mut findings);
    let usable = !findings.iter().any(Finding::is_error);
    let config = draft.filter(|_| usable).map(|draft| draft.complete(Arc::clone(&source)));
    Loaded { source, config, findings, routes, known_keys }
}

/// Everything of a [`Config`] but its source. Defaults stand in for what could not be used.
struct Draft {
    postgres: super::Postgres,
    server: super::Server,
    auth: super::Auth,
    replay: super::Replay,
    routes: Vec<super::Route>,
    channels: Vec<super::Channel>,
    limits: super::Limits,
}

impl Draft {
    fn complete(self, source: Arc<Source>) -> Config {
        let Self { postgres, server, auth, replay, routes, channels, limits } = self;
        Config { source, postgres, server, auth, replay, routes, channels, limits }
    }
}

/// Reads every section, whatever is wrong with the ones before; the number of routes comes with it.
fn read_document(reader: &mut Reader<'_>, document: &DeTable<'_>) -> (Option<Draft>, usize) {
    let mut root = Section::root(document);
    let postgres = sections::postgres(reader, &mut root);
    let server = server::section(reader, &mut root);
    let auth = auth::section(reader, &mut root);
    let replay = sections::replay(reader, &mut root);
    let limits = sections::limits(reader, &mut root);
    let (routes, count) = routes::read(reader, &mut root, limits.topic);
    let channels = channels::read(reader, &mut root, &routes);
    if let Some(auth) = &auth {
        write::judge_roles(reader, &routes, auth);
        rules::judge_claims(reader, &routes, &channels, auth);
    }
    sections::later(reader, &mut root);
    reader.finish(root);
    let draft = || Some(Draft { postgres: postgres?, server, auth: auth?, replay, routes, channels, limits });
    (draft(), count)
}

fn syntax_finding(error: &toml::de::Error, text: &str) -> Finding {
    let (summary, detail) = error.message().split_once(", ").unwrap_or((error.message(), "here"));
    let detail = if summary == "duplicate key" { "it stands further up already" } else { detail };
    let not_toml = |what: &str| Finding::error(Code::Syntax, format!("the file is not valid TOML: {what}"));
    let Some(span) = error.span() else { return not_toml(summary).note(detail) };
    let culprit = text.get(span.clone()).unwrap_or_default();
    // The parser takes a bare word for a number or a boolean that is misspelt.
    if summary.starts_with("invalid") && culprit.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return not_toml("a text without quotes").label(span, "a bare word").help(format!("write `\"{culprit}\"`"));
    }
    not_toml(summary).label(span, detail)
}
