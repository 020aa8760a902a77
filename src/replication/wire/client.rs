//! A session that takes replication commands.

use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::command::StartReplication;
use super::config::{ConnectionConfig, Endpoint};
use super::connect::{Session, check_session, establish};
use super::error::WireError;
use super::framed::{Backend, Framed};
use super::socket::Socket;
use super::startup::{self, Parameters};
use super::stream::ReplicationStream;
use crate::change::Lsn;

/// One row of a simple query: each value's text, or null.
pub type TextRow = Vec<Option<String>>;

/// What `IDENTIFY_SYSTEM` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Made up at `initdb`; copies and standbys share it.
    pub system_id: u64,
    pub timeline: u32,
    /// The WAL is on disk up to here: what a walsender can send now.
    pub flush: Lsn,
}

/// An idle replication session, over any byte stream.
#[derive(Debug)]
pub struct ReplicationClient<S = Socket> {
    framed: Framed<S>,
    parameters: Parameters,
}

impl ReplicationClient {
    /// Connects to the first server of the connection string that can be reached.
    ///
    /// # Errors
    /// None can, or the first that can be refuses.
    pub async fn connect(config: &ConnectionConfig) -> Result<Self, WireError> {
        establish(config, &ReplicationSession).await
    }
}

struct ReplicationSession;

impl Session for ReplicationSession {
    type Client = ReplicationClient;

    async fn start(
        &self,
        config: &ConnectionConfig,
        socket: Socket,
        endpoint: &Endpoint,
    ) -> Result<ReplicationClient, WireError> {
        let binding = socket.channel_binding();
        let client = ReplicationClient::start(socket, config, binding).await?;
        check_session(config, endpoint, |name| client.parameter(name))?;
        Ok(client)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ReplicationClient<S> {
    /// Begins a session on a stream that is connected, and encrypted where it should be.
    ///
    /// # Errors
    /// The server refuses, or is no Postgres server.
    pub async fn start(
        stream: S,
        config: &ConnectionConfig,
        certificate_hash: Option<Vec<u8>>,
    ) -> Result<Self, WireError> {
        let mut framed = Framed::new(stream);
        let parameters = startup::start(&mut framed, config, certificate_hash).await?;
        Ok(Self { framed, parameters })
    }

    /// A session that has streamed and takes commands again.
    pub(super) fn again(framed: Framed<S>) -> Self {
        Self { framed, parameters: Parameters::new() }
    }

    /// What the server reported at startup, such as `server_version`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Runs a query or a replication command that answers with rows.
    ///
    /// # Errors
    /// The server's own error, after which the session can be used again; or the connection is gone.
    pub async fn simple_query(&mut self, query: &str) -> Result<Vec<TextRow>, WireError> {
        const DURING: &str = "running a query";
        self.send_query(query).await?;
        let mut rows = Vec::new();
        let mut refusal = None;
        loop {
            match self.framed.message(DURING).await {
                Ok(Backend::Message(Message::DataRow(row))) => {
                    rows.push(text_row(&row).map_err(|error| WireError::protocol(DURING, error))?);
                }
                Ok(Backend::Message(Message::ReadyForQuery(_))) => return refusal.map_or(Ok(rows), Err),
                Ok(Backend::Message(_)) => {}
                Ok(Backend::CopyBoth) => return Err(WireError::protocol(DURING, "CopyBothResponse")),
                Err(error @ WireError::Server(_)) => refusal = Some(error),
                // A fatal error is followed by the end: the error says more.
                Err(error) => return Err(refusal.unwrap_or(error)),
            }
        }
    }

    /// # Errors
    /// As [`Self::simple_query`]; or an answer that is none.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, WireError> {
        let rows = self.simple_query("IDENTIFY_SYSTEM").await?;
        let identity = rows.first().and_then(|row| match row.as_slice() {
            [Some(system_id), Some(timeline), Some(flush), ..] => Some(SystemIdentity {
                system_id: system_id.parse().ok()?,
                timeline: timeline.parse().ok()?,
                flush: flush.parse().ok()?,
            }),
            _ => None,
        });
        identity.ok_or_else(|| WireError::protocol("identifying the system", "no system, timeline and position"))
    }

    /// The text of a timeline's history file: the timelines that it descends from, and where it left them.
    ///
    /// # Errors
    /// As [`Self::simple_query`]; timeline 1 has no history.
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<String, WireError> {
        let mut rows = self.simple_query(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let content = rows.pop().and_then(|mut row| row.pop()).flatten();
        content.ok_or_else(|| WireError::protocol("reading a timeline's history", "no content"))
    }

    /// Begins streaming.
    ///
    /// # Errors
    /// The slot is missing, in use or lost, the publication's options do not fit, …: the server's own error.
    pub async fn start_replication(mut self, start: &StartReplication<'_>) -> Result<ReplicationStream<S>, WireError> {
        const DURING: &str = "starting replication";
        self.send_query(&start.command()).await?;
        match self.framed.message(DURING).await? {
            Backend::CopyBoth => Ok(ReplicationStream::new(self.framed)),
            Backend::Message(_) => Err(WireError::protocol(DURING, "no CopyBothResponse")),
        }
    }

    async fn send_query(&mut self, query: &str) -> Result<(), WireError> {
        frontend::query(query, &mut self.framed.write).map_err(|error| WireError::protocol("sending", error))?;
        self.framed.flush().await
    }
}

fn text_row(row: &postgres_protocol::message::backend::DataRowBody) -> std::io::Result<TextRow> {
    use tokio_postgres::fallible_iterator::FallibleIterator;
    let text = |range| row.buffer().get(range).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    row.ranges().map(|range| Ok(range.and_then(text))).collect()
}
