//! `/readyz` and `walcast health`: what an operator, or a load balancer, is told of a gateway.

use std::fs;

use serde_json::{Value, json};
use walcast::demo::cluster::StopMode;

use super::support::database::Database;
use super::support::gateway::{Finished, Gateway, walcast};
use super::support::phoenix::Client;
use super::support::{ScratchFolder, eventually};

const ROUTES: &str = r#"
[[route]]
table = "public.articles"
topic = "feed"

[[channel]]
topic = "rooms:*"
publish = ["said"]
"#;

async fn database() -> Database {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key)").await;
    database
}

fn outcome(finished: &Finished) -> (Option<i32>, &str) {
    (finished.status.code(), &finished.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_the_file_a_gateway_that_serves_is_well() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let text = fs::read_to_string(gateway.config_file()).unwrap();
    for (what, broken) in [
        ("an unknown key", text.replace("[auth]\n", "[auth]\ncolour = 1\n")),
        ("no TOML", text.replace("[[route]]", "[[route]")),
        ("a table that is none", text.replace("public.articles", "articles")),
        ("an unset variable", text.replace("mode = \"none\"", "mode = \"jwt\"\nsecret = \"${ABSENT}\"")),
        ("another listen", text.replace("listen = ", "listen = 7 #")),
        (
            "nothing but that",
            text.lines().filter(|line| line.contains("admin") || *line == "[server]").collect::<Vec<_>>().join("\n"),
        ),
    ] {
        gateway.write_config(&broken);
        assert_eq!(outcome(&gateway.walcast("health").await), (Some(0), ""), "{what}");
    }
    let file = gateway.config_file().display().to_string();
    let admin = format!("\"127.0.0.1:{}\"", gateway.admin_port());
    for (broken, said) in [
        ("127.0.0.1:4001", format!("{file} is not valid TOML where it says `admin`")),
        ("'localhost'", format!("{file}: `server.admin` is not an address (an IP address and a port are expected)")),
        ("'${ABSENT}'", format!("{file}: the environment variable `ABSENT` is not set (needed here)")),
        ("[]", format!("{file}: `server.admin` is empty (nobody could connect)")),
    ] {
        gateway.write_config(&text.replace(&admin, broken));
        let said = format!("error: {said}: name the gateway's address with --admin\n");
        assert_eq!(outcome(&gateway.walcast("health").await), (Some(1), &*said));
    }
    let unquoted = admin.trim_matches('"').to_owned();
    assert_eq!(outcome(&gateway.walcast(&format!("health --admin {unquoted}")).await), (Some(0), ""));
    let missing = walcast(&["health", "-c", "nowhere.toml"], &[]).await;
    let said = "error: there is no configuration file nowhere.toml: correct the name, or create it\n";
    assert_eq!(outcome(&missing), (Some(1), said));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_asked_by_unix_sockets_too() {
    let database = database().await;
    let folder = ScratchFolder::new();
    let socket = |name: &str| format!("unix:{}", folder.join(name).display());
    let mut gateway = Gateway::configure(&database.url(), ROUTES);
    let admin = format!("\"127.0.0.1:{}\"", gateway.admin_port());
    gateway.edit_config(|text| text.replace(&admin, &format!("[\"{}\", {admin}]", socket("admin.sock"))));
    assert!(gateway.walcast("setup").await.status.success());
    gateway.spawn();
    gateway.wait_until_ready().await;
    assert_eq!(outcome(&gateway.walcast("health").await), (Some(0), ""));
    assert_eq!(outcome(&walcast(&["health", "--admin", &socket("admin.sock")], &[]).await), (Some(0), ""));

    // The first of several where somebody listens.
    gateway.edit_config(|text| text.replace("admin.sock", "other.sock"));
    assert_eq!(outcome(&gateway.walcast("health").await), (Some(0), ""));
    let absent = walcast(&["health", "--admin", &socket("other.sock")], &[]).await;
    let none = format!(
        "error: nobody listens at {} for operators: No such file or directory (os error 2)\n",
        socket("other.sock")
    );
    assert_eq!(outcome(&absent), (Some(1), &*none));
    gateway.kill().await;
    assert_eq!(outcome(&gateway.walcast("health").await), (Some(1), &*none), "the first is named");
    let left = walcast(&["health", "--admin", &socket("admin.sock")], &[]).await;
    let refused =
        format!("error: nobody listens at {} for operators: Connection refused (os error 111)\n", socket("admin.sock"));
    assert_eq!(outcome(&left), (Some(1), &*refused), "a file that was left behind");

    for (address, said) in [
        ("localhost:4001", "an IP address and a port are expected, as in 127.0.0.1:4001"),
        ("/run/admin.sock", "an IP address and a port are expected, as in unix:/run/admin.sock"),
        ("nonsense", "an IP address and a port are expected, as in 127.0.0.1:4001"),
        (
            "unix:",
            "a path is expected, to a file that is made when walcast starts, as in unix:/run/walcast/public.sock",
        ),
    ] {
        let finished = walcast(&["health", "--admin", address], &[]).await;
        let said = format!(
            "error: invalid value '{address}' for '--admin <ADDRESS>': {said}\n\nFor more information, try '--help'.\n"
        );
        assert_eq!(outcome(&finished), (Some(2), &*said));
    }
}

async fn readiness(gateway: &Gateway) -> (u16, Value) {
    let (status, body) = gateway.get_admin("/readyz").await;
    (status, serde_json::from_str(&body).unwrap())
}

fn times(log: &str, text: &str) -> usize {
    log.matches(text).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_a_warning_and_after_a_while_in_the_way() {
    let mut database = database().await;
    let routes = format!("{ROUTES}\n[limits]\noutage = \"3s\"\n");
    let gateway = Gateway::start(&database.url(), &routes).await;
    let mut client = Client::joined(&gateway, "feed").await;
    database.execute("insert into articles values (1)").await;
    let cursor = client.next_updates().await["cursor"].clone();
    let began = std::time::Instant::now();
    database.stop(StopMode::Fast);

    let warned = eventually("a warning", async || {
        let (status, body) = readiness(&gateway).await;
        (status == 200 && body["warnings"][0]["reason"] == "disconnected").then_some(body)
    })
    .await;
    assert_eq!((&warned["ready"], &warned["reasons"]), (&json!(true), &json!([])));
    let message = warned["warnings"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("disconnected from the database since 20") && message.ends_with(')'), "{message}");
    let health = gateway.walcast("health").await;
    assert!(
        health.stderr.starts_with("warning: disconnected: disconnected from the database since 20"),
        "{}",
        health.stderr
    );
    assert_eq!(health.status.code(), Some(0));

    let refused = eventually("not ready", async || {
        let (status, body) = readiness(&gateway).await;
        (status == 503).then_some(body)
    })
    .await;
    assert!(began.elapsed() >= std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((&refused["ready"], &refused["reasons"][0]["reason"]), (&json!(false), &json!("disconnected")));
    assert_eq!(refused["warnings"], Value::Null);
    let health = gateway.walcast("health").await;
    assert!(health.stderr.starts_with("disconnected: disconnected from the database since 20"), "{}", health.stderr);
    assert_eq!(health.status.code(), Some(1));
    let (_, metrics) = gateway.get_admin("/metrics").await;
    assert!(metrics.contains("\nwalcast_ready 0\n"), "{metrics}");
    // Who comes all the same is served what there is: what the log has, and what clients say.
    let mut other = Client::connect(&gateway).await;
    let reply = other.try_join("feed", json!({"cursor": cursor})).await;
    assert_eq!(reply["response"], json!({"cursor": cursor, "resumed": true}));
    assert_eq!(other.try_join("rooms:1", json!({})).await["status"], "ok");

    database.resume().await;
    database.execute("insert into articles values (2)").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"], json!({"id": 2}));
    eventually("ready, without a warning", async || {
        (readiness(&gateway).await == (200, json!({"ready": true, "reasons": []}))).then_some(())
    })
    .await;
    let log = eventually("the log", async || {
        let log = gateway.log();
        (times(&log, "ready: clients are served") == 2).then_some(log)
    })
    .await;
    for said in ["replication interrupted", "not ready any more: disconnected from", "replication is back"] {
        assert_eq!(times(&log, said), 1, "{said}: {log}");
    }
    let back = log.lines().find(|line| line.contains("replication is back")).unwrap();
    assert!(back.contains("after=") && back.contains('s'), "{back}");
}
