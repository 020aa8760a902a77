//! Which transactions the database shows, for those who must know when a commit that the feed has is seen by everybody.

use tokio_postgres::Client;

use crate::change::Visibility;
use crate::replication::wire::WireError;

/// What a snapshot sees that is taken now. A standby's does not list what is in progress; but there a commit is seen
/// before it is decoded, so that of what has been decoded this is true, too.
pub(super) async fn look(client: &Client) -> Result<Visibility, WireError> {
    const SQL: &str = "select pg_catalog.pg_current_snapshot()::pg_catalog.text";
    let text: String = client.query_one(SQL, &[]).await?.try_get(0)?;
    let unreadable = |_| WireError::Protocol { during: "taking a snapshot", problem: format!("snapshot {text}") };
    text.parse().map_err(unreadable)
}

/// An id that is newer than all that were given out; none on a standby, which has seen all that is decoded.
pub(super) async fn newest_id(client: &Client) -> Result<Option<u64>, WireError> {
    const SQL: &str = "\
select case when not pg_catalog.pg_is_in_recovery() then pg_catalog.pg_current_xact_id()::pg_catalog.text end";
    // Nothing is left of it, and nobody is waited for.
    client.batch_execute("begin").await?;
    let row = client.query_one(SQL, &[]).await?;
    client.batch_execute("rollback").await?;
    let text: Option<String> = row.try_get(0)?;
    let unreadable = |_| WireError::Protocol { during: "asking for an id", problem: "no number".to_owned() };
    text.map(|text| text.parse().map_err(unreadable)).transpose()
}
