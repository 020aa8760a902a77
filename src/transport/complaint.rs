//! What HTTP itself refuses, before any topic is asked: each with a stable reason and a message, as JSON.
//!
//! hyper answers what it can't read by itself, with an empty body; [`HttpLink`] fills that. So every answer of 400 and
//! above has a body that says why, whoever gives it; but for the one that refuses a WebSocket, which is Phoenix'.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Link;

const JSON: &str = "application/json; charset=utf-8";

/// A request that is refused for what it is, whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// It is no HTTP.
    BadRequest,
    BadHandshake,
    TlsRequired,
    NotFound,
    MethodNotAllowed,
    UriTooLong,
    Misdirected,
    HeadTooLarge,
    Internal,
    Stopping,
    TooManyConnections,
}

impl Complaint {
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::BadHandshake,
        Self::TlsRequired,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UriTooLong,
        Self::Misdirected,
        Self::HeadTooLarge,
        Self::Internal,
        Self::Stopping,
        Self::TooManyConnections,
    ];

    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadHandshake | Self::TlsRequired => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Stopping | Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable `reason`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadHandshake => "bad_handshake",
            Self::TlsRequired => "tls_required",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UriTooLong => "uri_too_long",
            Self::Misdirected => "misdirected",
            Self::HeadTooLarge => "head_too_large",
            Self::Internal => "internal",
            Self::Stopping => "stopping",
            Self::TooManyConnections => "too_many_connections",
        }
    }

    /// For people: what was wrong, and what would be right.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::BadRequest => {
                "this is no HTTP request that can be read; in a URL, quotes, angle brackets and blanks are written \
                 %22, %3C, %3E and %20"
            }
            Self::BadHandshake => "this is no handshake of a WebSocket",
            Self::TlsRequired => "this port speaks TLS: use https:// or wss://",
            Self::NotFound => {
                "there is nothing here: Phoenix clients connect at /socket, a topic's rows are at /topics/{topic}"
            }
            Self::MethodNotAllowed => {
                "this path is not asked by this method; the header `allow` lists those that it is"
            }
            Self::UriTooLong => "the URL is too long",
            Self::Misdirected => {
                "walcast does not know itself by this name: use its address, or list the name in `server.hosts`"
            }
            Self::HeadTooLarge => "the request has more than 100 headers, or more than 64 KiB of them",
            Self::Internal => "a fault of walcast's, which is in its log",
            Self::Stopping => "this walcast stops: come back, to it or to its successor",
            Self::TooManyConnections => "limits.connections is reached: try again later",
        }
    }

    /// As an answer.
    #[must_use]
    pub fn response(self) -> Response<Body> {
        complaint(self.status(), self.reason(), self.message())
    }

    /// The same with another message.
    #[must_use]
    pub fn because(self, message: &str) -> Response<Body> {
        complaint(self.status(), self.reason(), message)
    }

    /// As it goes over a connection that it ends.
    pub(super) fn last_words(self) -> Vec<u8> {
        let (status, body) = (self.status(), body(self.reason(), self.message()));
        let retry = if status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 5\r\n" } else { "" };
        let (line, length) = (status.canonical_reason().unwrap_or_default(), body.len());
        let head = format!("HTTP/1.1 {} {line}\r\nconnection: close\r\n{retry}", status.as_u16());
        format!("{head}content-type: {JSON}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    }

    /// What hyper itself refuses with this status.
    const fn of_hyper(status: &[u8]) -> Option<Self> {
        match status {
            b"400" => Some(Self::BadRequest),
            b"414" => Some(Self::UriTooLong),
            b"431" => Some(Self::HeadTooLarge),
            _ => None,
        }
    }
}

/// `{"reason": …, "message": …}` with a status.
#[must_use]
pub fn complaint(status: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body(reason, message)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn body(reason: &str, message: &str) -> String {
    let body = serde_json::json!({"reason": reason, "message": message});
    format!("{body}\n")
}

/// The same router, which says why it serves nothing by another path or method.
pub fn explaining(router: Router) -> Router {
    router
        .fallback(async || Complaint::NotFound.response().into_response())
        .method_not_allowed_fallback(async || Complaint::MethodNotAllowed.response().into_response())
}

/// A link that HTTP is spoken over: an empty refusal of hyper's own gets its words.
pub(super) struct HttpLink {
    link: Link,
    /// What goes out before anything else.
    words: Vec<u8>,
}

impl HttpLink {
    pub(super) const fn new(link: Link) -> Self {
        Self { link, words: Vec::new() }
    }

    pub(super) fn into_link(self) -> Link {
        self.link
    }

    fn poll_words(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.words.is_empty() {
            let written = ready!(Pin::new(&mut self.link).poll_write(context, &self.words))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.words.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// In place of a refusal that hyper gives by itself. Ours have a content type.
fn reworded(data: &[u8]) -> Option<Vec<u8>> {
    let rest = data.strip_prefix(b"HTTP/1.1 ")?;
    let complaint = Complaint::of_hyper(rest.get(..3)?)?;
    let head = str::from_utf8(data.strip_suffix(b"\r\n\r\n")?).ok()?;
    let is_own = head.contains("\r\ncontent-length: 0") && !head.contains("\r\ncontent-type:");
    is_own.then(|| complaint.last_words())
}

impl AsyncRead for HttpLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_read(context, buffer)
    }
}

impl AsyncWrite for HttpLink {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_words(context))?;
        let Some(words) = reworded(data) else { return Pin::new(&mut self.link).poll_write(context, data) };
        self.words = words;
        // What does not go out now does with the flush that follows.
        if let Poll::Ready(Err(error)) = self.poll_words(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(data.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices {
            return self.poll_write(context, only);
        }
        ready!(self.poll_words(context))?;
        Pin::new(&mut self.link).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_words(context))?;
        Pin::new(&mut self.link).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_words(context))?;
        Pin::new(&mut self.link).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_has_a_reason_of_its_own() {
        let reasons: HashSet<&str> = Complaint::ALL.iter().map(|it| it.reason()).collect();
        assert_eq!(reasons.len(), Complaint::ALL.len());
        assert!(Complaint::ALL.iter().all(|it| it.status().as_u16() >= 400 && !it.message().ends_with('.')));
    }

    #[test]
    fn what_hyper_says_without_words_gets_some() {
        for (status, reason) in
            [("400 Bad Request", "bad_request"), ("414 URI Too Long", "uri_too_long"), ("431 x", "head_too_large")]
        {
            let own = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n");
            let words = String::from_utf8(reworded(own.as_bytes()).unwrap()).unwrap();
            let (head, body) = words.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {}", &status[..3])), "{head}");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["reason"], reason);
        }
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "HTTP/1.1 4",
            "",
        ] {
            assert_eq!(reworded(other.as_bytes()), None, "{other}");
        }
    }
}
