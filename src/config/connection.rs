//! `postgres.url`: what is wrong with a connection string, where, and how it would be right.
//!
//! The wire client reads it. What it says of one that it can't read is too little for whoever has written it: here the
//! usual mistakes are looked for. No message has a part of the text in it that may be a password.

use std::ops::Range;

use super::code::Code;
use super::diagnostic::{Finding, closest};
use super::expand::Text;
use crate::replication::wire::{ConfigError, ConnectionConfig, WireError};

const FORM: &str = "a connection string is `postgres://user:password@host:5432/database`, or \
                    `host=… port=… user=… password=… dbname=…`";
const ESCAPES: &str = "in a URL's user, password and parameters write `%40` for `@`, `%3A` for `:`, `%2F` for `/`, `%3F` for \
                       `?`, `%23` for `#` and `%25` for `%`";
const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// The parameters of libpq that mean something here.
const PARAMETERS: [&str; 20] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &Text) -> Result<ConnectionConfig, Finding> {
    if text.value.trim().is_empty() {
        return Err(finding(text, Problem::new(None, "it is empty")));
    }
    // The client would take what follows the first `@` for a host's name, and look for it.
    let credentials = credentials_unescaped(&text.value);
    match (ConnectionConfig::parse(&text.value), credentials) {
        (Ok(connection), None) => Ok(connection),
        (_, Some(problem)) => Err(finding(text, problem)),
        (Err(WireError::Config(ConfigError::Syntax(reason))), None) => Err(finding(text, look(&text.value, &reason))),
        (Err(error), None) => Err(finding(text, Problem { at: None, what: error.to_string(), help: FORM.to_owned() })),
    }
}

/// A part of the text, and what is the matter there.
struct Problem {
    /// None: all of it.
    at: Option<Range<usize>>,
    what: String,
    help: String,
}

impl Problem {
    fn new(at: Option<Range<usize>>, what: &str) -> Self {
        Self { at, what: what.to_owned(), help: FORM.to_owned() }
    }
}

fn finding(text: &Text, Problem { at, what, help }: Problem) -> Finding {
    let span = at.map_or_else(|| text.span.clone(), |range| text.span_of(range));
    Finding::error(Code::BadUrl, "`postgres.url` is not a connection string that can be used")
        .label(span, what)
        .help(help)
}

/// Looks for what `reason` is about.
fn look(value: &str, reason: &str) -> Problem {
    let Some((scheme, rest)) = value.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return if value.contains('=') { of_pairs(reason) } else { Problem::new(None, "it has no `postgres://`") };
    };
    if !SCHEMES.contains(&scheme) {
        return Problem::new(Some(0..scheme.len()), "the scheme is `postgres`");
    }
    if reason.contains('%') {
        return Problem {
            help: ESCAPES.to_owned(),
            ..Problem::new(None, "a `%` without two hexadecimal digits after it")
        };
    }
    let start = value.len() - rest.len();
    match bad_port(rest) {
        Some(range) => Problem::new(Some(start + range.start..start + range.end), "a port is a number from 1 to 65535"),
        None => of_pairs(reason),
    }
}

/// As in `jdbc:postgresql` and `postgresql+psycopg2`.
fn is_scheme(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:".contains(c))
}

/// A parameter that nobody knows, or the reason as it is.
fn of_pairs(reason: &str) -> Problem {
    let unknown = reason.strip_prefix("unknown option `").and_then(|rest| rest.strip_suffix('`'));
    match unknown.and_then(|name| closest(name, PARAMETERS)) {
        Some(guess) => Problem { help: format!("did you mean `{guess}`?"), ..Problem::new(None, reason) },
        None => Problem::new(None, reason),
    }
}

/// Where a URL's user and password stand, if they have a character that ends them too early.
fn credentials_unescaped(value: &str) -> Option<Problem> {
    let (scheme, rest) = value.split_once("://")?;
    if !SCHEMES.contains(&scheme.trim_start()) {
        return None;
    }
    let start = value.len() - rest.len();
    let authority = rest.split('/').next().unwrap_or_default();
    let end = authority.rfind('@')?;
    let credentials = authority.get(..end)?;
    let character = credentials.chars().find(|c| ['@', '?', '#'].contains(c))?;
    let what = format!("a `{character}` in a user's name or password has to be escaped");
    Some(Problem { at: Some(start..start + end), what, help: ESCAPES.to_owned() })
}

