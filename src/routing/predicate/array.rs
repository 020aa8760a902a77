//! The elements of an array's text, of whatever dimensions: `any` and `all` don't tell these apart.

use std::borrow::Cow;

/// Postgres' `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

/// One element: a text, or null.
pub(super) type Element<'t> = Option<Cow<'t, str>>;

/// As Postgres prints arrays, and blanks around elements. `None` for what is none.
pub(super) fn elements(text: &str) -> Option<Vec<Element<'_>>> {
    let mut reader = Reader { rest: without_bounds(text.trim_ascii())?, depth: 0, elements: Vec::new() };
    reader.array()?;
    reader.rest.is_empty().then_some(reader.elements)
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
    elements: Vec<Element<'t>>,
}

impl<'t> Reader<'t> {
    fn array(&mut self) -> Option<()> {
        self.take('{')?;
        self.depth += 1;
        if self.depth > DIMENSIONS_MAX {
            return None;
        }
        if self.take('}').is_none() {
            loop {
                self.item()?;
                if self.take(',').is_none() {
                    self.take('}')?;
                    break;
                }
            }
        }
        self.depth -= 1;
        Some(())
    }

    fn item(&mut self) -> Option<()> {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.bytes().next()? {
            b'{' => self.array(),
            b'"' => {
                let element = self.quoted()?;
                self.elements.push(Some(element));
                Some(())
            }
            _ => {
                let element = self.bare()?;
                self.elements.push(element);
                Some(())
            }
        }
    }

    fn bare(&mut self) -> Option<Element<'t>> {
        let end = self.rest.find([',', '{', '}', '"', '\\'])?;
        let (bare, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let bare = bare.trim_ascii_end();
        match bare {
            "" => None,
            // In quotes it would be a text.
            _ if bare.eq_ignore_ascii_case("null") => Some(None),
            _ => Some(Some(Cow::Borrowed(bare))),
        }
    }

    fn quoted(&mut self) -> Option<Cow<'t, str>> {
        let inside = self.rest.strip_prefix('"')?;
        let end = inside.find(['"', '\\'])?;
        if inside.as_bytes().get(end) == Some(&b'"') {
            let (text, rest) = inside.split_at_checked(end)?;
            self.rest = rest.get(1..)?;
            return Some(Cow::Borrowed(text));
        }
        let mut text = String::new();
        let mut characters = inside.char_indices();
        loop {
            match characters.next()? {
                (at, '"') => {
                    self.rest = inside.get(at + 1..)?;
                    return Some(Cow::Owned(text));
                }
                (_, '\\') => text.push(characters.next()?.1),
                (_, character) => text.push(character),
            }
        }
    }

    /// After blanks; leaves all as it was but for them where another character follows.
    fn take(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.trim_ascii_start();
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }
}

/// Lower bounds (`[2:3]={…}`) don't matter here.
fn without_bounds(text: &str) -> Option<&str> {
    if !text.starts_with('[') {
        return Some(text);
    }
    let (bounds, rest) = text.split_once('=')?;
    let plausible = bounds.bytes().all(|byte| matches!(byte, b'[' | b']' | b':' | b'-' | b'0'..=b'9'));
    plausible.then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Vec<Option<String>>> {
        Some(elements(text)?.into_iter().map(|element| element.map(Cow::into_owned)).collect())
    }

    #[test]
    fn elements_are_found() {
        let some = |texts: &[&str]| Some(texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>());
        assert_eq!(read("{}"), some(&[]));
        assert_eq!(read("{a,b c,1}"), some(&["a", "b c", "1"]));
        assert_eq!(read(" { a , \"b\" } "), some(&["a", "b"]));
        assert_eq!(read(r#"{"a\"b","\\","NULL",""}"#), some(&["a\"b", "\\", "NULL", ""]));
        assert_eq!(read("{{1,2},{3,4}}"), some(&["1", "2", "3", "4"]));
        assert_eq!(read("[-1:0]={1,2}"), some(&["1", "2"]));
        assert_eq!(read("{NULL}"), Some(vec![None]));
        for text in ["", "a", "{", "{a", "{a,}", "{,a}", "{a}b", "{\"a}", "{{{{{{{a}}}}}}}", "[1]{a}", "{a\\}"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}|[{},\"\\\\a ]{0,40}") {
            let _elements = elements(&text);
        }
    }
}
