//! Topics for whoever speaks no Phoenix: `GET /topics/{topic}` gives the current rows as JSON, and
//! `GET /topics/{topic}/events` what happens to them, as server-sent events; `POST` to it is what an app says there.
//!
//! The first two join the topic in the client's name, with the same params and the same refusals as a Phoenix client; a
//! refusal is an HTTP status here, and the reason is in the body.

pub(super) mod event;
mod publish;
mod query;
mod status;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL,
    CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use crate::phoenix::connect::{Params, decode_path};
use crate::phoenix::{self, ClientMessage, Payload, Refusal};

use super::complaint::Complaint;
use super::http::{Reply, Server};
use super::shard::{NoStream, Stream, open_stream};
use super::wire::Wire;
use query::Asked;

/// Every path of a topic begins so.
pub(super) const PREFIX: &str = "/topics/";
const EVENTS_SUFFIX: &str = "/events";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx would hold events back until it has a buffer full of them.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const EVENTS_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
/// When to come back after a 503, in seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");
/// The same after a 429.
const PACE_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Answers a request to a path below [`PREFIX`].
pub(super) async fn serve(request: Request<Incoming>, server: &Server) -> Response<Reply> {
    let allows_origin = server.routers.gate.allows_origin(request.headers());
    let is_head = request.method() == Method::HEAD;
    let methods = if request.uri().path().ends_with(EVENTS_SUFFIX) { EVENTS_METHODS } else { METHODS };
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => for_browser(answer(&request, server).await, request.headers()),
        Method::POST if methods == EVENTS_METHODS => publish::serve(request, server).await,
        Method::OPTIONS => preflight(request.headers(), methods),
        _ => {
            let mut response = Complaint::MethodNotAllowed.response().map(Reply::Whole);
            response.headers_mut().insert(ALLOW, methods);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if allows_origin {
        // The gate has said which origins may come; no cookie is looked at.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
    if is_head {
        return response.map(|_| Body::empty().into());
    }
    response
}

async fn answer(request: &Request<Incoming>, server: &Server) -> Response<Reply> {
    let query = request.uri().query().unwrap_or_default();
    let params = match Params::parse(query) {
        Ok(params) => params,
        Err(error) => return refused(&Refusal::InvalidFilter { message: error.to_string() }.response()),
    };
    let identity = match server.routers.gate.admit(request.headers(), &params).await {
        Ok(identity) => identity,
        Err(denied) => return json(denied.status(), Bytes::from(denied.body())),
    };
    let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default();
    let (name, is_events) = path.strip_suffix(EVENTS_SUFFIX).map_or((path, false), |name| (name, true));
    let Ok(topic) = decode_path(name) else { return refused(&Refusal::UnmatchedTopic.response()) };
    let (wire, asked) = if is_events {
        // One that is no text is none of ours: it is refused as such.
        let shown = request.headers().get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()));
        (Wire::Events, query::events(query, &params, shown.as_deref()))
    } else {
        (Wire::Rows { begun: false }, query::rows(query, &params))
    };
    let Asked { params, comes_back } = match asked {
        Ok(asked) => asked,
        Err(refusal) => return refused(&refusal.response()),
    };
    match open_stream(&server.shell, wire, identity, join(topic, params)).await {
        Ok(stream) if is_events => events(stream.into()),
        Ok(stream) => {
            let mut response = Response::new(stream.into());
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
        // A browser that is refused does not come back, and its page does not learn why: this one comes back live.
        Err(NoStream::Refused(reason)) if comes_back && reason == Refusal::ResyncRequired.response() => {
            events(Body::from([event::greeting(None), event::of_error(&reason)].concat()).into())
        }
        Err(NoStream::Refused(reason)) => refused(&reason),
        Err(NoStream::Unavailable) => refused(&Refusal::NotReady.response()),
    }
}

/// A browser's own event source gives up for good on whatever is not 200, and a 503 is soon over: it is told to come
/// back, with the id that it has.
fn for_browser(response: Response<Reply>, request: &HeaderMap) -> Response<Reply> {
    let is_event_source = request.get(ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    if response.status() == StatusCode::SERVICE_UNAVAILABLE && is_event_source {
        return events(Body::from(event::not_now()).into());
    }
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

fn join(topic: String, params: Box<serde_json::value::RawValue>) -> ClientMessage {
    let payload = Payload::Json(params);
    ClientMessage { join_ref: None, reference: None, topic, event: "phx_join".to_owned(), payload }
}

fn events(body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// `{"reason": …}` with the status that the reason has in HTTP.
fn refused(reason: &phoenix::Body) -> Response<Reply> {
    let reason = match reason {
        phoenix::Body::Json(json) => json.clone(),
        phoenix::Body::Binary(_) => Bytes::new(),
    };
    json(status::of(&reason), reason)
}

fn json(status: StatusCode, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Body::from(body).into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    let retry = match status {
        StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_SECONDS),
        StatusCode::TOO_MANY_REQUESTS => Some(PACE_SECONDS),
        _ => None,
    };
    if let Some(seconds) = retry {
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

/// What a browser asks before it lets a page of another origin send its headers.
fn preflight(request: &HeaderMap, methods: HeaderValue) -> Response<Reply> {
    let mut response = Response::new(Body::empty().into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

impl From<Stream> for Reply {
    fn from(stream: Stream) -> Self {
        Self::Stream(stream)
    }
}
