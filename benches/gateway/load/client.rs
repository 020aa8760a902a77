//! One subscriber: a bare socket that has joined one topic.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::frames::{self, Seen};

/// One buffer for all subscribers of a thread, as large as a socket's own.
const READ_BUFFER: usize = 256 * 1024;

pub(crate) type SharedBuffer = Rc<RefCell<Vec<u8>>>;

pub(crate) fn shared_buffer() -> SharedBuffer {
    Rc::new(RefCell::new(vec![0; READ_BUFFER]))
}

/// How a subscriber says what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// A Phoenix socket, and a join.
    Join,
    /// A WebSocket whose path, `/sub/TOPIC`, says it; nothing is answered.
    Path,
}

pub(crate) struct Client {
    stream: TcpStream,
    buffer: SharedBuffer,
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
}

impl Client {
    /// The handshake, and the join's message sent: the reply is the first thing that is read.
    pub(crate) async fn join(port: u16, topic: &str, cursor: Option<&str>, buffer: SharedBuffer) -> io::Result<Self> {
        let mut client = Self::connect(port, "/socket/websocket?vsn=2.0.0", buffer).await?;
        let params = cursor.map_or_else(|| "{}".to_owned(), |cursor| format!(r#"{{"cursor":"{cursor}"}}"#));
        let join = format!(r#"["1","1","{topic}","phx_join",{params}]"#);
        client.stream.write_all(&frames::client_text(&join)).await?;
        Ok(client)
    }

    /// The handshake alone.
    pub(crate) async fn connect(port: u16, path: &str, buffer: SharedBuffer) -> io::Result<Self> {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Nothing comes behind the head before a join is sent, or before everyone is there.
            if stream.read_buf(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Ok(Self { stream, buffer, partial: Vec::new() })
    }

    /// Whatever comes next, at least one frame. One system call for each time that the socket has something.
    pub(crate) async fn read(&mut self, mut take: impl FnMut(Seen<'_>)) -> io::Result<()> {
        let Self { stream, buffer, partial } = self;
        loop {
            let mut any = false;
            poll_fn(|context| {
                let mut shared = buffer.borrow_mut();
                let mut buffer = ReadBuf::new(&mut shared);
                let poll = Pin::new(&mut *stream).poll_read(context, &mut buffer);
                poll.map_ok(|()| any = frames_of(buffer.filled(), partial, &mut take))
            })
            .await?;
            if any {
                return Ok(());
            }
        }
    }

    /// Until the join is answered; the reply's text. Updates that come right behind it are not looked at.
    pub(crate) async fn joined(&mut self) -> io::Result<String> {
        let mut reply = None;
        while reply.is_none() {
            self.read(|seen| {
                if let Seen::Other(text) = seen {
                    reply = Some(String::from_utf8_lossy(text).into_owned());
                }
            })
            .await?;
        }
        Ok(reply.unwrap_or_default())
    }
}

/// Takes the whole frames out of what was read; whether there was one.
fn frames_of(read: &[u8], partial: &mut Vec<u8>, take: &mut impl FnMut(Seen<'_>)) -> bool {
    assert!(!read.is_empty(), "the server has closed a subscriber's connection");
    if partial.is_empty() {
        let taken = frames::each(read, take);
        partial.extend_from_slice(&read[taken..]);
        return taken > 0;
    }
    partial.extend_from_slice(read);
    let taken = frames::each(partial, take);
    partial.drain(..taken);
    taken > 0
}
