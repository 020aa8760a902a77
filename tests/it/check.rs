//! `walcast check` and `walcast run`'s start, by the real binary against a real server.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tokio_postgres::{NoTls, SimpleQueryMessage};
use walcast::demo::cluster::{Binaries, Cluster};

/// A server, and a folder for a configuration file.
pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
    folder: PathBuf,
}

/// What the binary did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The codes of all findings, in the order in which they were printed.
    fn codes(&self) -> Vec<&str> {
        let code = |line: &'_ str| -> Option<usize> {
            (line.starts_with("error[") || line.starts_with("warning[")).then(|| line.find('[').unwrap() + 1)
        };
        self.stderr.lines().filter_map(|line| code(line).map(|start| &line[start..line.find(']').unwrap()])).collect()
    }
}

impl Shop {
    pub(crate) fn open(settings: &[(&str, &str)]) -> Self {
        let cluster = Cluster::start(Binaries::find().unwrap(), settings).unwrap();
        let folder = std::env::temp_dir().join(format!("walcast-check-{:012x}", fastrand::u64(..) >> 16));
        fs::create_dir(&folder).unwrap();
        Self { cluster, folder }
    }

    /// Runs SQL and returns every value of every row.
    pub(crate) fn sql(&self, sql: &str) -> Vec<String> {
        self.sql_at(&self.cluster.url(), sql)
    }

    pub(crate) fn sql_at(&self, url: &str, sql: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            drop(client);
            connection.await.unwrap().unwrap();
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            rows.flat_map(|row| (0..row.len()).map(|index| row.get(index).unwrap_or("").to_owned())).collect()
        })
    }

    /// The binary with this configuration, yet to be started. The folder is its working directory.
    pub(crate) fn command(&self, config: &str, arguments: &[&str]) -> Command {
        fs::write(self.folder.join("walcast.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_walcast"));
        command.args(arguments).current_dir(&self.folder).env("DATABASE_URL", self.cluster.url());
        command.env_remove("WALCAST_CONFIG").stdin(Stdio::null());
        command
    }

    pub(crate) fn walcast(&self, config: &str, arguments: &[&str]) -> Outcome {
        let output = self.command(config, arguments).output().unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The codes that `check --database` finds for one more `[[route]]`.
    fn codes_of_route(&self, route: &str) -> Vec<String> {
        let outcome = self.walcast(&config(route), &["check", "--database"]);
        outcome.codes().into_iter().map(str::to_owned).collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.folder);
    }
}

/// A configuration with one route.
pub(crate) fn config(route: &str) -> String {
    format!("[postgres]\nurl = \"${{DATABASE_URL}}\"\n\n[auth]\nmode = \"none\"\n\n[[route]]\n{route}\n")
}

const ARTICLES: &str = "table = \"public.articles\"\ntopic = \"updates:feed\"";
const BOUNDED: (&str, &str) = ("max_slot_wal_keep_size", "4GB");

