//! The readme's live table, run as it stands: taken out of the readme, so that it can't rot.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use serde_json::Value;

use crate::support::articles;
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::node::Script;
use crate::support::{PATIENCE, POLL, ScratchFolder, repository};

const ROUTE: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"updates:feed\"\n";

/// Node has no WebSocket of its own before version 22.
const PRELUDE: &str = "import WebSocket from \"ws\"\nglobalThis.WebSocket ??= WebSocket\n";
/// On each line of standard input it prints its rows.
const EPILOGUE: &str = r#"
import { createInterface } from "node:readline"
createInterface({ input: process.stdin }).on("line", () => console.log(`rows ${JSON.stringify([...rows])}`))
"#;

/// The code of a numbered step.
fn step(readme: &str, number: usize) -> String {
    let (_, step) = readme.split_once(&format!("\n{number}. ")).expect("the step");
    let (_, code) = step.split_once("```js\n").expect("its code");
    let (code, _) = code.split_once("```").expect("the code's end");
    code.to_owned()
}

/// The sixth step goes on with the socket that the fifth has connected.
fn program(port: u16) -> String {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let (socket, live_table) = (step(&readme, 5), step(&readme, 6));
    let (socket, _channel) = socket.split_once("socket.connect()").expect("a socket that is connected");
    assert!(socket.contains("localhost:4000"), "{socket}");
    let socket = socket.replace("localhost:4000", &format!("127.0.0.1:{port}"));
    format!("import \"./prelude.mjs\"\n{socket}socket.connect()\n{live_table}{EPILOGUE}")
}

async fn equal(script: &mut Script, database: &Database) {
    let deadline = Instant::now() + PATIENCE;
    let rows = "select coalesce(json_object_agg(id, row_to_json(a)), '{}')::text from articles a";
    let expected: BTreeMap<i64, Value> = serde_json::from_str(&database.value::<String>(rows).await).unwrap();
    loop {
        script.go_on().await;
        let rows: Vec<(i64, Value)> = serde_json::from_str(&script.until_prefix("rows ").await).unwrap();
        let rows: BTreeMap<i64, Value> = rows.into_iter().collect();
        if rows == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{rows:?} instead of {expected:?}");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test]
async fn the_live_table_is_the_table_whatever_happens() {
    let database = Database::start().await;
    database.execute(articles::TABLE).await;
    database.execute("insert into articles select n, 'title ' || n from generate_series(1, 2000) n").await;
    let mut gateway = Gateway::start(&database.url(), ROUTE).await;
    let folder = ScratchFolder::new();
    std::os::unix::fs::symlink(repository().join("tests/interop/node_modules"), folder.join("node_modules")).unwrap();
    fs::write(folder.join("prelude.mjs"), PRELUDE).unwrap();
    fs::write(folder.join("readme.mjs"), program(gateway.port())).unwrap();
    let mut script = Script::start_at(&folder.join("readme.mjs"), &[]);
    equal(&mut script, &database).await;

    database.execute("update articles set body = repeat('large ', 2000) where id <= 3").await;
    database.execute("update articles set title = 'renamed', id = id + 10000 where id in (2, 4)").await;
    database.execute("delete from articles where id between 100 and 1900").await;
    equal(&mut script, &database).await;
    gateway.kill().await;
    database
        .execute("insert into articles values (0, 'while nobody listened'); delete from articles where id = 1")
        .await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    equal(&mut script, &database).await;
    database.execute("truncate articles; insert into articles values (1, 'again')").await;
    equal(&mut script, &database).await;
    // Its cursor is from before what the new slot has: the client begins afresh by itself.
    gateway.terminate().await;
    database.execute("select pg_drop_replication_slot('walcast')").await;
    database.execute("insert into articles values (2, 'that no slot has seen')").await;
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{}", setup.stderr);
    gateway.spawn();
    gateway.wait_until_ready().await;
    equal(&mut script, &database).await;
}
