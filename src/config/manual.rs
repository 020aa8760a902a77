//! `docs/configuration.md`, made of the reference file's comments and the code's bounds: it can't say anything else.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::mistyped::{known_keys, with};
use super::tests::{check_snapshot, load};

const REFERENCE: &str = include_str!("../../config/walcast.reference.toml");

const HEAD: &str = "\
# Configuration

Every key, as [`config/walcast.reference.toml`](../config/walcast.reference.toml) has it; a test makes this page of that
file and of the bounds in the code. [`config/walcast.toml`](../config/walcast.toml) is a short one to begin with.

- walcast reads the file that `--config` or `WALCAST_CONFIG` names, else `walcast.toml`, else `config/walcast.toml`.
- In any string `${NAME}` stands for an environment variable, `${NAME:-default}` for one that may be unset, and `$${`
  for a literal `${`.
- A duration has units (`500ms`, `90s`, `1h30m`, `7d`), a size has one (`255B`, `512KiB`, `256MiB`, `1GiB`, `1TiB`).
- A key that walcast does not know is refused, with a guess at what was meant; so is a value out of bounds. `walcast
  check` says all of it at once, with the line.
- A running gateway applies changes of `[[route]]` and `[[channel]]` when the file changes or on SIGHUP, all of them or
  none. Everything else is read at start.
- Environment: `WALCAST_CONFIG`, `WALCAST_LOG` (a filter, as in `walcast::auth=debug,info`), `WALCAST_LOG_FORMAT`
  (`text` or `json`), `WALCAST_TOKEN` (for `walcast tail`), and what the file's strings name.
";

/// A line of a section's table.
struct Row {
    key: String,
    value: String,
    is_default: bool,
    meaning: String,
}

/// A section with what stands above it and its rows, in the order of the file; sections that come again are one.
struct Section {
    name: String,
    about: String,
    rows: Vec<Row>,
}

/// `key = value`, with or without a comment behind it. A `#` in a string is followed by no space here.
fn assignment(line: &str) -> Option<(&str, &str, &str)> {
    let (key, rest) = line.split_once(" = ")?;
    let is_name = key.trim_end().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let (value, comment) = rest.split_once(" # ").unwrap_or((rest, ""));
    is_name.then_some((key.trim_end(), value.trim(), comment.trim()))
}

fn sections() -> Vec<Section> {
    let keys: BTreeSet<String> = known_keys().into_iter().collect();
    let mut sections: Vec<Section> = Vec::new();
    let (mut current, mut comments) = (0, Vec::new());
    for line in REFERENCE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if bare.starts_with('[') && bare.ends_with(']') {
            let name = bare.trim_matches(['[', ']']).to_owned();
            let about = std::mem::take(&mut comments).join(" ");
            current = sections.iter().position(|section| section.name == name).unwrap_or(sections.len());
            if current == sections.len() {
                sections.push(Section { name, about, rows: Vec::new() });
            }
            continue;
        }
        let Some(section) = sections.get_mut(current) else { continue };
        match assignment(bare).filter(|(key, ..)| keys.contains(&format!("{}.{key}", section.name))) {
            Some((key, value, comment)) => {
                comments.push(comment);
                let meaning = meaning(&std::mem::take(&mut comments));
                let is_example = line.starts_with('#') || meaning.contains("Default:") || meaning.contains("Required.");
                if !section.rows.iter().any(|row| row.key == key) {
                    let (key, value) = (key.to_owned(), value.to_owned());
                    section.rows.push(Row { key, value, is_default: !is_example, meaning });
                }
            }
            None if line.starts_with('#') => comments.push(bare.trim_end()),
            None => comments.clear(),
        }
    }
    sections
}

/// The lines of a comment; indented ones are a list.
fn meaning(comments: &[&str]) -> String {
    let mut meaning = String::new();
    for line in comments.iter().filter(|line| !line.is_empty()) {
        meaning.push_str(if line.starts_with("  ") { "<br>" } else { " " });
        meaning.push_str(&line.split_whitespace().collect::<Vec<&str>>().join(" "));
    }
    if meaning.is_empty() { "With the key above.".to_owned() } else { meaning.trim().to_owned() }
}

/// As the finding says it that is made of a value far outside.
fn bounds(key: &str) -> Option<String> {
    const FAR: [&str; 6] = ["0", "99999999999999", "\"0\"", "\"99999d\"", "\"0B\"", "\"99999TiB\""];
    let findings = FAR.iter().flat_map(|value| load("walcast.toml", &with(key, value)).findings);
    let labels = findings.filter(|finding| finding.code.name() == "out-of-range").flat_map(|finding| finding.labels);
    labels.into_iter().find_map(|label| Some(label.text.strip_prefix("must be between ")?.replace(" and ", " to ")))
}

#[test]
fn the_manual_says_every_key_its_default_its_bounds_and_its_meaning() {
    let mut page = HEAD.to_owned();
    let mut told = BTreeSet::new();
    for section in sections() {
        let brackets = if ["route", "channel"].contains(&&*section.name) { ("[[", "]]") } else { ("[", "]") };
        write!(page, "\n## `{}{}{}`\n", brackets.0, section.name, brackets.1).unwrap();
        if !section.about.is_empty() {
            write!(page, "\n{}\n", section.about).unwrap();
        }
        page.push_str("\n| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
        for row in section.rows {
            let key = format!("{}.{}", section.name, row.key);
            let value = row.value.replace('|', "\\|");
            let default = if row.is_default { format!("`{value}`") } else { format!("–, as in `{value}`") };
            let allowed = bounds(&key).unwrap_or_else(|| "–".to_owned());
            let meaning = row.meaning.replace('|', "\\|");
            writeln!(page, "| `{}` | {default} | {allowed} | {} |", row.key, meaning.trim()).unwrap();
            told.insert(key);
        }
    }
    let missing: Vec<String> = known_keys().into_iter().filter(|key| !told.contains(key)).collect();
    assert!(missing.is_empty(), "not in the reference file, or not where a reader finds them: {missing:?}");
    check_snapshot(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md"), &page);
}
