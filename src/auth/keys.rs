//! Keys that tokens are checked with. Each is bound to the algorithms of its kind when it is read, so that no token can
//! have it used for another: an RSA key never serves as an HMAC secret, and nothing serves `none`.

use std::fmt;
use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::location::JwksUrl;

/// RFC 7518, 3.2: an HS256 key is at least as long as the hash.
pub const SECRET_BYTES_SAFE: usize = 32;
/// RFC 7518, 3.3: an RSA key has 2048 bits or more.
const RSA_BITS_MIN: usize = 2048;
/// Checking a signature takes longer with every bit, and nobody uses more.
const RSA_BITS_MAX: usize = 8192;
/// Bytes of a P-256 coordinate and of an Ed25519 key.
const CURVE_BYTES: usize = 32;
/// Keys that are tried on one token: each costs a signature's check. Tokens name their key as soon as there are
/// several.
const TRIED_MAX: usize = 4;

const HMAC: &[Algorithm] = &[Algorithm::HS256];
const RSA: &[Algorithm] = &[Algorithm::RS256, Algorithm::PS256];
const EC: &[Algorithm] = &[Algorithm::ES256];
const ED: &[Algorithm] = &[Algorithm::EdDSA];

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// They stay what they are until the process ends.
    Fixed(KeySet),
    /// A JWKS file, read again as a fetched set is.
    File {
        path: PathBuf,
        read: KeySet,
    },
    Url(JwksUrl),
}

/// Keys, of which a token chooses by its `kid`.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// One key and what it may be used for.
#[derive(Clone)]
pub(super) struct Key {
    kid: Option<String>,
    algorithms: &'static [Algorithm],
    /// The only one of them, where the key says so.
    only: Option<Algorithm>,
    decoding: DecodingKey,
}

/// Why a key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("it is not a public key in PEM")]
    NotPem,
    #[error("it holds a private key, which must not leave the issuer; a token is checked with the public one")]
    Private,
    #[error("its RSA key has {0} bits; from {RSA_BITS_MIN} to {RSA_BITS_MAX} can be used")]
    RsaBits(usize),
    #[error("it is a key of another kind than RSA, P-256 and Ed25519")]
    Kind,
}

impl KeySet {
    /// For HS256.
    #[must_use]
    pub fn of_secret(secret: &[u8]) -> Self {
        let decoding = DecodingKey::from_secret(secret);
        Self { keys: vec![Key { kid: None, algorithms: HMAC, only: None, decoding }] }
    }

    /// One public key in PEM: RSA (RS256, PS256), P-256 (ES256) or Ed25519 (EdDSA).
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn of_pem(pem: &[u8]) -> Result<Self, KeyError> {
        if pem.windows(PRIVATE_KEY.len()).any(|window| window == PRIVATE_KEY) {
            return Err(KeyError::Private);
        }
        let readers = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
        let decoding = readers.iter().find_map(|read| read(pem).ok()).ok_or(KeyError::NotPem)?;
        let jwk = Jwk::from_decoding_key(&decoding, None).map_err(|_| KeyError::Kind)?;
        Ok(Self { keys: vec![Key { kid: None, algorithms: algorithms(&jwk.algorithm)?, only: None, decoding }] })
    }

    pub(super) const fn of_keys(keys: Vec<Key>) -> Self {
        Self { keys }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether there is a key of this name.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Those that may have signed a token with this header: the ones of that name, or else those without a name; all of
    /// them for a token that names none.
    pub(super) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &DecodingKey> {
        let named = kid.filter(|kid| self.has(kid));
        let fits = move |key: &&Key| kid.is_none() || key.kid.as_deref() == named;
        let candidates = self.keys.iter().filter(fits).filter(move |key| key.allows(algorithm));
        candidates.take(TRIED_MAX).map(|key| &key.decoding)
    }
}

impl Key {
    /// A key of a JWKS. A symmetric one only where the set is `private`: published, it is no secret.
    ///
    /// # Errors
    /// It is of a kind, size or use that tokens are not checked with here.
    pub(super) fn of_jwk(jwk: &Jwk, private: bool) -> Result<Self, KeyError> {
        let algorithms = algorithms(&jwk.algorithm)?;
        let symmetric = matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
        if symmetric && !private {
            return Err(KeyError::Kind);
        }
        let only = match jwk.common.key_algorithm.map(|algorithm| algorithm.to_string().parse()) {
            None => None,
            Some(Ok(only)) if algorithms.contains(&only) => Some(only),
            Some(_) => return Err(KeyError::Kind),
        };
        let decoding = DecodingKey::from_jwk(jwk).map_err(|_| KeyError::Kind)?;
        Ok(Self { kid: jwk.common.key_id.clone(), algorithms, only, decoding })
    }

    fn allows(&self, algorithm: Algorithm) -> bool {
        self.only.map_or_else(|| self.algorithms.contains(&algorithm), |only| only == algorithm)
    }
}

/// What a private key's PEM holds, whatever its kind.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// What a key of this kind may be used for; its size is checked too.
fn algorithms(key: &AlgorithmParameters) -> Result<&'static [Algorithm], KeyError> {
    let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| KeyError::Kind);
    let is_coordinate = |text: &str| bytes(text).map(|bytes| bytes.len() == CURVE_BYTES);
    match key {
        AlgorithmParameters::RSA(key) => match bits(&bytes(&key.n)?) {
            RSA_BITS_MIN..=RSA_BITS_MAX => Ok(RSA),
            bits => Err(KeyError::RsaBits(bits)),
        },
        AlgorithmParameters::EllipticCurve(key)
            if key.curve == EllipticCurve::P256 && is_coordinate(&key.x)? && is_coordinate(&key.y)? =>
        {
            Ok(EC)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 && is_coordinate(&key.x)? => {
            Ok(ED)
        }
        AlgorithmParameters::OctetKey(key) if bytes(&key.value)?.len() >= SECRET_BYTES_SAFE => Ok(HMAC),
        _ => Err(KeyError::Kind),
    }
}

/// Of a number in big-endian bytes, without leading zeros.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let first = number.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    (number.len() - zeros) * 8 - first
}

impl fmt::Debug for KeySet {
    // Names and kinds; the key itself may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| (&key.kid, key.algorithms))).finish()
    }
}
