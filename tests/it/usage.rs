//! What whoever mistypes a command, an option, a variable or a file's name is told, word for word.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::ScratchFolder;

/// The binary in a folder of its own, where there is nothing but what the test puts there.
struct Desk(ScratchFolder);

impl Desk {
    fn new() -> Self {
        Self(ScratchFolder::new())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), content).unwrap();
    }

    /// The exit code and standard error.
    fn walcast(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_walcast"));
        command.args(arguments).current_dir(self.0.join(".")).stdin(Stdio::null());
        for variable in ["WALCAST_CONFIG", "WALCAST_LOG", "WALCAST_LOG_FORMAT", "WALCAST_TOKEN"] {
            command.env_remove(variable);
        }
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn says(&self, arguments: &[&str], code: i32, said: &str) {
        assert_eq!(self.walcast(arguments, &[]), (Some(code), said.to_owned()), "{arguments:?}");
    }
}

const MORE: &str = "\n\nFor more information, try '--help'.\n";

#[test]
fn a_mistyped_command_line_is_told() {
    let desk = Desk::new();
    let unexpected = |arguments: &[&str], argument: &str, usage: &str| {
        desk.says(
            arguments,
            2,
            &format!("error: unexpected argument '{argument}' found\n\nUsage: walcast {usage}{MORE}"),
        );
    };
    unexpected(&["check", "extra"], "extra", "check [OPTIONS]");
    unexpected(&["run", "--foo"], "--foo", "run [OPTIONS]");
    unexpected(&["setup", "x"], "x", "setup [OPTIONS]");
    unexpected(&["tail", "a", "b"], "b", "tail [OPTIONS] <TOPIC>");
    unexpected(&["why", "a", "b"], "b", "why [OPTIONS] <TOPIC>");
    unexpected(&["demo", "--foo"], "--foo", "demo [OPTIONS]");

    let similar = |arguments: &[&str], argument: &str, meant: &str, usage: &str| {
        let tip = format!("  tip: a similar argument exists: '{meant}'");
        let said = format!("error: unexpected argument '{argument}' found\n\n{tip}\n\nUsage: walcast {usage}{MORE}");
        desk.says(arguments, 2, &said);
    };
    similar(&["check", "--databse"], "--databse", "--database", "check --database");
    similar(&["setup", "--prnt"], "--prnt", "--print", "setup --print");
    similar(&["tail", "--snapshto", "a"], "--snapshto", "--snapshot", "tail --snapshot <TOPIC>");

    let missing = |arguments: &[&str], name: &str, usage: &str| {
        let said = format!(
            "error: the following required arguments were not provided:\n  {name}\n\nUsage: walcast {usage}{MORE}"
        );
        desk.says(arguments, 2, &said);
    };
    missing(&["tail"], "<TOPIC>", "tail <TOPIC>");
    missing(&["why"], "<TOPIC>", "why <TOPIC>");
    missing(&["why", "a", "--old", "{}"], "--row <JSON>", "why --row <JSON> --old <JSON> <TOPIC>");

    let valueless = |arguments: &[&str], option: &str| {
        desk.says(arguments, 2, &format!("error: a value is required for '{option}' but none was supplied{MORE}"));
    };
    valueless(&["check", "--config"], "--config <FILE>");
    valueless(&["tail", "a", "--cursor"], "--cursor <CURSOR>");
    valueless(&["tail", "a", "--url"], "--url <URL>");
    valueless(&["tail", "a", "--token"], "--token <JWT>");
    for option in ["claims", "row", "old"] {
        valueless(&["why", "a", &format!("--{option}")], &format!("--{option} <JSON>"));
    }

    let formats = "\n  [possible values: text, json]";
    desk.says(
        &["check", "--format", "xml"],
        2,
        &format!("error: invalid value 'xml' for '--format <FORMAT>'{formats}{MORE}"),
    );
    let log_format = format!("error: invalid value 'xml' for '--log-format <LOG_FORMAT>'{formats}{MORE}");
    desk.says(&["run", "--log-format", "xml"], 2, &log_format);
    assert_eq!(desk.walcast(&["run"], &[("WALCAST_LOG_FORMAT", "xml")]), (Some(2), log_format));
    let op = "error: invalid value 'upsert' for '--op <OP>': `upsert` is no operation: use insert, update, delete or truncate";
    desk.says(&["why", "a", "--op", "upsert"], 2, &format!("{op}{MORE}"));

    let said = "error: unrecognized subcommand 'chekc'\n\n  tip: a similar subcommand exists: 'check'\n\n\
                Usage: walcast [OPTIONS] <COMMAND>";
    desk.says(&["chekc"], 2, &format!("{said}{MORE}"));
    let (code, help) = desk.walcast(&[], &[]);
    assert_eq!(code, Some(2));
    for subcommand in ["run", "check", "setup", "tail", "why", "demo"] {
        assert!(help.contains(&format!("\n  {subcommand} ")), "{help}");
    }
}

