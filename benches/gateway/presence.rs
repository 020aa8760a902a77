//! Presence in a crowd: everyone comes at once, one more comes, some broadcast, and half of them vanish at once.
//!
//! Everyone must know of everyone: with n members each phase gives some n² entries to read, so that what matters is
//! what the gateway takes for them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::Run;
use crate::bed::Bed;
use crate::load::cost::{Look, memory};
use crate::load::frames::{client_text, header};
use crate::table;

const NAME: &str = "presence, 2,000 members of one topic";
const MEMBERS: usize = 2_000;
/// Of them, those who vanish while the others watch.
const VANISHING: usize = MEMBERS / 2;
const BROADCASTS: usize = 500;
/// Without progress for this long, something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all members together have seen.
#[derive(Default)]
struct Seen {
    /// By member: how many it believes to be there.
    present: RefCell<Vec<i64>>,
    bytes: RefCell<u64>,
    messages: RefCell<usize>,
    changed: Notify,
}

pub(crate) async fn run(run: &Run) {
    if run.wants(NAME) {
        LocalSet::new().run_until(phases(run)).await;
    }
}

async fn phases(run: &Run) {
    let mut bed = Bed::start(run.place).await;
    let (port, process) = (bed.gateway.port(), bed.gateway.process_id());
    let seen = Rc::new(Seen::default());
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        members.push(member(number, port, &seen).await);
    }
    table::heading(NAME, &["s until all know", "CPU-seconds", "MiB sent", "MiB (RSS) most"]);
    let mut before = Look::at(process);
    for (number, (sender, _)) in members.iter_mut().enumerate() {
        join(sender, number).await;
    }
    agreement(&seen, 0..MEMBERS, MEMBERS).await;
    report("all join", before, process, &seen);

    before = Look::at(process);
    let mut late = member(MEMBERS, port, &seen).await;
    join(&mut late.0, MEMBERS).await;
    agreement(&seen, 0..=MEMBERS, MEMBERS + 1).await;
    report("one more", before, process, &seen);

    before = Look::at(process);
    for (number, (sender, _)) in members.iter_mut().take(BROADCASTS).enumerate() {
        let message = format!(r#"["1","2","rooms:1","message",{{"from":{number},"text":"hello, everyone"}}]"#);
        sender.write_all(&client_text(&message)).await.expect("a socket");
    }
    wait(&seen, "broadcasts", || *seen.messages.borrow() == BROADCASTS * (MEMBERS + 1)).await;
    report("500 broadcasts", before, process, &seen);

    before = Look::at(process);
    members.drain(..VANISHING).for_each(|(sender, reader)| {
        reader.abort();
        drop(sender);
    });
    agreement(&seen, VANISHING..=MEMBERS, MEMBERS + 1 - VANISHING).await;
    report("half vanish", before, process, &seen);
}

fn report(what: &str, before: Look, process: u32, seen: &Seen) {
    let taken = Look::at(process) - before;
    let mib = std::mem::take(&mut *seen.bytes.borrow_mut()) as f64 / f64::from(1 << 20);
    let peak = memory(process).peak / 1024.0;
    table::line(what, &[taken.elapsed_s, taken.cpu_s, mib, peak], 2);
}

async fn agreement(seen: &Seen, members: impl IntoIterator<Item = usize> + Clone, count: usize) {
    let count = i64::try_from(count).expect("a few thousand");
    let agree = || members.clone().into_iter().all(|member| seen.present.borrow()[member] == count);
    wait(seen, "everyone's agreement", agree).await;
}

async fn wait(seen: &Seen, what: &str, mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        let progress = tokio::time::timeout(PATIENCE, seen.changed.notified()).await;
        assert!(progress.is_ok(), "no {what}: {:?}", &seen.present.borrow()[..]);
    }
}

async fn join(sender: &mut OwnedWriteHalf, number: usize) {
    let params = format!(r#"{{"presence":{{"key":"user {number}","meta":{{"name":"Somebody {number}"}}}}}}"#);
    sender.write_all(&client_text(&format!(r#"["1","1","rooms:1","phx_join",{params}]"#))).await.expect("a socket");
}

/// A connection that has not joined yet, and the task that reads from it.
async fn member(number: usize, port: u16, seen: &Rc<Seen>) -> (OwnedWriteHalf, tokio::task::JoinHandle<()>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway");
    stream.set_nodelay(true).expect("a socket");
    let request = format!(
        "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("a handshake");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut head).await.expect("an answer") > 0);
    }
    let (reader, sender) = stream.into_split();
    seen.present.borrow_mut().push(0);
    let reading = tokio::task::spawn_local(read(number, reader, Rc::clone(seen)));
    (sender, reading)
}

async fn read(number: usize, mut reader: OwnedReadHalf, seen: Rc<Seen>) {
    let mut buffer = Vec::with_capacity(64 << 10);
    while reader.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        let mut at = 0;
        while let Some((header, length)) = header(&buffer[at..]) {
            let Some(message) = buffer.get(at + header..at + header + length) else { break };
            take(number, buffer[at], message, &seen);
            at += header + length;
        }
        *seen.bytes.borrow_mut() += at as u64;
        buffer.drain(..at);
        seen.changed.notify_one();
    }
}

fn take(number: usize, first: u8, message: &[u8], seen: &Seen) {
    let text = str::from_utf8(message).expect("text");
    assert_eq!(first, 0x81, "{text}");
    let count = |text: &str| i64::try_from(text.matches(r#""phx_ref":"#).count()).expect("a few thousand");
    let begins = |event: &str| text.starts_with(&format!(r#"[null,null,"rooms:1","{event}","#));
    if begins("presence_state") {
        seen.present.borrow_mut()[number] = count(text);
    } else if begins("presence_diff") {
        let (joins, leaves) = text.split_once(r#","leaves":"#).expect("both sides");
        seen.present.borrow_mut()[number] += count(joins) - count(leaves);
    } else if begins("message") {
        *seen.messages.borrow_mut() += 1;
    }
}
