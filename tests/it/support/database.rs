//! A throwaway Postgres with an asynchronous client.

use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, NoTls};
use walcast::demo::cluster::{Binaries, Cluster, ClusterError, StopMode};

/// A cluster of its own, and one connection to it that [`Database::execute`] and the other short forms use.
#[derive(Debug)]
pub(crate) struct Database {
    client: Client,
    cluster: Cluster,
}

impl Database {
    /// A fresh cluster (about a second), with `wal_level = logical`.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with further lines for `postgresql.conf`.
    pub(crate) async fn start_with(settings: &'static [(&'static str, &'static str)]) -> Self {
        Self::start_on(Binaries::find, settings).await
    }

    /// The same with the server that `binaries` finds.
    pub(crate) async fn start_on(
        binaries: impl FnOnce() -> Result<Binaries, ClusterError> + Send + 'static,
        settings: &'static [(&'static str, &'static str)],
    ) -> Self {
        let start = move || Cluster::start(binaries()?, settings);
        let cluster = tokio::task::spawn_blocking(start).await.unwrap().expect("a throwaway Postgres");
        let client = connect(&cluster.url()).await;
        Self { client, cluster }
    }

    /// A standby of this server, which streams through a physical slot `standby`; connections to this one are gone
    /// afterwards, and made anew.
    pub(crate) async fn standby(&mut self, settings: &[(&str, &str)]) -> Self {
        self.execute("select pg_create_physical_replication_slot('standby')").await;
        let cluster = self.cluster.standby("standby", settings).expect("a standby");
        self.client = connect(&self.cluster.url()).await;
        let client = connect(&cluster.url()).await;
        Self { client, cluster }
    }

    /// Makes a standby a primary.
    pub(crate) fn promote(&self) {
        self.cluster.promote().expect("promote the standby");
    }

    /// A URL over TCP for the superuser.
    pub(crate) fn url(&self) -> String {
        self.cluster.url()
    }

    /// The same over the Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        self.cluster.socket_url()
    }

    pub(crate) const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A further connection, for tests with several writers or open transactions.
    pub(crate) async fn connect(&self) -> Client {
        connect(&self.cluster.url()).await
    }

    /// One or more statements, in one transaction unless they say otherwise.
    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The one column of the one row.
    pub(crate) async fn value<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Stops the server; [`Database::resume`] starts it again with the same data and port.
    pub(crate) fn stop(&self, mode: StopMode) {
        self.cluster.stop(mode).expect("stop the throwaway Postgres");
    }

    /// Starts the stopped server and connects again.
    pub(crate) async fn resume(&mut self) {
        self.cluster.resume().expect("start the throwaway Postgres again");
        self.client = connect(&self.cluster.url()).await;
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect to the throwaway Postgres");
    // Ends with its client, or with the server, which the next statement reports.
    tokio::spawn(connection);
    client
}
