//! `walcast health`: what `/readyz` says, as an exit code.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{FAILURE, Outcome, file_or_default, load, output, reachable, runtime};
use crate::config::defaults;

/// A gateway that takes longer to answer is not well.
const PATIENCE: Duration = Duration::from_secs(5);
/// Reasons are a few lines.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Ask a running gateway whether it is ready: exit code 0, or 1 and what is in the way
///
/// For health checks of containers and for scripts: it needs neither a shell nor an HTTP client. The gateway is asked at
/// the configuration's server.admin, on this machine; without a configuration file at 127.0.0.1:4001.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Another address to ask, as in 10.0.0.7:4001
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("nobody listens at {address} for operators: {source}")]
    Unreachable { address: SocketAddr, source: std::io::Error },
    #[error("the gateway at {address} does not answer within {} s", PATIENCE.as_secs())]
    Silent { address: SocketAddr },
    #[error("what answers at {address} is no gateway: is this its `server.admin`?")]
    Stranger { address: SocketAddr },
    #[error("the configuration has errors (walcast check shows them): name the address with --admin")]
    Config,
}

/// `/readyz`'s answer.
#[derive(Debug, Deserialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    reason: String,
    message: String,
}

pub(super) fn execute(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let address = match (arguments.admin, file_or_default(config)) {
        (Some(address), _) => address,
        (None, Some(file)) => load(Some(file))?.config.ok_or(HealthError::Config)?.server.admin,
        (None, None) => defaults::ADMIN,
    };
    let address = reachable(address);
    let asked = runtime()?.block_on(async { timeout(PATIENCE, ask(address)).await });
    let readiness = asked.map_err(|_late| HealthError::Silent { address })??;
    for Reason { reason, message } in &readiness.reasons {
        output::say(&format!("{reason}: {message}"));
    }
    Ok(if readiness.ready { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}

async fn ask(address: SocketAddr) -> Result<Readiness, HealthError> {
    let unreachable = |source| HealthError::Unreachable { address, source };
    let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.map_err(unreachable)?;
    body(&answer).and_then(|body| serde_json::from_slice(body).ok()).ok_or(HealthError::Stranger { address })
}

/// What follows the head of an answer that is not chunked: the connection's end is the body's.
fn body(answer: &[u8]) -> Option<&[u8]> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let head = answer.windows(HEAD_END.len()).position(|window| window == HEAD_END)?;
    answer.get(head + HEAD_END.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_or_is_none() {
        let read = |answer: &[u8]| body(answer).and_then(|body| serde_json::from_slice::<Readiness>(body).ok());
        assert!(read(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n{\"ready\":true,\"reasons\":[]}\n").unwrap().ready);
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>", b"ssh-2.0\r\n"] {
            assert!(read(answer).is_none(), "{answer:?}");
        }
    }
}
