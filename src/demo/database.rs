//! The demo's database: its rows, and what replication needs.

use tokio_postgres::{Client, NoTls};

use super::DemoError;

/// What clients' writes and messages from SQL need.
const SETUP: &str = include_str!("../../sql/setup.sql");
const PUBLICATION: &str = "create publication walcast for table \
     articles, matches, orders, chat_messages, documents, preferences, inbox";
const SAMPLE_DATA: &str = include_str!("../../sql/demo.sql");

/// A client whose connection ends with it.
pub(super) async fn connect(url: &str) -> Result<Client, DemoError> {
    let failed = |source| DemoError::Database { action: "connect to the throwaway cluster", source };
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the demo's own connection to Postgres ended");
        }
    });
    Ok(client)
}

pub(super) async fn load_sample_data(url: &str) -> Result<(), DemoError> {
    let client = connect(url).await?;
    let failed = |source| DemoError::Database { action: "load sql/demo.sql", source };
    client.batch_execute(SAMPLE_DATA).await.map_err(failed)
}

/// What `walcast setup` does for a database of one's own.
pub(super) async fn set_up_replication(url: &str) -> Result<(), DemoError> {
    let client = connect(url).await?;
    let failed = |source| DemoError::Database { action: "create the publication and the slot", source };
    client.batch_execute(SETUP).await.map_err(failed)?;
    client.batch_execute(PUBLICATION).await.map_err(failed)?;
    let slot = "select pg_create_logical_replication_slot('walcast', 'pgoutput')";
    client.batch_execute(slot).await.map_err(failed)
}
