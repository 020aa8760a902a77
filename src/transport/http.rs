//! HTTP on a shard: the WebSocket upgrade here, everything else by axum's routers.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};

use crate::auth::{Denied, Gate, Hosts};
use crate::phoenix::connect::{Params, SUBPROTOCOL, Subprotocols};

use super::complaint::{Complaint, HttpLink, complaint};
use super::limits::Limits;
use super::link::Link;
use super::listener::{Arrival, Count, Entrance, Permit};
use super::long_poll::{self, Peers};
use super::pace::Pace;
use super::shard::{Accepted, Newcomer, Shell, Stream, adopt};
use super::tls::Handshakes;
use super::websocket::Agreement;
use super::wire::Wire;
use super::{topics, websocket};

/// Where Phoenix clients connect: the socket's mount path and the transport's name.
const WEBSOCKET_PATH: [&str; 2] = ["socket", "websocket"];

/// What HTTP holds of a request's head, and of an answer that its client is slow to take. A token fits.
const HTTP_BUFFER: usize = 64 * 1024;

/// The names that clients and operators may address us by.
#[derive(Clone)]
pub struct Doors {
    /// `None`: any.
    pub public: Option<Arc<Hosts>>,
    pub admin: Arc<Hosts>,
}

/// What the rows, topics and routes are not in: whatever asks for it knows us by names of its own.
const BY_ANY_NAME: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

impl Doors {
    fn open<B>(&self, entrance: Entrance, request: &Request<B>) -> bool {
        let hosts = match entrance {
            Entrance::Public => self.public.as_ref(),
            Entrance::Admin => Some(&self.admin),
        };
        let is_plain = BY_ANY_NAME.contains(&request.uri().path());
        is_plain || hosts.is_none_or(|hosts| hosts.allow(request.headers()))
    }
}

/// Who is let in, and what is served beside the WebSocket, by entrance.
#[derive(Clone)]
pub struct Routers {
    pub gate: Gate,
    pub doors: Doors,
    pub public: Router,
    pub admin: Router,
    /// How many events apps may post.
    pub posts: Pace,
}

/// What answers a connection's requests.
pub(super) struct Server {
    pub(super) shell: Rc<RefCell<Shell>>,
    pub(super) routers: Routers,
    pub(super) peers: Peers,
    pub(super) limits: Limits,
    pub(super) handshakes: Rc<Handshakes>,
    pub(super) count: Count,
}

