//! A Phoenix client in V2 messages, over a WebSocket library that is not ours.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use super::PATIENCE;
use super::gateway::Gateway;

/// One connection.
pub(crate) struct Client<Stream = MaybeTlsStream<TcpStream>> {
    socket: WebSocketStream<Stream>,
    references: u32,
}

impl Client {
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        Self::connect_to(&gateway.socket_url()).await
    }

    /// To the endpoint with this URL.
    pub(crate) async fn connect_to(socket_url: &str) -> Self {
        Self::connect_exactly(&format!("{socket_url}/websocket?vsn=2.0.0")).await
    }

    /// To this URL, query and all.
    pub(crate) async fn connect_exactly(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.expect("a WebSocket");
        Self { socket, references: 0 }
    }

    /// A connection that has joined; the join's response has nothing to say that a test would need.
    pub(crate) async fn joined(gateway: &Gateway, topic: &str) -> Self {
        let mut client = Self::connect(gateway).await;
        let reply = client.try_join(topic, json!({})).await;
        assert_eq!(reply["status"], "ok", "{reply}");
        client
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> Client<Stream> {
    /// Over a stream that is connected to the host of this URL.
    pub(crate) async fn over(stream: Stream, url: &str) -> Self {
        let (socket, _) = client_async(url, stream).await.expect("a WebSocket");
        Self { socket, references: 0 }
    }

    /// Joins; the reply's payload.
    pub(crate) async fn try_join(&mut self, topic: &str, params: Value) -> Value {
        self.references += 1;
        let reference = self.references.to_string();
        self.send(&json!([reference, reference, topic, "phx_join", params])).await;
        let reply = self.next().await;
        assert_eq!((&reply[1], &reply[3]), (&json!(reference), &json!("phx_reply")), "{reply}");
        reply[4].clone()
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("send a message");
    }

    /// The next message, which must be text.
    pub(crate) async fn next(&mut self) -> Value {
        match self.next_frame().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("no message, but {other:?}"),
        }
    }

    /// Anything, or the end.
    pub(crate) async fn next_frame(&mut self) -> Option<Message> {
        timeout(PATIENCE, self.socket.next()).await.expect("a message in time").and_then(Result::ok)
    }

    /// The payload of the next `new_updates`.
    pub(crate) async fn next_updates(&mut self) -> Value {
        let message = self.next().await;
        assert_eq!(message[3], "new_updates", "{message}");
        message[4].clone()
    }

    /// The close frame that comes next, after anything else.
    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.next_frame().await {
                Some(Message::Close(frame)) => return frame,
                Some(_) => {}
                None => return None,
            }
        }
    }
}
