//! Gets a key set: over HTTP with bounds in every direction, or from a file.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::jwks::{JWKS_BYTES_MAX, JwksError};
use super::location::{JwksUrl, JwksUrlError};

/// For everything together: name, connection, redirects and body. A client may be waiting for it.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Issuers redirect once at most; more than a few is a loop.
const REDIRECTS_MAX: usize = 3;
/// An answer's head; hyper's own bound is sixty times that.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Why there is no new key set.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("connect to {host}:{port}: {source}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("TLS with {host}: {source}")]
    Tls { host: String, source: io::Error },
    #[error("`{0}` is no name that a certificate could have")]
    ServerName(String),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("HTTP: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("it answers HTTP {0}")]
    Status(StatusCode),
    #[error("a redirect without a usable address: {0}")]
    Redirect(JwksUrlError),
    #[error("more than {REDIRECTS_MAX} redirects")]
    Redirects,
    #[error("the body could not be read, or is larger than {JWKS_BYTES_MAX} bytes")]
    Body,
    #[error("no whole answer within {} s", FETCH_TIMEOUT.as_secs())]
    Timeout,
    #[error("read it: {0}")]
    File(#[from] io::Error),
    #[error(transparent)]
    Content(#[from] JwksError),
}

/// What TLS needs: the system's root certificates.
///
/// # Errors
/// The TLS library has no protocol version in common with itself.
pub(super) fn tls_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _unusable) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::warn!("the system has no root certificates: no issuer's certificate can be verified");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The document at an address.
///
/// # Errors
/// See [`FetchError`].
pub(super) async fn fetch(url: &JwksUrl, tls: &Arc<ClientConfig>) -> Result<Bytes, FetchError> {
    timeout(FETCH_TIMEOUT, follow(url, tls)).await.unwrap_or(Err(FetchError::Timeout))
}

/// A file's content, as far as a key set goes.
///
/// # Errors
/// It can't be read.
pub(super) async fn read(path: &Path) -> Result<Bytes, FetchError> {
    let mut content = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(JWKS_BYTES_MAX as u64 + 1).read_to_end(&mut content).await?;
    Ok(Bytes::from(content))
}

async fn follow(url: &JwksUrl, tls: &Arc<ClientConfig>) -> Result<Bytes, FetchError> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let response = connect_and_get(&url, tls).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return axum::body::to_bytes(response.into_body(), JWKS_BYTES_MAX).await.map_err(|_| FetchError::Body);
        }
        if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
            return Err(FetchError::Status(status));
        }
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        url = url.redirected(location.unwrap_or_default()).map_err(FetchError::Redirect)?;
    }
    Err(FetchError::Redirects)
}

async fn connect_and_get(url: &JwksUrl, tls: &Arc<ClientConfig>) -> Result<Response<Body>, FetchError> {
    let JwksUrl { host, port, .. } = url;
    let stream = TcpStream::connect((host.as_str(), *port)).await;
    let stream = stream.map_err(|source| FetchError::Connect { host: host.clone(), port: *port, source })?;
    if !url.tls {
        return get(url, stream).await;
    }
    let name = ServerName::try_from(host.clone()).map_err(|_| FetchError::ServerName(host.clone()))?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    get(url, stream.map_err(|source| FetchError::Tls { host: host.clone(), source })?).await
}

async fn get<S>(url: &JwksUrl, stream: S) -> Result<Response<Body>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // It ends when the response is read or dropped; what goes wrong in it the response says.
    tokio::spawn(connection);
    let request = Request::get(&url.path_and_query)
        .header(HOST, &url.authority)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("walcast/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())?;
    Ok(sender.send_request(request).await?.map(Body::new))
}

#[cfg(test)]
mod tests;
