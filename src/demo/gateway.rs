//! The gateway inside the demo's process: the one place that knows how it is started.

use std::net::SocketAddr;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::DemoError;

const CONFIG: &str = include_str!("../../config/demo.toml");

/// `config/demo.toml` with its three variables filled in.
pub(super) fn config_text(database_url: &str, listen: SocketAddr, admin: SocketAddr) -> String {
    CONFIG
        .replace("${WALCAST_DEMO_DATABASE_URL}", database_url)
        .replace("${WALCAST_DEMO_LISTEN}", &listen.to_string())
        .replace("${WALCAST_DEMO_ADMIN}", &admin.to_string())
}

/// A running gateway. Until `crate::app` is merged: the admin listener with the pages, and nothing else.
pub(super) struct Gateway {
    admin: JoinHandle<()>,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(_config: &str, admin: SocketAddr, pages: Router) -> Result<Self, DemoError> {
        let listener = TcpListener::bind(admin)
            .await
            .map_err(|error| DemoError::Gateway(format!("listen on {admin}: {error}")))?;
        Ok(Self { admin: tokio::spawn(serve(listener, pages)) })
    }

    /// Returns when a part of it can't go on.
    pub(super) async fn failed(&mut self) -> DemoError {
        let reason = (&mut self.admin).await.err().map_or_else(|| "it ended".to_owned(), |panic| panic.to_string());
        DemoError::Gateway(reason)
    }

    pub(super) async fn stop(self) {
        self.admin.abort();
        let _aborted = self.admin.await;
    }
}

async fn serve(listener: TcpListener, pages: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(pages.clone());
        tokio::spawn(async move {
            let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection to the demo's page ended early");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_of_the_config_is_filled_in() {
        let address: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let text = config_text("postgres://postgres@127.0.0.1:5432/postgres", address, address);
        assert!(!text.contains("${"), "{text}");
        toml::from_str::<toml::Table>(&text).unwrap();
    }
}
