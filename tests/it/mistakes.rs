//! What whoever gets something wrong sees, word for word, in `tests/fixtures/cli/`: on the command line, in a
//! configuration that no server fits, and where walcast is to listen.
//!
//! `UPDATE_SNAPSHOTS=1` writes the files anew; read the difference before committing it.

use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use walcast::demo::cluster::StopMode;

use crate::check::{Shop, config};
use crate::support::{ScratchFolder, free_port, repository};

const ROUTE: &str = "table = \"public.articles\"\ntopic = \"feed\"";
const BOUNDED: (&str, &str) = ("max_slot_wal_keep_size", "4GB");

/// Compares `actual` with the fixture.
fn check_snapshot(name: &str, actual: &str) {
    let path = repository().join("tests/fixtures/cli").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs; UPDATE_SNAPSHOTS=1 writes it anew", path.display());
}

/// What was typed and what was said, one after the other.
struct Transcript {
    text: String,
    /// What differs from run to run, and what stands for it.
    replaced: Vec<(String, &'static str)>,
}

impl Transcript {
    const fn new(replaced: Vec<(String, &'static str)>) -> Self {
        Self { text: String::new(), replaced }
    }

    /// Runs the command to its end; `what` says what is the matter with it, if that is not to be seen.
    fn run(&mut self, shop: &Shop, what: &str, config: &str, arguments: &[&str]) {
        let outcome = shop.walcast(config, arguments);
        let comment = if what.is_empty() { String::new() } else { format!("# {what}\n") };
        let said =
            |text: &str| text.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect::<String>();
        let words: Vec<String> =
            arguments.iter().map(|it| if it.is_empty() { "''".to_owned() } else { (*it).to_owned() }).collect();
        let code = outcome.code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
        let mut text = format!("{comment}$ walcast {}\n", words.join(" "));
        write!(text, "{}{}  exit code {code}\n\n", said(&outcome.stdout), said(&outcome.stderr)).unwrap();
        for (differs, name) in &self.replaced {
            text = text.replace(differs, name);
        }
        self.text.push_str(&text);
    }
}

#[test]
fn mistyped_options() {
    let shop = Shop::open(&[]);
    shop.cluster.stop(StopMode::Fast).unwrap();
    let mut told = Transcript::new(Vec::new());
    let url = "postgres://app:hunter2@127.0.0.1:1/shop?connect_timeout=1";
    let at_url = ["--database-url", url];
    for arguments in [
        &["run", "--database-url"][..],
        &["run", "--database-url", ""],
        &["run", "--database-url", "mysql://127.0.0.1/shop"],
        &["run", "--database-url", "127.0.0.1:5432/shop"],
        &["run", "--database-url", "postgres://app:hunter2@127.0.0.1:port/shop"],
        &["run", "--database-url", "postgres://app:hunter@2@127.0.0.1/shop"],
        &["run", "--database-url", url, "-c", "walcast.toml"],
        &["run", "--database-url", url, "--listen", "localhost:4000"],
        &["run", "--database-url", url, "--listen", "0.0.0.0:4000"],
        &["run", "--database-url", url, "--admin", "4001"],
        &["run", "--database-url", url, "--slot", "My Slot"],
        &["run", "--database-url", url, "--publication", ""],
        &["run", "--listen", "127.0.0.1:4000"],
        &["run", "--slot", "walcast"],
        &["setup", "--publication", "walcast"],
        &["setup", "--row-filters", at_url[0], at_url[1]],
        &["setup", at_url[0], at_url[1]],
        &["setup", "--print", at_url[0], at_url[1]],
        &["health", "--foo"],
        &["health", "--admin"],
        &["health", "--admin", "4001"],
        &["health", "--admin", "127.0.0.1:1"],
        &["check", "--format"],
        &["check", "--database", "yes"],
        &["why", "feed", "--op"],
        &["why", "feed", "--claims", ""],
        &["demo", "--listen", "x"],
    ] {
        told.run(&shop, "", &config(ROUTE), arguments);
    }
    assert!(!told.text.contains("hunter2\n"), "{}", told.text);
    check_snapshot("options.txt", &told.text);
}

#[test]
fn a_server_that_will_not_do() {
    let shop = Shop::open(&[BOUNDED, ("max_wal_senders", "1"), ("max_replication_slots", "1")]);
    let port = shop.cluster.port().to_string();
    let mut told = Transcript::new(vec![(port.clone(), "PORT")]);
    shop.sql(
        "create table articles (id int primary key); create role reader login; create role app login password 'right'",
    );
    shop.sql("create database blog");
    let at = |user: &str, database: &str| {
        config(ROUTE).replace("${DATABASE_URL}", &format!("postgres://{user}@127.0.0.1:{port}/{database}"))
    };
    for command in [&["check", "--database"][..], &["setup"], &["run"]] {
        told.run(&shop, "no such database", &at("postgres", "nowhere"), command);
        told.run(&shop, "no such role", &at("nobody", "postgres"), command);
        told.run(&shop, "a role that may not replicate, nor make anything", &at("reader", "postgres"), command);
    }
    told.run(&shop, "nothing is set up", &at("postgres", "postgres"), &["run"]);
    shop.sql("select pg_create_logical_replication_slot('walcast', 'test_decoding')");
    told.run(&shop, "a slot of another plugin, and no room for another", &at("postgres", "postgres"), &["setup"]);
    shop.sql("select pg_drop_replication_slot('walcast'); select pg_create_physical_replication_slot('other')");
    told.run(&shop, "all slots are taken", &at("postgres", "postgres"), &["setup"]);
    shop.sql("select pg_drop_replication_slot('other')");
    let blog = shop.cluster.url().replace("/postgres", "/blog").replace("//blog", "//postgres");
    shop.sql_at(&blog, "select pg_create_logical_replication_slot('walcast', 'pgoutput')");
    told.run(&shop, "the slot is another database's", &at("postgres", "postgres"), &["setup"]);
    shop.sql_at(&blog, "select pg_drop_replication_slot('walcast')");

    let hba = shop.cluster.data_directory().join("pg_hba.conf");
    let rest = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("host all app 127.0.0.1/32 scram-sha-256\nhost all reader 127.0.0.1/32 reject\n{rest}"))
        .unwrap();
    shop.cluster.stop(StopMode::Fast).unwrap();
    shop.cluster.resume().unwrap();
    told.run(&shop, "a wrong password", &at("app:hunter2", "postgres"), &["check", "--database"]);
    told.run(&shop, "no password", &at("app", "postgres"), &["check", "--database"]);
    told.run(&shop, "a role that pg_hba.conf does not let in", &at("reader", "postgres"), &["check", "--database"]);
    shop.cluster.stop(StopMode::Fast).unwrap();
    told.run(&shop, "the server is down", &at("postgres", "postgres"), &["check", "--database"]);
    told.run(&shop, "the server is down", &at("postgres", "postgres"), &["setup"]);
    told.run(&shop, "the server is down", &at("postgres", "postgres"), &["why", "feed", "--row", "{\"id\": 1}"]);
    check_snapshot("server.txt", &told.text);
}

#[test]
fn a_server_without_logical_wal() {
    let shop = Shop::open(&[BOUNDED, ("wal_level", "replica"), ("max_wal_senders", "0")]);
    shop.sql("create table articles (id int primary key)");
    let mut told = Transcript::new(Vec::new());
    for command in [&["check", "--database"][..], &["setup"], &["run"]] {
        told.run(&shop, "wal_level is replica, and no walsender may be started", &config(ROUTE), command);
    }
    check_snapshot("wal_level.txt", &told.text);
}

#[test]
fn a_place_where_nobody_can_listen() {
    let shop = Shop::open(&[BOUNDED]);
    shop.sql("create table articles (id int primary key)");
    assert_eq!(shop.walcast(&config(ROUTE), &["setup"]).code, Some(0));
    let folder = ScratchFolder::new();
    let at = |name: &str| folder.join(name).display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let admin = free_port();
    let replaced = vec![(at(""), "FOLDER/"), (port.to_string(), "PORT"), (admin.to_string(), "ADMIN")];
    let mut told = Transcript::new(replaced);
    let listen = |address: &str| {
        let server = format!("[server]\nlisten = \"{address}\"\nadmin = \"127.0.0.1:{admin}\"\n\n[auth]");
        config(ROUTE).replace("[auth]", &server)
    };
    let mut run = |what: &str, address: &str| {
        // Log lines begin with the time, and are no part of what is told.
        told.run(&shop, what, &listen(address), &["run"]);
    };
    run("somebody listens there", &format!("127.0.0.1:{port}"));
    run("no address of this machine", "203.0.113.7:4000");
    run("no such folder", &format!("unix:{}", at("nowhere/public.sock")));
    fs::write(folder.join("file"), "important").unwrap();
    run("a file of that name", &format!("unix:{}", at("file")));
    let _socket = UnixListener::bind(folder.join("public.sock")).unwrap();
    run("somebody listens at the socket", &format!("unix:{}", at("public.sock")));
    run("a name that is too long", &format!("unix:/run/{}", "x".repeat(120)));
    run("the same twice", &format!("127.0.0.1:{admin}"));
    run("a folder's name", "unix:/run/");
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"important");
    check_snapshot("listen.txt", &told.text);
}
