//! Whole messages out of a byte stream, and bytes into it, both safe to cancel.
#![deny(clippy::indexing_slicing)]

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::{ServerError, WireError};

/// One allocation of the read buffer, of which messages are slices: a walsender sends each message by itself, so that
/// this holds some hundred of them, and little enough is kept alive by one that stays.
const READ_BUFFER: usize = 128 * 1024;
/// A new allocation is made when less than this is left of the last, so that reads stay large.
const READ_MINIMUM: usize = 16 * 1024;
/// Postgres builds a message in one allocation, which can't be larger (`MaxAllocSize`).
pub const FRAME_LIMIT: u64 = 0x3FFF_FFFF;

/// Tag and length, the length counting itself.
const HEADER: usize = 5;
const LENGTH: u64 = 4;
const COPY_BOTH_RESPONSE: u8 = b'W';

/// What the server sent outside of a copy.
pub(super) enum Backend {
    Message(Message),
    /// `CopyBothResponse`, which `postgres-protocol` does not know.
    CopyBoth,
}

/// A message as it came, the tag apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) tag: u8,
    /// A slice of the read buffer.
    pub(super) body: Bytes,
}

/// A byte stream with its buffers.
#[derive(Debug)]
pub(super) struct Framed<S> {
    io: S,
    read: BytesMut,
    /// Bytes that are yet to be sent; a cancelled [`Framed::flush`] leaves the rest here.
    pub(super) write: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, read: BytesMut::with_capacity(READ_BUFFER), write: BytesMut::new() }
    }

    /// The next message if all of it has been read.
    pub(super) fn buffered(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((tag, length)) = self.header()? else { return Ok(None) };
        if self.read.len() < length {
            return Ok(None);
        }
        let mut body = self.read.split_to(length).freeze();
        body.advance(HEADER);
        Ok(Some(Frame { tag, body }))
    }

    /// The first message's tag and its length with the tag.
    fn header(&self) -> Result<Option<(u8, usize)>, WireError> {
        let Some([tag, length @ ..]) = self.read.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u64::from(u32::from_be_bytes(*length));
        if length < LENGTH {
            return Err(WireError::protocol("reading a message", format!("a length of {length}")));
        }
        let too_large = WireError::FrameTooLarge { length, limit: FRAME_LIMIT };
        let whole = usize::try_from(length + 1).ok().filter(|_| length <= FRAME_LIMIT).ok_or(too_large)?;
        Ok(Some((*tag, whole)))
    }

    /// Waits until more bytes have come. Cancelled, it has read nothing.
    pub(super) async fn fill(&mut self, during: &'static str) -> Result<(), WireError> {
        if self.read.capacity() - self.read.len() < READ_MINIMUM {
            // Grows with what has come, not with what a header claims.
            self.read.reserve(READ_BUFFER.max(self.read.len()));
        }
        match self.io.read_buf(&mut self.read).await {
            Ok(0) => Err(WireError::Closed(during)),
            Ok(_) => Ok(()),
            Err(source) => Err(WireError::io(format!("{during}: read from the server"), source)),
        }
    }

    /// Sends what [`Framed::write`] holds. Cancelled, the rest goes first the next time.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        let failed = |source| WireError::io("send to the server", source);
        while !self.write.is_empty() {
            self.io.write_buf(&mut self.write).await.map_err(failed)?;
        }
        self.io.flush().await.map_err(failed)
    }

    /// The next message that is not just for information; an `ErrorResponse` is returned as the error that it is.
    pub(super) async fn message(&mut self, during: &'static str) -> Result<Backend, WireError> {
        loop {
            let Some((tag, length)) = self.header()?.filter(|(_, length)| *length <= self.read.len()) else {
                self.fill(during).await?;
                continue;
            };
            if tag == COPY_BOTH_RESPONSE {
                self.read.advance(length);
                return Ok(Backend::CopyBoth);
            }
            match Message::parse(&mut self.read).map_err(|error| WireError::protocol(during, error))? {
                Some(Message::ErrorResponse(body)) => return Err(WireError::Server(server_error(body.fields()))),
                Some(Message::NoticeResponse(body)) => log_notice(&server_error(body.fields())),
                Some(message) => return Ok(Backend::Message(message)),
                None => return Err(WireError::protocol(during, "a message without an end")),
            }
        }
    }

    /// Ends the stream politely; what can't be sent any more does not matter.
    pub(super) async fn close(mut self) {
        if let Err(error) = self.io.shutdown().await {
            tracing::debug!(%error, "closing the connection to Postgres");
        }
    }
}

/// Reads an `ErrorResponse`'s or a `NoticeResponse`'s fields.
pub(super) fn server_error(mut fields: postgres_protocol::message::backend::ErrorFields<'_>) -> ServerError {
    use tokio_postgres::fallible_iterator::FallibleIterator;
    let (mut severity, mut code, mut message, mut hint) = (None, None, None, None);
    // A malformed field ends the list; what came before it is still worth showing.
    while let Ok(Some(field)) = fields.next() {
        let value = || Some(String::from_utf8_lossy(field.value_bytes()).into_owned());
        match field.type_() {
            // The severity that is not translated.
            b'V' => severity = value(),
            b'C' => code = value(),
            b'M' => message = value(),
            b'H' => hint = value(),
            _ => {}
        }
    }
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
    ServerError {
        severity: or_unknown(severity),
        code: tokio_postgres::error::SqlState::from_code(&or_unknown(code)),
        message: or_unknown(message),
        hint,
    }
}

/// Postgres 18 tells of a missing publication by a warning only.
pub(super) fn log_notice(notice: &ServerError) {
    match notice.severity.as_str() {
        "WARNING" => tracing::warn!(code = notice.code.code(), message = notice.message, "Postgres warns"),
        _ => tracing::debug!(code = notice.code.code(), message = notice.message, "Postgres notice"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn framed(bytes: &[u8]) -> Framed<tokio::io::DuplexStream> {
        let (mut server, client) = tokio::io::duplex(1 << 20);
        server.write_all(bytes).await.unwrap();
        Framed::new(client)
    }

    #[tokio::test]
    async fn splits_messages_whole_and_half() {
        let mut framed = framed(b"d\0\0\0\x06hic\0\0\0\x04d\0\0").await;
        framed.fill("testing").await.unwrap();
        let frame = framed.buffered().unwrap().unwrap();
        assert_eq!((frame.tag, &*frame.body), (b'd', &b"hi"[..]));
        assert_eq!(framed.buffered().unwrap().unwrap().tag, b'c');
        assert_eq!(framed.buffered().unwrap(), None);
        assert!(matches!(framed.fill("testing").await, Err(WireError::Closed("testing"))));
    }

    #[tokio::test]
    async fn refuses_impossible_lengths_without_allocating_them() {
        for bytes in [b"d\xff\xff\xff\xff", b"d\0\0\0\x03"] {
            let mut framed = framed(bytes).await;
            framed.fill("testing").await.unwrap();
            assert!(framed.buffered().is_err());
        }
        let mut framed = framed(b"d\x3f\xff\xff\xff").await;
        framed.fill("testing").await.unwrap();
        assert_eq!(framed.buffered().unwrap(), None);
        assert!(framed.read.capacity() <= READ_BUFFER);
    }
}
