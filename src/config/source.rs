//! The configuration file as it was read: its name and text, and the text as it may be shown.

use std::fmt;
use std::ops::Range;

/// A configuration file in memory. Its `Debug` form leaves the text out, which may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// `name` is shown in findings; usually the path as the user gave it.
    #[must_use]
    pub const fn new(name: String, text: String) -> Self {
        Self { name, text }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text for people to see: secrets are starred out, byte for byte, so that every span still fits.
    ///
    /// It goes by the text, not by parsed values, because a file that can't be parsed is shown too.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut bytes = self.text.as_bytes().to_vec();
        for secret in assigned_secrets(&self.text).chain(url_passwords(&self.text)) {
            star_out(&mut bytes, secret);
        }
        // Stars replace whole characters, so that the text stays UTF-8; were it not, it is better not shown.
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// The 1-based line and column (in characters) of a byte offset.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The values of `secret = …` and `password=…`, as TOML keys and in connection strings.
fn assigned_secrets(text: &str) -> impl Iterator<Item = Range<usize>> {
    let occurrences = ["secret", "password"]
        .into_iter()
        .flat_map(move |word| text.match_indices(word).map(move |(at, _)| &text[at + word.len()..]));
    occurrences.filter_map(|after| {
        let after = after.trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
        let value = after.strip_prefix('=')?.trim_start_matches([' ', '\t']);
        let start = text.len() - value.len();
        Some(start..start + value_length(value))
    })
}

/// Up to the closing quote, or without quotes to the end of the word.
fn value_length(value: &str) -> usize {
    let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| value.starts_with(quotes));
    let Some(quotes) = quotes else {
        return value.find(['"', '\'', ' ', '&', '\n']).unwrap_or(value.len());
    };
    let mut at = quotes.len();
    while let Some(next) = value[at..].chars().next() {
        let rest = &value[at..];
        if rest.starts_with(quotes) || (quotes.len() == 1 && next == '\n') {
            return at;
        }
        at += next.len_utf8();
        if next == '\\' && quotes.starts_with('"') {
            at += value[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    at
}

/// The passwords in `postgres://user:password@host`.
fn url_passwords(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, separator)| {
        let start = at + separator.len();
        let authority = &text[start..];
        let authority = &authority[..authority.find(['"', '\'', ' ', '\n']).unwrap_or(authority.len())];
        // The last `@`: a password that holds one unescaped is a mistake, and still a password.
        let user_end = authority.rfind('@')?;
        let colon = authority[..user_end].find(':')?;
        Some(start + colon + 1..start + user_end)
    })
}

/// Stars for every character but quotes, blanks and what stands in `${…}`, which names a secret without being one.
fn star_out(text: &mut [u8], secret: Range<usize>) {
    let mut in_variable = false;
    for at in secret {
        let next = text.get(at + 1).copied();
        match text[at] {
            b'$' if next == Some(b'{') => in_variable = true,
            b'}' if in_variable => in_variable = false,
            b'"' | b'\'' | b' ' | b'\n' | b'\r' => {}
            _ if in_variable => {}
            _ => text[at] = b'*',
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Source::new("walcast.toml".to_owned(), text.to_owned()).shown()
    }

    #[test]
    fn secrets_are_starred_out_and_variables_stay() {
        assert_eq!(shown("secret = \"hunter2\"\n"), "secret = \"*******\"\n");
        assert_eq!(shown("auth.secret = 'hé'"), "auth.secret = '***'");
        assert_eq!(shown("secret = \"${JWT}\""), "secret = \"${JWT}\"");
        assert_eq!(shown("url = \"postgres://app:hunter2@db/app\""), "url = \"postgres://app:*******@db/app\"");
        assert_eq!(shown("url = \"postgres://app:p@ss@db/app\""), "url = \"postgres://app:****@db/app\"");
        assert_eq!(shown("url = \"postgres://app@db:5432/app\""), "url = \"postgres://app@db:5432/app\"");
        assert_eq!(shown("url = \"host=db password=x1 user=app\""), "url = \"host=db password=** user=app\"");
        assert_eq!(shown("url = \"host=db password = 'x 1' user=app\""), "url = \"host=db password = '* *' user=app\"");
        assert_eq!(shown("auth = { secret = 'a', mode = 'jwt' }"), "auth = { secret = '*', mode = 'jwt' }");
        assert_eq!(shown("secret = \"a\\\"b\" # c"), "secret = \"**\"*\" # c");
        assert_eq!(shown("secret = \"\"\"\na\nb\"\"\"\nmode"), "secret = \"\"\"\n*\n*\"\"\"\nmode");
        assert_eq!(shown("secret = \"open\nmode = 1"), "secret = \"****\nmode = 1");
    }

    #[test]
    fn positions_count_characters() {
        let source = Source::new(String::new(), "a\nbé = 1".to_owned());
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(5), (2, 3));
        assert_eq!(source.position(99), (2, 7));
    }

    proptest! {
        #[test]
        fn spans_fit_the_shown_text(text in "(secret|password|://|[a:@=\"'é${} \n]){0,40}") {
            prop_assert_eq!(shown(&text).len(), text.len());
        }
    }
}
