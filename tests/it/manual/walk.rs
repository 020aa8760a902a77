//! The ways in that the pages show, gone line by line on a database: each ends with rows that arrive.

use super::blocks::{Block, blocks_on, inline_code_on};
use crate::support::articles;
use crate::support::database::Database;
use crate::support::gateway::{Gateway, walcast};
use crate::support::phoenix::Client;
use crate::tail::Tail;

/// What the pages' commands connect to, in place of which there is a server of our own.
const URL_ON_THE_PAGES: &str = "postgres://postgres@localhost/app";

/// Somebody who reads.
struct Walk<'d> {
    database: &'d Database,
    gateway: Gateway,
    is_set_up: bool,
    /// How many times a `tail` has shown an update.
    seen: i32,
}

impl<'d> Walk<'d> {
    /// `configuration` is what the page says to write into `walcast.toml`; ports are free ones.
    fn begin(database: &'d Database, configuration: &str) -> Self {
        let gateway = Gateway::configure(&database.url(), "");
        let ports =
            format!("listen = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"", gateway.port(), gateway.admin_port());
        gateway.write_config(&format!("{configuration}\n[server]\n{ports}\n"));
        Self { database, gateway, is_set_up: false, seen: 0 }
    }

    /// Types every line of the block.
    async fn follow(&mut self, Block { place, text }: &Block) {
        for line in text.lines() {
            let command = line.split(" #").next().unwrap_or_default();
            let words: Vec<&str> = command.split_whitespace().collect();
            self.type_in(&words).await.unwrap_or_else(|error| panic!("{place}: {command}: {error}"));
        }
        assert!(self.seen > 0, "{place} shows nobody an update");
    }

    async fn type_in(&mut self, words: &[&str]) -> Result<(), String> {
        match *words {
            // The tests' own binary and server stand in for these.
            ["cargo", "install", "--path", "."] | ["export", _] => {}
            ["walcast", "setup", "--database-url", URL_ON_THE_PAGES] => {
                let done = walcast(&["setup", "--database-url", &self.database.url()], &[]).await;
                return done.status.success().then_some(()).ok_or(done.stderr);
            }
            ["walcast", "run", "--database-url", URL_ON_THE_PAGES] => {
                self.gateway.spawn_without_file(&self.database.url());
                self.gateway.wait_until_ready().await;
            }
            ["walcast", "run"] => {
                self.gateway.spawn_with(&[("DATABASE_URL", &self.database.url())]);
                self.gateway.wait_until_ready().await;
            }
            ["walcast", "tail", topic] => self.sees_an_update(topic).await,
            ["walcast", "setup", "--print"] => return self.judge("setup --print", true).await,
            ["walcast", "setup"] => {
                self.is_set_up = true;
                return self.judge("setup", true).await;
            }
            // Says what is missing, or that nothing is.
            ["walcast", "check", "--database"] => return self.judge("check --database", self.is_set_up).await,
            _ => return Err("a command that nobody has tried".to_owned()),
        }
        Ok(())
    }

    async fn judge(&self, subcommand: &str, succeeds: bool) -> Result<(), String> {
        let done = self.gateway.walcast_with(subcommand, &[("DATABASE_URL", &self.database.url())]).await;
        (done.status.success() == succeeds).then_some(()).ok_or(done.stderr)
    }

    async fn sees_an_update(&mut self, topic: &str) {
        let url = format!("ws://127.0.0.1:{}", self.gateway.port());
        let mut tail = Tail::start(&self.gateway, &[topic, "--url", &url]);
        tail.says("joined").await;
        self.database.execute("insert into articles select coalesce(max(id), 0) + 1, 'news' from articles").await;
        assert_eq!(tail.next().await["record"]["title"], "news");
        self.seen += 1;
    }

    /// As the runbook says: stopped, and nothing of it is left.
    async fn take_away(mut self) {
        assert!(self.gateway.terminate().await.success());
        let code = inline_code_on("docs/runbook.md");
        let take_away =
            code.iter().find(|code| code.contains("drop schema walcast")).expect("how to take walcast away");
        for statement in take_away.split(';') {
            self.database.execute(statement).await;
        }
        let left = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)
                         + (select count(*) from pg_namespace where nspname = 'walcast')";
        assert_eq!(self.database.value::<i64>(left).await, 0);
    }
}

async fn database() -> Database {
    let database = Database::start_with(&[("max_slot_wal_keep_size", "4GB")]).await;
    database.execute(articles::TABLE).await;
    database
}

fn first(page: &str, language: &str, with: &str) -> Block {
    blocks_on(page, language).into_iter().find(|block| block.text.contains(with)).expect("the block")
}

#[tokio::test]
async fn walcast_is_tried_out_and_taken_away_as_the_pages_say() {
    let database = database().await;
    for page in ["README.md", "docs/quick-start.md"] {
        let mut walk = Walk::begin(&database, "");
        walk.follow(&first(page, "sh", "walcast run --database-url")).await;
        walk.take_away().await;
    }
}

#[tokio::test]
async fn a_configuration_is_written_checked_set_up_and_run_as_the_pages_say() {
    let database = database().await;
    for page in ["README.md", "docs/quick-start.md"] {
        let mut walk = Walk::begin(&database, &first(page, "toml", "[postgres]").text);
        walk.follow(&first(page, "sh", "walcast check --database")).await;
        // What an operator looks at first.
        let slots = first("docs/runbook.md", "sql", "pg_replication_slots").text;
        let held =
            format!("select active_pid is not null and held <> '' from ({}) slots", slots.trim_end_matches(";\n"));
        assert!(database.value::<bool>(&held).await);
        walk.take_away().await;
    }
}

#[tokio::test]
async fn the_role_for_production_is_enough_to_run() {
    let database = database().await;
    database.execute("insert into articles values (1, 'there')").await;
    database.execute(&first("docs/quick-start.md", "sql", "create role walcast").text).await;
    let mut gateway = Gateway::configure(&database.url(), articles::ROUTES);
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{}", setup.stderr);
    let superuser = "postgres://postgres@";
    gateway.edit_config(|config| config.replace(superuser, "postgres://walcast@"));
    let checked = gateway.walcast("check --database").await;
    assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
    gateway.spawn();
    gateway.wait_until_ready().await;
    let mut client = Client::connect(&gateway).await;
    let reply = client.try_join("updates:feed", serde_json::json!({"snapshot": true})).await;
    assert_eq!(reply["status"], "ok", "{reply}");
    assert_eq!(client.next_updates().await["updates"][0]["record"]["title"], "there");
    database.execute("insert into articles values (2, 'new')").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"]["title"], "new");
}
