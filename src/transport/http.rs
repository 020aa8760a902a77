//! HTTP on a shard: the WebSocket upgrade here, everything else by axum's routers.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

use crate::phoenix::Serializer;
use crate::phoenix::connect::{Params, SUBPROTOCOL, Subprotocols};

use super::listener::{Entrance, Permit};
use super::shard::{Accepted, Shell, adopt};
use super::websocket;

/// Where Phoenix clients connect: the socket's mount path and the transport's name.
const WEBSOCKET_PATH: [&str; 2] = ["socket", "websocket"];

/// What is served beside the WebSocket, by entrance.
#[derive(Clone)]
pub struct Routers {
    pub public: Router,
    pub admin: Router,
}

/// Serves one connection until it ends or is upgraded.
pub(super) async fn serve(accepted: Accepted, shell: Rc<RefCell<Shell>>, routers: Routers, head_timeout: Duration) {
    let stream = match TcpStream::from_std(accepted.stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a client's socket could not be registered"),
    };
    let router = match accepted.entrance {
        Entrance::Public => routers.public,
        Entrance::Admin => routers.admin,
    };
    let router = TowerToHyperService::new(router);
    // Goes to the upgraded connection, and else ends with this one.
    let permit = Rc::new(RefCell::new(Some(accepted.permit)));
    let service = service_fn(|request: Request<Incoming>| {
        let (router, shell, permit) = (router.clone(), Rc::clone(&shell), Rc::clone(&permit));
        async move {
            if is_websocket(request.uri().path()) {
                return Ok::<_, Infallible>(upgrade(request, &shell, &permit));
            }
            router.call(request).await
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// As in Phoenix, empty segments are none: clients that were given `/socket/` ask for `/socket//websocket`.
fn is_websocket(path: &str) -> bool {
    path.split('/').filter(|segment| !segment.is_empty()).eq(WEBSOCKET_PATH)
}

/// The answer to a handshake; the socket is adopted once it is out.
fn upgrade(
    mut request: Request<Incoming>,
    shell: &Rc<RefCell<Shell>>,
    permit: &Rc<RefCell<Option<Permit>>>,
) -> Response<Body> {
    if request.method() != Method::GET {
        return text(StatusCode::BAD_REQUEST, "a WebSocket begins with GET");
    }
    let params = Params::parse(request.uri().query().unwrap_or_default());
    let Some(serializer) = params.ok().and_then(|params| params.serializer().ok()) else {
        return empty(StatusCode::FORBIDDEN);
    };
    let headers = match websocket::accept(request.headers()) {
        Ok(headers) => headers,
        Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let subprotocols = match Subprotocols::parse(&subprotocol_header(&request)) {
        Ok(subprotocols) => subprotocols,
        Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if subprotocols.others && !subprotocols.phoenix {
        return empty(StatusCode::FORBIDDEN);
    }
    let Some(permit) = permit.borrow_mut().take() else {
        return empty(StatusCode::BAD_REQUEST);
    };
    tokio::task::spawn_local(hand_over(hyper::upgrade::on(&mut request), Rc::clone(shell), serializer, permit));
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    *response.headers_mut() = headers;
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

async fn hand_over(upgrade: OnUpgrade, shell: Rc<RefCell<Shell>>, serializer: Serializer, permit: Permit) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "a client was gone before its upgrade"),
    };
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(Parts { io, read_buf, .. }) => adopt(&shell, io.into_inner(), serializer, &read_buf, permit),
        Err(_) => tracing::error!("an upgraded connection was not over TCP"),
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
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
