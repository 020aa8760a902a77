//! What readers copy out of the pages is tried here as it stands there: configurations, commands, SQL, scripts, JSON.

mod blocks;
mod walk;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use blocks::{Block, blocks_of, inline_code};
use serde_json::Value;

use crate::support::ScratchFolder;
use crate::support::gateway::walcast;

/// What a block about something else leaves out.
const POSTGRES: &str = "[postgres]\nurl = \"${DATABASE_URL}\"\n";
const NO_TOKENS: &str = "[auth]\nmode = \"none\"\n";
const TOKENS: &str = "[auth]\nmode = \"jwt\"\nsecret = \"${WALCAST_JWT_SECRET}\"\n";
const ROUTE: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"updates:feed\"\n";

const VARIABLES: [(&str, &str); 2] = [
    ("DATABASE_URL", "postgres://postgres@localhost/app"),
    ("WALCAST_JWT_SECRET", "a secret of more than thirty-two bytes"),
];

/// A whole configuration with this block in it.
fn framed(block: &str) -> String {
    let auth = if block.contains("claims.") { TOKENS } else { NO_TOKENS };
    let feeds = block.contains("[[route]]") || block.contains("[[channel]]");
    let parts =
        [(!block.contains("[postgres]"), POSTGRES), (!block.contains("[auth]"), auth), (true, block), (!feeds, ROUTE)];
    parts.into_iter().filter_map(|(wanted, part)| wanted.then_some(part)).collect::<Vec<_>>().join("\n")
}

/// The files that `[server.tls]` names on the pages.
fn certificate(folder: &ScratchFolder) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn every_configuration_is_a_right_one() {
    let folder = ScratchFolder::new();
    certificate(&folder);
    let here = format!("\"{}/", folder.join("").display().to_string().trim_end_matches('/'));
    let file = folder.join("walcast.toml");
    let blocks = blocks_of("toml");
    assert!(blocks.len() > 8, "{}", blocks.len());
    for Block { place, text } in blocks {
        let configuration = framed(&text).replace("\"/etc/walcast/", &here);
        fs::write(&file, &configuration).unwrap();
        let checked = walcast(&["check", "-c", file.to_str().unwrap()], &VARIABLES).await;
        assert_eq!(checked.status.code(), Some(0), "{place}:\n{configuration}\n{}", checked.stderr);
    }
}

/// The lines of all shell blocks, and what is between backquotes elsewhere, as words: those that call this program.
fn commands_of(program: &str) -> Vec<(String, Vec<String>)> {
    let lines = blocks_of("sh").into_iter().flat_map(|Block { place, text }| {
        text.lines().map(|line| (place.clone(), line.to_owned())).collect::<Vec<_>>()
    });
    let commands = lines.chain(inline_code()).map(|(place, line)| {
        let line = line.split(" #").next().unwrap_or_default();
        (place, line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    });
    commands.filter(|(_, words)| words.len() > 1 && words[0] == program).collect()
}

#[tokio::test]
async fn every_command_is_one_that_there_is() {
    let commands = commands_of("walcast");
    assert!(commands.len() > 40, "{}", commands.len());
    let mut helps = BTreeMap::new();
    for (place, words) in commands {
        let subcommand = &words[1];
        if !helps.contains_key(subcommand) {
            let help = walcast(&[subcommand, "--help"], &[]).await;
            assert_eq!(help.status.code(), Some(0), "{place}: walcast {subcommand}: {}", help.stderr);
            helps.insert(subcommand.clone(), help.stdout);
        }
        let known = |option: &str| {
            helps[subcommand].split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == option)
        };
        for option in words.iter().filter(|word| word.starts_with("--")) {
            let option = option.split('=').next().unwrap_or_default();
            assert!(known(option), "{place}: walcast {subcommand} has no {option}");
        }
    }
}

#[test]
fn every_make_target_is_one_that_there_is() {
    let makefile = fs::read_to_string(crate::support::repository().join("Makefile")).unwrap();
    let commands = commands_of("make");
    assert!(!commands.is_empty());
    for (place, words) in commands {
        assert!(makefile.contains(&format!("\n{}:", words[1])), "{place}: make {}", words[1]);
    }
}

#[test]
fn every_shell_block_can_be_read_by_a_shell() {
    let blocks = blocks_of("sh");
    assert!(blocks.len() > 6, "{}", blocks.len());
    for Block { place, text } in blocks {
        let parsed = Command::new("bash").args(["-n", "-c", &text]).output().unwrap();
        assert!(parsed.status.success(), "{place}: {}", String::from_utf8_lossy(&parsed.stderr));
    }
}

#[test]
fn every_script_can_be_read_by_node() {
    let folder = ScratchFolder::new();
    let blocks = blocks_of("js");
    assert!(blocks.len() > 6, "{}", blocks.len());
    for Block { place, text } in blocks {
        let file = folder.join("block.mjs");
        // What the reader is to put in.
        fs::write(&file, text.replace('…', "undefined")).unwrap();
        let parsed = Command::new("node").arg("--check").arg(&file).output().unwrap();
        assert!(parsed.status.success(), "{place}: {}", String::from_utf8_lossy(&parsed.stderr));
    }
}

#[test]
fn every_message_is_json() {
    let blocks = blocks_of("json");
    assert!(blocks.len() > 1, "{}", blocks.len());
    for Block { place, text } in blocks {
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
        assert!(values.as_ref().is_ok_and(|values| !values.is_empty()), "{place}: {values:?}");
    }
}