#[test]
fn a_file_that_is_none_is_told() {
    let desk = Desk::new();
    for command in [&["run"][..], &["check"], &["check", "--database"], &["setup"], &["tail", "a"], &["why", "a"]] {
        let none = "error: no configuration file: there is neither walcast.toml nor config/walcast.toml here; name one \
                    with --config, or try `walcast run --database-url URL`, which needs none\n";
        // Without a file, tail asks the gateway of this machine.
        if command[0] != "tail" {
            desk.says(command, 1, none);
        }
        let missing = "error: there is no configuration file nope.toml: correct the name, or create it\n";
        desk.says(&[command, &["-c", "nope.toml"]].concat(), 1, missing);
        assert_eq!(desk.walcast(command, &[("WALCAST_CONFIG", "nope.toml")]), (Some(1), missing.to_owned()));
    }
    let said = |name: &str, said: &str| desk.says(&["check", "-c", name], 1, said);
    said(".", "error: cannot read the configuration file .: Is a directory (os error 21)\n");
    desk.write("binary", b"\xff\xfe");
    said("binary", "error: the configuration file binary is not UTF-8 text: is it the right one?\n");
    desk.write("huge", vec![b'#'; (4 << 20) + 1]);
    said("huge", "error: the configuration file huge is larger than 4194304 bytes: is it the right one?\n");
    desk.write("hidden", "");
    fs::set_permissions(desk.0.join("hidden"), fs::Permissions::from_mode(0o0)).unwrap();
    // Root reads everything.
    if fs::read(desk.0.join("hidden")).is_err() {
        said("hidden", "error: cannot read the configuration file hidden: Permission denied (os error 13)\n");
    }
}

/// What compose files write for "none": `WALCAST_CONFIG=${FILE:-}`.
#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let desk = Desk::new();
    let empty = ["WALCAST_CONFIG", "WALCAST_LOG", "WALCAST_LOG_FORMAT", "WALCAST_TOKEN"].map(|name| (name, ""));
    let none = "error: no configuration file: there is neither walcast.toml nor config/walcast.toml here; name one \
                with --config, or try `walcast run --database-url URL`, which needs none\n";
    assert_eq!(desk.walcast(&["check"], &empty), (Some(1), none.to_owned()));
    assert_eq!(desk.walcast(&["run"], &empty), (Some(1), none.to_owned()));
    let config = "[postgres]\nurl = \"postgres://db/shop\"\n[auth]\nmode = \"none\"\n\
                  [[route]]\ntable = \"public.orders\"\ntopic = \"orders\"\n";
    desk.write("walcast.toml", config);
    let fine = "walcast.toml: 1 route, 0 errors, 0 warnings\n";
    assert_eq!(desk.walcast(&["check"], &empty), (Some(0), fine.to_owned()));
    // One that is given is nobody's variable.
    let said = format!("error: a value is required for '--config <FILE>' but none was supplied{MORE}");
    desk.says(&["check", "--config", ""], 2, &said);
    let health = desk.walcast(&["health", "--admin", "127.0.0.1:1"], &empty);
    assert_eq!(health.0, Some(1), "{}", health.1);
}

#[test]
fn a_file_with_nothing_in_it_says_what_must_be() {
    let desk = Desk::new();
    desk.write("empty.toml", "");
    let said = "\
error[missing-key]: `postgres.url` is missing
--> empty.toml
 = help: write `url = \"${DATABASE_URL}\"` in `[postgres]`, or the connection string itself

error[missing-key]: `auth.mode` is missing
--> empty.toml
 = help: write `[auth]` and `mode = \"none\"` to let anyone in; there is no silent open door

warning[no-routes]: there is no `[[route]]`, so that no change reaches anyone
--> empty.toml
 = help: add one: `[[route]]`, `table = \"public.articles\"`, `topic = \"updates:feed\"`
";
    desk.says(&["check", "-c", "empty.toml"], 1, &format!("{said}\nempty.toml: 0 routes, 2 errors, 1 warning\n"));
    for command in ["run", "setup"] {
        desk.says(&[command, "-c", "empty.toml"], 1, &format!("{said}\n"));
    }
    let config = "error: the configuration has errors (walcast check shows them): name the gateway with --url\n";
    desk.says(&["tail", "a", "-c", "empty.toml"], 1, config);
}

