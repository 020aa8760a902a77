//! The repository polices itself: what ARCHITECTURE.md calls an invariant and a scanner can see, is checked here.
//!
//! Every check is a function from text to complaints, so that each is shown to be able to fail; the tests here run them
//! over the repository. They see words, not types: simple enough to be trusted, and good enough to be useful.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "tidy/source.rs"]
mod source;

#[path = "tidy/checks.rs"]
mod checks;

use std::fs;
use std::path::{Path, PathBuf};

use source::SourceFile;

/// Not ours, or not written by hand.
const SKIPPED: [&str; 9] =
    ["target", "node_modules", "vendor", ".git", "corpus", "artifacts", "Cargo.lock", "package-lock.json", "LICENSE"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file below the folder, as path from the root and text.
fn files() -> Vec<(String, String)> {
    let mut folders = vec![root()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if SKIPPED.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.push((relative(&path), text));
            }
        }
    }
    assert!(files.len() > 20, "the repository was not found: {files:?}");
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn source_files() -> Vec<SourceFile> {
    let rust = files().into_iter().filter(|(path, _)| path.ends_with(".rs"));
    let mut files: Vec<SourceFile> = rust.map(|(path, text)| SourceFile::new(&path, &text)).collect();
    let tests: Vec<String> = files.iter().flat_map(SourceFile::test_files).collect();
    for file in files.iter_mut().filter(|file| tests.contains(&file.path)) {
        file.production.clear();
    }
    files
}

fn library_files() -> Vec<SourceFile> {
    source_files().into_iter().filter(|file| file.path.starts_with("src/")).collect()
}

/// Runs a check on each file and fails with all complaints at once.
fn none<'f, T: 'f>(files: impl IntoIterator<Item = &'f T>, check: impl Fn(&T) -> Vec<String>) {
    let complaints: Vec<String> = files.into_iter().flat_map(check).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    none(&library_files(), checks::impurities);
}

#[test]
fn modules_know_only_those_that_they_may_know() {
    none(&library_files(), checks::forbidden_acquaintances);
}

#[test]
fn files_are_short() {
    none(&source_files(), checks::long_files);
}

#[test]
fn functions_are_short() {
    none(&source_files(), checks::long_functions);
}

#[test]
fn nothing_panics_on_purpose_outside_tests() {
    none(&library_files(), checks::panics);
}

#[test]
fn nothing_is_left_for_later() {
    none(&files(), |(path, text)| checks::left_for_later(path, text));
}

#[test]
fn nothing_names_a_path_of_the_machine_it_was_written_on() {
    none(&files(), |(path, text)| checks::machine_paths(path, text));
}

#[test]
fn lines_fit_and_end_cleanly() {
    none(&files(), |(path, text)| checks::untidy_lines(path, text));
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    none(&[manifest], |text| checks::unexplained_dependencies(text));
}

#[test]
fn the_readme_says_how_to_try_and_how_to_test() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    none(&["make demo", "make test"], |command| {
        if readme.contains(command) { vec![] } else { vec![format!("README.md does not mention `{command}`")] }
    });
}

#[test]
fn lock_files_name_no_registry() {
    let lock = fs::read_to_string(root().join("tests/interop/package-lock.json")).unwrap();
    assert!(!lock.contains("\"resolved\""), "tests/interop/.npmrc keeps registry addresses out of the lock file");
}
