//! Plain HTTP/1.1, one request a connection, with bodies that can be read as they come.

use std::collections::HashMap;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HashMap<String, String>,
    stream: BufReader<TcpStream>,
}

/// Sends a request and reads the answer's head.
pub(crate) async fn request(port: u16, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    try_request(port, method, target, headers, body).await.expect("an answer")
}

/// The same; `None` where nobody answers.
pub(crate) async fn try_request(
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{lines}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    let mut stream = BufReader::new(stream);
    let status = line(&mut stream).await?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HashMap::new();
    while let Some((name, value)) = line(&mut stream).await?.split_once(": ") {
        headers.insert(name.to_owned(), value.to_owned());
    }
    Some(Answer { status, headers, stream })
}

pub(crate) async fn get(port: u16, target: &str) -> Answer {
    request(port, "GET", target, &[], "").await
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The next piece of a chunked body; `None` at its end, an error where it is cut off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        let read = async {
            let size = line(&mut self.stream).await.ok_or("the body was cut off")?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| format!("no chunk size: {size:?}"))?;
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).await.map_err(|error| error.to_string())?;
            chunk.truncate(size);
            Ok((size > 0).then_some(chunk))
        };
        timeout(PATIENCE, read).await.map_err(|_| "nothing came in time".to_owned())?
    }

    /// The whole body.
    pub(crate) async fn text(mut self) -> String {
        let mut body = Vec::new();
        if let Some(length) = self.header("content-length") {
            body.resize(length.parse().expect("a length"), 0);
            self.stream.read_exact(&mut body).await.expect("a whole body");
        } else {
            while let Some(chunk) = self.chunk().await.expect("a whole body") {
                body.extend(chunk);
            }
        }
        String::from_utf8(body).expect("UTF-8")
    }

    pub(crate) async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = timeout(PATIENCE, stream.read_line(&mut line)).await.expect("an answer in time");
    read.ok().filter(|read| *read > 0)?;
    Some(line.trim_end().to_owned())
}