/// A file from Windows: a byte order mark, and line feeds with carriage returns.
#[test]
fn a_file_of_another_system_is_read_and_pointed_into() {
    let desk = Desk::new();
    let text = "[postgres]\r\nurl = \"postgres://db/shop\"\r\n[auth]\r\nmode = \"none\"\r\n[[route]]\r\n";
    desk.write("windows.toml", format!("\u{feff}{text}table = \"public.orders\"\r\ntopic = \"orders\"\r\n"));
    desk.says(&["check", "-c", "windows.toml"], 0, "windows.toml: 1 route, 0 errors, 0 warnings\n");
    desk.write("windows.toml", format!("\u{feff}{text}table = \"orders\"\r\ntopic = \"orders\"\r\n"));
    let said = "\
error[bad-table]: `route.table` is not a table pattern
 --> windows.toml:6:10
  |
6 | table = \"orders\"␍
  |          ^^^^^^ the schema is missing
  |
  = help: write `public.orders`, if that is its schema

windows.toml: 1 route, 1 error, 0 warnings
";
    desk.says(&["check", "-c", "windows.toml"], 1, said);
}

#[test]
fn a_key_that_stands_twice_is_told() {
    let desk = Desk::new();
    desk.write("twice.toml", "[postgres]\nurl = \"postgres://db/shop\"\nurl = \"postgres://db/blog\"\n");
    let said = "\
error[syntax]: the file is not valid TOML: duplicate key
 --> twice.toml:3:1
  |
3 | url = \"postgres://db/blog\"
  | ^^^ it stands further up already

twice.toml: 0 routes, 1 error, 0 warnings
";
    desk.says(&["check", "-c", "twice.toml"], 1, said);
}

#[test]
fn an_address_that_is_no_gateway_s_is_told() {
    let desk = Desk::new();
    for (url, shown) in [
        ("nonsense", "nonsense"),
        ("http://localhost:4000", "http://localhost:4000"),
        ("ftp://host/socket?token=hunter2", "ftp://host/socket"),
        ("ws://", "ws://"),
    ] {
        let said = format!("error: `{shown}` is no gateway's address: write it as in --url ws://127.0.0.1:4000\n");
        desk.says(&["tail", "a", "--url", url], 1, &said);
    }
    let token = "error: the token can't be sent: it holds characters that no token has\n";
    desk.says(&["tail", "a", "--url", "ws://127.0.0.1:1", "--token", "a\nb"], 1, token);
}

#[test]
fn what_is_asked_of_why_is_held_to_its_form() {
    let desk = Desk::new();
    let config = "[postgres]\nurl = \"postgres://127.0.0.1:1/shop\"\n[auth]\nmode = \"none\"\n\
                  [[route]]\ntable = \"public.orders\"\ntopic = \"orders\"\n";
    desk.write("walcast.toml", config);
    for (option, value, said) in [
        ("--claims", "{", "--claims takes a JSON object: EOF while parsing an object at line 1 column 1"),
        ("--claims", "[]", "--claims takes a JSON object, as in '{\"id\": 1}'"),
        ("--row", "7", "--row takes a JSON object, as in '{\"id\": 1}'"),
        (
            "--filter",
            "a=b",
            "`a=b` is no condition: write `a=operator.value`, as in `a=eq.1`; operators: eq, neq, gt, gte, lt, lte, in, \
             is, like, ilike",
        ),
    ] {
        desk.says(&["why", "orders", option, value], 1, &format!("error: {said}\n"));
    }
}

#[test]
fn a_log_filter_that_can_not_be_read_is_told() {
    let desk = Desk::new();
    let config = "[postgres]\nurl = \"postgres://127.0.0.1:1/shop?sslmode=disable\"\n[auth]\nmode = \"none\"\n\
                  [[route]]\ntable = \"public.orders\"\ntopic = \"orders\"\n[server]\nlisten = \"127.0.0.1:0\"\n";
    desk.write("walcast.toml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_walcast"));
    command.arg("run").current_dir(desk.0.join(".")).env("WALCAST_LOG", "walcast=loud=x").stdin(Stdio::null());
    let mut running = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(running.stderr.take().unwrap()), &mut line).unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(line.contains(" WARN ") && line.contains("WALCAST_LOG can't be read, and info is logged"), "{line}");
}
