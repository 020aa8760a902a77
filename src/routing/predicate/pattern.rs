//! `like` and `ilike`.

use super::node::Escape;

/// A pattern, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What a text begins with, where case counts: mostly that decides.
    prefix: Box<str>,
    /// The rest.
    pieces: Box<[Piece]>,
    /// Whether the case of ASCII letters doesn't count, as in an `ilike` under collation "C".
    insensitive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    One(char),
    /// `_`
    Any,
    /// `%`
    Run,
}

impl Pattern {
    /// `None` for a pattern that ends with its escape character, which Postgres refuses when it comes to it.
    pub(super) fn new(text: &str, escape: Escape, insensitive: bool) -> Option<Self> {
        let fold = |c: char| if insensitive { c.to_ascii_lowercase() } else { c };
        let mut pieces: Vec<Piece> = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                _ if escape == Escape::By(character) => pieces.push(Piece::One(fold(characters.next()?))),
                '_' => pieces.push(Piece::Any),
                '%' if pieces.last() == Some(&Piece::Run) => {}
                '%' => pieces.push(Piece::Run),
                _ => pieces.push(Piece::One(fold(character))),
            }
        }
        let literal = if insensitive { 0 } else { pieces.iter().take_while(|it| matches!(it, Piece::One(_))).count() };
        let prefix: String = pieces.drain(..literal).filter_map(Piece::character).collect();
        Some(Self { prefix: prefix.into(), pieces: pieces.into(), insensitive })
    }

    /// The pattern with backslashes for escapes, as SQL takes it without `escape`.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let prefix = self.prefix.chars().map(Piece::One);
        for piece in prefix.chain(self.pieces.iter().copied()) {
            match piece {
                Piece::Any => text.push('_'),
                Piece::Run => text.push('%'),
                Piece::One(character) => {
                    if matches!(character, '\\' | '_' | '%') {
                        text.push('\\');
                    }
                    text.push(character);
                }
            }
        }
        text
    }

    pub(super) const fn is_insensitive(&self) -> bool {
        self.insensitive
    }

    /// Where a piece doesn't fit, the last run takes one character more: no run before it needs to, so that this takes
    /// at most as many steps as the text has characters times the pattern pieces.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(text) = text.strip_prefix(&*self.prefix) else { return false };
        let (mut rest, mut pieces) = (text.chars(), &*self.pieces);
        let mut retry = None;
        loop {
            if let Some((Piece::Run, after)) = pieces.split_first() {
                if after.is_empty() {
                    return true;
                }
                retry = Some((rest.clone(), after));
                pieces = after;
                continue;
            }
            let mut ahead = rest.clone();
            match (ahead.next(), pieces.split_first()) {
                (None, None) => return true,
                (Some(character), Some((piece, after))) if self.fits(*piece, character) => {
                    (rest, pieces) = (ahead, after);
                }
                _ => {
                    let Some((from, after)) = &mut retry else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (rest, pieces) = (from.clone(), after);
                }
            }
        }
    }

    const fn fits(&self, piece: Piece, character: char) -> bool {
        match piece {
            Piece::One(wanted) if self.insensitive => wanted as u32 == character.to_ascii_lowercase() as u32,
            Piece::One(wanted) => wanted as u32 == character as u32,
            Piece::Any | Piece::Run => true,
        }
    }
}

impl Piece {
    const fn character(self) -> Option<char> {
        match self {
            Self::One(character) => Some(character),
            Self::Any | Self::Run => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        let like = |pattern: &str, text| Pattern::new(pattern, Escape::By('\\'), false).unwrap().matches(text);
        for (pattern, text) in [
            ("", ""),
            ("%", ""),
            ("%", "abc"),
            ("a_c", "aéc"),
            ("%b%", "abc"),
            ("a%c%e", "abcbcde"),
            ("\\%", "%"),
            ("%a%a%b", "aaaab"),
            ("__", "🦀é"),
            ("%\\_%", "a_b"),
            ("a%%b", "ab"),
        ] {
            assert!(like(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("_", ""), ("_", "ab"), ("a", "A"), ("%b", "abc"), ("\\%", "a"), ("%a%a%b", "aaac")]
        {
            assert!(!like(pattern, text), "{pattern} {text}");
        }
        assert_eq!(Pattern::new("a\\", Escape::By('\\'), false), None);
        assert!(Pattern::new("a\\", Escape::None, false).unwrap().matches("a\\"));
        assert!(Pattern::new("ÄbC%", Escape::None, true).unwrap().matches("ÄBcd"));
        assert!(!Pattern::new("äb", Escape::None, true).unwrap().matches("ÄB"));
    }

    #[test]
    fn a_long_text_takes_no_exponential_time() {
        let pattern = Pattern::new(&"%a".repeat(50), Escape::None, false).unwrap();
        assert!(!pattern.matches(&"ab".repeat(40)));
        assert!(pattern.matches(&"a".repeat(100_000)));
    }
}
