//! The code on the pages: what stands in fences, and between backquotes.

use std::fs;
use std::path::PathBuf;

use crate::support::repository;

/// A fenced block, without the blanks that its fence is indented by.
#[derive(Debug)]
pub(super) struct Block {
    /// The page and the fence's line.
    pub(super) place: String,
    pub(super) text: String,
}

/// The README and the manual, as names and texts.
fn pages() -> Vec<(String, String)> {
    let docs = fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    paths.sort();
    paths.insert(0, repository().join("README.md"));
    let name = |path: &PathBuf| path.strip_prefix(repository()).unwrap().display().to_string();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Every block of this language on all pages.
pub(super) fn blocks_of(language: &str) -> Vec<Block> {
    pages().iter().flat_map(|(name, page)| blocks(name, page, language)).collect()
}

/// Those of one page, such as `docs/quick-start.md`.
pub(super) fn blocks_on(page: &str, language: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository().join(page)).unwrap();
    blocks(page, &text, language)
}

fn blocks(name: &str, page: &str, language: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_start() != "```");
        let text: String = inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
        if info == language {
            blocks.push(Block { place: format!("{name}:{}", index + 1), text });
        }
    }
    blocks
}

/// What stands between backquotes outside of fences, with the page's name.
pub(super) fn inline_code() -> Vec<(String, String)> {
    pages().iter().flat_map(|(name, page)| inline(name, page)).collect()
}

/// That of one page.
pub(super) fn inline_code_on(page: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(page)).unwrap();
    inline(page, &text).into_iter().map(|(_, code)| code).collect()
}

fn inline(name: &str, page: &str) -> Vec<(String, String)> {
    let prose = page.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).map(|code| (name.to_owned(), code.to_owned())).collect()
}
