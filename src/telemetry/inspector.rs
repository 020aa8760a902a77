//! `/inspector`: a page on the admin listener that shows what goes on, and the one thing that it asks for.
//!
//! It is told names of routes and topics, and numbers: no rows, no claims, no tokens. Rows it shows in its live tail,
//! which it gets as any client does, with a token where one is asked for.

mod feed;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use feed::Feed;

use super::health::Health;
use super::metrics::Gauges;
use crate::hub::task::Inspect;
use crate::hub::{self, Inspection};
use crate::transport::{Complaint, Resync, ShardStatistics, SlowClient, Transport};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, content type and text of every file of the page.
const FILES: [(&str, &str, &str); 7] = [
    ("/inspector/", HTML, include_str!("inspector/index.html")),
    ("/inspector/style.css", CSS, include_str!("inspector/style.css")),
    ("/inspector/inspector.js", JAVASCRIPT, include_str!("inspector/inspector.js")),
    ("/inspector/database.js", JAVASCRIPT, include_str!("inspector/database.js")),
    ("/inspector/show.js", JAVASCRIPT, include_str!("inspector/show.js")),
    ("/inspector/tail.js", JAVASCRIPT, include_str!("inspector/tail.js")),
    ("/inspector/why.js", JAVASCRIPT, include_str!("inspector/why.js")),
];

/// The page loads nothing from anywhere else, and can't be made to.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long the page waits for a hub that has much to do.
const PATIENCE: Duration = Duration::from_secs(2);
/// Routes in one answer: a page that people read.
const ROUTES_MAX: usize = 200;

/// What the page is told from.
#[derive(Debug, Clone)]
pub struct Inspector {
    pub gauges: Gauges,
    pub health: Health,
    pub inspect: mpsc::Sender<Inspect>,
    /// The configuration's name.
    pub config: Arc<str>,
    /// Where clients connect, if not only by Unix sockets.
    pub port: Option<u16>,
    /// They connect by TLS.
    pub encrypted: bool,
    /// They are asked for tokens.
    pub tokens: bool,
    pub feed: Feed,
}

/// A route as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLine {
    pub table: String,
    pub topic: String,
    pub event: String,
    pub ops: Vec<String>,
    /// It has `where` or `allow`.
    pub guarded: bool,
    /// In the configuration, from 1.
    pub line: usize,
}

#[derive(Debug, Default, Deserialize)]
struct Search {
    #[serde(default)]
    search: String,
}

/// `/inspector` leads to `/inspector/`, the page; below that are its parts and `state`.
pub fn router(inspector: Inspector) -> Router {
    let files = FILES.iter().fold(Router::new(), |router, &(path, content_type, text)| {
        router.route(path, get(move || async move { answer(content_type, text.to_owned()) }))
    });
    files
        .route("/inspector", get(async || Redirect::permanent("/inspector/")))
        .route("/inspector/state", get(state))
        .with_state(inspector)
}

fn answer(content_type: &'static str, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, body).into_response()
}

/// Everything that the page shows. `?search=` chooses among routes and topics.
async fn state(State(inspector): State<Inspector>, search: Result<Query<Search>, QueryRejection>) -> Response {
    let Search { search } = match search {
        Ok(Query(search)) => search,
        Err(error) => return Complaint::BadRequest.because(&error.body_text()).into_response(),
    };
    let inspection = inspector.ask(&search).await;
    answer("application/json", inspector.state(&search, inspection.as_ref()).to_string())
}

impl Inspector {
    /// None where the hub has no time.
    async fn ask(&self, search: &str) -> Option<Inspection> {
        let (answer, inspection) = oneshot::channel();
        self.inspect.try_send(Inspect { search: search.to_owned(), answer }).ok()?;
        timeout(PATIENCE, inspection).await.ok()?.ok()
    }

    fn state(&self, search: &str, inspection: Option<&Inspection>) -> Value {
        let hub = self.gauges.hub.borrow().clone();
        let shards = self.gauges.shards();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "config": &*self.config,
            "port": self.port,
            "encrypted": self.encrypted,
            "tokens": self.tokens,
            "certificate_expiry": self.gauges.certificate.as_ref().map(|it| it.not_after()),
            "health": self.health.readiness(),
            "replication": self.feed.replication(&self.gauges.source.borrow()),
            "log": {
                "entries": hub.log.entries,
                "bytes": hub.log.bytes,
                "span_seconds": hub.log.span.as_secs_f64(),
                "window_seconds": self.feed.window.as_secs_f64(),
                "memory_limit": self.feed.memory,
            },
            "changes": hub.counters.changes,
            "transactions": hub.counters.transactions,
            "presence_members": hub.presence_members,
            "clients": clients(&shards),
            "slow": shards.slow.iter().map(slow).collect::<Vec<_>>(),
            "routes": self.routes(search, &hub, inspection),
            "routes_total": self.gauges.routes.borrow().len(),
            "topics": inspection.map(topics),
            "topics_found": inspection.map(|it| it.found),
            "topics_incomplete": inspection.is_some_and(|it| it.incomplete),
        })
    }

    fn routes(&self, search: &str, hub: &hub::Statistics, inspection: Option<&Inspection>) -> Vec<Value> {
        let lines = Arc::clone(&self.gauges.routes.borrow());
        let numbered = (1_usize..).zip(&*lines);
        let found = numbered.filter(|(_, route)| route.topic.contains(search) || route.table.contains(search));
        let show = |(number, route): (usize, &RouteLine)| {
            let counts = hub.routes.get(number - 1).copied().unwrap_or_default();
            let problems = inspection.into_iter().flat_map(|it| &it.problems).filter(|(route, _)| *route == number);
            json!({
                "number": number,
                "table": route.table,
                "topic": route.topic,
                "event": route.event,
                "ops": route.ops,
                "guarded": route.guarded,
                "line": route.line,
                "changes": counts.changes,
                "holes": counts.holes,
                "problems": problems.map(|(_, problem)| problem).collect::<Vec<_>>(),
                "fed": inspection.is_none_or(|it| !it.unfed.contains(&number)),
            })
        };
        found.take(ROUTES_MAX).map(show).collect()
    }
}

fn clients(shards: &ShardStatistics) -> Value {
    let connections = Transport::ALL.into_iter().zip(shards.connections);
    let connections = connections.map(|(transport, count)| (transport.name().to_owned(), count.into()));
    let resyncs = Resync::ALL.into_iter().zip(shards.counters.resyncs);
    let resyncs = resyncs.map(|(why, count)| (why.name().to_owned(), count.into()));
    json!({
        "connections": connections.collect::<Map<_, Value>>(),
        "subscriptions": shards.subscriptions,
        "behind": shards.behind,
        "outbox_bytes": shards.outbox_bytes,
        "messages": shards.counters.messages,
        "falls": shards.counters.falls,
        "resyncs": resyncs.collect::<Map<_, Value>>(),
    })
}

fn slow(client: &SlowClient) -> Value {
    json!({
        "client": format!("{}/{}", client.shard, client.connection),
        "transport": client.transport.name(),
        "outbox_bytes": client.outbox_bytes,
        "subscriptions": client.subscriptions,
        "behind": client.behind,
        "silent_seconds": client.silent.as_secs(),
    })
}

fn topics(inspection: &Inspection) -> Vec<Value> {
    let topics = inspection.topics.iter().map(|topic| {
        json!({
            "topic": topic.topic.as_str(),
            "routes": topic.routes,
            "subscribers": topic.subscribers,
            "messages": topic.messages,
        })
    });
    topics.collect()
}
