//! One client for every transport and serializer, so that one test can ask all of them the same.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::http::{self, Answer};

/// A transport, with its serializer's version where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket(&'static str),
    LongPoll(&'static str),
    Events,
}

pub(crate) const PHOENIX: [Transport; 4] = [
    Transport::WebSocket("1.0.0"),
    Transport::WebSocket("2.0.0"),
    Transport::LongPoll("1.0.0"),
    Transport::LongPoll("2.0.0"),
];

pub(crate) const ALL: [Transport; 5] = [PHOENIX[0], PHOENIX[1], PHOENIX[2], PHOENIX[3], Transport::Events];

/// What a client got: in 1.0.0 there is no `join_ref`, and an event stream has no refs at all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) reference: Value,
    pub(crate) topic: String,
    pub(crate) event: String,
    pub(crate) payload: Value,
}

/// A connection with one joined topic at most.
pub(crate) struct Client {
    vsn: &'static str,
    port: u16,
    references: u32,
    link: Link,
}

enum Link {
    Idle,
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    LongPoll { token: String, arrived: VecDeque<String> },
    Events { answer: Box<Answer>, text: String },
}

impl Client {
    pub(crate) async fn connect(gateway: &Gateway, transport: Transport) -> Self {
        let port = gateway.port();
        let (vsn, link) = match transport {
            Transport::WebSocket(vsn) => {
                let url = format!("{}/websocket?vsn={vsn}", gateway.socket_url());
                (vsn, Link::WebSocket(Box::new(connect_async(url).await.expect("a WebSocket").0)))
            }
            Transport::LongPoll(vsn) => {
                let body = http::get(port, &format!("/socket/longpoll?vsn={vsn}&")).await.json().await;
                assert_eq!((&body["status"], &body["messages"]), (&json!(410), &json!([])), "{body}");
                let token = body["token"].as_str().unwrap().to_owned();
                (vsn, Link::LongPoll { token, arrived: VecDeque::new() })
            }
            Transport::Events => ("", Link::Idle),
        };
        Self { vsn, port, references: 0, link }
    }

    /// Joins; the reply's status and response. An event stream's response is what its beginning tells.
    pub(crate) async fn join(&mut self, topic: &str, params: Value) -> (String, Value) {
        if matches!(self.link, Link::Idle) {
            return self.open_events(topic, &params).await;
        }
        let reference = self.send(topic, "phx_join", params).await;
        self.reply(&reference).await
    }

    /// Joined, without more to say.
    pub(crate) async fn joined(gateway: &Gateway, transport: Transport, topic: &str, params: Value) -> Self {
        let mut client = Self::connect(gateway, transport).await;
        let (status, response) = client.join(topic, params).await;
        assert_eq!(status, "ok", "{transport:?}: {response}");
        client
    }

    /// Sends an event; its ref.
    pub(crate) async fn send(&mut self, topic: &str, event: &str, payload: Value) -> Value {
        self.references += 1;
        let reference = json!(self.references.to_string());
        let join_ref = if event == "phx_join" { reference.clone() } else { json!("1") };
        let join_ref = if topic == "phoenix" { Value::Null } else { join_ref };
        let message = match self.vsn {
            "1.0.0" => json!({"topic": topic, "event": event, "payload": payload, "ref": reference}),
            _ => json!([join_ref, reference, topic, event, payload]),
        };
        match &mut self.link {
            Link::WebSocket(socket) => socket.send(Message::text(message.to_string())).await.expect("send"),
            Link::LongPoll { token, .. } => {
                let target = format!("/socket/longpoll?vsn={}&token={token}", self.vsn);
                let kind = [("content-type", "application/x-ndjson")];
                let answer = http::request(self.port, "POST", &target, &kind, &message.to_string()).await;
                assert_eq!(answer.json().await, json!({"status": 200}));
            }
            Link::Idle | Link::Events { .. } => panic!("nothing can be sent to an event stream"),
        }
        reference
    }

