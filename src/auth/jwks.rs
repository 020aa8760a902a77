//! A JSON Web Key Set (RFC 7517): a document from outside, which may hold anything.

use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, KeySet};

/// The largest document: hundreds of keys with their certificates.
pub(super) const JWKS_BYTES_MAX: usize = 256 * 1024;
/// The most keys: issuers publish a handful, and every one costs memory here.
pub const KEYS_MAX: usize = 256;

/// Why a document is not taken; what was known before stays in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("it is larger than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is not a JSON object with a list `keys`")]
    NotASet,
    #[error("it has {0} keys, more than {KEYS_MAX}")]
    TooManyKeys(usize),
    #[error("none of its {0} keys can be used: RSA, P-256 and Ed25519 keys for signatures can")]
    NoneUsable(usize),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a key set. Keys that tokens are not checked with here are left out: issuers publish others beside them.
    /// Symmetric keys count in a `private` set only.
    ///
    /// # Errors
    /// It is no key set, beyond a bound, or holds no key that can be used.
    pub fn of_jwks(document: &[u8], private: bool) -> Result<Self, JwksError> {
        if document.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLarge);
        }
        let Document { keys } = serde_json::from_slice(document).map_err(|_| JwksError::NotASet)?;
        let count = keys.len();
        if count > KEYS_MAX {
            return Err(JwksError::TooManyKeys(count));
        }
        let read = |key| serde_json::from_value::<Jwk>(key).ok();
        let usable = keys.into_iter().filter_map(read).filter(is_for_signatures);
        let keys: Vec<Key> = usable.filter_map(|jwk| Key::of_jwk(&jwk, private).ok()).collect();
        if keys.is_empty() { Err(JwksError::NoneUsable(count)) } else { Ok(Self::of_keys(keys)) }
    }
}

fn is_for_signatures(jwk: &Jwk) -> bool {
    let verifies = |operations: &Vec<KeyOperations>| operations.contains(&KeyOperations::Verify);
    jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
        && jwk.common.key_operations.as_ref().is_none_or(verifies)
}
