//! Where the database is and how to reach it.

/// A parsed connection string.
#[derive(Clone)]
pub struct ConnectionConfig {
    config: tokio_postgres::Config,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Postgres(#[from] tokio_postgres::Error),
}

impl ConnectionConfig {
    /// Parses a `postgres://` URL or a `key=value` string.
    ///
    /// # Errors
    /// The text is neither.
    pub fn parse(text: &str) -> Result<Self, ConnectError> {
        Ok(Self { config: text.parse()? })
    }
}

/// An ordinary connection for catalogue queries, with the same TLS and session settings as the replication connection.
///
/// # Errors
/// The server can't be reached or refuses.
pub async fn connect_sql(config: &ConnectionConfig) -> Result<tokio_postgres::Client, ConnectError> {
    let (client, connection) = config.config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "catalogue connection ended");
        }
    });
    Ok(client)
}