impl Server {
    /// Serves one connection until it ends or is upgraded.
    pub(super) async fn serve(self, accepted: Accepted) {
        let Some(link) = self.link(accepted.arrival).await else { return };
        let entrance = accepted.entrance;
        let router = match entrance {
            Entrance::Public => &self.routers.public,
            Entrance::Admin => &self.routers.admin,
        };
        let router = TowerToHyperService::new(router.clone());
        // Goes to the upgraded connection, and else ends with this one.
        let permit = Rc::new(RefCell::new(Some(accepted.permit)));
        let limits = self.limits;
        let server = Rc::new(self);
        let service = service_fn(|request: Request<Incoming>| {
            let (server, router, permit) = (Rc::clone(&server), router.clone(), Rc::clone(&permit));
            async move {
                if !server.routers.doors.open(entrance, &request) {
                    return Ok(Complaint::Misdirected.response().map(Reply::Whole));
                }
                let response = match request.uri().path() {
                    path if is_websocket(path) => upgrade(request, &server, &permit).await,
                    long_poll::PATH => long_poll::serve(request, &server).await,
                    path if path.starts_with(topics::PREFIX) => return Ok(topics::serve(request, &server).await),
                    _ => router.call(request).await?,
                };
                Ok::<_, Infallible>(response.map(Reply::Whole))
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.handshake).max_buf_size(HTTP_BUFFER);
        if let Err(error) = builder.serve_connection(TokioIo::new(HttpLink::new(link)), service).with_upgrades().await {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }

    /// What the client's requests come by; none where it is gone before, or does not speak TLS as it should.
    async fn link(&self, arrival: Arrival) -> Option<Link> {
        let registered = match arrival {
            Arrival::Tcp(stream, tls) => TcpStream::from_std(stream).map(|stream| (Link::Tcp(stream), tls)),
            Arrival::Unix(stream) => UnixStream::from_std(stream).map(|stream| (Link::Unix(stream), None)),
        };
        match registered {
            Ok((Link::Tcp(stream), Some(tls))) => {
                let stream = self.handshakes.perform(&tls, stream, self.limits.handshake, &self.count).await?;
                Some(Link::Tls(Box::new(stream)))
            }
            Ok((link, _)) => Some(link),
            Err(error) => {
                tracing::warn!(%error, "a client's socket could not be registered");
                None
            }
        }
    }
}

/// The body of an answer.
pub(super) enum Reply {
    Whole(Body),
    Stream(Stream),
}

impl From<Body> for Reply {
    fn from(body: Body) -> Self {
        Self::Whole(body)
    }
}

impl hyper::body::Body for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Stream(stream) => {
                Pin::new(stream).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(axum::Error::new)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// As in Phoenix, empty segments are none: clients that were given `/socket/` ask for `/socket//websocket`.
fn is_websocket(path: &str) -> bool {
    path.split('/').filter(|segment| !segment.is_empty()).eq(WEBSOCKET_PATH)
}

/// The answer to a handshake; the socket is adopted once it is out.
async fn upgrade(
    mut request: Request<Incoming>,
    server: &Server,
    permit: &Rc<RefCell<Option<Permit>>>,
) -> Response<Body> {
    if request.method() != Method::GET {
        return Complaint::BadHandshake.because("a WebSocket begins with GET");
    }
    let params = Params::parse(request.uri().query().unwrap_or_default());
    let negotiated = params.ok().and_then(|params| params.serializer().ok().map(|serializer| (serializer, params)));
    let Some((serializer, params)) = negotiated else {
        return refused_upgrade();
    };
    let headers = match websocket::accept(request.headers()) {
        Ok(headers) => headers,
        Err(error) => return Complaint::BadHandshake.because(&error.to_string()),
    };
    let subprotocols = match Subprotocols::parse(&subprotocol_header(&request)) {
        Ok(subprotocols) => subprotocols,
        Err(error) => return Complaint::BadHandshake.because(&error.to_string()),
    };
    if subprotocols.others && !subprotocols.phoenix {
        return refused_upgrade();
    }
    let identity = match server.routers.gate.admit(request.headers(), &params).await {
        Ok(identity) => identity,
        Err(denied) => return denied_upgrade(denied),
    };
    if server.shell.borrow().is_draining() {
        return Complaint::Stopping.response();
    }
    let Some(permit) = permit.borrow_mut().take() else {
        return Complaint::BadHandshake.because("this connection is being upgraded already");
    };
    let agreement = Some(request.headers()).filter(|_| server.limits.compression).and_then(websocket::agree);
    let wire = agreement.as_ref().map_or(Wire::WebSocket(serializer), |it| Wire::Deflated(serializer, it.window));
    let newcomer = Newcomer { wire, identity, permit };
    tokio::task::spawn_local(hand_over(hyper::upgrade::on(&mut request), Rc::clone(&server.shell), newcomer));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    if let Some(Agreement { answer, .. }) = agreement {
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, answer);
    }
    if subprotocols.phoenix {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

/// All subprotocols that the client offers, as one list.
fn subprotocol_header(request: &Request<Incoming>) -> String {
    let values = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
}

async fn hand_over(upgrade: OnUpgrade, shell: Rc<RefCell<Shell>>, newcomer: Newcomer) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "a client was gone before its upgrade"),
    };
    match upgraded.downcast::<TokioIo<HttpLink>>() {
        Ok(Parts { io, read_buf, .. }) => adopt(&shell, io.into_inner().into_link(), newcomer, &read_buf),
        Err(_) => tracing::error!("an upgraded connection was none of ours, which is a bug"),
    }
}

/// Phoenix' answer to whoever may not connect, which says nothing; and ours where it is not the client's fault.
fn denied_upgrade(denied: Denied) -> Response<Body> {
    match denied.upgrade_status() {
        StatusCode::FORBIDDEN => refused_upgrade(),
        status => complaint(status, denied.reason(), "try again later"),
    }
}

/// 403 without a body, as Phoenix says it.
fn refused_upgrade() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_its_segments() {
        for path in ["/socket/websocket", "/socket/websocket/", "/socket//websocket", "//socket/websocket//"] {
            assert!(is_websocket(path), "{path}");
        }
        for path in ["/", "/socket", "/socket/", "/socketwebsocket", "/socket/websocket/x", "/socket/websockets"] {
            assert!(!is_websocket(path), "{path}");
        }
    }
}
