//! `walcast tail`: a topic's updates on standard output, one JSON object a line.
//!
//! The gateway's client like any other: [`session`] decides, this has the socket, the clock and the terminal.

mod endpoint;
mod line;
mod session;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::{Outcome, file_or_default, load, output};
use crate::config::defaults;
use crate::replication::source::Backoff;
use session::{Beginning, Next, RefusedJoin, Session};

/// How long a gateway may take for the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// As Phoenix' own client: half of what a gateway waits for by default.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
/// How long the last lines may take to be read, once a signal has come.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// A message is a part of a transaction, of half a MiB by default; a single value may be up to 256 MiB, and more when
/// it is escaped.
const MESSAGE_BYTES_MAX: usize = 2 << 30;

const AFTER_HELP: &str = "\
A line is one update: {\"cursor\", \"commit_timestamp\", \"xid\", \"op\", \"schema\", \"table\", \"record\", …}. \
The last line of a transaction (or of a part of a large one) has a cursor, the others have null: whoever has handled \
a line with a cursor can continue after it with --cursor.

  walcast tail updates:feed | jq -c 'select(.op == \"insert\") | .record'";

/// Print a topic's updates, one JSON object a line
///
/// Connects to a running gateway as any Phoenix client does. When the connection is lost it comes back by itself and
/// goes on where it was, without loss or repeat. Where that can't be done it says so on standard error and begins
/// anew. Ctrl-C ends it, and prints the cursor with which --cursor continues.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// The topic, as in updates:feed
    topic: String,
    /// Continue after this position instead of now
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Begin with the current rows, unless --cursor can be continued
    #[arg(long)]
    snapshot: bool,
    /// The gateway, as in ws://127.0.0.1:4000 or wss://example.com/socket/websocket [default: the
    /// configuration's server.listen, or server.admin where that is encrypted, on this machine; without a configuration
    /// file ws://127.0.0.1:4000]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The token to show, where the gateway asks for one
    #[arg(long, value_name = "JWT", env = "WALCAST_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Why there is nothing more to print.
