//! Where a running gateway listens for operators, from a file that may have mistakes everywhere else.
//!
//! Whoever asks a gateway how it is must not depend on the rest of the file: it may have been broken since the gateway
//! has read it, or need variables that only the gateway has.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::address::Address;
use super::defaults;
use super::diagnostic::Finding;
use super::document::{Reader, Section};
use super::expand::Environment;
use super::load::{ReadError, read_source};
use super::server::addresses;
use super::source::Source;

/// Why the file does not say where.
#[derive(Debug, thiserror::Error)]
pub enum OperatorsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{}: {problem}", .file.display())]
    Unusable { file: PathBuf, problem: String },
    #[error("{} is not valid TOML where it says `admin`", .file.display())]
    Syntax { file: PathBuf },
}

/// The addresses of `server.admin`, at least one; its default where the file has none.
///
/// # Errors
/// The file can't be read, or what it says there is no address.
pub fn operators(path: &Path, environment: &Environment<'_>) -> Result<Vec<Address>, OperatorsError> {
    let file = path.to_owned();
    judge(&read_source(path)?, environment).map_err(|problem| match problem {
        Some(problem) => OperatorsError::Unusable { file, problem },
        None => OperatorsError::Syntax { file },
    })
}

/// None: what would tell is no TOML.
fn judge(source: &Source, environment: &Environment<'_>) -> Result<Vec<Address>, Option<String>> {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    let mut reader = Reader::new(source, environment);
    let mut root = Section::root(document.get_ref());
    let mut section = reader.section(&mut root, "server");
    if section.key_span("admin").is_none() && !errors.is_empty() && mentions_admin(source.text()) {
        return Err(None);
    }
    let places = addresses(&mut reader, &mut section, "admin", defaults::ADMIN);
    let Some(finding) = reader.findings.first() else {
        return Ok(places.into_iter().map(|place| place.address).collect());
    };
    // One that can be used leads to the same gateway as the others.
    let usable: Vec<Address> = places.into_iter().filter(|it| it.span.is_some()).map(|it| it.address).collect();
    if usable.is_empty() {
        // What was made of a line that is no TOML is nothing to complain about.
        return Err(errors.is_empty().then(|| told(finding)));
    }
    Ok(usable)
}

/// Whether the key may be written in a line that can't be read.
fn mentions_admin(text: &str) -> bool {
    text.lines().any(|line| line.split('#').next().is_some_and(|code| code.contains("admin")))
}

fn told(finding: &Finding) -> String {
    let label = finding.labels.first().map(|label| format!(" ({})", label.text));
    format!("{}{}", finding.message, label.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::env::VarError;

    use super::*;

    fn judged(text: &str) -> Result<Vec<String>, Option<String>> {
        let source = Source::new("/etc/walcast/walcast.toml".to_owned(), text.to_owned());
        let addresses = judge(&source, &|name| match name {
            "PORT" => Ok("4009".to_owned()),
            _ => Err(VarError::NotPresent),
        })?;
        Ok(addresses.iter().map(Address::to_string).collect())
    }

    #[test]
    fn whatever_else_is_wrong_the_addresses_are_read() {
        let admin = "[server]\nadmin = \"127.0.0.1:4009\"\n";
        for text in [
            admin.to_owned(),
            format!("{admin}listen = 7\ncolour = 1\n[auth]\nmode = \"${{SECRET}}\"\n[[route]]\n"),
            format!("url = postgres://db/shop\n{admin}[[route]\n"),
            format!("{admin}[[route]]\ntable = \"open\ntopic = \"x\"\n"),
            "[server]\nadmin = \"127.0.0.1:4009\n".to_owned(),
            "[server]\nadmin = \"127.0.0.1:${PORT}\"\n".to_owned(),
            "server = { admin = ['127.0.0.1:4009', 'nowhere'] }".to_owned(),
        ] {
            assert_eq!(judged(&text), Ok(vec!["127.0.0.1:4009".to_owned()]), "{text}");
        }
        let sockets = "[server]\nadmin = [\"unix:admin.sock\", \"unix:/run/b.sock\", \"[::]:4001\"]\n";
        assert_eq!(judged(sockets).unwrap(), ["unix:/etc/walcast/admin.sock", "unix:/run/b.sock", "[::]:4001"]);
    }

    #[test]
    fn without_the_key_it_is_the_default() {
        for text in ["", "[server]\nlisten = 7\n", "# admin = 1\nurl = postgres://db\n", "server = 7"] {
            match judged(text) {
                Ok(addresses) => assert_eq!(addresses, ["127.0.0.1:4001"], "{text}"),
                Err(problem) => assert_eq!(
                    (text, problem.as_deref()),
                    ("server = 7", Some("`server` must be a section (this is an integer)"))
                ),
            }
        }
    }

    #[test]
    fn what_can_not_be_told_is_not_guessed() {
        assert_eq!(judged("[server]\nadmin = 127.0.0.1:4009\n"), Err(None));
        for (value, problem) in [
            ("7", "`server.admin` must be a string (this is an integer)"),
            ("[]", "`server.admin` is empty (nobody could connect)"),
            ("'localhost'", "`server.admin` is not an address (an IP address and a port are expected)"),
            ("'${NONE}'", "the environment variable `NONE` is not set (needed here)"),
        ] {
            assert_eq!(judged(&format!("server.admin = {value}")), Err(Some(problem.to_owned())));
        }
    }
}
