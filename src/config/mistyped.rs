//! Every key with every kind of value that it does not take: what its reader sees, in `tests/fixtures/config/keys.txt`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::tests::{check_snapshot, fixtures, load};

/// What people write: another type, nothing, a sign, too little, too much, no unit, a list.
const VALUES: [&str; 9] = ["true", "7", "\"\"", "\"?\"", "\"7\"", "-1", "99999999999999", "\"9999d\"", "[7]"];

/// A configuration in which nothing is wrong but for the value of one key.
pub(super) fn with(key: &str, value: &str) -> String {
    let section = |name: &str, lines: &[(&str, &str)]| {
        let mut lines: BTreeMap<&str, &str> = lines.iter().copied().collect();
        if let Some(own) =
            key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')).filter(|own| !own.contains('.'))
        {
            lines.insert(own, value);
        }
        lines.iter().map(|(name, value)| format!("{name} = {value}\n")).collect::<String>()
    };
    let mode = if key == "auth.mode" || !key.starts_with("auth.") { "\"none\"" } else { "\"jwt\"" };
    let secret = ("secret", "\"a secret of no less than thirty-two bytes\"");
    let auth: &[(&str, &str)] = if mode == "\"jwt\"" { &[("mode", mode), secret] } else { &[("mode", mode)] };
    let keys = ["auth.public_key_file", "auth.jwks_file", "auth.jwks_url"];
    let auth = if keys.contains(&key) { &auth[..1] } else { auth };
    let mut text = format!("[postgres]\n{}", section("postgres", &[("url", "\"postgres://db/shop\"")]));
    for (name, lines) in [("server", &[][..]), ("auth", auth), ("replay", &[]), ("limits", &[])] {
        write!(text, "[{name}]\n{}", section(name, lines)).unwrap();
    }
    if key.starts_with("server.tls.") {
        let files = [
            ("certificate_file", "\"tests/fixtures/tls/certificate.pem\""),
            ("key_file", "\"tests/fixtures/tls/key.pem\""),
        ];
        write!(text, "[server.tls]\n{}", section("server.tls", &files)).unwrap();
    }
    let route = section("route", &[("table", "\"public.orders\""), ("topic", "\"orders\"")]);
    write!(text, "[[route]]\n{route}").unwrap();
    if key.starts_with("route.write") {
        let conflict = match key {
            "route.write.version" => "\"row\"",
            "route.write.timestamp" => "\"last-write-wins\"",
            _ => "\"columns\"",
        };
        write!(text, "[route.write]\n{}", section("route.write", &[("role", "\"web\""), ("conflict", conflict)]))
            .unwrap();
    }
    if key.starts_with("channel.") {
        write!(text, "[[channel]]\n{}", section("channel", &[("topic", "\"rooms:*\"")])).unwrap();
    }
    text
}

/// Every key that holds a value, and is no section.
pub(super) fn known_keys() -> Vec<String> {
    // A section that is asked for only where it stands.
    let text = include_str!("../../config/walcast.reference.toml").replace("# [server.tls]", "[server.tls]");
    let reference = load("walcast.reference.toml", &text);
    let mut keys = reference.known_keys;
    keys.sort();
    keys.dedup();
    let sections: Vec<String> = keys.iter().filter_map(|key| Some(key.rsplit_once('.')?.0.to_owned())).collect();
    keys.into_iter().filter(|key| key.contains('.') && !sections.contains(key)).collect()
}

#[test]
fn every_key_says_what_it_takes() {
    let mut told = String::new();
    for key in known_keys() {
        let mut refused = 0;
        for value in VALUES {
            let loaded = load("walcast.toml", &with(&key, value));
            for finding in &loaded.findings {
                refused += 1;
                let label = finding.labels.first().map(|label| label.text.as_str()).unwrap_or_default();
                let said = [label].into_iter().chain(finding.notes.iter().chain(&finding.help).map(String::as_str));
                let said: Vec<&str> = said.filter(|said| !said.is_empty()).collect();
                writeln!(told, "{key} = {value}\n  {}: {}\n  {}", finding.code, finding.message, said.join("; "))
                    .unwrap();
            }
        }
        assert!(refused > 0, "{key} takes anything");
        told.push('\n');
    }
    check_snapshot(&fixtures("keys.txt"), &told);
}

#[test]
fn every_misspelt_key_is_refused_and_guessed() {
    for key in known_keys() {
        let (section, name) = key.rsplit_once('.').unwrap();
        let loaded = load("walcast.toml", &with(&format!("{section}.{name}_"), "1"));
        let finding = loaded.findings.iter().find(|finding| finding.code.name() == "unknown-key");
        let finding = finding.unwrap_or_else(|| panic!("{key}: {:?}", loaded.findings));
        assert_eq!(finding.message, format!("unknown key `{section}.{name}_`"));
        assert_eq!(finding.help, [format!("did you mean `{name}`?")], "{key}");
    }
}
