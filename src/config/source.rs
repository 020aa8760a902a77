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
    /// It works on lines, not on parsed values, because a file that can't be parsed is shown too.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = String::with_capacity(self.text.len());
        for line in self.text.split_inclusive('\n') {
            let mut bytes = line.as_bytes().to_vec();
            for secret in secrets(line) {
                star_out(&mut bytes, secret);
            }
            // Stars replace whole characters, so that the line stays UTF-8; were it not, it is better not shown.
            shown.push_str(&String::from_utf8(bytes).unwrap_or_else(|_| "\n".to_owned()));
        }
        shown
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

/// Where a line holds a secret: the value of `secret = …`, and passwords in connection strings of both forms.
fn secrets(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if let Some((key, value)) = line.split_once('=')
        && key.trim().trim_matches(['"', '\'']).ends_with("secret")
    {
        found.push(line.len() - value.len()..line.len());
    }
    if let Some(at) = line.find("://") {
        let authority = at + 3;
        let end = line[authority..].find(['"', '\'', ' ', '\n']).map_or(line.len(), |length| authority + length);
        // The last `@`: a password that holds one unescaped is a mistake, and still a password.
        if let Some(user_end) = line[authority..end].rfind('@').map(|length| authority + length)
            && let Some(colon) = line[authority..user_end].find(':')
        {
            found.push(authority + colon + 1..user_end);
        }
    }
    for (at, word) in line.match_indices("password") {
        let rest = &line[at + word.len()..];
        if let Some(value) = rest.trim_start().strip_prefix('=') {
            let start = line.len() - value.len();
            let end = value.trim_start().find(['"', ' ', '&', '\n']);
            let blanks = value.len() - value.trim_start().len();
            found.push(start..end.map_or(line.len(), |length| start + blanks + length));
        }
    }
    found
}

/// Stars for every character but quotes, blanks and what stands in `${…}`, which names a secret without being one.
fn star_out(line: &mut [u8], secret: Range<usize>) {
    let mut in_variable = false;
    for at in secret {
        let next = line.get(at + 1).copied();
        match line[at] {
            b'$' if next == Some(b'{') => in_variable = true,
            b'}' if in_variable => in_variable = false,
            b'"' | b'\'' | b' ' | b'\n' | b'\r' => {}
            _ if in_variable => {}
            _ => line[at] = b'*',
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
        assert_eq!(shown("url = \"host=db password = 'x 1'\""), "url = \"host=db password = '* 1'\"");
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
