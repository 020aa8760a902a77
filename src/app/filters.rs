//! `/inspector/filters`: which rows of its tables the publication gives. It costs the database a query, so that all
//! pages that are open are answered from one for a while.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use crate::config::Config;
use crate::replication::wire::{WireError, connect_sql};
use crate::transport::complaint;

/// How old an answer may be: who alters a publication looks again.
const AGE_MAX: Duration = Duration::from_secs(15);
/// One look-up in the catalogue takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Filters {
    config: watch::Receiver<Arc<Config>>,
    last: Arc<Mutex<Option<(Instant, Value)>>>,
}

/// What the admin listener serves of it.
pub(super) fn router(config: watch::Receiver<Arc<Config>>) -> Router {
    Router::new().route("/inspector/filters", get(answer)).with_state(Filters { config, last: Arc::default() })
}

/// `{"filters": [{"table", "filter"}]}`, of tables that have one.
async fn answer(State(filters): State<Filters>) -> Response {
    let mut last = filters.last.lock().await;
    if let Some((_, known)) = last.as_ref().filter(|(asked, _)| asked.elapsed() < AGE_MAX) {
        return shown(known);
    }
    let config = Arc::clone(&filters.config.borrow());
    let message = match timeout(PATIENCE, ask(&config)).await {
        Ok(Ok(found)) => {
            let (_, found) = last.insert((Instant::now(), found));
            return shown(found);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_late) => "the database does not answer".to_owned(),
    };
    complaint(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message).into_response()
}

fn shown(filters: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, filters.to_string()).into_response()
}

async fn ask(config: &Config) -> Result<Value, WireError> {
    // Postgres 14 has no such column, and no row filters.
    const SQL: &str = "\
select schemaname || '.' || tablename, to_jsonb(t) ->> 'rowfilter' from pg_catalog.pg_publication_tables t
 where pubname = $1 and to_jsonb(t) ->> 'rowfilter' is not null order by 1";
    let client = connect_sql(&config.postgres.connection).await?;
    let rows = client.query(SQL, &[&config.postgres.publication.as_str()]).await?;
    let filter = |row: &tokio_postgres::Row| -> Result<Value, WireError> {
        let (table, filter): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        Ok(json!({"table": table, "filter": filter}))
    };
    let filters = rows.iter().map(filter).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"filters": filters}))
}
