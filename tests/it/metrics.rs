//! What operators are told: metrics, their documentation, and readiness.

mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::support::database::Database;
use super::support::gateway::{Gateway, get};
use super::support::http;
use super::support::phoenix::Client;
use super::support::{PATIENCE, POLL, eventually};

const CONFIG: &str = r#"
[[route]]
table = "public.orders"
topic = "orders:{customer}"

[[route]]
table = "public.articles"
topic = "updates:feed"

[[channel]]
topic = "rooms:*"
publish = ["said"]
presence = true
"#;

async fn database() -> Database {
    let database = Database::start().await;
    database.execute("create table orders (id int primary key, customer int not null)").await;
    database.execute("alter table orders replica identity full").await;
    database.execute("create table articles (id int primary key, title text)").await;
    database
}

/// What one scrape gave, by the name that follows `# HELP`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Described {
    kind: String,
    unit: String,
    help: String,
}

struct Scrape {
    described: BTreeMap<String, Described>,
    /// By everything that stands before the value.
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(gateway: &Gateway) -> Self {
        let (status, text) = gateway.get_admin("/metrics").await;
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let (mut described, mut samples) = (BTreeMap::<String, Described>::new(), BTreeMap::new());
        for line in text.lines().filter(|line| *line != "# EOF") {
            match line.strip_prefix("# ") {
                Some(description) => {
                    let mut words = description.splitn(3, ' ');
                    let mut word = || words.next().unwrap().to_owned();
                    let (what, name, value) = (word(), word(), word());
                    let entry = described.entry(name).or_default();
                    match &*what {
                        "HELP" => entry.help = value,
                        "TYPE" => entry.kind = value,
                        "UNIT" => entry.unit = value,
                        other => panic!("{other}"),
                    }
                }
                None => {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {name}");
                }
            }
        }
        Self { described, samples }
    }

    fn value(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// The names of samples as a query has them.
    fn names(&self) -> BTreeSet<String> {
        let names = self.described.iter().flat_map(|(name, it)| match &*it.kind {
            "counter" => vec![format!("{name}_total")],
            "histogram" => ["bucket", "sum", "count"].map(|end| format!("{name}_{end}")).to_vec(),
            _ => vec![name.clone()],
        });
        names.collect()
    }
}

fn documentation(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// The rows of the tables of docs/metrics.md that describe a metric, by name.
fn documented() -> BTreeMap<String, (Described, Vec<String>)> {
    let text = documentation("metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `walcast_").map(|rest| format!("`walcast_{rest}")));
    let row = |line: String| {
        let cells: Vec<&str> = line.trim_end_matches(" |").splitn(5, " | ").collect();
        let [name, kind, unit, labels, help] = cells[..] else { panic!("no row: {line}") };
        let empty = |cell: &str| if cell == "–" { String::new() } else { cell.to_owned() };
        let labels = empty(labels).split(", ").filter(|it| !it.is_empty()).map(|it| it.replace('`', "")).collect();
        let described = Described { kind: kind.to_owned(), unit: empty(unit), help: help.to_owned() };
        (name.replace('`', ""), (described, labels))
    };
    rows.map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manual_lists_what_is_served_and_nothing_else() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    let scrape = Scrape::of(&gateway).await;
    let manual = documented();
    let served: BTreeMap<String, &Described> = scrape.described.iter().map(|(name, it)| (full(name, it), it)).collect();
    assert_eq!(manual.keys().collect::<Vec<_>>(), served.keys().collect::<Vec<_>>());
    for (name, (described, labels)) in &manual {
        assert_eq!(served[name], described, "{name}");
        for sample in scrape.samples.keys().filter(|sample| sample.split('{').next() == Some(name)) {
            assert_eq!(labels_of(sample), *labels, "{sample}");
        }
    }
    let unknown = |text: &str| {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let names = scrape.names();
        words
            .filter(|word| word.starts_with("walcast_") && !names.contains(*word))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let dashboard: Value = serde_json::from_str(&documentation("grafana-dashboard.json")).unwrap();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 30, "{expressions:?}");
    for expression in expressions.iter().chain(&alerts().into_iter().map(|alert| alert.expression).collect::<Vec<_>>())
    {
        assert_eq!(unknown(expression), Vec::<String>::new(), "{expression}");
        assert_eq!(expression.matches('(').count(), expression.matches(')').count(), "{expression}");
    }
}

/// A selector of an expression: the metric, and each label's alternatives.
type Selector = (String, Vec<(String, Vec<String>)>);

/// Everything in an expression that has braces.
fn selectors(expression: &str) -> Vec<Selector> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let selector = |(before, after): (&str, &str)| {
        let name = before.rsplit(|c| !is_word(c)).next().unwrap().to_owned();
        let labels = after.split_once('}').unwrap().0.split(',').filter(|label| !label.trim().is_empty());
        let label = |label: &str| {
            let (label, values) = label.split_once('=').unwrap_or_else(|| panic!("no label: {expression}"));
            let values = values.trim_start_matches('~').trim_matches('"').split('|');
            (label.trim_end_matches('!').trim().to_owned(), values.map(str::to_owned).collect())
        };
        (name, labels.map(label).collect())
    };
    let places = expression.match_indices('{').map(|(at, _)| (&expression[..at], &expression[at + 1..]));
    places.map(selector).collect()
}

