//! Streaming replication: copy-both, in which both sides send as they like.
#![deny(clippy::indexing_slicing)]

use bytes::{Buf, BufMut, Bytes};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::ReplicationClient;
use super::error::WireError;
use super::framed::{Backend, Frame, Framed, log_notice, server_error};
use super::socket::Socket;
use crate::change::{Lsn, PgTimestamp};

const DURING: &str = "streaming";
const COPY_DATA: u8 = b'd';
const XLOG_DATA: u8 = b'w';
const KEEPALIVE: u8 = b'k';
const STANDBY_STATUS_UPDATE: u8 = b'r';

/// What a walsender sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicationMessage {
    /// One message of the output plugin.
    XLogData {
        /// Where the record is; of a row it is not in order, see the commit's.
        wal_start: Lsn,
        wal_end: Lsn,
        /// When it was sent, by the server's clock.
        sent_at: PgTimestamp,
        /// A slice of the read buffer.
        data: Bytes,
    },
    /// Everything that commits up to `wal_end` has been sent.
    Keepalive { wal_end: Lsn, reply_requested: bool },
}

/// How far we are, as Postgres is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Received.
    pub write: Lsn,
    /// Never needed again: the slot's `confirmed_flush_lsn`. [`Lsn::ZERO`] says nothing about it.
    pub flush: Lsn,
    /// Handled.
    pub apply: Lsn,
}

