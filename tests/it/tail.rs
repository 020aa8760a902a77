//! `walcast tail` as its user sees it: lines on standard output, and what it says on standard error.

use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use super::support::PATIENCE;
use super::support::database::Database;
use super::support::gateway::{Gateway, signal};

const TABLE: &str = "create table articles (id int primary key, title text)";
const ROUTE: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"updates:feed\"\n";

/// A running `walcast tail`. Dropped, it is killed.
pub(crate) struct Tail {
    child: Child,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Tail {
    pub(crate) fn start(gateway: &Gateway, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_walcast"));
        command.arg("tail").arg("-c").arg(gateway.config_file()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("start walcast tail");
        let stdout = Some(BufReader::new(child.stdout.take().expect("piped")).lines());
        let stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, stdout, stderr }
    }

    /// The next line, which is JSON.
    pub(crate) async fn next(&mut self) -> Value {
        let lines = self.stdout.as_mut().expect("still open");
        let line = timeout(PATIENCE, lines.next_line()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line.expect("another line")).expect("a line of JSON")
    }

    /// The rows inserted next have these ids, and nothing comes between.
    async fn inserts(&mut self, ids: std::ops::RangeInclusive<i32>) {
        for id in ids {
            let line = self.next().await;
            assert_eq!((&line["op"], &line["record"]["id"]), (&"insert".into(), &id.into()), "{line}");
        }
    }

    /// Until it says something with `text` in it; the line.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        let until = async {
            while let Some(line) = self.stderr.next_line().await.unwrap() {
                if line.contains(text) {
                    return Some(line);
                }
                said.push(line);
            }
            None
        };
        let line = timeout(PATIENCE, until).await.ok().flatten();
        line.unwrap_or_else(|| panic!("it did not say {text:?} but {said:#?}"))
    }

    async fn interrupt(&self) {
        signal(self.child.id().expect("it runs"), "INT").await;
    }

    async fn ended(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap()
    }
}

async fn start() -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute(TABLE).await;
    let gateway = Gateway::start(&database.url(), ROUTE).await;
    (database, gateway)
}

/// Each in a transaction of its own.
async fn insert(database: &Database, ids: std::ops::RangeInclusive<i32>) {
    for id in ids {
        database.execute(&format!("insert into articles values ({id}, 'article {id}')")).await;
    }
}

#[tokio::test]
async fn updates_come_as_lines_and_the_cursor_continues_where_ctrl_c_ended() {
    let (database, gateway) = start().await;
    let mut tail = Tail::start(&gateway, &["updates:feed"]);
    tail.says("joined: what commits from now on").await;
    database.execute("insert into articles values (1, 'one'), (2, 'two')").await;
    let (first, second) = (tail.next().await, tail.next().await);
    assert_eq!(first["record"], serde_json::json!({"id": 1, "title": "one"}));
    assert_eq!((&first["cursor"], &first["xid"]), (&Value::Null, &second["xid"]));
    assert_eq!(second["record"]["id"], 2);
    tail.interrupt().await;
    let said = tail.says("continue with --cursor").await;
    let cursor = said.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(second["cursor"], *cursor);
    assert!(tail.ended().await.success());

    insert(&database, 3..=5).await;
    let url = format!("ws://127.0.0.1:{}", gateway.port());
    let mut tail = Tail::start(&gateway, &["updates:feed", "--cursor", &cursor, "--url", &url]);
    tail.says("continued after the cursor").await;
    tail.inserts(3..=5).await;
    insert(&database, 6..=6).await;
    tail.inserts(6..=6).await;
}

#[tokio::test]
async fn a_gateway_that_is_stopped_or_killed_costs_no_update() {
    let (database, mut gateway) = start().await;
    let mut tail = Tail::start(&gateway, &["updates:feed"]);
    tail.says("joined: what commits from now on").await;
    insert(&database, 1..=10).await;
    tail.inserts(1..=5).await;
    assert!(gateway.terminate().await.success());
    tail.says("closed the connection: 1012 server restarts; trying again").await;
    insert(&database, 11..=20).await;
    gateway.spawn();
    tail.says("continued after the cursor").await;
    insert(&database, 21..=25).await;
    tail.inserts(6..=25).await;

    gateway.kill().await;
    insert(&database, 26..=30).await;
    tail.says("can't connect").await;
    gateway.spawn();
    tail.says("continued after the cursor").await;
    insert(&database, 31..=35).await;
    tail.inserts(26..=35).await;
}

#[tokio::test]
async fn a_cursor_that_cannot_be_resumed_is_said_and_what_follows_begins_now() {
    let (database, gateway) = start().await;
    let mut tail = Tail::start(&gateway, &["updates:feed", "--cursor", "AQAAAAAAAAAA"]);
    tail.says("resync_required").await;
    tail.says("joined: what commits from now on").await;
    insert(&database, 1..=2).await;
    tail.inserts(1..=2).await;
}

#[tokio::test]
async fn a_refused_topic_is_an_error_with_advice() {
    let (_database, gateway) = start().await;
    let mut tail = Tail::start(&gateway, &["updates:nowhere"]);
    let said = tail.says("error: the gateway refuses topic `updates:nowhere`: unmatched topic").await;
    assert!(said.contains("compare it with the `topic` of the config's [[route]]s"), "{said}");
    assert_eq!(tail.ended().await.code(), Some(1));

    let elsewhere = format!("ws://127.0.0.1:{}/no/such/path", gateway.port());
    let mut tail = Tail::start(&gateway, &["updates:feed", "--url", &elsewhere]);
    tail.says("answers HTTP 404").await;
    assert_eq!(tail.ended().await.code(), Some(1));
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let (database, gateway) = start().await;
    let mut tail = Tail::start(&gateway, &["updates:feed"]);
    tail.says("joined").await;
    insert(&database, 1..=1).await;
    tail.inserts(1..=1).await;
    drop(tail.stdout.take());
    insert(&database, 2..=2).await;
    let mut rest = String::new();
    let mut stderr = tail.stderr.into_inner();
    timeout(PATIENCE, stderr.read_to_string(&mut rest)).await.expect("it ends").unwrap();
    assert_eq!(rest, "");
    let status = timeout(PATIENCE, tail.child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0));
}