/// What stands in the parentheses of `by (…)`.
fn groupings(expression: &str) -> Vec<&str> {
    let lists = expression.split("by (").skip(1).map(|rest| rest.split_once(')').unwrap().0);
    lists.flat_map(|list| list.split(',').map(str::trim)).collect()
}

/// Labels that Prometheus gives to whatever it scrapes.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_alerts_and_panels_ask_for_is_there() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    let scrape = Scrape::of(&gateway).await;
    let manual = documented();
    // By what a query names: of a histogram its parts.
    let of = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        manual.get(name).or_else(|| manual.get(base?))
    };
    let dashboard: Value = serde_json::from_str(&documentation("grafana-dashboard.json")).unwrap();
    let panels = expressions(&dashboard);
    let alerts: Vec<String> = alerts().into_iter().map(|alert| alert.expression).collect();
    let mut seen = 0;
    for expression in panels.iter().chain(&alerts) {
        for (name, labels) in selectors(expression) {
            let Some((described, known)) = of(&name) else {
                assert_eq!(name, "up", "{expression}");
                continue;
            };
            for (label, values) in labels {
                if OF_PROMETHEUS.contains(&&*label) {
                    continue;
                }
                assert!(known.contains(&label), "{name} has no label {label}: {expression}");
                for value in values {
                    let sample = format!("{label}=\"{value}\"");
                    let is_served = scrape.samples.keys().any(|it| it.starts_with(&name) && it.contains(&sample));
                    // A reason that nobody was told yet has no sample: then the manual has it.
                    let is_told = described.help.contains(&*value)
                        || documentation("protocol.md").contains(&format!("`{value}`"));
                    assert!(is_served || is_told, "{name} has no {sample}: {expression}");
                    seen += 1;
                }
            }
        }
        for label in groupings(expression) {
            let metrics = manual.iter().filter(|(name, _)| expression.contains(name.as_str()));
            let is_known = metrics.into_iter().any(|(_, (_, labels))| labels.iter().any(|it| it == label));
            assert!(is_known || OF_PROMETHEUS.contains(&label) || label == "le", "no label {label}: {expression}");
        }
    }
    assert!(seen >= 5, "{seen}");
    // What a rule's text fills in is a label of what it is about.
    let rules = documentation("alerts.yml");
    for rule in rules.split("- alert: ").skip(1) {
        let expression = rule.lines().find_map(|line| line.trim().strip_prefix("expr: ")).unwrap();
        for label in rule.split("$labels.").skip(1).map(|rest| rest.split([' ', '}']).next().unwrap()) {
            let metrics = manual.iter().filter(|(name, _)| expression.contains(name.as_str()));
            let is_known = metrics.into_iter().any(|(_, (_, labels))| labels.iter().any(|it| it == label));
            assert!(is_known || OF_PROMETHEUS.contains(&label), "{label}: {expression}");
        }
    }
}

fn full(name: &str, described: &Described) -> String {
    if described.kind == "counter" { format!("{name}_total") } else { name.to_owned() }
}

fn labels_of(sample: &str) -> Vec<String> {
    let labels = sample.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    let names = labels.split("\",").filter(|label| !label.is_empty());
    names.map(|label| label.split('=').next().unwrap().to_owned()).collect()
}

/// Every `expr` of the dashboard, and what its variables ask for.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => {
            let own = ["expr", "definition"].iter().filter_map(|key| map.get(*key)?.as_str().map(str::to_owned));
            own.chain(map.values().flat_map(expressions)).collect()
        }
        Value::Array(list) => list.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

struct Alert {
    name: String,
    expression: String,
    keys: Vec<String>,
}

