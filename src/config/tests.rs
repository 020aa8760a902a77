//! Every message there is, as its reader sees it; and the reference file against the code.

use std::collections::BTreeSet;
use std::env::VarError;
use std::fs;
use std::path::{Path, PathBuf};

use super::code::{Code, Tier};
use super::render::{self, Style, Summary};
use super::*;

/// Set it to write the snapshots anew, then read the difference before committing it.
const UPDATE: &str = "UPDATE_SNAPSHOTS";

pub(super) fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config").join(folder)
}

/// Compares `actual` with the file at `path`.
pub(super) fn check_snapshot(path: &Path, actual: &str) {
    if std::env::var_os(UPDATE).is_some() {
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; run with {UPDATE}=1 to write it anew\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

fn environment(name: &str) -> Result<String, VarError> {
    match name {
        "DATABASE_URL" => Ok("postgres://walcast@db.internal/shop".to_owned()),
        "WALCAST_JWT_SECRET" => Ok("from the environment".to_owned()),
        _ => Err(VarError::NotPresent),
    }
}

pub(super) fn load(name: &str, text: &str) -> Loaded {
    parse(Source::new(name.to_owned(), text.to_owned()), &environment)
}

/// A configuration that must be without errors.
pub(super) fn config(text: &str) -> Config {
    let loaded = load("walcast.toml", text);
    let shown = render::text(&loaded.findings, &loaded.source, Style::Plain);
    loaded.config.unwrap_or_else(|| panic!("{shown}"))
}

const MINIMAL: &str = "postgres.url = 'postgres://db/shop'\nauth.mode = 'none'\n";

#[test]
fn every_code_of_the_file_has_a_fixture_and_every_message_its_text() {
    let folder = fixtures("invalid");
    for code in Code::ALL.iter().filter(|code| code.tier() == Tier::File) {
        let name = format!("{code}.toml");
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_else(|_| panic!("{name} is missing"));
        let loaded = load(&name, &text);
        assert!(loaded.findings.iter().any(|finding| finding.code == *code), "{name} does not lead to {code}");
        let mut shown = render::text(&loaded.findings, &loaded.source, Style::Plain);
        assert!(!shown.contains("hunter2"), "{name} gives a secret away:\n{shown}");
        shown.push_str(&format!("\n{name}: {}\n", Summary::new(loaded.routes, &loaded.findings)));
        check_snapshot(&folder.join(format!("{code}.stderr")), &shown);
    }
}

/// Whoever mends the one would only then be told of the other.
#[test]
fn what_is_wrong_with_a_table_or_topic_hides_nothing_else_of_its_section() {
    let of = |section: &str| {
        let loaded = load("walcast.toml", &format!("{MINIMAL}{section}"));
        loaded.findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    let rules = "where = 'a = (select 1)'\nallow = 'claims.sub ='\n";
    let both = [Code::BadExpression, Code::BadExpression];
    assert_eq!(
        of(&format!("[[route]]\ntable = 'articles'\ntopic = 'a'\n{rules}")),
        [&[Code::BadTable][..], &both].concat()
    );
    assert_eq!(
        of(&format!("[[route]]\ntable = 'public.a'\ntopic = '{{'\n{rules}")),
        [&[Code::BadTopic][..], &both].concat()
    );
    assert_eq!(of(&format!("[[route]]\n{rules}")), [&[Code::MissingKey; 2][..], &both].concat());
    let unknown = of("[[route]]\ntable = 'articles'\ntopic = 'a:{id}'\nallow = 'ident = 1'\n");
    assert_eq!(unknown, [Code::BadTable, Code::UnknownVariable]);
    assert_eq!(of("[[channel]]\ntopic = '{'\nallow = 'claims.sub ='\n"), [Code::BadTopic, Code::BadExpression]);
}

#[test]
fn no_fixture_is_left_over() {
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    for entry in fs::read_dir(fixtures("invalid")).unwrap().chain(fs::read_dir(fixtures("live")).unwrap()) {
        let path = entry.unwrap().path();
        assert!(codes.contains(path.file_stem().unwrap().to_str().unwrap()), "{} is of no code", path.display());
    }
}

#[test]
fn the_reference_file_says_every_key_and_its_default() {
    let text = include_str!("../../config/walcast.reference.toml");
    let loaded = load("walcast.reference.toml", text);
    assert!(loaded.findings.is_empty(), "{}", render::text(&loaded.findings, &loaded.source, Style::Plain));
    for key in &loaded.known_keys {
        let last = key.rsplit('.').next().unwrap();
        let explained = text.lines().map(|line| line.trim_start_matches(['#', ' ', '['])).any(|line| {
            line.strip_prefix(last).is_some_and(|rest| rest.trim_start().starts_with('='))
                || line.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with(']'))
        });
        assert!(explained, "{key} is not in the reference file");
    }
    let reference = loaded.config.unwrap();
    let default = config(MINIMAL);
    assert_eq!(reference.limits, default.limits);
    assert_eq!(reference.limits, Limits::default());
    assert_eq!(reference.server, default.server);
    let replay = |config: &Config| Replay { wal_span: None, ..config.replay.clone() };
    assert_eq!(replay(&reference), replay(&default));
    assert_eq!(replay(&reference), Replay::default());
    assert_eq!(reference.postgres.publication, default.postgres.publication);
    assert_eq!(reference.postgres.slot, default.postgres.slot);
    // The second route writes every default out; the third leaves everything to it.
    let [_, written, left_out, _] = &reference.routes[..] else { panic!("four routes are expected") };
    let same =
        RouteSpec { table: left_out.spec.table.clone(), topic: left_out.spec.topic.clone(), ..written.spec.clone() };
    assert_eq!(same, left_out.spec);
}

#[test]
fn the_short_file_works_as_it_is() {
    let loaded = load("walcast.toml", include_str!("../../config/walcast.toml"));
    assert!(loaded.findings.is_empty(), "{}", render::text(&loaded.findings, &loaded.source, Style::Plain));
    assert!(loaded.config.is_some());
}

#[test]
fn a_route_becomes_what_routing_takes() {
    let config = config(
        "postgres.url = '${DATABASE_URL}'\nauth.mode = 'none'\n[[route]]\ntable = 'public.orders'\n\
         topic = 'orders:{customer_id}'\ncolumns = ['id', 'total']\nops = ['insert', 'delete']\nint8 = 'string'\n",
    );
    let table = config.route_table().unwrap();
    let (_, spec) = table.iter().next().unwrap();
    assert!(spec.table.matches("public", "orders"));
    assert_eq!(spec.topic.columns().collect::<Vec<_>>(), ["customer_id"]);
    assert_eq!(spec.columns.as_deref(), Some(&["id".to_owned(), "total".to_owned()][..]));
    assert_eq!(format!("{:?}", spec.ops), "{Insert, Delete}");
    assert_eq!(&*spec.event, "new_updates");
    let span = config.routes[0].spans.topic_columns[0].clone();
    assert_eq!(&config.source.text()[span], "{customer_id}");
}

#[test]
fn secrets_are_not_in_debug_output() {
    let text = "postgres.url = 'postgres://app:hunter2@db/shop'\n[auth]\nmode = 'jwt'\nsecret = 'hunter2'\n";
    let shown = format!("{:?}", config(text));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn what_can_not_be_read_is_an_error_and_no_finding() {
    let folder = std::env::temp_dir().join(format!("walcast-config-{:012x}", fastrand::u64(..) >> 16));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("walcast.toml");
    assert!(matches!(read(&path, &environment), Err(ReadError::Missing { .. })));
    assert!(matches!(read(&folder, &environment), Err(ReadError::Io { .. })));
    fs::write(&path, b"\xff").unwrap();
    assert!(matches!(read(&path, &environment), Err(ReadError::NotText { .. })));
    fs::File::create(&path).unwrap().set_len(defaults::FILE_BYTES_MAX + 1).unwrap();
    assert!(matches!(read(&path, &environment), Err(ReadError::TooLarge { .. })));
    fs::write(&path, MINIMAL).unwrap();
    assert!(read(&path, &environment).unwrap().config.is_some());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn json_has_the_same_findings() {
    let loaded = load("walcast.toml", "[auth]\nmode = 'nine'\n");
    let summary = Summary::new(loaded.routes, &loaded.findings);
    let json: serde_json::Value =
        serde_json::from_str(&render::json(&loaded.findings, &loaded.source, summary).unwrap()).unwrap();
    assert_eq!(json["file"], "walcast.toml");
    assert_eq!(json["summary"], serde_json::json!({"routes": 0, "errors": 2, "warnings": 1}));
    assert_eq!(json["findings"][0]["code"], "unknown-value");
    assert_eq!(json["findings"][0]["description"], Code::UnknownValue.description());
    assert_eq!(json["findings"][0]["severity"], "error");
    assert_eq!(json["findings"][0]["labels"][0]["start"], serde_json::json!({"line": 2, "column": 8}));
    assert_eq!(json["findings"][0]["help"][0], "did you mean `none`?");
}

/// Pieces of TOML in any order.
const LIKELY_TEXT: &str = "([a-z\\[\\]=\"'{}$.:# \n]|\\[\\[route\\]\\]\n|table = \"|topic = \"|url = \"|\\$\\{){0,30}";

proptest::proptest! {
    #[test]
    fn any_text_is_judged(text in LIKELY_TEXT) {
        let loaded = load("walcast.toml", &text);
        let _shown = render::text(&loaded.findings, &loaded.source, Style::Plain);
        proptest::prop_assert!(loaded.config.is_some() || loaded.findings.iter().any(Finding::is_error));
    }
}

/// The findings for `[auth]` with these lines, as codes and notes of what is wrong.
fn auth_findings(folder: &Path, lines: &str) -> Vec<(Code, String)> {
    let text =
        format!("postgres.url = 'postgres://db/shop'\n[[route]]\ntable = 'public.a'\ntopic = 'a'\n[auth]\n{lines}\n");
    let loaded = load(&folder.join("walcast.toml").display().to_string(), &text);
    loaded.findings.iter().map(|finding| (finding.code, format!("{finding:?}"))).collect()
}

#[test]
fn keys_are_read_from_the_folder_of_the_file_and_refused_with_the_reason() {
    use crate::auth::testing::{Issuer, key_set};
    let folder = std::env::temp_dir().join(format!("walcast-keys-{:012x}", fastrand::u64(..) >> 16));
    fs::create_dir(&folder).unwrap();
    let issuer = Issuer::new(jsonwebtoken::Algorithm::ES256);
    fs::write(folder.join("public.pem"), issuer.public_pem()).unwrap();
    fs::write(folder.join("private.pem"), issuer.private_pem()).unwrap();
    fs::write(folder.join("keys.json"), key_set(&[issuer.jwk("1")])).unwrap();
    for good in ["public_key_file = 'public.pem'", "jwks_file = 'keys.json'", "jwks_url = 'https://id.example.com/k'"] {
        assert_eq!(auth_findings(&folder, &format!("mode = 'jwt'\n{good}")), [], "{good}");
    }
    for (bad, code, reason) in [
        ("public_key_file = 'private.pem'", Code::KeyFile, "private key"),
        ("public_key_file = 'keys.json'", Code::KeyFile, "not a public key in PEM"),
        ("public_key_file = '.'", Code::KeyFile, "directory"),
        ("jwks_file = 'public.pem'", Code::KeyFile, "list `keys`"),
        ("jwks_url = 'http://10.0.0.1/k'", Code::KeyUrl, "keys of their own"),
        ("secret = ''", Code::AuthKeys, "empty"),
        ("secret = '''-----BEGIN PUBLIC KEY-----'''", Code::AuthKeys, "PEM"),
        ("", Code::AuthKeys, "needs a key"),
        ("jwks_plain_http = 1\njwks_url = 'https://a/k'", Code::WrongType, "true or false"),
        ("leeway = '11m'\nsecret = '0123456789abcdef0123456789abcdef'", Code::OutOfRange, "leeway"),
    ] {
        let findings = auth_findings(&folder, &format!("mode = 'jwt'\n{bad}"));
        let [(found, shown)] = &findings[..] else { panic!("{bad}: {findings:?}") };
        assert!(*found == code && shown.contains(reason), "{bad}: {shown}");
    }
    let open = "mode = 'jwt'\njwks_plain_http = true\njwks_url = 'http://10.0.0.1/k'";
    assert_eq!(auth_findings(&folder, open), []);
    fs::remove_dir_all(&folder).unwrap();
}
