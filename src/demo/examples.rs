//! The example pages, on the demo's admin listener: their files are inside the binary, and the official `phoenix`
//! client is read from where npm has put it.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::pages::{CSS, HTML, JAVASCRIPT, answer};

/// Where npm puts the client, below the folder that it installs into.
const CLIENT: &str = "node_modules/phoenix/priv/static/phoenix.mjs";

/// What a page says that is opened before the client is there.
const NO_CLIENT: &str =
    "The examples need the official client: run `npm ci --prefix examples`, then start the demo there.";

/// Path, content type and text of every file.
const FILES: [(&str, &str, &str); 13] = [
    ("/examples/", HTML, include_str!("../../examples/index.html")),
    ("/examples/style.css", CSS, include_str!("../../examples/style.css")),
    ("/examples/live.js", JAVASCRIPT, include_str!("../../examples/live.js")),
    ("/examples/dashboard/", HTML, include_str!("../../examples/dashboard/index.html")),
    ("/examples/dashboard/dashboard.js", JAVASCRIPT, include_str!("../../examples/dashboard/dashboard.js")),
    ("/examples/scoreboard/", HTML, include_str!("../../examples/scoreboard/index.html")),
    ("/examples/scoreboard/scoreboard.js", JAVASCRIPT, include_str!("../../examples/scoreboard/scoreboard.js")),
    ("/examples/chat/", HTML, include_str!("../../examples/chat/index.html")),
    ("/examples/chat/chat.js", JAVASCRIPT, include_str!("../../examples/chat/chat.js")),
    ("/examples/document/", HTML, include_str!("../../examples/document/index.html")),
    ("/examples/document/document.js", JAVASCRIPT, include_str!("../../examples/document/document.js")),
    ("/examples/notifications/", HTML, include_str!("../../examples/notifications/index.html")),
    (
        "/examples/notifications/notifications.js",
        JAVASCRIPT,
        include_str!("../../examples/notifications/notifications.js"),
    ),
];

/// The pages under `/examples/`; `packages` is the folder that npm installed the client into.
pub fn router(packages: &Path) -> Router {
    let files = FILES.iter().fold(Router::new(), |router, &(path, content_type, text)| {
        router.route(path, get(move || async move { answer(content_type, text) }))
    });
    let client: Arc<Path> = packages.join(CLIENT).into();
    files
        .route("/examples", get(|| async { Redirect::permanent("/examples/") }))
        .route("/examples/phoenix.mjs", get(move || phoenix_client(client)))
}

async fn phoenix_client(file: Arc<Path>) -> Response {
    match tokio::fs::read_to_string(&file).await {
        Ok(text) => answer(JAVASCRIPT, text),
        Err(error) => {
            tracing::warn!(%error, "the example pages' client can't be read");
            (StatusCode::NOT_FOUND, NO_CLIENT).into_response()
        }
    }
}
