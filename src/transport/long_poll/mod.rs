//! Long-polling, for clients that get no WebSocket through: GET waits for messages, POST brings some.
//!
//! A session lives in the shard that took its first GET; a poll that reaches another shard is passed on to it. HTTP's
//! own status is 200 throughout, and the status that counts is in the body, since that is what Phoenix' clients look
//! at.

mod answer;
mod body;
mod session;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, Request, Response};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::auth::Denied;
use crate::phoenix::connect::Params;

use super::complaint::Complaint;
use super::http::Server;
use super::limits::Limits;

pub(super) use body::Message;
pub(super) use session::{Progress, patience};
pub(super) use token::{SECRET_LENGTH, SessionKey, Token};

/// Where Phoenix clients poll: the socket's mount path and the transport's name.
pub(super) const PATH: &str = "/socket/longpoll";

/// The token's header in clients that keep it out of URLs; it wins over the query's.
const TOKEN_HEADER: &str = "x-phoenix-longpoll-token";
const TOKEN_PARAM: &str = "token";
/// Requests of other shards that wait for a shard.
const PEER_QUEUE: usize = 1024;
/// From one attempt to the next to hand messages to a shard that waits for the hub.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What a session's shard is asked, from whichever shard has the request.
#[derive(Debug)]
pub struct SessionRequest(pub(super) Ask);

#[derive(Debug)]
pub(super) enum Ask {
    /// For messages; answered when there are some. Who no longer waits has dropped the other end.
    Poll { token: Token, answer: oneshot::Sender<Polled> },
    /// To take messages.
    Post { key: SessionKey, messages: Vec<Message>, answer: oneshot::Sender<Posted> },
}

/// How a poll went.
#[derive(Debug)]
pub(super) enum Polled {
    Messages {
        /// Each a JSON string.
        messages: Vec<Bytes>,
        token: Token,
        /// To be set once the answer was written.
        written: Arc<std::sync::atomic::AtomicBool>,
    },
    /// Another poll has taken its place.
    Nothing(Token),
    /// There is no such session, or it is over.
    Gone,
}

/// How a batch of messages went.
#[derive(Debug)]
pub(super) enum Posted {
    Taken,
    /// The shard can take none of them now.
    Busy(Vec<Message>),
    Gone,
}

/// Ways to every shard, for requests whose session is there.
#[derive(Debug, Clone)]
pub struct Peers(Arc<[mpsc::Sender<SessionRequest>]>);

impl Peers {
    /// Ways to so many shards, and their ends, by shard number.
    #[must_use]
    pub fn channels(shards: usize) -> (Self, Vec<mpsc::Receiver<SessionRequest>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(PEER_QUEUE)).unzip();
        (Self(senders.into()), receivers)
    }

    /// Whether the shard that a token names is there to be asked.
    async fn ask(&self, shard: u16, ask: Ask) -> bool {
        match self.0.get(usize::from(shard)) {
            Some(peer) => peer.send(SessionRequest(ask)).await.is_ok(),
            None => false,
        }
    }
}

/// Answers a request to [`PATH`].
pub(super) async fn serve(request: Request<Incoming>, server: &Server) -> Response<Body> {
    let Server { routers, peers, limits, .. } = server;
    let Ok(params) = Params::parse(request.uri().query().unwrap_or_default()) else {
        return answer::http(Complaint::BadRequest, "the query can't be decoded");
    };
    if !routers.gate.allows_origin(request.headers()) {
        return answer::status(answer::FORBIDDEN);
    }
    match *request.method() {
        Method::OPTIONS => answer::preflight(request.headers()),
        Method::GET => match poll(token(request.headers(), &params), peers, limits.poll).await {
            Some(response) => response,
            None => begin(params, request.headers(), server).await,
        },
        Method::POST => match token(request.headers(), &params) {
            Some(token) => post(token.key, request, peers, limits).await,
            None => answer::status(answer::GONE),
        },
        _ => answer::http(Complaint::MethodNotAllowed, "long-polling is GET, POST and OPTIONS"),
    }
}

fn token(headers: &HeaderMap, params: &Params) -> Option<Token> {
    let header = headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok());
    header.or_else(|| params.text(TOKEN_PARAM))?.parse().ok()
}

/// Waits for the session's messages; none where there is no such session.
async fn poll(token: Option<Token>, peers: &Peers, window: Duration) -> Option<Response<Body>> {
    let token = token?;
    let (sender, polled) = oneshot::channel();
    if !peers.ask(token.key.shard, Ask::Poll { token, answer: sender }).await {
        return None;
    }
    match timeout(window, polled).await {
        Ok(Ok(Polled::Messages { messages, token, written })) => Some(answer::messages(&token, messages, written)),
        Ok(Ok(Polled::Nothing(token))) => Some(answer::without_messages(answer::NO_MESSAGES, &token)),
        Ok(Ok(Polled::Gone) | Err(_)) => None,
        Err(_) => Some(answer::without_messages(answer::NO_MESSAGES, &token)),
    }
}

/// A session begins: the client learns its token, and polls.
async fn begin(params: Params, headers: &HeaderMap, server: &Server) -> Response<Body> {
    let Ok(serializer) = params.serializer() else { return answer::status(answer::FORBIDDEN) };
    // A session that is gone has left its token in the parameter by which a credential may come.
    let has_session = params.text(TOKEN_PARAM).is_some_and(|token| token.parse::<Token>().is_ok());
    let params = if has_session { params.without_last(TOKEN_PARAM) } else { params };
    let identity = match server.routers.gate.admit(headers, &params).await {
        Ok(identity) => identity,
        Err(denied @ Denied::NoKeys) => return answer::unavailable(denied.reason()),
        Err(_) => return answer::status(answer::FORBIDDEN),
    };
    match server.shell.borrow_mut().open_session(serializer, identity) {
        Some(token) => answer::without_messages(answer::GONE, &token),
        // It comes back without a token then.
        None if has_session => answer::status(answer::GONE),
        None => answer::unavailable(Complaint::Stopping.reason()),
    }
}

async fn post(key: SessionKey, request: Request<Incoming>, peers: &Peers, limits: &Limits) -> Response<Body> {
    let is_batch =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(body::is_batch);
    let read = axum::body::to_bytes(Body::new(request.into_body()), body::most(limits.frame));
    let Ok(Ok(bytes)) = timeout(limits.idle, read).await else {
        return answer::http(Complaint::BadRequest, "the body is too large, too slow, or was cut off");
    };
    let Ok(mut messages) = body::messages(&bytes, is_batch) else {
        return answer::http(Complaint::BadRequest, "more than 100 messages in one request: none was handled");
    };
    let deadline = Instant::now() + limits.poll;
    loop {
        let (sender, posted) = oneshot::channel();
        if !peers.ask(key.shard, Ask::Post { key, messages, answer: sender }).await {
            return answer::status(answer::GONE);
        }
        messages = match posted.await {
            Ok(Posted::Taken) => return answer::status(answer::OK),
            Ok(Posted::Busy(_)) if Instant::now() > deadline => return answer::status(answer::TIMEOUT),
            Ok(Posted::Busy(messages)) => messages,
            Ok(Posted::Gone) | Err(_) => return answer::status(answer::GONE),
        };
        sleep(BUSY_PAUSE).await;
    }
}