#[test]
fn the_file_alone_is_checked_without_a_database() {
    let shop = Shop::open(&[]);
    shop.cluster.stop(walcast::demo::cluster::StopMode::Fast).unwrap();
    let outcome = shop.walcast(&config(ARTICLES), &["check"]);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), "walcast.toml: 1 route, 0 errors, 0 warnings\n"));

    let outcome = shop.walcast(&config("table = \"articles\"\ntopic = \"feed\""), &["check"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(
        outcome.stderr,
        "error[bad-table]: `route.table` is not a table pattern\n \
          --> walcast.toml:8:10\n  \
           |\n\
         8 | table = \"articles\"\n  \
           |          ^^^^^^^^ the schema is missing\n  \
           |\n  \
           = help: write `public.articles`, if that is its schema\n\n\
         walcast.toml: 1 route, 1 error, 0 warnings\n"
    );

    let outcome = shop.walcast(&config(ARTICLES), &["check", "--database"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("onnect"), "{}", outcome.stderr);
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let shop = Shop::open(&[]);
    let outcome = shop.walcast("", &["check", "--config", "other.toml"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(outcome.stderr, "error: there is no configuration file other.toml: correct the name, or create it\n");
    assert_eq!(shop.walcast("", &["chekc"]).code, Some(2));
}

#[test]
fn everything_that_a_new_server_lacks_is_told_at_once() {
    let shop = Shop::open(&[]);
    shop.sql("create table article (id int primary key, title text)");
    let outcome = shop.walcast(&config(ARTICLES), &["check", "--database"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(
        outcome.stderr,
        "error[table-missing]: the table `public.articles` does not exist in the database `postgres`\n \
          --> walcast.toml:8:9\n  \
           |\n\
         8 | table = \"public.articles\"\n  \
           |         ^^^^^^^^^^^^^^^^^ no such table\n  \
           |\n  \
           = help: did you mean `public.article`?\n\n\
         warning[wal-keep-unbounded]: nothing bounds the WAL that the slot holds back while walcast is down\n\
         --> walcast.toml\n \
          = note: `max_slot_wal_keep_size` is -1: a forgotten slot fills the primary's disk\n \
          = help: run `alter system set max_slot_wal_keep_size = '2GB'`, then `select pg_reload_conf()`\n\n\
         error[slot-missing]: the replication slot `walcast` does not exist\n\
         --> walcast.toml\n \
          = help: run `walcast setup`, which creates it\n\n\
         error[publication-missing]: the publication `walcast` does not exist\n\
         --> walcast.toml\n \
          = help: run `walcast setup`, which creates it\n\n\
         walcast.toml: 1 route, 3 errors, 1 warning\n"
    );
}

#[test]
fn findings_are_json_for_programs() {
    let shop = Shop::open(&[BOUNDED]);
    shop.sql("create table articles (id int primary key)");
    let outcome = shop.walcast(&config(ARTICLES), &["check", "--database", "--format", "json"]);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(1), ""));
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let codes: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["slot-missing", "publication-missing"]);
    assert_eq!(report["summary"], serde_json::json!({"routes": 1, "errors": 2, "warnings": 0}));
}

#[test]
fn a_server_without_logical_wal_is_told() {
    let shop =
        Shop::open(&[("wal_level", "replica"), ("max_replication_slots", "0"), ("max_slot_wal_keep_size", "1MB")]);
    shop.sql("create table articles (id int primary key)");
    let outcome = shop.walcast(&config(ARTICLES), &["check", "--database"]);
    assert_eq!(
        outcome.codes(),
        ["wal-level", "wal-keep-too-small", "slots-full", "slot-missing", "publication-missing"],
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("the server keeps 1MiB of WAL for a slot, `replay.wal` asks for 1GiB"));
}

#[test]
fn a_slot_that_cannot_be_used_is_told() {
    let shop = Shop::open(&[BOUNDED, ("min_wal_size", "32MB"), ("max_wal_size", "32MB")]);
    shop.sql("create table articles (id int primary key); create publication walcast for table articles");
    let message = |expected: &str| {
        let outcome = shop.walcast(&config(ARTICLES), &["check", "--database"]);
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    };
    let drop_slot = "select pg_drop_replication_slot('walcast')";

    shop.sql("select pg_create_physical_replication_slot('walcast')");
    message("the slot `walcast` is a physical slot, not a `pgoutput` slot");

    shop.sql(drop_slot);
    shop.sql("create database blog");
    let blog = shop.cluster.url().replace("/postgres", "/blog").replace("//blog", "//postgres");
    shop.sql_at(&blog, "select pg_create_logical_replication_slot('walcast', 'pgoutput')");
    message("the slot `walcast` belongs to the database `blog`");

    shop.sql_at(&blog, drop_slot);
    shop.sql("select pg_create_logical_replication_slot('walcast', 'pgoutput')");
    assert_eq!(shop.codes_of_route(ARTICLES), [""; 0]);
    shop.sql("alter system set max_slot_wal_keep_size = '1MB'");
    shop.sql("select pg_reload_conf()");
    for _ in 0..8 {
        shop.sql("select pg_logical_emit_message(false, 'test', 'x'); select pg_switch_wal()");
    }
    shop.sql("checkpoint");
    message("the server has removed WAL that the slot `walcast` needs");
}

/// A server on which everything is in order, for routes to be tried on.
fn open_with_tables() -> Shop {
    let shop = Shop::open(&[BOUNDED]);
    shop.sql(
        "create table articles (id int primary key, title text);
         create table shouts (id int primary key, title text, shout text generated always as (upper(title)) stored);
         create table orders (id int primary key, customer_id int, note text);
         create table full_orders (id int primary key, customer_id int);
         alter table full_orders replica identity full;
         create table keyless (id int);
         create table scores (id int primary key, at int) partition by range (id);
         create table scores_1 partition of scores for values from (0) to (10);
         create unlogged table cache (id int primary key);
         create view latest as select * from articles;
         create materialized view counted as select count(*) from articles;
         create table private_notes (id int primary key);
         create publication walcast for table articles, shouts, orders, full_orders, scores, private_notes
             with (publish_via_partition_root = true);",
    );
    shop.sql("select pg_create_logical_replication_slot('walcast', 'pgoutput')");
    shop
}

#[test]
fn every_route_is_held_against_its_table() {
    let shop = open_with_tables();
    let none: [&str; 0] = [];
    let codes = |table: &str, topic: &str, more: &str| {
        shop.codes_of_route(&format!("table = \"public.{table}\"\ntopic = \"{topic}\"\n{more}"))
    };
    assert_eq!(codes("articles", "feed", ""), none);
    assert_eq!(codes("articles", "feed:{id}", "columns = [\"title\"]"), none);
    assert_eq!(codes("articles", "feed:{ide}", "columns = [\"titel\"]"), ["column-missing", "column-missing"]);
    assert_eq!(codes("shouts", "feed", "columns = [\"shout\"]"), ["column-not-published"]);
    assert_eq!(codes("shouts", "feed", "columns = [\"title\"]"), none);
    assert_eq!(codes("shouts", "feed", ""), ["generated-column"]);
    assert_eq!(codes("orders", "orders:{customer_id}", ""), ["identity-too-weak"]);
    assert_eq!(codes("orders", "orders:{customer_id}", "ops = [\"insert\", \"truncate\"]"), none);
    assert_eq!(codes("full_orders", "orders:{customer_id}", ""), none);
    assert_eq!(codes("scores", "scores:{id}", ""), none);
    assert_eq!(codes("scores", "scores:{at}", ""), ["identity-too-weak"]);
    assert_eq!(codes("scores_1", "scores", ""), ["partition-routed"]);
    assert_eq!(codes("cache", "cache", ""), ["table-kind"]);
    assert_eq!(codes("latest", "latest", ""), ["table-kind"]);
    assert_eq!(codes("counted", "counted", ""), ["table-kind"]);
    assert_eq!(codes("nothing_here", "x", ""), ["table-missing"]);
    assert_eq!(codes("nothing_*", "x", ""), ["no-table-matches"]);
    assert_eq!(codes("keyless", "x", ""), ["table-not-published", "updates-refused"]);
    let all = ["table-not-published", "table-kind", "generated-column", "updates-refused"];
    assert_eq!(codes("*", "x", "ops = [\"insert\"]"), all);

    shop.sql("alter publication walcast set (publish = 'insert', publish_via_partition_root = false)");
    assert_eq!(codes("scores", "scores", ""), ["op-not-published", "publication-via-root"]);
    shop.sql("alter publication walcast set (publish = 'insert, update'); alter publication walcast add table keyless");
    assert_eq!(codes("articles", "feed", "ops = [\"insert\"]"), ["updates-refused"]);
}

#[test]
fn rules_are_held_against_the_types_and_the_replica_identity() {
    let shop = open_with_tables();
    let none: [&str; 0] = [];
    shop.sql(
        "create type state as enum ('open', 'paid');
         create collation anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         create table sales
             (id int primary key, owner uuid not null, state state, tags text[], name text collate anycase);
         create unique index sales_seen on sales (id, owner);
         alter publication walcast add table sales",
    );
    let sales = |rule: &str| shop.codes_of_route(&format!("table = \"public.sales\"\ntopic = \"sales\"\n{rule}"));
    assert_eq!(sales("where = \"owner = 'x'\""), ["identity-too-weak", "expression-type"]);
    assert_eq!(sales("where = \"id > 0\""), none);
    assert_eq!(sales("where = \"ownr = 'x'\"\nops = [\"insert\"]"), ["column-missing"]);
    let sane = "where = \"state in ('open', 'paid') and 'a' = any (tags)\"\nops = [\"insert\"]";
    assert_eq!(sales(sane), none);
    assert_eq!(sales("where = \"name = 'a'\"\nops = [\"insert\"]"), ["collation"]);
    assert_eq!(sales("where = \"state > 'open'\"\nops = [\"insert\"]"), ["expression-type"]);
    let by_owner = "table = \"public.sales\"\ntopic = \"sales:{owner}\"\nops = [\"insert\"]\nallow = \"owner = 7\"";
    assert_eq!(shop.codes_of_route(by_owner), ["expression-type"]);
    let owned =
        "table = \"public.sales\"\ntopic = \"sales\"\nwhere = \"owner <> '00000000-0000-0000-0000-000000000000'\"";
    let outcome = shop.walcast(&config(owned), &["check", "--database"]);
    let remedy = "`alter table public.sales replica identity using index sales_seen`";
    assert!(outcome.stderr.contains(remedy), "{}", outcome.stderr);
    shop.sql("alter table sales replica identity using index sales_seen");
    assert_eq!(shop.codes_of_route(owned), none);
}

#[test]
fn a_type_with_a_cast_to_json_of_its_own_is_told() {
    let shop = open_with_tables();
    shop.sql(
        "create type price as (amount numeric, currency text);
         create function price_to_json(price) returns json language sql as $$ select to_json($1.amount) $$;
         create cast (price as json) with function price_to_json(price);
         create domain fair_price as price;
         create type offer as (prices fair_price[]);
         alter table articles add column offers offer[]",
    );
    let outcome = shop.walcast(&config(ARTICLES), &["check", "--database"]);
    assert_eq!((outcome.code, outcome.codes()), (Some(0), vec!["cast-ignored"]), "{}", outcome.stderr);
}

#[test]
fn a_role_without_rights_is_told() {
    let shop = open_with_tables();
    shop.sql("create role reader login; grant select on articles to reader; revoke all on private_notes from public");
    let as_reader = |table: &str| {
        let route = format!("table = \"public.{table}\"\ntopic = \"x\"");
        let text = config(&route).replace("${DATABASE_URL}", &shop.cluster.url().replace("postgres@", "reader@"));
        shop.walcast(&text, &["check", "--database"])
    };
    assert_eq!(as_reader("articles").codes(), ["role-replication"]);
    let outcome = as_reader("private_notes");
    assert_eq!(outcome.codes(), ["role-replication", "role-select"]);
    assert!(outcome.stderr.contains("run `alter role reader replication` as a superuser"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("run `grant select on public.private_notes to reader`"), "{}", outcome.stderr);
}

#[test]
fn run_refuses_what_check_finds() {
    let shop = Shop::open(&[BOUNDED]);
    shop.sql("create table articles (id int primary key)");
    let outcome = shop.walcast(&config(ARTICLES), &["run"]);
    assert_eq!((outcome.code, outcome.codes()), (Some(1), vec!["slot-missing", "publication-missing"]));

    let jwt = config(ARTICLES).replace("mode = \"none\"", "mode = \"jwt\"\nsecret = \"hunter2\"");
    let outcome = shop.walcast(&jwt, &["check"]);
    assert_eq!((outcome.code, outcome.codes()), (Some(0), vec!["weak-secret"]));
    assert!(!outcome.stderr.contains("hunter2"));
}
