//! Where the gateway is: from what the user says, or from the configuration.

use std::net::SocketAddr;

use super::super::reachable;
use crate::config::{Address, Server};

/// Phoenix' path for WebSockets.
const PATH: &str = "/socket/websocket";
/// The serializer that the session speaks.
const VERSION: &str = "vsn=2.0.0";

/// The endpoint that a gateway has that listens here.
pub(super) fn of_listener(listen: SocketAddr) -> String {
    format!("ws://{}{PATH}?{VERSION}", reachable(listen))
}

/// The endpoint that a gateway with this `[server]` has on its own machine. What operators connect to serves clients,
/// too, and is not encrypted: a certificate's name is seldom that of its own machine. None where there are only Unix
/// sockets.
pub(super) fn of_server(server: &Server) -> Option<String> {
    let first = |addresses: &[Address]| addresses.iter().find_map(Address::socket);
    let (listen, admin) = (first(&server.listen), first(&server.admin));
    let plain = listen.filter(|_| server.tls.is_none()).or(admin).map(|address| ("ws", address));
    let (scheme, address) = plain.or(listen.map(|address| ("wss", address)))?;
    Some(format!("{scheme}://{}{PATH}?{VERSION}", reachable(address)))
}

/// A URL that a WebSocket can be opened at.
pub(super) fn is_of_websockets(url: &str) -> bool {
    let host = url.strip_prefix("ws://").or_else(|| url.strip_prefix("wss://"));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', '?', ':']))
}

/// The user's url, with the path where it has none (or Phoenix' `/socket`), and the serializer's version.
pub(super) fn of_url(url: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let authority = base.find("://").map_or(0, |scheme| scheme + "://".len());
    let base = match base.get(authority..).and_then(|rest| rest.find('/')) {
        None => format!("{base}{PATH}"),
        Some(slash) => match base.get(authority + slash..).unwrap_or_default().trim_end_matches('/') {
            "" => format!("{}{PATH}", base.trim_end_matches('/')),
            path if path.ends_with("/socket") => format!("{}/websocket", base.trim_end_matches('/')),
            _ => base.to_owned(),
        },
    };
    let others = query.split('&').filter(|parameter| !parameter.is_empty() && !parameter.starts_with("vsn="));
    format!("{base}?{}", others.chain([VERSION]).collect::<Vec<_>>().join("&"))
}

/// An endpoint as it may be shown: a token may stand in the query.
pub(super) fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Origins;
    use crate::config::SocketMode;
    use crate::tls::Files;

    fn server(listen: &str, admin: &str, encrypted: bool) -> Server {
        let address = |text: &str| match text.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(text.parse().unwrap()),
        };
        Server {
            listen: listen.split(' ').map(address).collect(),
            admin: vec![address(admin)],
            tls: encrypted.then(|| Files { certificate: "c".into(), key: "k".into() }),
            socket_mode: SocketMode(0o600),
            compression: false,
            origins: Origins::default(),
            hosts: None,
        }
    }

    #[test]
    fn a_gateway_is_reached_on_its_own_machine() {
        for (listen, admin, encrypted, endpoint) in [
            ("0.0.0.0:4000", "127.0.0.1:4001", false, Some("ws://127.0.0.1:4000")),
            ("[::]:4000", "127.0.0.1:4001", false, Some("ws://[::1]:4000")),
            ("10.0.0.7:80", "127.0.0.1:4001", false, Some("ws://10.0.0.7:80")),
            ("unix:/a 10.0.0.7:80", "127.0.0.1:4001", false, Some("ws://10.0.0.7:80")),
            ("unix:/a", "127.0.0.1:4001", false, Some("ws://127.0.0.1:4001")),
            ("0.0.0.0:443", "127.0.0.1:4001", true, Some("ws://127.0.0.1:4001")),
            ("0.0.0.0:443", "unix:/b", true, Some("wss://127.0.0.1:443")),
            ("unix:/a", "unix:/b", false, None),
        ] {
            let endpoint = endpoint.map(|it| format!("{it}/socket/websocket?vsn=2.0.0"));
            assert_eq!(of_server(&server(listen, admin, encrypted)), endpoint, "{listen} {admin}");
        }
    }

    #[test]
    fn a_url_may_leave_out_what_is_always_the_same() {
        for (url, endpoint) in [
            ("ws://host", "ws://host/socket/websocket?vsn=2.0.0"),
            ("ws://host:4000/", "ws://host:4000/socket/websocket?vsn=2.0.0"),
            ("wss://host/socket", "wss://host/socket/websocket?vsn=2.0.0"),
            ("wss://host/live/socket/?token=t", "wss://host/live/socket/websocket?token=t&vsn=2.0.0"),
            ("ws://host/socket/websocket", "ws://host/socket/websocket?vsn=2.0.0"),
            ("ws://host/socket/websocket?vsn=1.0.0&token=t", "ws://host/socket/websocket?token=t&vsn=2.0.0"),
        ] {
            assert!(is_of_websockets(url), "{url}");
            assert_eq!(of_url(url), endpoint);
        }
        for url in ["", "nonsense", "localhost:4000", "http://host", "ws://", "ws:///socket", "wss://:4000"] {
            assert!(!is_of_websockets(url), "{url}");
        }
    }

    #[test]
    fn what_may_be_a_token_is_not_shown() {
        assert_eq!(shown(&of_url("wss://host/socket?token=hunter2")), "wss://host/socket/websocket");
    }
}
