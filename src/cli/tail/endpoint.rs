//! Where the gateway is: from what the user says, or from the configuration.

use std::net::SocketAddr;

use super::super::reachable;

/// Phoenix' path for WebSockets.
const PATH: &str = "/socket/websocket";
/// The serializer that the session speaks.
const VERSION: &str = "vsn=2.0.0";

/// The endpoint that a gateway with this `server.listen` has on its own machine.
pub(super) fn of_listener(listen: SocketAddr) -> String {
    format!("ws://{}{PATH}?{VERSION}", reachable(listen))
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

    #[test]
    fn a_listener_is_reached_on_its_own_machine() {
        for (listen, endpoint) in [
            ("0.0.0.0:4000", "ws://127.0.0.1:4000/socket/websocket?vsn=2.0.0"),
            ("[::]:4000", "ws://[::1]:4000/socket/websocket?vsn=2.0.0"),
            ("10.0.0.7:80", "ws://10.0.0.7:80/socket/websocket?vsn=2.0.0"),
        ] {
            assert_eq!(of_listener(listen.parse().unwrap()), endpoint);
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
            ("nonsense", "nonsense/socket/websocket?vsn=2.0.0"),
        ] {
            assert_eq!(of_url(url), endpoint);
        }
    }

    #[test]
    fn what_may_be_a_token_is_not_shown() {
        assert_eq!(shown(&of_url("wss://host/socket?token=hunter2")), "wss://host/socket/websocket");
    }
}
