//! Answers as Phoenix' clients read them: JSON with a status of its own, under HTTP's 200.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::token::Token;
use crate::transport::Complaint;

pub(super) const OK: u16 = 200;
pub(super) const NO_MESSAGES: u16 = 204;
pub(super) const FORBIDDEN: u16 = 403;
/// The session did not take the messages in time.
pub(super) const TIMEOUT: u16 = 408;
/// There is no such session; to a GET it comes with the token of a new one.
pub(super) const GONE: u16 = 410;

/// An answer with messages, each of them a JSON string. `written` is set when the last byte has gone to the socket.
pub(super) fn messages(token: &Token, messages: Vec<Bytes>, written: Arc<AtomicBool>) -> Response<Body> {
    let mut pieces = VecDeque::with_capacity(2 * messages.len() + 1);
    let mut before = Bytes::from(format!(r#"{{"status":200,"token":"{token}","messages":["#));
    for message in messages {
        pieces.extend([before, message]);
        before = Bytes::from_static(b",");
    }
    pieces.push_back(Bytes::from_static(b"]}"));
    json(StatusCode::OK, Body::new(Pieces { pieces, written }))
}

/// An answer to a GET that has none.
pub(super) fn without_messages(status: u16, token: &Token) -> Response<Body> {
    json(StatusCode::OK, Body::from(format!(r#"{{"status":{status},"token":"{token}","messages":[]}}"#)))
}

pub(super) fn status(status: u16) -> Response<Body> {
    json(StatusCode::OK, Body::from(format!(r#"{{"status":{status}}}"#)))
}

/// A request that is none of long-polling: as with Phoenix it is a bad one, whatever is wrong. The body repeats the
/// status for clients that look only there.
pub(super) fn http(complaint: Complaint, message: &str) -> Response<Body> {
    let body = serde_json::json!({"status": 400, "reason": complaint.reason(), "message": message});
    json(StatusCode::BAD_REQUEST, Body::from(body.to_string()))
}

/// No further sessions now. With this status in the body, clients come back as after a lost connection.
pub(super) fn unavailable(reason: &str) -> Response<Body> {
    let body = Body::from(format!(r#"{{"status":500,"reason":"{reason}"}}"#));
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// What a browser asks before it lets a page of another origin send its headers.
pub(super) fn preflight(request: &HeaderMap) -> Response<Body> {
    let mut response = json(StatusCode::OK, Body::empty());
    let headers = response.headers_mut();
    if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("get, post, options"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    response
}

fn json(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Which origins may come is the origin check's to say; no cookie is looked at.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// A body in pieces that are shared with other clients' bodies.
struct Pieces {
    pieces: VecDeque<Bytes>,
    written: Arc<AtomicBool>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        if self.pieces.is_empty() {
            self.written.store(true, Ordering::Relaxed);
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::long_poll::{SECRET_LENGTH, SessionKey};

    #[tokio::test]
    async fn messages_are_the_elements_of_a_list() {
        let token = Token { key: SessionKey { shard: 0, slot: 0, secret: [0; SECRET_LENGTH] }, received: 2 };
        let written = Arc::new(AtomicBool::new(false));
        let elements = vec![Bytes::from_static(br#""[1]""#), Bytes::from_static(br#""[2]""#)];
        let response = messages(&token, elements, Arc::clone(&written));
        assert!(!written.load(Ordering::Relaxed));
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(written.load(Ordering::Relaxed));
        let expected = serde_json::json!({"status": 200, "token": token.to_string(), "messages": ["[1]", "[2]"]});
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
    }
}
