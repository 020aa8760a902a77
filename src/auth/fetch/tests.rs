//! Over TLS, with an authority and a certificate made for the test. What servers may answer is in keyring's tests.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A server with a certificate for `localhost`, and what trusts it; its port.
async fn server() -> (u16, Arc<ClientConfig>) {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let trust = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    (port, Arc::new(trust.with_root_certificates(roots).with_no_client_auth()))
}

fn url(host: &str, port: u16) -> JwksUrl {
    JwksUrl::parse(&format!("https://{host}:{port}/jwks.json"), false).unwrap()
}

#[tokio::test]
async fn a_certificate_is_verified_with_its_name() {
    let (port, trust) = server().await;
    assert_eq!(fetch(&url("localhost", port), &trust).await.unwrap(), "hello");
    let wrong_name = fetch(&url("127.0.0.1", port), &trust).await;
    assert!(matches!(wrong_name, Err(FetchError::Tls { .. })), "{wrong_name:?}");
    let unknown_root = fetch(&url("localhost", port), &tls_config().unwrap()).await;
    assert!(matches!(unknown_root, Err(FetchError::Tls { .. })), "{unknown_root:?}");
}
