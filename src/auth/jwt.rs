//! A token, judged: its signature by the keys that are known, then what it says of its own validity.
//!
//! Pure: handed the token, the keys and the time. Of JWS (RFC 7515) this takes the compact form with three parts and
//! nothing that a header calls critical; what it says of the key beyond its name (`jwk`, `jku`, `x5c`) is not looked
//! at.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::identity::{Identity, WallTime};
use super::keys::KeySet;
use crate::routing::Claims;

/// The longest token. Common servers and proxies take no longer header line.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What a token must say to be valid here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Among the token's `aud`; not looked at where it is `None`.
    pub audience: Option<String>,
    /// The token's `iss`.
    pub issuer: Option<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// How long an open connection is kept serving beyond that, so that a tab that slept can bring a new token.
    pub grace: Duration,
}

/// Why a token is not taken. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("not a JSON web token in compact form")]
    Malformed,
    #[error("signed by an algorithm that the key is not for, or by none")]
    Algorithm,
    #[error("signed by no key that is known")]
    UnknownKey,
    #[error("the signature is not that of the key it names")]
    Signature,
    #[error("`{0}` is not a time")]
    NotATime(&'static str),
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYetValid,
    #[error("for another audience")]
    Audience,
    #[error("from another issuer")]
    Issuer,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// Whose token it is.
///
/// # Errors
/// See [`TokenError`]. The signature is checked before anything that the token says is looked at.
pub fn verify(token: &str, keys: &KeySet, rules: &Rules, now: WallTime) -> Result<Identity, TokenError> {
    let claims = signed_claims(token, keys)?;
    check_addressees(&claims, rules)?;
    if time(&claims, "nbf")?.is_some_and(|from| now.plus(rules.leeway) < from) {
        return Err(TokenError::NotYetValid);
    }
    let expires = time(&claims, "exp")?.map(|expires| expires.plus(rules.leeway));
    if expires.is_some_and(|expires| now >= expires) {
        return Err(TokenError::Expired);
    }
    Ok(Identity { claims: Claims::new(claims), expires: expires.map(|expires| expires.plus(rules.grace)) })
}

fn signed_claims(token: &str, keys: &KeySet) -> Result<Map<String, Value>, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) =
        message.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(TokenError::Malformed)?;
    let Header { alg, kid, crit } = json(header)?;
    let algorithm = algorithm(&alg).filter(|_| crit.is_none()).ok_or(TokenError::Algorithm)?;
    let kid = kid.as_deref();
    let mut tried = false;
    for key in keys.candidates(kid, algorithm) {
        tried = true;
        if matches!(crypto::verify(signature, message.as_bytes(), key, algorithm), Ok(true)) {
            return json(claims);
        }
    }
    Err(match kid.is_some_and(|kid| keys.has(kid)) {
        true if tried => TokenError::Signature,
        true => TokenError::Algorithm,
        false => TokenError::UnknownKey,
    })
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    let decoded = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&decoded).map_err(|_| TokenError::Malformed)
}

/// Those that keys can be bound to; `none` is not among them.
fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "RS256" => Some(Algorithm::RS256),
        "PS256" => Some(Algorithm::PS256),
        "ES256" => Some(Algorithm::ES256),
        // RFC 9864 calls EdDSA with this curve by the curve's name.
        "EdDSA" | "Ed25519" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

fn check_addressees(claims: &Map<String, Value>, rules: &Rules) -> Result<(), TokenError> {
    if let Some(audience) = &rules.audience {
        let is_ours = |value: &Value| value.as_str() == Some(audience);
        let meant = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_ours),
            one => one.is_some_and(is_ours),
        };
        if !meant {
            return Err(TokenError::Audience);
        }
    }
    let issuer = claims.get("iss").and_then(Value::as_str);
    if rules.issuer.as_deref().is_some_and(|expected| issuer != Some(expected)) {
        return Err(TokenError::Issuer);
    }
    Ok(())
}

/// A `NumericDate` (RFC 7519): seconds since 1970, with a fraction if need be. One that is there must be one: a token
/// whose end can't be read has not none.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<WallTime>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let duration = match (value.as_u64(), value.as_f64()) {
        (Some(seconds), _) => Duration::from_secs(seconds),
        // Before 1970 is as long ago as 1970.
        (None, Some(seconds)) if seconds.is_finite() => {
            Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
        }
        _ => return Err(TokenError::NotATime(name)),
    };
    Ok(Some(WallTime::since_1970(duration)))
}

#[cfg(test)]
mod tests;
