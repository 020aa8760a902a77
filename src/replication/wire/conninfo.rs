//! A connection string, taken apart into its parameters: those that walcast handles itself, and the rest.
//!
//! `tokio_postgres::Config` reads most of libpq's syntax. This module knows only enough of it to take single
//! parameters out: a URL's query, and `key = 'value'` pairs.

use super::error::ConfigError;

/// The parameters taken out, in order, and the text without them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) taken: Vec<(String, String)>,
    pub(super) rest: String,
}

/// Takes the parameters called `names` out of a URL or a `key=value` string.
pub(super) fn take(text: &str, names: &[&str]) -> Result<Split, ConfigError> {
    let text = text.trim();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        take_from_url(text, names)
    } else {
        take_from_pairs(text, names)
    }
}

fn take_from_url(url: &str, names: &[&str]) -> Result<Split, ConfigError> {
    let Some((base, query)) = url.split_once('?') else {
        return Ok(Split { taken: Vec::new(), rest: url.to_owned() });
    };
    let mut taken = Vec::new();
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let key = percent_decode(key)?;
        if names.contains(&key.as_str()) {
            taken.push((key, percent_decode(value)?));
        } else {
            kept.push(parameter);
        }
    }
    let rest = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    Ok(Split { taken, rest })
}

fn percent_decode(text: &str) -> Result<String, ConfigError> {
    // A password with a `?` in it can end up here, so that the errors do not show the text.
    let malformed = || ConfigError::Syntax("a `%` is not followed by two hexadecimal digits".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        bytes.push(value.ok_or_else(malformed)?);
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::Syntax("a parameter is not UTF-8".to_owned()))
}

fn take_from_pairs(text: &str, names: &[&str]) -> Result<Split, ConfigError> {
    let mut taken = Vec::new();
    let mut rest = String::new();
    let mut pairs = Pairs { rest: text };
    while let Some((key, value)) = pairs.next()? {
        if names.contains(&key) {
            taken.push((key.to_owned(), value));
        } else {
            let quoted = value.replace('\\', r"\\").replace('\'', r"\'");
            rest.push_str(&format!("{key}='{quoted}' "));
        }
    }
    Ok(Split { taken, rest: rest.trim_end().to_owned() })
}

/// libpq's `key = value` syntax: blanks around `=` are allowed, a value is bare or in single quotes, and a
/// backslash makes the next character part of the value in both.
struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Pairs<'a> {
    fn next(&mut self) -> Result<Option<(&'a str, String)>, ConfigError> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let end = self.rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(self.rest.len());
        let (key, after_key) = self.rest.split_at(end);
        // The text can hold a password anywhere, so that the error shows the key only.
        let Some(value) = after_key.trim_start().strip_prefix('=') else {
            return Err(ConfigError::Syntax(format!("no `=` after the {}-character word at its place", key.len())));
        };
        self.rest = value.trim_start();
        let value = match self.rest.strip_prefix('\'') {
            Some(quoted) => self.value(quoted, true)?,
            None => self.value(self.rest, false)?,
        };
        Ok(Some((key, value)))
    }

    fn value(&mut self, text: &'a str, quoted: bool) -> Result<String, ConfigError> {
        let mut value = String::new();
        let mut characters = text.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                '\'' if quoted => {
                    self.rest = text.get(index + 1..).unwrap_or_default();
                    return Ok(value);
                }
                blank if !quoted && blank.is_whitespace() => {
                    self.rest = text.get(index..).unwrap_or_default();
                    return Ok(value);
                }
                other => value.push(other),
            }
        }
        self.rest = "";
        if quoted { Err(ConfigError::Syntax("a quoted value has no closing quote".to_owned())) } else { Ok(value) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: &[&str] = &["sslmode", "sslrootcert"];

    fn taken(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn takes_from_a_url_and_leaves_the_rest_as_it_is() {
        let split = take("postgres://u:p%40@h/db?sslmode=verify-full&a=%20b&sslrootcert=%2Fetc%2Fca", NAMES).unwrap();
        assert_eq!(split.rest, "postgres://u:p%40@h/db?a=%20b");
        assert_eq!(split.taken, taken(&[("sslmode", "verify-full"), ("sslrootcert", "/etc/ca")]));
        assert_eq!(take("postgresql://h?sslmode=disable", NAMES).unwrap().rest, "postgresql://h");
        assert!(take("postgres://h?sslmode=%4", NAMES).is_err());
    }

    #[test]
    fn takes_from_pairs() {
        let split = take(r"host = h  sslmode=require password='it\'s \\ mine' sslrootcert = '/a b/ca'", NAMES).unwrap();
        assert_eq!(split.rest, r"host='h' password='it\'s \\ mine'");
        assert_eq!(split.taken, taken(&[("sslmode", "require"), ("sslrootcert", "/a b/ca")]));
    }

    #[test]
    fn refuses_what_is_neither_without_showing_it() {
        for text in ["host", "host=h secret", "password='open"] {
            let message = take(text, NAMES).unwrap_err().to_string();
            assert!(!message.contains("secret") && !message.contains("open"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*") {
            let _any = take(&text, NAMES);
            let _any = take(&format!("postgres://{text}"), NAMES);
        }

        #[test]
        fn what_is_left_means_the_same(value in "\\PC+") {
            let quoted = value.replace('\\', r"\\").replace('\'', r"\'");
            let split = take(&format!("password='{quoted}' sslmode=require"), NAMES).unwrap();
            let config: tokio_postgres::Config = split.rest.parse().unwrap();
            prop_assert_eq!(config.get_password(), Some(value.as_bytes()));
        }
    }
}