/// Within what follows `postgres://`.
fn bad_port(rest: &str) -> Option<Range<usize>> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let mut at = authority.rfind('@').map_or(0, |at| at + 1);
    for host in authority.get(at..)?.split(',') {
        // An IPv6 address is in brackets.
        let after = host.rfind(']').unwrap_or(0);
        if let Some(colon) = host.get(after..)?.find(':').map(|colon| after + colon)
            && !host.get(colon + 1..)?.parse::<u16>().is_ok_and(|port| port > 0)
        {
            return Some(at + colon + 1..at + host.len());
        }
        at += host.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::expand::expand;
    use super::*;

    /// The part that is pointed at, what is said there, and the help.
    fn said(value: &str) -> (String, String, String) {
        let raw = format!("'{value}'");
        let text = expand(value, &raw, 0..raw.len(), &|_| Err(std::env::VarError::NotPresent)).unwrap();
        let Err(finding) = parse(&text) else { panic!("{value} is right") };
        let label = &finding.labels[0];
        (raw[label.span.clone()].to_owned(), label.text.clone(), finding.help.join("; "))
    }

    #[test]
    fn the_usual_mistakes_are_pointed_at() {
        let port = "a port is a number from 1 to 65535";
        for (value, at, what) in [
            ("", "''", "it is empty"),
            ("localhost:5432/shop", "'localhost:5432/shop'", "it has no `postgres://`"),
            ("mysql://db/shop", "mysql", "the scheme is `postgres`"),
            ("jdbc:postgresql://db/shop", "jdbc:postgresql", "the scheme is `postgres`"),
            ("postgresql+psycopg2://db/shop", "postgresql+psycopg2", "the scheme is `postgres`"),
            ("postgres://app:x@db:port/shop", "port", port),
            ("postgres://app:x@a:1,[::1]:99999/shop", "99999", port),
            ("host=db port=a", "'host=db port=a'", "invalid value for option `port`"),
            ("host=db shop", "'host=db shop'", "no `=` after the 4-character word at its place"),
            (
                "postgres:///shop",
                "'postgres:///shop'",
                "the connection string names no host: add one (a folder, as in host=/var/run/postgresql, for a socket)",
            ),
        ] {
            assert_eq!(said(value), (at.to_owned(), what.to_owned(), FORM.to_owned()), "{value}");
        }
    }

    #[test]
    fn a_password_that_must_be_escaped_is_not_looked_up() {
        for value in ["postgres://app:p@ss@db/shop", "postgres://app:p?ss@db/shop", "postgres://app:p#ss@db/shop"] {
            let (at, what, help) = said(value);
            assert!(value.contains(&at) && at.starts_with("app:") && at.ends_with("ss"), "{at}");
            assert!(what.ends_with("in a user's name or password has to be escaped"), "{what}");
            assert_eq!(help, ESCAPES);
        }
        let (_, what, help) = said("postgres://app@db/shop?sslrootcert=50%");
        assert_eq!((&*what, &*help), ("a `%` without two hexadecimal digits after it", ESCAPES));
    }

    #[test]
    fn a_parameter_is_guessed() {
        let (_, what, help) = said("postgres://db/shop?ssl_mode=require");
        assert_eq!((&*what, &*help), ("unknown option `ssl_mode`", "did you mean `sslmode`?"));
        let (_, what, _) = said("postgres://db/shop?sslmode=on");
        assert_eq!(
            what,
            "sslmode=on is no value of `sslmode`: use disable, allow, prefer, require, verify-ca or verify-full"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_told(value in "(postgres://|postgresql://|host=|[a-c:@/?#%,=\\[\\]0-9 \u{e4}]){0,12}") {
            let text = expand(&value, &format!("'{value}'"), 0..value.len() + 2, &|_| Err(std::env::VarError::NotPresent));
            let _either = parse(&text.unwrap());
        }
    }
}
