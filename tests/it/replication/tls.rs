//! TLS by every sslmode, with an authority and a certificate made for the test.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use walcast::demo::cluster::Cluster;
use walcast::replication::wire::{Disposition, ReplicationClient, WireError, classify, connect_sql};

use super::connect::{connect, prepend_hba};
use super::feed::{cluster, config, sql};

/// The user that a server started by root runs as.
const NOBODY: u32 = 65_534;

/// Certificates in a folder that goes with this.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("walcast-tls-{:012x}", fastrand::u64(..) >> 16));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let (root, issuer) = root();
        fs::write(folder.join("root.crt"), root).unwrap();
        fs::write(folder.join("other.crt"), self::root().0).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        fs::write(folder.join("server.crt"), certificate.pem()).unwrap();
        write_key(&folder.join("server.key"), &key.serialize_pem());
        Self { folder }
    }

    fn cluster(&self) -> Cluster {
        let (certificate, key) = (self.path("server.crt"), self.path("server.key"));
        cluster(&[("ssl", "on"), ("ssl_cert_file", &certificate), ("ssl_key_file", &key)])
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn root() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate.pem(), Issuer::new(parameters, key))
}

fn write_key(path: &Path, pem: &str) {
    fs::write(path, pem).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

async fn is_encrypted(url: &str) -> bool {
    const QUERY: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let config = config(url);
    let sql: bool = connect_sql(&config).await.unwrap().query_one(QUERY, &[]).await.unwrap().get(0);
    let rows = ReplicationClient::connect(&config).await.unwrap().simple_query(QUERY).await.unwrap();
    assert_eq!(rows, [[Some(if sql { "t" } else { "f" }.to_owned())]]);
    sql
}

fn assert_certificate_refused(error: &WireError) {
    assert!(matches!(error, WireError::Tls { .. }), "{error}");
    assert_eq!(classify(error).disposition, Disposition::Operator, "{error}");
}

#[tokio::test]
async fn sslmodes() {
    let authority = Authority::new();
    let cluster = authority.cluster();
    let url =
        |host: &str, parameters: &str| format!("postgres://postgres@{host}:{}/postgres?{parameters}", cluster.port());
    let root = format!("sslrootcert={}", authority.path("root.crt"));
    let other = format!("sslrootcert={}", authority.path("other.crt"));

    assert!(!is_encrypted(&url("127.0.0.1", "sslmode=disable")).await);
    assert!(!is_encrypted(&url("127.0.0.1", "sslmode=allow")).await);
    assert!(is_encrypted(&url("127.0.0.1", "sslmode=prefer")).await);
    assert!(is_encrypted(&url("127.0.0.1", "sslmode=require")).await);
    // A root certificate makes `require` check the authority, but not the name.
    assert!(is_encrypted(&url("127.0.0.1", &format!("sslmode=require&{root}"))).await);
    assert!(is_encrypted(&url("127.0.0.1", &format!("sslmode=verify-ca&{root}"))).await);
    assert!(is_encrypted(&url("localhost", &format!("sslmode=verify-full&{root}"))).await);

    let admin = sql(&cluster).await;
    let version: i32 = admin.query_one("select current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
    let direct = url("localhost", &format!("sslmode=verify-full&sslnegotiation=direct&{root}"));
    // Postgres before 17 takes a TLS handshake for a broken startup packet.
    if version >= 170_000 {
        assert!(is_encrypted(&direct).await);
    } else {
        assert!(matches!(connect(&direct).await.unwrap_err(), WireError::Tls { .. }));
    }

    for refused in [
        url("127.0.0.1", &format!("sslmode=require&{other}")),
        url("127.0.0.1", &format!("sslmode=verify-ca&{other}")),
        url("localhost", &format!("sslmode=verify-full&{other}")),
        url("127.0.0.1", &format!("sslmode=verify-full&{root}")),
    ] {
        assert_certificate_refused(&connect(&refused).await.unwrap_err());
    }
    let missing = url("localhost", "sslmode=verify-full&sslrootcert=/nowhere/root.crt");
    assert!(matches!(connect(&missing).await.unwrap_err(), WireError::RootCertificates { .. }));
}

#[tokio::test]
async fn a_server_without_tls() {
    let cluster = cluster(&[]);
    let url = |mode: &str| format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode={mode}", cluster.port());
    assert!(!is_encrypted(&url("prefer")).await);
    let error = connect(&url("require")).await.unwrap_err();
    assert!(matches!(error, WireError::TlsNotOffered { .. }), "{error}");
    assert!(!is_encrypted(&(cluster.socket_url() + "?sslmode=require")).await, "a socket needs no TLS");
}

#[tokio::test]
async fn pg_hba_decides_between_prefer_and_allow_and_scram_binds_to_the_channel() {
    let authority = Authority::new();
    let cluster = authority.cluster();
    sql(&cluster)
        .await
        .batch_execute(
            "set password_encryption = 'scram-sha-256'; create role plain login replication;
             create role secure login replication; create role bound login replication password 'right';",
        )
        .await
        .unwrap();
    let all = "all 127.0.0.1/32";
    let lines = format!(
        "hostnossl all plain 127.0.0.1/32 trust\nhost all plain {} reject\nhostssl all secure 127.0.0.1/32 trust\n\
         host all secure 127.0.0.1/32 reject\nhostssl all bound 127.0.0.1/32 scram-sha-256",
        &all[4..]
    );
    prepend_hba(&cluster, &lines);
    let url =
        |user: &str, parameters: &str| format!("postgres://{user}@127.0.0.1:{}/postgres?{parameters}", cluster.port());
    assert!(!is_encrypted(&url("plain", "sslmode=prefer")).await);
    assert!(is_encrypted(&url("secure", "sslmode=allow")).await);
    assert!(is_encrypted(&url("bound:right", "sslmode=require&channel_binding=require")).await);
    let error = connect(&url("secure", "sslmode=require&channel_binding=require")).await.unwrap_err();
    assert!(matches!(error, WireError::ChannelBinding(_)), "{error}");
}
