//! `/inspector/why`: an operator asks why somebody does, or doesn't, see a row in a topic.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::config::Config;
use crate::transport::complaint;
use crate::why::{self, Asked};

/// Questions in work: each is a connection to the database, and a person who reads.
const CONCURRENT: usize = 2;
/// A few look-ups in the catalogue take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// A row and some claims.
const QUESTION_BYTES_MAX: usize = 1 << 20;

/// The reason of what can't be answered as it is asked.
const INVALID: &str = "invalid_question";

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

/// The question is an [`Asked`] as JSON, which other pages' browsers may not send; the answer is text, a refusal JSON.
async fn answer(
    State(questions): State<Questions>,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Response {
    let refuse = |status, reason, message: &str| complaint(status, reason, message).into_response();
    if headers.get(CONTENT_TYPE).is_none_or(|it| it != "application/json") {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "a question is JSON");
    }
    let is_large = |body: &Result<String, StringRejection>| match body {
        Ok(body) => body.len() > QUESTION_BYTES_MAX,
        Err(error) => error.status() == StatusCode::PAYLOAD_TOO_LARGE,
    };
    if is_large(&body) {
        let message = "a question is of a megabyte at most";
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message);
    }
    let body = match body {
        Ok(body) => body,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, INVALID, &error.body_text()),
    };
    let asked: Asked = match serde_json::from_str(&body) {
        Ok(asked) => asked,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, INVALID, &format!("that is no question: {error}")),
    };
    let Ok(_room) = questions.room.try_acquire() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", "others are asking: try again");
    };
    let config = Arc::clone(&questions.config.borrow());
    match timeout(PATIENCE, why::answer(&config, &asked)).await {
        Ok(Ok(answer)) => text(answer),
        Ok(Err(error)) => refuse(StatusCode::BAD_REQUEST, INVALID, &error.to_string()),
        Err(_late) => refuse(StatusCode::GATEWAY_TIMEOUT, "timeout", "the database does not answer"),
    }
}

fn text(text: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}