    /// The reply to a message, which comes next.
    pub(crate) async fn reply(&mut self, reference: &Value) -> (String, Value) {
        let received = self.next().await;
        assert_eq!((received.event.as_str(), &received.reference), ("phx_reply", reference), "{received:?}");
        (received.payload["status"].as_str().unwrap().to_owned(), received.payload["response"].clone())
    }

    pub(crate) async fn next(&mut self) -> Received {
        timeout(PATIENCE, self.receive()).await.expect("a message in time").expect("a message, not the end")
    }

    /// The next message; `None` at the connection's end.
    pub(crate) async fn receive(&mut self) -> Option<Received> {
        let text = match &mut self.link {
            Link::WebSocket(socket) => match socket.next().await? {
                Ok(Message::Text(text)) => text.to_string(),
                _ => return None,
            },
            Link::LongPoll { token, arrived } => loop {
                if let Some(text) = arrived.pop_front() {
                    break text;
                }
                let target = format!("/socket/longpoll?vsn={}&token={token}", self.vsn);
                let body = http::try_request(self.port, "GET", &target, &[], "").await?.json().await;
                if body["status"] == 410 {
                    return None;
                }
                *token = body["token"].as_str().expect("a token").to_owned();
                let messages = body["messages"].as_array().expect("messages");
                arrived.extend(messages.iter().map(|message| message.as_str().expect("a string").to_owned()));
            },
            Link::Events { answer, text } => return next_event(answer, text).await,
            Link::Idle => panic!("not joined"),
        };
        Some(read(self.vsn, &text))
    }

    /// The payload of the next `new_updates`.
    pub(crate) async fn updates(&mut self) -> Value {
        let received = self.next().await;
        assert_eq!(received.event, "new_updates", "{received:?}");
        received.payload
    }

    async fn open_events(&mut self, topic: &str, params: &Value) -> (String, Value) {
        let mut query = String::new();
        for (name, value) in params.as_object().expect("an object") {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Array(list) => list.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(","),
                other => other.to_string(),
            };
            query = format!("{query}&{name}={value}");
        }
        let mut answer = http::get(self.port, &format!("/topics/{topic}/events?{query}")).await;
        if answer.status != 200 {
            return ("error".to_owned(), answer.json().await);
        }
        assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let mut text = String::new();
        let (id, event, _) = block(&mut answer, &mut text).await.expect("a greeting");
        assert_eq!(event, None, "the greeting is no event");
        self.link = Link::Events { answer: Box::new(answer), text };
        ("ok".to_owned(), json!({"cursor": id}))
    }
}

fn read(vsn: &str, text: &str) -> Received {
    let message: Value = serde_json::from_str(text).expect("JSON");
    let [reference, topic, event, payload] = if vsn == "1.0.0" {
        ["ref", "topic", "event", "payload"].map(|key| message[key].clone())
    } else {
        [1, 2, 3, 4].map(|index| message[index].clone())
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Received { reference, topic: text(&topic), event: text(&event), payload }
}

/// The next event of a stream that is one to its page. Its id is its cursor.
async fn next_event(answer: &mut Answer, text: &mut String) -> Option<Received> {
    loop {
        let (id, event, data) = block(answer, text).await?;
        let (Some(event), Some(data)) = (event, data) else { continue };
        let payload: Value = serde_json::from_str(&data).expect("JSON");
        if event == "new_updates" {
            assert_eq!(payload["cursor"].as_str(), id.as_deref(), "an event's id is its cursor");
        }
        return Some(Received { reference: Value::Null, topic: String::new(), event, payload });
    }
}

type Block = (Option<String>, Option<String>, Option<String>);

/// Id, event and data of what stands before the next blank line.
async fn block(answer: &mut Answer, text: &mut String) -> Option<Block> {
    while !text.contains("\n\n") {
        let chunk = answer.chunk().await.expect("a stream that is not cut off")?;
        text.push_str(str::from_utf8(&chunk).expect("UTF-8"));
    }
    let (block, rest) = text.split_once("\n\n").map(|(block, rest)| (block.to_owned(), rest.to_owned()))?;
    *text = rest;
    let field = |name: &str| {
        let values: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect();
        (!values.is_empty()).then(|| values.join("\n"))
    };
    Some((field("id"), field("event"), field("data")))
}
