//! What a client's bytes come and go by: TCP, a Unix socket, or TLS over TCP.
//!
//! Shared frames go to a socket as they are, without a copy. Under TLS each client has a key of its own: what is taken
//! is encrypted right from the frames, and what the socket has no room for yet waits as ciphertext, a record or a few.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connected client.
pub(super) enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed: it is large, and most links are none.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    /// Takes as many bytes as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` where there is none; anything else is the link's end.
    pub(super) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(stream), [one]) => stream.try_write(one),
            (Self::Tcp(stream), several) => stream.try_write_vectored(several),
            (Self::Unix(stream), several) => stream.try_write_vectored(several),
            (Self::Tls(stream), several) => {
                let (socket, session) = stream.get_mut();
                // What was taken before goes first, so that no more than a buffer of rustls' ever waits as ciphertext.
                if !send(session, socket)? {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let taken = session.writer().write_vectored(several)?;
                send(session, socket)?;
                Ok(taken)
            }
        }
    }

    /// Sends what was taken and has not gone out; whether nothing of that is left.
    ///
    /// # Errors
    /// The link has ended.
    pub(super) fn try_flush(&mut self) -> io::Result<bool> {
        let Self::Tls(stream) = self else { return Ok(true) };
        let (socket, session) = stream.get_mut();
        send(session, socket)
    }

    /// Ready once the socket has room again.
    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(context),
            Self::Unix(stream) => stream.poll_write_ready(context),
            Self::Tls(stream) => stream.get_ref().0.poll_write_ready(context),
        }
    }

    /// Says that nothing more comes, where the protocol has a word for that. To be called before it is dropped.
    pub(super) fn finish(&mut self) {
        if let Self::Tls(stream) = self {
            stream.get_mut().1.send_close_notify();
            // A client that has no room for it, or is gone, learns it from TCP.
            let _best_effort = self.try_flush();
        }
    }
}

/// Sends ciphertext as far as the socket takes it; whether nothing is left.
fn send(session: &mut ServerConnection, socket: &TcpStream) -> io::Result<bool> {
    while session.wants_write() {
        match session.write_tls(&mut AtOnce(socket)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A socket that is written to without a task: nobody is woken, and nobody's turn is used up, where thousands of
/// clients are written to in a row. Who finds no room asks for it by [`Link::poll_write_ready`].
struct AtOnce<'s>(&'s TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.try_write(data)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does the same with whichever it is, which all are `Unpin`.
macro_rules! each {
    ($link:expr, $stream:ident => $do:expr) => {
        match $link.get_mut() {
            Link::Tcp($stream) => $do,
            Link::Unix($stream) => $do,
            Link::Tls($stream) => $do,
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}