#[derive(Debug, thiserror::Error)]
enum TailError {
    #[error("the configuration has errors (walcast check shows them): name the gateway with --url")]
    Config,
    #[error(
        "the gateway listens on Unix sockets only, which tail can't connect to: name what is in front of it with --url"
    )]
    OnlyUnixSockets,
    #[error("connect to {url}: {source}; give the gateway's address as in --url ws://127.0.0.1:4000")]
    Url { url: String, source: Box<WsError> },
    #[error("`{url}` is no gateway's address: write it as in --url ws://127.0.0.1:4000")]
    Scheme { url: String },
    #[error("{url} answers HTTP {status}, which no retry will change: is this the gateway's address?")]
    NotAGateway { url: String, status: u16 },
    #[error("{url} lets nobody in like this (HTTP {status}): give a valid token with --token or as WALCAST_TOKEN")]
    NotLetIn { url: String, status: u16 },
    #[error("the token can't be sent: it holds characters that no token has")]
    Token,
    #[error(transparent)]
    Refused(#[from] RefusedJoin),
    #[error("write to standard output: {0}")]
    Output(#[source] io::Error),
    #[error("listen for signals: {0}")]
    Signals(#[source] io::Error),
}

pub(super) fn execute(config: Option<&Path>, arguments: Arguments) -> Outcome {
    let url = match (&arguments.url, file_or_default(config)) {
        (Some(url), _) if endpoint::is_of_websockets(url) => endpoint::of_url(url),
        (Some(url), _) => return Err(TailError::Scheme { url: endpoint::shown(url).to_owned() }.into()),
        (None, Some(file)) => {
            let config = load(Some(file))?.config.ok_or(TailError::Config)?;
            endpoint::of_server(&config.server).ok_or(TailError::OnlyUnixSockets)?
        }
        (None, None) => endpoint::of_listener(defaults::LISTEN),
    };
    let session = Session::new(arguments.topic, arguments.cursor, arguments.snapshot);
    let authorization = arguments.token.map(|token| authorization(&token)).transpose()?;
    let runtime = super::runtime()?;
    let ended = runtime.block_on(Tail::new(url, authorization, session).run());
    // A write that nobody reads must not keep the process.
    runtime.shutdown_background();
    match ended {
        // Whoever reads has seen enough, as in `| head`.
        Err(TailError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
        Ok(cursor) => {
            match cursor {
                Some(cursor) => output::say(&format!("stopped; continue with --cursor {cursor}")),
                None => output::say("stopped before there was a cursor to continue from"),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn authorization(token: &str) -> Result<HeaderValue, TailError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| TailError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Tail {
    url: String,
    authorization: Option<HeaderValue>,
    session: Session,
    /// Everything up to here is on standard output.
    printed: Option<String>,
    backoff: Backoff,
    stdout: tokio::io::Stdout,
    /// What standard output has not taken yet.
    lines: Vec<u8>,
}

impl Tail {
    fn new(url: String, authorization: Option<HeaderValue>, session: Session) -> Self {
        let printed = session.cursor().map(str::to_owned);
        let stdout = tokio::io::stdout();
        Self { url, authorization, session, printed, backoff: Backoff::default(), stdout, lines: Vec::new() }
    }

    /// Until a signal comes; the cursor to continue from.
    async fn run(mut self) -> Result<Option<String>, TailError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(TailError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(TailError::Signals)?;
        tokio::select! {
            ended = self.follow() => ended,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }?;
        // A signal may come while lines are on their way to standard output, which has them in a moment.
        if self.lines.is_empty() && matches!(timeout(FLUSH_TIMEOUT, self.stdout.flush()).await, Ok(Ok(()))) {
            self.printed = self.session.cursor().map(str::to_owned);
        }
        Ok(self.printed)
    }

    /// One connection after the other, for ever.
    async fn follow(&mut self) -> Result<(), TailError> {
        loop {
            let lost = match self.connect().await? {
                Ok(socket) => self.connection(socket).await?,
                Err(lost) => lost,
            };
            let wait = self.backoff.next(fastrand::f64());
            output::say(&format!("{lost}; trying again in {:.1} s", wait.as_secs_f64()));
            sleep(wait).await;
        }
    }

    /// The inner error is one that may pass.
    async fn connect(&self) -> Result<Result<Socket, String>, TailError> {
        let url = endpoint::shown(&self.url);
        let bad_url = |error| TailError::Url { url: url.to_owned(), source: Box::new(error) };
        let mut request = self.url.as_str().into_client_request().map_err(bad_url)?;
        request.headers_mut().extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let nodelay = true;
        match timeout(CONNECT_TIMEOUT, connect_async_with_config(request, Some(limits), nodelay)).await {
            Ok(Ok((socket, _))) => Ok(Ok(socket)),
            Ok(Err(WsError::Http(response))) if response.status().is_client_error() => {
                let (url, status) = (url.to_owned(), response.status().as_u16());
                Err(if status == 403 {
                    TailError::NotLetIn { url, status }
                } else {
                    TailError::NotAGateway { url, status }
                })
            }
            Ok(Err(error @ (WsError::Url(_) | WsError::HttpFormat(_)))) => Err(bad_url(error)),
            Ok(Err(error)) => Ok(Err(format!("can't connect to {url}: {error}"))),
            Err(_) => Ok(Err(format!("can't connect to {url}: no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// One connection until it is lost: why.
    async fn connection(&mut self, mut socket: Socket) -> Result<String, TailError> {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut to_send = Some(self.session.opened());
        loop {
            if let Some(text) = to_send.take()
                && let Err(error) = socket.send(Message::text(text)).await
            {
                return Ok(format!("connection lost: {error}"));
            }
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => match self.take(&text).await? {
                        Ok(answer) => to_send = answer,
                        Err(lost) => return Ok(lost),
                    },
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return Ok(format!("the gateway has closed the connection: {} {}", frame.code, frame.reason));
                    }
                    // Pings are answered by the library; a binary message is some client's broadcast.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Ok(format!("connection lost: {error}")),
                    None => return Ok("connection lost".to_owned()),
                },
                _ = heartbeat.tick() => {
                    to_send = self.session.heartbeat();
                    if to_send.is_none() {
                        return Ok("the gateway does not answer any more".to_owned());
                    }
                }
            }
        }
    }

    /// One message: what to answer, or why the connection is to be given up.
    async fn take(&mut self, text: &str) -> Result<Result<Option<String>, String>, TailError> {
        let next = self.session.received(text, &mut self.lines);
        self.print().await?;
        match next {
            Next::Continue => Ok(Ok(None)),
            Next::Joined(beginning) => {
                self.backoff.reset();
                output::say(announcement(beginning));
                Ok(Ok(None))
            }
            Next::BeginAnew(join) => {
                output::say("resync_required: updates are missing here, what follows begins anew");
                Ok(Ok(Some(join)))
            }
            Next::Reconnect(reason) => Ok(Err(reason)),
            Next::Refused(refused) => Err(refused.into()),
        }
    }

    async fn print(&mut self) -> Result<(), TailError> {
        if !self.lines.is_empty() {
            self.stdout.write_all(&self.lines).await.map_err(TailError::Output)?;
            self.lines.clear();
            self.stdout.flush().await.map_err(TailError::Output)?;
        }
        self.printed = self.session.cursor().map(str::to_owned);
        Ok(())
    }
}

/// What a person wants to know of where the updates begin.
const fn announcement(beginning: Beginning) -> &'static str {
    match beginning {
        Beginning::Now => "joined: what commits from now on is printed",
        Beginning::Resumed => "joined: continued after the cursor",
        Beginning::Snapshot => "joined: the current rows come first",
        Beginning::SnapshotInstead => "resync_required: updates are missing here, the current rows come instead",
    }
}
