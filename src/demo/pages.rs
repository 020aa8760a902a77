//! The demo's pages and the two things they ask for, to be mounted on the admin listener.
//!
//! Everything is inside the binary; the pages load nothing from anywhere else, and their content security policy
//! holds them to that.

use std::sync::Arc;

use axum::Router;
use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde_json::json;
use tokio_postgres::Client;

use super::{DemoError, database};

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, content type and text of every file of the pages.
const FILES: [(&str, &str, &str); 7] = [
    ("/demo/", HTML, include_str!("page/index.html")),
    ("/demo/style.css", CSS, include_str!("page/style.css")),
    ("/demo/demo.js", JAVASCRIPT, include_str!("page/demo.js")),
    ("/demo/panels.js", JAVASCRIPT, include_str!("page/panels.js")),
    ("/demo/rows.js", JAVASCRIPT, include_str!("page/rows.js")),
    ("/demo/walcast-client.js", JAVASCRIPT, include_str!("page/walcast-client.js")),
    ("/demo/wire.js", JAVASCRIPT, include_str!("page/wire.js")),
];

/// The gateway is on another port, hence another origin: `ws:` and `wss:`.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The rows a page begins with: what `json_agg` gives is what `new_updates` carries, value by value.
const ROWS: &str = "
    select json_build_object(
        'orders', (select coalesce(json_agg(o order by o.id), '[]') from orders o),
        'matches', (select coalesce(json_agg(m order by m.id), '[]') from matches m),
        'articles', (select coalesce(json_agg(a order by a.id), '[]') from articles a),
        'customers', (select coalesce(json_agg(c order by c.name), '[]') from customers c))::text";

/// What the pages need to know.
#[derive(Clone)]
pub struct State {
    gateway_port: u16,
    database_url: Arc<str>,
    client: Arc<Client>,
}

impl State {
    /// `gateway_port` is where clients connect, on the host that the page itself came from.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn connect(gateway_port: u16, database_url: &str) -> Result<Self, DemoError> {
        let client = database::connect(database_url).await?;
        let failed = |source| DemoError::Database { action: "set the time zone", source };
        client.batch_execute("set timezone = 'UTC'").await.map_err(failed)?;
        Ok(Self { gateway_port, database_url: database_url.into(), client: Arc::new(client) })
    }
}

/// `/demo` leads to `/demo/`, the page; below that are its parts, `config.json` and `rows`.
pub fn router(state: State) -> Router {
    let files = FILES.iter().fold(Router::new(), |router, &(path, content_type, text)| {
        router.route(path, get(move || async move { answer(content_type, text) }))
    });
    files
        .route("/demo", get(|| async { Redirect::permanent("/demo/") }))
        .route("/demo/config.json", get(config))
        .route("/demo/rows", get(rows))
        .with_state(state)
}

pub(super) fn answer(content_type: &'static str, body: impl Into<String>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, body.into()).into_response()
}

/// `{"port": 4000, "path": "/socket", "database_url": "…"}`: the gateway's, on the page's own host, and where to
/// change rows.
async fn config(extract::State(state): extract::State<State>) -> Response {
    let State { gateway_port, database_url, .. } = state;
    let config = json!({ "port": gateway_port, "path": "/socket", "database_url": &*database_url });
    answer("application/json", config.to_string())
}

/// `{"orders": […], "matches": […], "articles": […], "customers": […]}`: all rows as they are now.
async fn rows(extract::State(state): extract::State<State>) -> Response {
    let read = state.client.query_one(ROWS, &[]).await.and_then(|row| row.try_get::<_, String>(0));
    match read {
        Ok(rows) => answer("application/json", rows),
        Err(error) => {
            tracing::warn!(%error, "the demo's rows can't be read");
            (StatusCode::SERVICE_UNAVAILABLE, "the demo's database does not answer").into_response()
        }
    }
}
