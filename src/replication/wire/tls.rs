//! TLS to Postgres: what proves that the server is the right one, and what ties a password to the channel.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, hash::HashAlgorithm, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::config::{RootCertificates, SslMode, TlsSettings};
use super::error::WireError;
use crate::tls::der;

/// The protocol's name in the TLS handshake, which Postgres 17 and later require with `sslnegotiation=direct`.
const ALPN: &[u8] = b"postgresql";

/// Reads the root certificates and builds what rustls needs for a connection.
///
/// # Errors
/// The root certificates can't be read, or there is none among them.
pub(super) fn client_config(settings: &TlsSettings) -> Result<ClientConfig, WireError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier { trust: trust(settings)?, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| WireError::protocol("setting up TLS", error))?;
    let mut config = builder
        // The verifier is ours because libpq's `require` and `verify-ca` are not among rustls' own; the checks in it
        // are rustls'.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn trust(settings: &TlsSettings) -> Result<Trust, WireError> {
    let certificates = match &settings.roots {
        RootCertificates::None => return Ok(Trust::Anyone),
        RootCertificates::System => system_certificates()?,
        RootCertificates::File(path) => {
            let origin = path.display().to_string();
            let refuse = |problem: String| WireError::RootCertificates { origin: origin.clone(), problem };
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| refuse(error.to_string()))?
        }
    };
    let mut roots = RootCertStore::empty();
    let (usable, _unusable) = roots.add_parsable_certificates(certificates.iter().cloned());
    if usable == 0 {
        let origin = format!("{:?}", settings.roots);
        return Err(WireError::RootCertificates { origin, problem: "no usable certificate in there".to_owned() });
    }
    // libpq: a root certificate that is given is used, whatever the mode; only the name is left to `verify-full`.
    Ok(Trust::SignedBy { roots, certificates, check_name: settings.mode == SslMode::VerifyFull })
}

fn system_certificates() -> Result<Vec<CertificateDer<'static>>, WireError> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        let problems: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        let problem = format!("none found {}", problems.join("; "));
        return Err(WireError::RootCertificates { origin: "the operating system".to_owned(), problem });
    }
    Ok(loaded.certs)
}

/// Whose certificates will do.
#[derive(Debug)]
enum Trust {
    Anyone,
    SignedBy { roots: RootCertStore, certificates: Vec<CertificateDer<'static>>, check_name: bool },
}

/// Checks a server's certificate as far as `sslmode` says. That the server holds the certificate's key is checked in
/// every mode: channel binding relies on it.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::SignedBy { roots, certificates, check_name } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        // A self-signed server certificate may be its own root, which a chain check refuses.
        if !certificates.contains(end_entity) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        }
        if *check_name {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A failed handshake's error says what the certificate lacks; anything else is the network's.
pub(super) fn is_certificate_problem(error: &io::Error) -> bool {
    let source = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
    source.is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
}

/// The `tls-server-end-point` channel binding data (RFC 5929) of a server certificate: its hash, by the algorithm of
/// its signature, with SHA-256 in place of anything weaker.
///
/// `None` where the signature has no hash of that kind (Ed25519) or one that the TLS provider does not carry
/// (SHA-512); SCRAM then goes on without channel binding, as libpq's `channel_binding=prefer` does.
pub(super) fn channel_binding(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let algorithm = match signature_algorithm(certificate)? {
        oid::SHA1_RSA | oid::SHA256_RSA | oid::SHA256_ECDSA => HashAlgorithm::SHA256,
        oid::SHA384_RSA | oid::SHA384_ECDSA => HashAlgorithm::SHA384,
        _ => return None,
    };
    let suites = aws_lc_rs::ALL_CIPHER_SUITES.iter();
    let hash = suites.filter_map(|suite| suite.tls13()).map(|suite| suite.common.hash_provider);
    let hash = hash.into_iter().find(|hash| hash.algorithm() == algorithm)?;
    Some(hash.hash(certificate).as_ref().to_vec())
}

/// Signature algorithms in DER, without tag and length.
mod oid {
    pub(super) const SHA1_RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 5];
    pub(super) const SHA256_RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 11];
    pub(super) const SHA384_RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 12];
    pub(super) const SHA256_ECDSA: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2];
    pub(super) const SHA384_ECDSA: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 3];
}

/// `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { algorithm OID, … }, … }`
fn signature_algorithm<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    let (certificate, _) = der::value(certificate, der::SEQUENCE)?;
    let (_to_be_signed, rest) = der::value(certificate, der::SEQUENCE)?;
    let (algorithm, _) = der::value(rest, der::SEQUENCE)?;
    der::value(algorithm, der::OBJECT_IDENTIFIER).map(|(identifier, _)| identifier)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> CertificateDer<'static> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn channel_binding_hashes_as_the_signature_does() {
        let length = |algorithm| channel_binding(&certificate(algorithm)).map(|hash| hash.len());
        assert_eq!(length(&PKCS_ECDSA_P256_SHA256), Some(32));
        assert_eq!(length(&PKCS_ECDSA_P384_SHA384), Some(48));
        assert_eq!(length(&PKCS_ED25519), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_reason_to_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _any = channel_binding(&CertificateDer::from(bytes));
        }
    }
}
