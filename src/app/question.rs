//! `/inspector/why`: an operator asks why somebody does, or doesn't, see a row in a topic.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::config::Config;
use crate::why::{self, Asked};

/// Questions in work: each is a connection to the database, and a person who reads.
const CONCURRENT: usize = 2;
/// A few look-ups in the catalogue take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// A row and some claims.
const QUESTION_BYTES_MAX: usize = 1 << 20;

#[derive(Clone)]
struct Questions {
    config: watch::Receiver<Arc<Config>>,
    room: Arc<Semaphore>,
}

/// What the admin listener serves of it.
pub(super) fn router(config: watch::Receiver<Arc<Config>>) -> Router {
    let questions = Questions { config, room: Arc::new(Semaphore::new(CONCURRENT)) };
    Router::new().route("/inspector/why", post(answer)).with_state(questions)
}

/// The question is an [`Asked`] as JSON, which other pages' browsers may not send; the answer is text.
async fn answer(State(questions): State<Questions>, headers: HeaderMap, body: String) -> Response {
    if headers.get(CONTENT_TYPE).is_none_or(|it| it != "application/json") || body.len() > QUESTION_BYTES_MAX {
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a question is JSON, of a megabyte at most".to_owned());
    }
    let asked: Asked = match serde_json::from_str(&body) {
        Ok(asked) => asked,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("that is no question: {error}")),
    };
    let Ok(_room) = questions.room.try_acquire() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "others are asking: try again".to_owned());
    };
    let config = Arc::clone(&questions.config.borrow());
    match timeout(PATIENCE, why::answer(&config, &asked)).await {
        Ok(Ok(answer)) => text(StatusCode::OK, answer),
        Ok(Err(error)) => text(StatusCode::BAD_REQUEST, error.to_string()),
        Err(_late) => text(StatusCode::GATEWAY_TIMEOUT, "the database does not answer".to_owned()),
    }
}

fn text(status: StatusCode, text: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text).into_response()
}