/// The rules, read by their indentation: one level of the file is one kind of thing.
fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    for line in documentation("alerts.yml").lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (key, value) = line.trim_start().split_once(':').unwrap_or_else(|| panic!("no key: {line}"));
        assert!(value.is_empty() || value.starts_with(' '), "{line}");
        match (line.len() - line.trim_start().len(), key) {
            (0, "groups") | (2, "- name") | (4, "rules") => {}
            (6, "- alert") => {
                let name = value.trim().to_owned();
                alerts.push(Alert { name, expression: String::new(), keys: Vec::new() });
            }
            (8, "expr") => alerts.last_mut().unwrap().expression = value.trim().to_owned(),
            (8, "for" | "labels" | "annotations") => {}
            (10, key @ ("severity" | "summary" | "description")) => {
                // A colon and a space, or a hash, would be read as something else.
                assert!(!value.trim().contains(": ") && !value.contains(" #"), "{line}");
                alerts.last_mut().unwrap().keys.push(key.to_owned());
            }
            _ => panic!("out of place: {line}"),
        }
    }
    alerts
}

#[test]
fn each_alert_is_complete_and_explained() {
    let manual = documentation("metrics.md");
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for Alert { name, expression, keys } in &alerts {
        assert!(!expression.is_empty(), "{name}");
        assert_eq!(keys, &["severity", "summary", "description"], "{name}");
        assert_eq!(manual.matches(&format!("| `{name}` |")).count(), 1, "{name} in docs/metrics.md");
    }
    assert_eq!(manual.matches("| `Walcast").count(), alerts.len(), "alerts in docs/metrics.md");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_follow_what_happens() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    let mut client = Client::joined(&gateway, "orders:7").await;
    let refused = client.try_join("nothing:here", json!({})).await;
    assert_eq!(refused["status"], "error");
    let old = client.try_join("orders:8", json!({"cursor": "AAAA"})).await;
    assert_eq!(old["response"]["reason"], "resync_required");
    let mut room = Client::joined(&gateway, "rooms:1").await;
    room.send(&json!(["1", "2", "rooms:1", "said", {"text": "secret"}])).await;
    room.send(&json!(["1", "3", "rooms:1", "shouted", {}])).await;
    database.execute("insert into orders select n, 7 from generate_series(1, 3) n").await;
    assert_eq!(client.next_updates().await["updates"].as_array().unwrap().len(), 3);
    database.execute("update orders set customer = 8 where id = 1").await;
    let expected = [
        ("walcast_ready", 1.0),
        ("walcast_replication_streaming", 1.0),
        ("walcast_replication_streams_total", 1.0),
        ("walcast_replication_lag_bytes", 0.0),
        ("walcast_replication_lag_seconds", 0.0),
        ("walcast_slot_status{status=\"reserved\"}", 1.0),
        // Three inserts, and a move, which is two topics' business.
        ("walcast_route_changes_total{route=\"1\",topic=\"orders:{customer}\"}", 5.0),
        ("walcast_route_changes_total{route=\"2\",topic=\"updates:feed\"}", 0.0),
        ("walcast_changes_total", 4.0),
        ("walcast_connections{transport=\"websocket\"}", 2.0),
        ("walcast_connections_opened_total{transport=\"websocket\"}", 2.0),
        ("walcast_subscriptions", 2.0),
        ("walcast_joins_total", 2.0),
        ("walcast_joins_refused_total{reason=\"unmatched topic\"}", 1.0),
        ("walcast_joins_refused_total{reason=\"resync_required\"}", 1.0),
        ("walcast_events_refused_total{reason=\"event not allowed\"}", 1.0),
        ("walcast_resyncs_total{reason=\"cursor\"}", 1.0),
        ("walcast_broadcasts_total{from=\"client\"}", 1.0),
        ("walcast_presence_members", 1.0),
        ("walcast_messages_total", 2.0),
        ("walcast_commit_to_send_seconds_count", 2.0),
        ("walcast_commit_to_send_seconds_bucket{le=\"+Inf\"}", 2.0),
        ("walcast_log_entries", 2.0),
    ];
    let seen = reaching(&gateway, &expected).await;
    assert!(seen["walcast_slot_held_bytes"] > 0.0, "{seen:?}");
    assert!(seen["walcast_log_size_bytes"] > 0.0, "{seen:?}");
    assert!(seen["walcast_commit_to_send_seconds_sum"] < 30.0, "{seen:?}");
    let text = format!("{seen:?}");
    assert!(!text.contains("orders:7") && !text.contains("secret"), "labels of rows or clients: {text}");
}

