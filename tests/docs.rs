//! The manual is held to the code: links lead somewhere, and what it lists is all there is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use walcast::phoenix::{Body, CloseReason, Refusal};
use walcast::transport::Complaint;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page that people read: those at the root, and the manual.
fn pages() -> BTreeMap<PathBuf, String> {
    let folders = [root(), root().join("docs")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "md"));
    let pages: BTreeMap<PathBuf, String> =
        paths.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    assert!(pages.len() > 8, "{:?}", pages.keys());
    pages
}

/// A page without what stands in fences, where brackets are code.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// What `[text](target)` points at.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors that a page's headings have.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page);
    let headings =
        headings.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let pages = pages();
    for (path, page) in &pages {
        for link in links(page).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, it)| (file, Some(it)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let text = fs::read_to_string(&target);
            let found = match (&text, anchor) {
                (Ok(text), Some(anchor)) => anchors(text).contains(anchor),
                (Ok(_), None) => true,
                (Err(_), _) => target.is_dir(),
            };
            if !found {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_page_of_the_manual_is_in_its_index() {
    let index = links(&read("docs/README.md"));
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || index.contains(&name), "docs/README.md does not link to {name}");
    }
}

/// The rows of a section's tables, by their first cell, without its backquotes.
fn rows(page: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).skip(1);
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).map(|cells: Vec<String>| (cells[0].clone(), cells)).collect()
}

#[test]
fn every_reason_is_in_the_protocol_and_no_other() {
    let rows = rows(&read("docs/protocol.md"), "Reasons");
    for refusal in Refusal::ALL {
        let cells = rows.get(refusal.reason()).unwrap_or_else(|| panic!("{} is not there", refusal.reason()));
        assert_eq!(cells[1] == "yes", refusal.retry(), "{}", refusal.reason());
        let Body::Json(json) = refusal.response() else { panic!("a refusal is JSON") };
        let has_message = String::from_utf8_lossy(&json).contains("\"message\"");
        assert_eq!(cells[3].contains("With message"), has_message, "{}", refusal.reason());
    }
    let known: BTreeSet<&str> = Refusal::ALL.iter().map(Refusal::reason).collect();
    assert_eq!(known.len(), Refusal::ALL.len());
    assert_eq!(rows.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[test]
fn every_close_code_is_in_the_protocol_and_no_other() {
    let page = read("docs/protocol.md");
    for reason in CloseReason::ALL {
        let again = if reason.retry() { "yes" } else { "no" };
        let row = format!("\n| {} | `{}` | {again} |", reason.code(), reason.name());
        assert!(page.contains(&row), "{row}");
    }
    let (_, section) = page.split_once("\n## Close codes\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    assert_eq!(section.lines().filter(|line| line.starts_with("| 1")).count(), CloseReason::ALL.len());
}

#[test]
fn every_outcome_of_a_write_is_in_the_protocol() {
    let rows = rows(&read("docs/protocol.md"), "Writes");
    let listed: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(listed, walcast::sync::REASONS.into_iter().collect());
}

#[test]
fn every_complaint_of_http_is_in_the_protocol() {
    let rows = rows(&read("docs/protocol.md"), "HTTP");
    for complaint in Complaint::ALL {
        let cells = rows.get(complaint.reason()).unwrap_or_else(|| panic!("{} is not there", complaint.reason()));
        assert_eq!(cells[1], complaint.status().as_u16().to_string(), "{}", complaint.reason());
    }
}

#[test]
fn every_alert_has_its_section_and_every_section_its_alert() {
    let alerts = read("docs/alerts.yml");
    let alerts: BTreeSet<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let runbook = read("docs/runbook.md");
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let of_alerts: BTreeSet<&str> = sections.into_iter().filter(|name| name.starts_with("Walcast")).collect();
    assert!(alerts.len() > 10);
    assert_eq!(of_alerts, alerts);
}

#[test]
fn every_reason_for_not_being_ready_is_in_the_runbook() {
    let rows = rows(&read("docs/runbook.md"), "Not ready");
    let listed: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(listed, walcast::telemetry::health::REASONS.into_iter().collect());
}

#[test]
fn every_warning_of_readyz_is_in_the_runbook() {
    let rows = rows(&read("docs/runbook.md"), "Warnings");
    let listed: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(listed, walcast::telemetry::health::warnings().into_iter().collect());
}

/// Files and tests that pages name.
#[test]
fn what_is_named_is_there() {
    for (path, page) in pages() {
        for word in prose(&page).split(|c: char| c.is_whitespace() || "`()|,;".contains(c)) {
            let is_file = ["tests/", "src/", "docs/", "scripts/"].iter().any(|folder| word.starts_with(folder));
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
            if is_file && plain {
                let name = word.trim_end_matches(['.', '/', ':']);
                assert!(Path::new(&root().join(name)).exists(), "{}: {word} is not there", path.display());
            }
        }
    }
}
