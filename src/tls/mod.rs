//! The server's certificate: read from files, judged, and for how long it is good. It knows no sockets and no
//! configuration file; both who judge the files at start and who read them again later come here.

pub mod der;
mod validity;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

pub use validity::Validity;

/// A chain of certificates is a few kilobytes, a key less: what is longer is some other file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How PKCS #8 names a key that asks for a password.
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The server's own certificate first, then those that lead to an authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// Those of them that can't be read.
    #[must_use]
    pub fn unreadable(&self) -> Vec<FilesError> {
        let unreadable = |which| Some(self.refuse(which, read(self.path(which)).err()?.into()));
        [Which::Certificate, Which::Key].into_iter().filter_map(unreadable).collect()
    }

    fn path(&self, which: Which) -> &Path {
        match which {
            Which::Certificate => &self.certificate,
            Which::Key => &self.key,
        }
    }

    fn refuse(&self, which: Which, problem: Problem) -> FilesError {
        FilesError { which, path: self.path(which).to_owned(), problem }
    }
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Certificate,
    Key,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
        })
    }
}

/// Why two files are no certificate to serve with. No message holds anything of a key.
#[derive(Debug, thiserror::Error)]
#[error("the {which} file {}: {problem}", .path.display())]
pub struct FilesError {
    /// Where the problem is.
    pub which: Which,
    pub path: PathBuf,
    pub problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it holds no certificate in PEM")]
    NoCertificate,
    #[error("its first certificate can't be read")]
    Malformed,
    #[error("it holds no private key in PEM")]
    NoKey,
    #[error("its private key is encrypted, and nobody is there to type the password")]
    EncryptedKey,
    #[error("its private key is of a kind that can't be used")]
    KeyKind,
    #[error("its private key is not the certificate's")]
    Mismatch,
}

/// A certificate that can be served with, and its key.
#[derive(Clone)]
pub struct Certificate {
    pub key: Arc<CertifiedKey>,
    pub validity: Validity,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// One can't be read, or they are no certificate and its key.
    pub fn read(files: &Files) -> Result<Self, FilesError> {
        let read = |which| read(files.path(which)).map_err(|error| files.refuse(which, error.into()));
        let (certificate, key) = (read(Which::Certificate)?, read(Which::Key)?);
        Self::of_pem(&certificate, &key).map_err(|(which, problem)| files.refuse(which, problem))
    }

    fn of_pem(certificate: &[u8], key: &[u8]) -> Result<Self, (Which, Problem)> {
        let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or((Which::Certificate, Problem::NoCertificate))?;
        let validity = chain.first().and_then(|first| {
            ParsedCertificate::try_from(first).ok()?;
            Validity::of_certificate(first)
        });
        let validity = validity.ok_or((Which::Certificate, Problem::Malformed))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| (Which::Key, no_key(key)))?;
        // Both have been read, so that what is left to be wrong is the key's kind, or that it belongs to another one.
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => (Which::Key, Problem::Mismatch),
            _ => (Which::Key, Problem::KeyKind),
        })?;
        Ok(Self { key: Arc::new(key), validity })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("validity", &self.validity).finish_non_exhaustive()
    }
}

fn no_key(file: &[u8]) -> Problem {
    let encrypted = file.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    if encrypted { Problem::EncryptedKey } else { Problem::NoKey }
}

/// What is longer than any such file is cut, and is none then.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn problem(certificate: &str, key: &str) -> (Which, String) {
        let (which, problem) = Certificate::of_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        (which, problem.to_string())
    }

    #[test]
    fn every_usual_kind_of_key_serves() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let (certificate, key) = pem(algorithm);
            let chain = format!("{certificate}{}", pem(algorithm).0);
            let read = Certificate::of_pem(chain.as_bytes(), key.as_bytes()).unwrap();
            assert_eq!(read.key.cert.len(), 2);
        }
    }

    #[test]
    fn what_is_wrong_is_said_of_the_right_file() {
        let ((certificate, key), (other, _)) = (pem(&PKCS_ECDSA_P256_SHA256), pem(&PKCS_ECDSA_P256_SHA256));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let is = |which, problem: Problem| (which, problem.to_string());
        assert_eq!(problem("", &key), is(Which::Certificate, Problem::NoCertificate));
        assert_eq!(problem(&key, &key), is(Which::Certificate, Problem::NoCertificate));
        assert_eq!(problem(garbage, &key), is(Which::Certificate, Problem::Malformed));
        assert_eq!(problem(&certificate, ""), is(Which::Key, Problem::NoKey));
        assert_eq!(problem(&certificate, &certificate), is(Which::Key, Problem::NoKey));
        assert_eq!(problem(&certificate, encrypted), is(Which::Key, Problem::EncryptedKey));
        assert_eq!(problem(&certificate, broken), is(Which::Key, Problem::KeyKind));
        assert_eq!(problem(&other, &key), is(Which::Key, Problem::Mismatch));
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let (certificate, key) = pem(&PKCS_ECDSA_P256_SHA256);
        let shown = format!("{:?}", Certificate::of_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
        assert!(shown.starts_with("Certificate { validity: Validity"), "{shown}");
    }
}
