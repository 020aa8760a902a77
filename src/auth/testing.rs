//! An issuer for tests: fresh keys of every kind, and tokens signed with them by what is not ours.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::{Value, json};

/// Long enough that nobody warns of it.
pub(crate) const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests";

/// A key pair and how it signs.
pub(crate) struct Issuer {
    pub(crate) algorithm: Algorithm,
    signing: EncodingKey,
    /// `None` for a secret.
    pair: Option<KeyPair>,
}

impl Issuer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let kind: &'static SignatureAlgorithm = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => &PKCS_RSA_SHA256,
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDSA => &PKCS_ED25519,
            _ => return Self { algorithm, signing: EncodingKey::from_secret(SECRET), pair: None },
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        let pem = pair.serialize_pem();
        let signing = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        Self { algorithm, signing: signing.unwrap(), pair: Some(pair) }
    }

    /// The same key, signing in another way.
    pub(crate) fn signing_by(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    pub(crate) fn public_pem(&self) -> String {
        self.pair.as_ref().unwrap().public_key_pem()
    }

    pub(crate) fn private_pem(&self) -> String {
        self.pair.as_ref().unwrap().serialize_pem()
    }

    /// The public key for a JWKS.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let pem = self.public_pem();
        let public = match self.algorithm {
            Algorithm::ES256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem.as_bytes()),
            _ => DecodingKey::from_rsa_pem(pem.as_bytes()),
        };
        let mut jwk = Jwk::from_decoding_key(&public.unwrap(), Some(self.algorithm)).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(self.algorithm), claims, &self.signing).unwrap()
    }

    pub(crate) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.signing).unwrap()
    }

    /// With a header of one's own.
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.signing, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// Some JSON as a token's part.
pub(crate) fn part(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

pub(crate) fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}
