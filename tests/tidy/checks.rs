//! The checks, each from text to complaints.

use crate::source::{SourceFile, block_after, line_at, paths, words};

/// What is handed bytes and time, and does nothing by itself.
const PURE: [&str; 6] =
    ["src/change", "src/routing", "src/phoenix", "src/hub", "src/replication/pgoutput", "src/replication/transaction"];
const PURE_FILES: [&str; 10] = [
    "src/replication/progress.rs",
    "src/hub.rs",
    "src/auth/jwt.rs",
    "src/auth/keys.rs",
    "src/auth/jwks.rs",
    "src/auth/identity.rs",
    "src/auth/credential.rs",
    "src/auth/location.rs",
    "src/auth/origin.rs",
    "src/auth/host.rs",
];
/// The one task that owns the hub's state.
const IMPURE_WITHIN: [&str; 2] = ["src/hub/task.rs", "src/hub/task/"];

/// I/O, clocks and the runtime. `std::net` is more than addresses; those are in `core::net`.
const IMPURITIES: [&str; 8] = [
    "tokio",
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Who may know whom: the left one may use the right ones, and what those may use. `telemetry` tells how replication is
/// doing, hence knows it and not the other way round.
const ACQUAINTANCES: &[(&str, &[&str])] = &[
    ("change", &[]),
    ("phoenix", &[]),
    ("shutdown", &[]),
    ("tls", &[]),
    ("routing", &["change"]),
    ("replication", &["change", "tls"]),
    ("telemetry", &["replication", "hub", "snapshot", "phoenix", "transport", "shutdown"]),
    ("hub", &["routing", "change"]),
    ("auth", &["phoenix", "routing"]),
    ("snapshot", &["routing", "change", "replication", "hub"]),
    ("sync", &["routing", "change", "replication"]),
    ("cluster", &["hub", "shutdown"]),
    ("transport", &["phoenix", "hub", "auth", "sync", "snapshot", "shutdown", "tls"]),
    ("config", &["routing", "change", "replication", "auth", "tls"]),
    ("why", &["config", "routing", "change", "replication"]),
    (
        "app",
        &[
            "why",
            "transport",
            "hub",
            "replication",
            "cluster",
            "config",
            "auth",
            "snapshot",
            "sync",
            "telemetry",
            "tls",
        ],
    ),
    ("demo", &["app", "config", "cli"]),
    ("cli", &["app", "config", "demo", "why"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Files beyond this are split into a folder; their tests may stand in a file of their own.
const FILE_LINES_MAX: usize = 600;
/// What fits on a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// rustfmt.toml's `max_width`.
const LINE_WIDTH_MAX: usize = 120;

pub(crate) fn impurities(file: &SourceFile) -> Vec<String> {
    let under = |folder: &&str| file.path.starts_with(&format!("{folder}/")) || file.path == format!("{folder}.rs");
    let pure = PURE.iter().any(under) || PURE_FILES.contains(&file.path.as_str());
    if !pure || IMPURE_WITHIN.iter().any(|path| file.path.starts_with(path)) {
        return vec![];
    }
    let named = |path: &str, impurity: &str| path == impurity || path.starts_with(&format!("{impurity}::"));
    let found = paths(&file.production).into_iter().filter(|(_, path)| IMPURITIES.iter().any(|one| named(path, one)));
    found.map(|(at, path)| complaint(file, at, &format!("`{path}` in a pure module"))).collect()
}

pub(crate) fn forbidden_acquaintances(file: &SourceFile) -> Vec<String> {
    let module = file.path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default();
    let Some(known) = reachable(module) else {
        return vec![format!("{}: say in tests/tidy/checks.rs whom `{module}` may know", file.path)];
    };
    let mut complaints = Vec::new();
    for (at, path) in paths(&file.production) {
        let mut names = path.split("::");
        let within_crate = matches!(names.next(), Some("crate" | "walcast"));
        let Some(other) = names.next().filter(|_| within_crate) else { continue };
        let is_module = ACQUAINTANCES.iter().any(|(name, _)| *name == other);
        if is_module && other != module && !known.contains(&other) {
            complaints.push(complaint(file, at, &format!("`{module}` must not know `{other}`")));
        }
    }
    complaints
}

/// Those that a module may use, directly or through one another.
fn reachable(module: &str) -> Option<Vec<&'static str>> {
    let direct = |name: &str| ACQUAINTANCES.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let mut known: Vec<&str> = direct(module)?.to_vec();
    let mut looked_at = 0;
    while let Some(name) = known.get(looked_at) {
        for further in direct(name).unwrap_or_default() {
            if !known.contains(further) {
                known.push(further);
            }
        }
        looked_at += 1;
    }
    Some(known)
}

pub(crate) fn long_files(file: &SourceFile) -> Vec<String> {
    // Tests at the end of a file, or in a file of their own, may be longer.
    let text = if file.production.is_empty() { &file.code } else { file.production.trim_end() };
    let limit = if file.production.is_empty() { 2 * FILE_LINES_MAX } else { FILE_LINES_MAX };
    let lines = text.lines().count();
    if lines > limit { vec![format!("{}: {lines} lines, more than {limit}", file.path)] } else { vec![] }
}

pub(crate) fn long_functions(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    for at in words(&file.code, "fn") {
        let named = file.code[at + 2..].trim_start().chars().next().is_some_and(|first| first != '(');
        let Some(block) = block_after(&file.code, at).filter(|_| named) else { continue };
        let lines = file.code[at..block.end].lines().count();
        if lines > FUNCTION_LINES_MAX {
            complaints.push(complaint(
                file,
                at,
                &format!("a function of {lines} lines, more than {FUNCTION_LINES_MAX}"),
            ));
        }
    }
    complaints
}

pub(crate) fn panics(file: &SourceFile) -> Vec<String> {
    let calls = [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("];
    let macros = ["panic!", "unreachable!", "todo!", "unimplemented!"];
    let found = calls.iter().chain(&macros).flat_map(|call| {
        file.production.match_indices(call).map(move |(at, _)| complaint(file, at, &format!("`{call}` outside tests")))
    });
    found.collect()
}

pub(crate) fn left_for_later(path: &str, text: &str) -> Vec<String> {
    // Written apart, so that this file does not complain of itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!(")];
    find(path, text, &marks, "left for later")
}

pub(crate) fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    find(path, text, &places, "a path of some machine")
}

fn find(path: &str, text: &str, wanted: &[&str], what: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(mark) = wanted.iter().find(|mark| line.contains(*mark)) {
            complaints.push(format!("{path}:{}: `{mark}`: {what}", number + 1));
        }
    }
    complaints
}

pub(crate) fn untidy_lines(path: &str, text: &str) -> Vec<String> {
    let is = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
    if path.contains("fixtures/") {
        return vec![];
    }
    let mut complaints = Vec::new();
    let width = is(&[".rs", ".js", ".mjs", ".css", ".sql", ".sh"]);
    for (number, line) in text.lines().enumerate() {
        // Text for people is not broken in two for the sake of a width; rustfmt leaves it alone too.
        let holds_text = path.ends_with(".rs") && line.contains('"');
        if width && !holds_text && line.chars().count() > LINE_WIDTH_MAX {
            complaints.push(format!("{path}:{}: longer than {LINE_WIDTH_MAX} characters", number + 1));
        }
        if line.ends_with([' ', '\t', '\r']) {
            complaints.push(format!("{path}:{}: white space at the end", number + 1));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        complaints.push(format!("{path}: the last line does not end"));
    }
    complaints
}

/// Each dependency has a comment above it.
pub(crate) fn unexplained_dependencies(manifest: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut within = false;
    let mut before = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            within = line.trim_end_matches(']').ends_with("dependencies");
        } else if within && !line.starts_with('#') && line.contains('=') && !before.starts_with('#') {
            complaints.push(format!("Cargo.toml: no reason for `{line}`"));
        }
        before = line;
    }
    complaints
}

fn complaint(file: &SourceFile, at: usize, what: &str) -> String {
    format!("{}:{}: {what}", file.path, line_at(&file.code, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One complaint that says `expected`.
    fn complains(complaints: &[String], expected: &str) {
        assert!(matches!(complaints, [one] if one.contains(expected)), "{expected}: {complaints:?}");
    }

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::new(path, text)
    }

    #[test]
    fn impurities_are_seen_in_pure_modules_only() {
        for text in [
            "use tokio::sync::mpsc;",
            "use std::{collections::HashMap, fs};",
            "use std::time::{Duration, Instant};",
            "fn f() { let now = std::time::SystemTime::now(); }",
            "fn f() { std::net::TcpStream::connect(a) }",
        ] {
            complains(&impurities(&file("src/change/a.rs", text)), "in a pure module");
            complains(&impurities(&file("src/replication/pgoutput.rs", text)), "in a pure module");
            assert_eq!(impurities(&file("src/transport/a.rs", text)), [""; 0]);
            assert_eq!(impurities(&file("src/hub/task.rs", text)), [""; 0]);
        }
        let innocent = "use std::time::Duration;\n// tokio::spawn\nfn f() -> &'static str { \"std::fs::read\" }";
        assert_eq!(impurities(&file("src/change/a.rs", innocent)), [""; 0]);
        let tested = "#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(impurities(&file("src/change/a.rs", tested)), [""; 0]);
    }

    #[test]
    fn modules_that_must_not_know_one_another_are_seen() {
        let check = |path, text| forbidden_acquaintances(&file(path, text));
        complains(&check("src/change/a.rs", "use crate::hub::Hub;"), "`change` must not know `hub`");
        complains(&check("src/hub/mod.rs", "fn f(a: crate::transport::A) {}"), "`hub` must not know `transport`");
        complains(&check("src/phoenix/a.rs", "use crate::{change, phoenix};"), "`phoenix` must not know `change`");
        complains(&check("src/novel/a.rs", ""), "whom `novel` may know");
        assert_eq!(check("src/transport/a.rs", "use crate::hub::Hub; use crate::change::Lsn;"), [""; 0]);
        assert_eq!(check("src/hub/a.rs", "use crate::hub::log; use crate::routing::Plan;"), [""; 0]);
    }

    #[test]
    fn long_files_are_seen() {
        let lines = "fn f() {}\n".repeat(FILE_LINES_MAX);
        assert_eq!(long_files(&file("src/a.rs", &lines)), [""; 0]);
        complains(&long_files(&file("src/a.rs", &format!("{lines}fn g() {{}}"))), "601 lines");
        let with_tests = format!("{lines}#[cfg(test)]\nmod tests {{\n{lines}}}\n");
        assert_eq!(long_files(&file("src/a.rs", &with_tests)), [""; 0]);
    }

    #[test]
    fn long_functions_are_seen() {
        let function = |lines: usize| format!("fn f(a: [u8; 4]) {{\n{}}}\nfn g();\n", "    a;\n".repeat(lines - 2));
        assert_eq!(long_functions(&file("src/a.rs", &function(70))), [""; 0]);
        complains(&long_functions(&file("src/a.rs", &function(71))), "a function of 71 lines");
        let braces_in_text = function(60).replace("a;", "\"{{{{\";");
        assert_eq!(long_functions(&file("src/a.rs", &braces_in_text)), [""; 0]);
    }

    #[test]
    fn panics_are_seen_outside_tests() {
        complains(&panics(&file("src/a.rs", "fn f() { a.unwrap() }")), "outside tests");
        complains(&panics(&file("src/a.rs", "fn f() { a.expect(\"b\") }")), "outside tests");
        let innocent = "fn f() { a.unwrap_or(1); } // .unwrap()\n#[cfg(test)]\nmod tests { fn g() { a.unwrap() } }";
        assert_eq!(panics(&file("src/a.rs", innocent)), [""; 0]);
    }

    #[test]
    fn what_is_left_for_later_is_seen() {
        complains(&left_for_later("a.md", concat!("one\nTO", "DO: two")), "a.md:2");
        complains(&left_for_later("a.rs", concat!("// FIX", "ME")), "left for later");
        assert_eq!(left_for_later("a.rs", "done"), [""; 0]);
    }

    #[test]
    fn machine_paths_are_seen() {
        complains(&machine_paths("a.md", concat!("see /wo", "rk/main")), "a path of some machine");
        assert_eq!(machine_paths("a.md", "see src/network/main"), [""; 0]);
    }

    #[test]
    fn untidy_lines_are_seen() {
        complains(&untidy_lines("a.rs", &format!("{}\n", "a".repeat(121))), "longer than");
        assert_eq!(untidy_lines("a.rs", &format!("\"{}\"\n", "a".repeat(121))), [""; 0]);
        complains(&untidy_lines("a.rs", "a \n"), "white space");
        complains(&untidy_lines("a.rs", "a"), "does not end");
        assert_eq!(untidy_lines("a.md", &format!("{}\n", "a".repeat(121))), [""; 0]);
    }

    #[test]
    fn dependencies_without_a_reason_are_seen() {
        complains(&unexplained_dependencies("[dependencies]\n# Why.\na = \"1\"\nb = \"2\"\n"), "`b = \"2\"`");
        assert_eq!(unexplained_dependencies("[package]\nname = \"a\"\n[dev-dependencies]\n# Why.\na = \"1\""), [""; 0]);
    }
}
