//! `walcast health`: what `/readyz` says, as an exit code.

use std::error::Error;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{FAILURE, Outcome, file_or_default, output, reachable, runtime};
use crate::config::{self, Address, OperatorsError, defaults};

/// A gateway that takes longer to answer is not well.
const PATIENCE: Duration = Duration::from_secs(5);
/// Reasons are a few lines.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Ask a running gateway whether it is ready: exit code 0, or 1 and what is in the way
///
/// For health checks of containers and for scripts: it needs neither a shell nor an HTTP client. The gateway is asked
/// on this machine, at the first of the configuration's server.admin where somebody listens; without a configuration
/// file at 127.0.0.1:4001. Whatever else is wrong with the file makes no difference.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Another address to ask, as in 10.0.0.7:4001 or unix:/run/walcast/admin.sock; no configuration file is read
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Address>,
}

#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("nobody listens at {address} for operators: {source}")]
    Unreachable { address: Address, source: io::Error },
    #[error("this user may not connect to {address}: be one who may, by the group and `socket_mode` of [server]")]
    Forbidden { address: Address },
    #[error("the gateway at {address} does not answer within {} s", PATIENCE.as_secs())]
    Silent { address: Address },
    #[error("what answers at {address} is no gateway: is this its `server.admin`?")]
    Stranger { address: Address },
    #[error("there is no address to ask: name one with --admin")]
    Nowhere,
    #[error("{0}: name the gateway's address with --admin")]
    Config(OperatorsError),
}

/// `/readyz`'s answer.
#[derive(Debug, Deserialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<Reason>,
    /// What is not in the way yet.
    #[serde(default)]
    warnings: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    reason: String,
    message: String,
}

pub(super) fn execute(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let addresses = match (&arguments.admin, file_or_default(config)) {
        (Some(address), _) => vec![address.clone()],
        (None, Some(file)) => from_file(file)?,
        (None, None) => vec![Address::Tcp(defaults::ADMIN)],
    };
    let readiness = runtime()?.block_on(ask_any(&addresses))?;
    for Reason { reason, message } in &readiness.reasons {
        output::say(&format!("{reason}: {message}"));
    }
    for Reason { reason, message } in &readiness.warnings {
        output::say(&format!("warning: {reason}: {message}"));
    }
    Ok(if readiness.ready { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}

fn from_file(file: &Path) -> Result<Vec<Address>, Box<dyn Error>> {
    match config::operators(file, &|name| std::env::var(name)) {
        Ok(addresses) => Ok(addresses),
        Err(OperatorsError::Read(error)) => Err(error.into()),
        Err(error) => Err(HealthError::Config(error).into()),
    }
}

/// Behind each address is the same gateway: the first answer counts. Where nobody listens at any, the first is named.
async fn ask_any(addresses: &[Address]) -> Result<Readiness, HealthError> {
    let mut first = None;
    for address in addresses {
        let asked = timeout(PATIENCE, ask(address)).await;
        match asked.unwrap_or_else(|_late| Err(HealthError::Silent { address: address.clone() })) {
            Err(error @ (HealthError::Unreachable { .. } | HealthError::Forbidden { .. })) => {
                first = first.or(Some(error));
            }
            answer => return answer,
        }
    }
    Err(first.unwrap_or(HealthError::Nowhere))
}

async fn ask(address: &Address) -> Result<Readiness, HealthError> {
    let unreachable = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => HealthError::Forbidden { address: address.clone() },
        _ => HealthError::Unreachable { address: address.clone(), source },
    };
    let answer = match address {
        Address::Tcp(address) => exchange(TcpStream::connect(reachable(*address)).await.map_err(unreachable)?).await,
        Address::Unix(path) => exchange(UnixStream::connect(path).await.map_err(unreachable)?).await,
    };
    let answer = answer.map_err(unreachable)?;
    let readiness = body(&answer).and_then(|body| serde_json::from_slice(body).ok());
    readiness.ok_or_else(|| HealthError::Stranger { address: address.clone() })
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<u8>> {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
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