/// All samples, once these have their values.
async fn reaching(gateway: &Gateway, expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(gateway).await;
        let value = |sample: &str| scrape.value(sample);
        let wrong: Vec<_> = expected.iter().filter(|(sample, expected)| value(sample) != Some(*expected)).collect();
        if wrong.is_empty() {
            return scrape.samples;
        }
        let found: Vec<_> = wrong.iter().map(|(sample, _)| value(sample)).collect();
        assert!(tokio::time::Instant::now() < deadline, "{wrong:?}, but {found:?}");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_grows_while_postgres_is_away_and_goes_when_it_is_back() {
    let mut database = database().await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    database.stop(walcast::demo::cluster::StopMode::Fast);
    let lag = async || Scrape::of(&gateway).await.value("walcast_replication_lag_seconds").filter(|lag| *lag > 1.0);
    let lag = eventually("a lag", lag).await;
    eventually("more lag", async || {
        Scrape::of(&gateway).await.value("walcast_replication_lag_seconds").filter(|it| *it > lag)
    })
    .await;
    let scrape = Scrape::of(&gateway).await;
    assert_eq!(scrape.value("walcast_replication_streaming"), Some(0.0));
    assert!(scrape.value("walcast_replication_interruptions_total").unwrap() >= 1.0);
    assert_eq!(gateway.readyz().await, Some(200), "who is connected is served on");
    database.resume().await;
    eventually("no lag", async || {
        let scrape = Scrape::of(&gateway).await;
        let streams = scrape.value("walcast_replication_streams_total") == Some(2.0);
        (streams && scrape.value("walcast_replication_lag_seconds") == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn readiness_names_what_is_in_the_way() {
    let database = database().await;
    let mut gateway = Gateway::configure(&database.url(), CONFIG);
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{setup:?}");
    // Somebody else has the slot.
    let mut holder = Gateway::configure(&database.url(), CONFIG);
    holder.spawn();
    holder.wait_until_ready().await;
    gateway.spawn();
    let body = eventually("not ready, and why", async || {
        let (status, body) = get(gateway.admin_port(), "/readyz").await?;
        assert_eq!(status, 503, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        (body["reasons"][0]["reason"] == "waiting").then_some(body)
    })
    .await;
    assert_eq!(body["ready"], false);
    assert!(body["reasons"][0]["message"].as_str().unwrap().contains("walcast"), "{body}");
    assert_eq!(holder.terminate().await.code(), Some(0));
    gateway.wait_until_ready().await;
    let (_, body) = gateway.get_admin("/readyz").await;
    assert_eq!(body, "{\"ready\":true,\"reasons\":[]}\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_and_what_is_broken_is_counted() {
    let database = database().await;
    let config = format!("{CONFIG}\n[limits]\nposts_per_second = 1\ntopics_per_connection = 1\n");
    let mut gateway = Gateway::configure(&database.url(), &config);
    let text = fs::read_to_string(gateway.config_file()).unwrap();
    gateway.write_config(&text.replace("[server]\n", "[server]\norigins = [\"https://app.example.com\"]\n"));
    assert!(gateway.walcast("setup").await.status.success());
    gateway.spawn();
    gateway.wait_until_ready().await;

    let event = r#"{"event": "said", "payload": {}}"#;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(http::request(gateway.port(), "POST", "/topics/rooms:1/events", &[], event).await.status);
    }
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    let answer = http::request(gateway.port(), "POST", "/topics/nowhere/events", &[], "{}").await;
    assert_eq!(answer.status, 400);
    let stranger = [("origin", "https://evil.example")];
    let answer = http::request(gateway.port(), "GET", "/topics/updates:feed", &stranger, "").await;
    assert_eq!(answer.status, 403);
    let mut client = Client::joined(&gateway, "updates:feed").await;
    let reply = client.try_join("rooms:1", json!({})).await;
    assert_eq!(reply["response"]["reason"], "too many channels joined", "{reply}");
    database.execute("alter publication walcast drop table articles").await;

    let count = |status: u16| statuses.iter().filter(|seen| **seen == status).count() as f64;
    let broken = r#"walcast_route_broken{route="2",topic="updates:feed"}"#;
    let scrape = eventually("the numbers", async || {
        let scrape = Scrape::of(&gateway).await;
        (scrape.samples.get(broken) == Some(&1.0)).then_some(scrape)
    })
    .await;
    let sample = |name: &str| scrape.samples.get(name).copied();
    assert_eq!(sample(r#"walcast_route_broken{route="1",topic="orders:{customer}"}"#), Some(0.0));
    assert_eq!(sample(r#"walcast_posts_total{outcome="done"}"#), Some(count(200)));
    assert_eq!(sample(r#"walcast_posts_total{outcome="rate_limited"}"#), Some(count(429)));
    assert_eq!(sample(r#"walcast_posts_total{outcome="invalid_payload"}"#), Some(1.0));
    assert_eq!(sample(r#"walcast_connections_denied_total{reason="origin_not_allowed"}"#), Some(1.0));
    assert_eq!(sample(r#"walcast_joins_refused_total{reason="too many channels joined"}"#), Some(1.0));
}