/// A replication session that streams.
#[derive(Debug)]
pub struct ReplicationStream<S = Socket> {
    framed: Framed<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ReplicationStream<S> {
    pub(super) const fn new(framed: Framed<S>) -> Self {
        Self { framed }
    }

    /// Over a connection on which the server streams already.
    pub fn over(io: S) -> Self {
        Self::new(Framed::new(io))
    }

    /// Waits for the next message. Cancelled, nothing is lost.
    ///
    /// # Errors
    /// The server's error, the end of the stream (a server that shuts down ends it), or a broken connection.
    pub async fn next(&mut self) -> Result<ReplicationMessage, WireError> {
        loop {
            match self.next_buffered()? {
                Some(message) => return Ok(message),
                None => self.framed.fill(DURING).await?,
            }
        }
    }

    /// The next message if it has been read already, so that all that one read has brought can be taken at once.
    ///
    /// # Errors
    /// As [`Self::next`], for a broken connection.
    pub fn next_buffered(&mut self) -> Result<Option<ReplicationMessage>, WireError> {
        while let Some(frame) = self.framed.buffered()? {
            if let Some(message) = message(frame)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Tells how far we are. Cancelled, the rest of the update goes out before the next one.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send_status(&mut self, status: StatusUpdate, now: PgTimestamp) -> Result<(), WireError> {
        let mut update = [0; 34];
        let mut fields = &mut update[..];
        fields.put_u8(STANDBY_STATUS_UPDATE);
        for position in [status.write, status.flush, status.apply] {
            fields.put_u64(position.as_u64());
        }
        fields.put_i64(now.as_micros());
        fields.put_u8(0); // no answer needed
        let data = frontend::CopyData::new(&update[..]).map_err(|error| WireError::protocol("sending", error))?;
        data.write(&mut self.framed.write);
        self.framed.flush().await
    }

    /// Ends the stream from our side and gives the session back, for other commands; what the server still sends
    /// meanwhile is dropped, and comes again next time.
    ///
    /// # Errors
    /// The connection broke, or the server ended it.
    pub async fn end(mut self) -> Result<ReplicationClient<S>, WireError> {
        frontend::copy_done(&mut self.framed.write);
        self.framed.flush().await?;
        loop {
            if let Backend::Message(Message::ReadyForQuery(_)) = self.framed.message(DURING).await? {
                return Ok(ReplicationClient::again(self.framed));
            }
        }
    }

    /// Ends the stream from our side and closes the connection once the server has agreed; what it still sends
    /// meanwhile is dropped, and comes again next time.
    ///
    /// # Errors
    /// The connection broke before that; the slot keeps what was acknowledged all the same.
    pub async fn finish(mut self) -> Result<(), WireError> {
        frontend::copy_done(&mut self.framed.write);
        self.framed.flush().await?;
        loop {
            match self.next().await {
                Ok(_late) => {}
                Err(WireError::Closed(_)) => break,
                Err(error) => return Err(error),
            }
        }
        frontend::terminate(&mut self.framed.write);
        self.framed.flush().await?;
        self.framed.close().await;
        Ok(())
    }
}

/// Reads what is in a frame; `None` for what concerns nobody.
fn message(frame: Frame) -> Result<Option<ReplicationMessage>, WireError> {
    use postgres_protocol::message::backend::{
        COMMAND_COMPLETE_TAG, COPY_DONE_TAG, ERROR_RESPONSE_TAG, NOTICE_RESPONSE_TAG, PARAMETER_STATUS_TAG,
    };
    match frame.tag {
        COPY_DATA => copy_data(frame.body).map(Some),
        COPY_DONE_TAG | COMMAND_COMPLETE_TAG => Err(WireError::Closed(DURING)),
        ERROR_RESPONSE_TAG => Err(WireError::Server(reported(&frame)?)),
        NOTICE_RESPONSE_TAG => {
            log_notice(&reported(&frame)?);
            Ok(None)
        }
        PARAMETER_STATUS_TAG => Ok(None),
        other => Err(WireError::protocol(DURING, format!("message {:?}", char::from(other)))),
    }
}

/// Lets `postgres-protocol` read an error or a notice: rare enough to be put together again for it.
fn reported(frame: &Frame) -> Result<super::error::ServerError, WireError> {
    let mut whole = bytes::BytesMut::with_capacity(frame.body.len() + 5);
    whole.put_u8(frame.tag);
    whole.put_u32(u32::try_from(frame.body.len() + 4).unwrap_or(u32::MAX));
    whole.put_slice(&frame.body);
    match Message::parse(&mut whole).map_err(|error| WireError::protocol(DURING, error))? {
        Some(Message::ErrorResponse(body)) => Ok(server_error(body.fields())),
        Some(Message::NoticeResponse(body)) => Ok(server_error(body.fields())),
        _ => Err(WireError::protocol(DURING, "an error without text")),
    }
}

fn copy_data(mut body: Bytes) -> Result<ReplicationMessage, WireError> {
    const SHORT: &str = "a replication message that ends in its header";
    let short = || WireError::protocol(DURING, SHORT);
    let position = |body: &mut Bytes| body.try_get_u64().map(Lsn::new).map_err(|_| short());
    match body.try_get_u8().map_err(|_| short())? {
        XLOG_DATA => {
            let (wal_start, wal_end) = (position(&mut body)?, position(&mut body)?);
            let sent_at = body.try_get_i64().map(PgTimestamp::from_micros).map_err(|_| short())?;
            Ok(ReplicationMessage::XLogData { wal_start, wal_end, sent_at, data: body })
        }
        KEEPALIVE => {
            let wal_end = position(&mut body)?;
            let _server_clock = position(&mut body)?;
            let reply_requested = body.try_get_u8().map_err(|_| short())? != 0;
            Ok(ReplicationMessage::Keepalive { wal_end, reply_requested })
        }
        other => Err(WireError::protocol(DURING, format!("replication message {:?}", char::from(other)))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn keepalive(wal_end: u64) -> Vec<u8> {
        let mut frame = vec![b'd', 0, 0, 0, 22, b'k'];
        frame.extend(wal_end.to_be_bytes());
        frame.extend([0; 8]);
        frame.push(1);
        frame
    }

    #[tokio::test]
    async fn a_cancelled_read_loses_nothing() {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        let mut stream = ReplicationStream::over(client);
        let frame = keepalive(7);
        for byte in &frame[..frame.len() - 1] {
            server.write_all(&[*byte]).await.unwrap();
            let cut = tokio::time::timeout(std::time::Duration::from_millis(1), stream.next()).await;
            assert!(cut.is_err());
        }
        server.write_all(&frame[frame.len() - 1..]).await.unwrap();
        let expected = ReplicationMessage::Keepalive { wal_end: Lsn::new(7), reply_requested: true };
        assert_eq!(stream.next().await.unwrap(), expected);
    }

    #[tokio::test]
    async fn one_read_brings_many_messages() {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        let mut stream = ReplicationStream::over(client);
        server.write_all(&[keepalive(1), keepalive(2), keepalive(3)].concat()).await.unwrap();
        stream.next().await.unwrap();
        assert!(stream.next_buffered().unwrap().is_some());
        assert!(stream.next_buffered().unwrap().is_some());
        assert_eq!(stream.next_buffered().unwrap(), None);
    }

    #[tokio::test]
    async fn a_status_update_has_the_layout_of_the_protocol() {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        let mut stream = ReplicationStream::over(client);
        let status = StatusUpdate { write: Lsn::new(3), flush: Lsn::new(1), apply: Lsn::new(2) };
        stream.send_status(status, PgTimestamp::from_micros(9)).await.unwrap();
        let mut sent = [0; 39];
        server.read_exact(&mut sent).await.unwrap();
        let expected =
            [&b"d\0\0\0\x26r"[..], &3_u64.to_be_bytes(), &1_u64.to_be_bytes(), &2_u64.to_be_bytes()].concat();
        assert_eq!(sent[..30], expected);
        assert_eq!(sent[30..], [&9_u64.to_be_bytes()[..], &[0]].concat());
    }

    proptest! {
        #[test]
        fn any_frame_gives_a_message_or_an_error(tag: u8, body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _any = message(Frame { tag, body: Bytes::from(body) });
        }
    }
}
