//! Who may connect, and under which settings.

use std::fs;

use walcast::demo::cluster::{Cluster, StopMode};
use walcast::replication::wire::{Disposition, ReplicationClient, WireError, classify, connect_sql};

use super::feed::{cluster, config, sql};

/// Puts lines before all others in `pg_hba.conf`; a restart reads them for certain.
pub(super) fn prepend_hba(cluster: &Cluster, lines: &str) {
    let path = cluster.data_directory().join("pg_hba.conf");
    let rest = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{lines}\n{rest}")).unwrap();
    cluster.stop(StopMode::Fast).unwrap();
    cluster.resume().unwrap();
}

/// Both kinds of connection; they must agree.
pub(super) async fn connect(url: &str) -> Result<(), WireError> {
    let config = config(url);
    let sql = connect_sql(&config).await.map(drop);
    let replication = match ReplicationClient::connect(&config).await {
        Ok(mut client) => client.identify_system().await.map(drop),
        Err(error) => Err(error),
    };
    let verdict = |result: &Result<(), WireError>| result.as_ref().err().map(classify);
    assert_eq!(verdict(&sql), verdict(&replication), "{sql:?} {replication:?}");
    replication
}

#[tokio::test]
async fn trust_over_tcp_and_over_the_socket() {
    let cluster = cluster(&[]);
    connect(&cluster.url()).await.unwrap();
    connect(&cluster.socket_url()).await.unwrap();
    let pairs = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", cluster.port());
    connect(&pairs).await.unwrap();
}

#[tokio::test]
async fn the_session_settings_win_over_the_roles() {
    let cluster = cluster(&[]);
    let admin = sql(&cluster).await;
    admin
        .batch_execute(
            "alter role postgres set timezone = 'Asia/Tokyo'; alter role postgres set datestyle = 'German';
             alter role postgres set bytea_output = 'escape'; alter role postgres set statement_timeout = '1s'",
        )
        .await
        .unwrap();
    let query = "select current_setting('timezone') || ' ' || now()::date::text ~ '^[0-9]{4}-' || ' ' ||
                 '\\x01'::bytea::text || ' ' || current_setting('statement_timeout')";
    let query = query.replace("now()::date::text ~ '^[0-9]{4}-'", "('2026-11-22'::date::text)");
    let expected = "UTC 2026-11-22 \\x01 0";
    let fresh = sql(&cluster).await;
    assert_eq!(fresh.query_one(&query, &[]).await.unwrap().get::<_, String>(0), expected);
    let mut replication = ReplicationClient::connect(&config(&cluster.url())).await.unwrap();
    let rows = replication.simple_query(&query).await.unwrap();
    assert_eq!(rows, [[Some(expected.to_owned())]]);
    assert_eq!(replication.parameter("application_name"), Some("walcast"));
}

#[tokio::test]
async fn an_error_leaves_the_replication_session_usable() {
    let cluster = cluster(&[]);
    let mut client = ReplicationClient::connect(&config(&cluster.url())).await.unwrap();
    let error = client.simple_query("select nothing").await.unwrap_err();
    assert_eq!(error.server().unwrap().code.code(), "42703");
    assert!(client.identify_system().await.unwrap().system_id > 0);
}

#[tokio::test]
async fn passwords_by_scram_md5_and_in_clear() {
    let cluster = cluster(&[]);
    let admin = sql(&cluster).await;
    admin
        .batch_execute(
            "set password_encryption = 'scram-sha-256';
             create role scram login replication password 'right'; create role clear login replication password 'right';
             set password_encryption = 'md5'; create role md5 login replication password 'right';",
        )
        .await
        .unwrap();
    drop(admin);
    let line = |role: &str, method: &str| format!("host all {role} 127.0.0.1/32 {method}\n");
    prepend_hba(&cluster, &(line("scram", "scram-sha-256") + &line("md5", "md5") + &line("clear", "password")));
    for role in ["scram", "md5", "clear"] {
        let url = |password: &str| format!("postgres://{role}{password}@127.0.0.1:{}/postgres", cluster.port());
        connect(&url(":right")).await.unwrap();
        let wrong = connect(&url(":wrong-one")).await.unwrap_err();
        assert_eq!(wrong.server().unwrap().code.code(), "28P01", "{wrong}");
        assert!(classify(&wrong).advice.contains("password"));
        assert!(!format!("{wrong} {wrong:?}").contains("wrong-one"));
        assert!(matches!(connect(&url("")).await.unwrap_err(), WireError::PasswordMissing));
    }
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let cluster = cluster(&[]);
    sql(&cluster).await.batch_execute("create role plain login").await.unwrap();
    let error = ReplicationClient::connect(&config(&cluster.url().replace("postgres@", "plain@"))).await.unwrap_err();
    assert_eq!(classify(&error).disposition, Disposition::Operator, "{error}");
    let error = connect(&cluster.url().replace("/postgres", "/nowhere")).await.unwrap_err();
    assert_eq!(classify(&error).disposition, Disposition::Operator, "{error}");
    cluster.stop(StopMode::Fast).unwrap();
    let error = connect(&cluster.url()).await.unwrap_err();
    assert_eq!(classify(&error).disposition, Disposition::Retry, "{error}");
    assert!(error.to_string().contains("connect to 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn the_next_server_is_tried() {
    let cluster = cluster(&[]);
    let port = cluster.port();
    connect(&format!("postgres://postgres@127.0.0.1:1,127.0.0.1:{port}/postgres")).await.unwrap();
    let read_only = format!("postgres://postgres@127.0.0.1:{port}/postgres?target_session_attrs=read-only");
    assert!(matches!(connect(&read_only).await.unwrap_err(), WireError::SessionAttributes { .. }));
}
