//! Rust source, seen by a scanner: without comments, without what is between quotes, and with its tests set apart.

use std::ops::Range;

/// A file of Rust source.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// From the repository's root.
    pub(crate) path: String,
    /// The text with comments and the contents of literals blanked; as long, and with the same lines.
    pub(crate) code: String,
    /// The same with `#[cfg(test)]` modules blanked too; empty for a file that is all tests.
    pub(crate) production: String,
}

impl SourceFile {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank_comments_and_literals(text);
        let all_tests = path.ends_with("tests.rs") || path.contains("/tests/") || path.starts_with("tests/");
        let production = if all_tests { String::new() } else { blank_test_modules(&code) };
        Self { path: path.to_owned(), code, production }
    }

    /// The files that this one declares as `#[cfg(test)] mod name;`.
    pub(crate) fn test_files(&self) -> Vec<String> {
        let folder = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].iter().find_map(|end| self.path.strip_suffix(end));
        let declared = self.code.split("#[cfg(test)]").skip(1).filter_map(|after| {
            let item = after.split(['{', ';']).next()?;
            after[item.len()..].starts_with(';').then_some(())?;
            item.trim().rsplit_once("mod ").map(|(_, name)| name.trim())
        });
        let paths =
            |name| [format!("{}/{name}.rs", folder.unwrap_or("")), format!("{}/{name}/mod.rs", folder.unwrap_or(""))];
        declared.flat_map(paths).collect()
    }
}

/// The line, counted from 1, at a byte of the text.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Where `word` stands alone in the text.
pub(crate) fn words<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    let part_of_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).map(|(offset, _)| offset).filter(move |&offset| {
        let before = text[..offset].chars().next_back();
        let after = text[offset + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// From the first `{` at or after `start` to its `}`, unless a `;` comes first.
pub(crate) fn block_after(code: &str, start: usize) -> Option<Range<usize>> {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    let mut opened = None;
    for (offset, character) in code[start..].char_indices() {
        match character {
            '{' => {
                opened.get_or_insert(start + offset);
                depth += 1;
            }
            '}' if depth == 1 => return opened.map(|begin| begin..start + offset + 1),
            '}' => depth = depth.checked_sub(1)?,
            '[' | '(' => brackets += 1,
            ']' | ')' => brackets = brackets.saturating_sub(1),
            // Not the one in `[u8; 4]`.
            ';' if opened.is_none() && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Every path that is named: those of `use` with their braces multiplied out, and those in the code as they stand.
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = String::from(code);
    for offset in words(code, "use") {
        let Some(end) = code[offset..].find(';').map(|length| offset + length) else { continue };
        let tree: String = code[offset + 3..end].split_whitespace().collect::<Vec<_>>().join(" ");
        found.extend(flatten("", &tree).into_iter().map(|path| (offset, path)));
        rest.replace_range(offset..end, &" ".repeat(end - offset));
    }
    let part_of_path = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    let mut offset = 0;
    for piece in rest.split(|character| !part_of_path(character)) {
        if piece.contains("::") {
            found.push((offset, piece.to_owned()));
        }
        offset += piece.len();
        offset += rest[offset..].chars().next().map_or(0, char::len_utf8);
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn flatten(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        return if path.is_empty() { vec![] } else { vec![format!("{prefix}{path}")] };
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    split_at_top_level(inner).into_iter().flat_map(|branch| flatten(&prefix, branch)).collect()
}

fn split_at_top_level(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut begin = 0;
    let mut pieces = Vec::new();
    for (offset, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                pieces.push(&text[begin..offset]);
                begin = offset + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[begin..]);
    pieces
}

fn blank_test_modules(code: &str) -> String {
    let mut blanked = code.to_owned();
    for (offset, attribute) in code.match_indices("#[cfg(test)]") {
        let after = offset + attribute.len();
        let item = code[after..].trim_start();
        let is_module = item.starts_with("mod ") || item.starts_with("pub(crate) mod ") || item.starts_with("use ");
        let end = block_after(code, after).map_or(after, |block| block.end);
        if is_module {
            blank(&mut blanked, offset..end);
        }
    }
    blanked
}

fn blank(text: &mut String, range: Range<usize>) {
    let blanks: String = text[range.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(range, &blanks);
}

/// Byte for byte as long as the text.
fn blank_comments_and_literals(text: &str) -> String {
    let mut blanked = text.to_owned();
    let mut offset = 0;
    while offset < text.len() {
        let rest = &text[offset..];
        let (skipped, literal) = token(rest, text[..offset].chars().next_back());
        if literal {
            blank(&mut blanked, offset..offset + skipped);
        }
        offset += skipped;
    }
    blanked
}

/// The length of what stands at the beginning of `rest`, and whether it is a comment or a literal.
fn token(rest: &str, before: Option<char>) -> (usize, bool) {
    let within_word = before.is_some_and(|character| character.is_alphanumeric() || character == '_');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), true);
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |end| end + 2), true);
    }
    if let Some(length) = raw_string(rest).filter(|_| !within_word) {
        return (length, true);
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), true);
    }
    if rest.starts_with('\'') && is_character(rest) {
        return (quoted(rest, '\''), true);
    }
    (rest.chars().next().map_or(1, char::len_utf8), false)
}

/// `r"…"`, `r#"…"#`, `br#"…"#`.
fn raw_string(rest: &str) -> Option<usize> {
    let after_prefix = ["br", "cr", "r"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after_prefix.len() - after_prefix.trim_start_matches('#').len();
    let body = after_prefix[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&closing)? + closing.len();
    Some(rest.len() - body.len() + end)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    matches!((characters.next(), characters.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_not() {
        let text =
            "let a = \"x.unwrap()\"; // .unwrap()\nlet b = r#\"\"todo!\"\"#; /* tokio:: */ let c = '\"'; fn f<'a>() {}";
        let code = blank_comments_and_literals(text);
        assert_eq!(code.len(), text.len());
        assert!(!code.contains("unwrap") && !code.contains("todo") && !code.contains("tokio"), "{code}");
        assert!(code.contains("let c =") && code.contains("fn f<'a>() {}"), "{code}");
    }

    #[test]
    fn test_modules_are_not_production() {
        let file =
            SourceFile::new("src/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { x.unwrap() } }\nfn h() {}");
        assert!(file.code.contains("unwrap"));
        assert!(!file.production.contains("unwrap"));
        assert!(file.production.contains("fn h()"));
        assert_eq!(SourceFile::new("src/a/tests.rs", "fn f() {}").production, "");
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_takes_nothing_with_it() {
        let file = SourceFile::new("src/a.rs", "#[cfg(test)]\nmod tests;\nfn f() { x.unwrap() }");
        assert!(file.production.contains("unwrap"));
    }

    #[test]
    fn files_of_test_modules_are_known() {
        let parent = SourceFile::new("src/a/mod.rs", "mod b;\n#[cfg(test)]\nmod c;\n#[cfg(test)]\nmod d {}\nmod e;");
        assert_eq!(parent.test_files(), ["src/a/c.rs", "src/a/c/mod.rs"]);
    }

    #[test]
    fn uses_are_multiplied_out() {
        let code =
            "use std::{fs, net::{IpAddr, TcpStream as T}};\npub use crate::hub::Hub;\nfn f() { tokio::spawn(g) }";
        let found: Vec<String> = paths(code).into_iter().map(|(_, path)| path).collect();
        let expected = ["std::fs", "std::net::IpAddr", "std::net::TcpStream", "crate::hub::Hub", "tokio::spawn"];
        assert_eq!(found, expected);
    }
}
