//! The baseline: a server that does nothing but what every server of this kind must.
//!
//! One thread, one epoll set, no database, no limits, no recovery. A message that is posted is framed once, and written
//! to each subscriber's socket: one write a message, or, in batches, one write for all that has come since the last.
//! The first is as fast as a server can be that writes each message by itself; the second is the limit altogether.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

use crate::load::frames;

/// The first argument of this program where it is to be this server; the port and the mode follow.
pub(crate) const ARGUMENT: &str = "ideal";
pub(crate) const BATCH: &str = "batch";

const READ_BUFFER: usize = 64 * 1024;

struct Server {
    batch: bool,
    members: RefCell<HashMap<String, Vec<Rc<Member>>>>,
    posted: RefCell<Vec<(String, Vec<u8>)>>,
    arrived: Notify,
    buffer: RefCell<Vec<u8>>,
}

struct Member {
    stream: TcpStream,
    /// What the kernel had no room for; a task waits until it has.
    rest: RefCell<Vec<u8>>,
}

/// Serves until it is killed.
pub(crate) fn run(port: u16, batch: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let server = Rc::new(Server {
            batch,
            members: RefCell::default(),
            posted: RefCell::default(),
            arrived: Notify::new(),
            buffer: RefCell::new(vec![0; READ_BUFFER]),
        });
        spawn_local(Rc::clone(&server).fan_out());
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            spawn_local(Rc::clone(&server).serve(stream));
        }
    });
}

impl Server {
    async fn fan_out(self: Rc<Self>) {
        loop {
            self.arrived.notified().await;
            let mut posted = std::mem::take(&mut *self.posted.borrow_mut());
            if self.batch {
                posted = by_topic(posted);
            }
            for (topic, bytes) in posted {
                self.members.borrow().get(&topic).into_iter().flatten().for_each(|member| send(member, &bytes));
            }
            // What has come meanwhile is read first.
            yield_now().await;
        }
    }

    /// A publisher's connection, or a subscriber's.
    async fn serve(self: Rc<Self>, mut stream: TcpStream) {
        let mut head = Vec::with_capacity(512);
        loop {
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.is_ok_and(|read| read == 0) {
                    return;
                }
            }
            if head.starts_with(b"GET ") {
                return self.subscriber(stream).await;
            }
            let Ok(()) = self.post(&mut stream, &mut head).await else { return };
        }
    }

    /// `POST /pub/{topics}/{topic}` with a payload: to so many topics, whose number stands in place of `{i}`.
    async fn post(&self, stream: &mut TcpStream, request: &mut Vec<u8>) -> io::Result<()> {
        let end = request.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |end| end + 4);
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let length: usize = length.expect("a length");
        while request.len() < end + length {
            stream.read_buf(request).await?;
        }
        let mut path = head.split(' ').nth(1).expect("a path").splitn(4, '/').skip(2);
        let topics: u64 = path.next().and_then(|count| count.parse().ok()).expect("a number of topics");
        let template = path.next().expect("a topic");
        for number in 0..topics {
            let topic = template.replace("{i}", &number.to_string());
            let mut message = format!("[null,null,\"{topic}\",\"new_updates\",").into_bytes();
            message.extend_from_slice(&request[end..end + length]);
            message.push(b']');
            self.posted.borrow_mut().push((topic, frames::server_text(&message)));
        }
        request.drain(..end + length);
        self.arrived.notify_one();
        stream.try_write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").map(|_| ())
    }

    async fn subscriber(&self, stream: TcpStream) {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let member = Rc::new(Member { stream, rest: RefCell::default() });
        send(&member, answer);
        let mut topic = None;
        while member.stream.readable().await.is_ok() {
            let mut buffer = self.buffer.borrow_mut();
            match member.stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(length) if topic.is_none() => topic = Some(self.join(&member, &buffer[..length])),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        if let Some(topic) = topic {
            self.members.borrow_mut().entry(topic).or_default().retain(|other| !Rc::ptr_eq(other, &member));
        }
    }

    /// The load generator's join comes in one piece and masked with zeros.
    fn join(&self, member: &Rc<Member>, frame: &[u8]) -> String {
        let text = String::from_utf8_lossy(frame);
        let topic = text.split('"').nth(5).expect("a topic").to_owned();
        let reply = format!(r#"["1","1","{topic}","phx_reply",{{"status":"ok","response":{{}}}}]"#);
        send(member, &frames::server_text(reply.as_bytes()));
        self.members.borrow_mut().entry(topic.clone()).or_default().push(Rc::clone(member));
        topic
    }
}

/// All messages of a topic in one piece, in their order.
fn by_topic(posted: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let (mut pieces, mut places) = (Vec::<(String, Vec<u8>)>::new(), HashMap::new());
    for (topic, bytes) in posted {
        let place = *places.entry(topic.clone()).or_insert(pieces.len());
        match pieces.get_mut(place) {
            Some((_, piece)) => piece.extend(bytes),
            None => pieces.push((topic, bytes)),
        }
    }
    pieces
}

/// One write; what the socket does not take waits.
fn send(member: &Rc<Member>, bytes: &[u8]) {
    let mut rest = member.rest.borrow_mut();
    if !rest.is_empty() {
        return rest.extend_from_slice(bytes);
    }
    let taken = member.stream.try_write(bytes).unwrap_or_default();
    if taken < bytes.len() {
        rest.extend_from_slice(&bytes[taken..]);
        spawn_local(send_rest(Rc::clone(member)));
    }
}

async fn send_rest(member: Rc<Member>) {
    while member.stream.writable().await.is_ok() {
        let mut rest = member.rest.borrow_mut();
        match member.stream.try_write(&rest) {
            Ok(taken) => drop(rest.drain(..taken)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return rest.clear(),
        }
        if rest.is_empty() {
            return;
        }
    }
}
