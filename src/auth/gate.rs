//! The way in. Whoever serves a request asks [`Gate::admit`] before anything else:
//!
//! ```text
//! let identity = match gate.admit(request.headers(), &params).await {
//!     Ok(identity) => identity,
//!     // A WebSocket's handshake: `denied.upgrade_status()` with an empty body. Everything else: `denied.status()`
//!     // with the body `denied.body()`.
//!     Err(denied) => return …,
//! };
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::credential::Credential;
use super::identity::{Identity, WallTime};
use super::jwt::{self, Rules, TokenError};
use super::keyring::{Keyring, Refresher};
use super::keys::{KeySet, KeySource};
use super::origin::Origins;
use crate::phoenix::connect::Params;

/// The wall clock.
#[must_use]
pub fn wall_clock() -> WallTime {
    WallTime::since_1970(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// How tokens are checked.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub keys: KeySource,
    pub rules: Rules,
}

/// Decides who comes in. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// `None` lets anyone in.
    tokens: Option<(Keyring, Rules)>,
    origins: Origins,
    denials: Denials,
}

/// How many were not let in, by reason. Clones are the same counters.
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<[AtomicU64; REASONS.len()]>);

/// Of [`Denied::reason`].
const REASONS: [&str; 5] =
    ["origin_not_allowed", "missing_token", "token_expired", "invalid_token", "keys_unavailable"];

impl Denials {
    fn count(&self, denied: Denied) {
        let place = REASONS.iter().position(|reason| *reason == denied.reason());
        if let Some(count) = place.and_then(|place| self.0.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each reason and its number.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// Why somebody does not come in. What it says may be shown to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the page's origin is not in the list `server.origins`")]
    Origin,
    #[error("there is no token")]
    Missing,
    #[error("the token is {0}")]
    Token(#[from] TokenError),
    #[error("no key to check tokens with could be had so far")]
    NoKeys,
}

impl Gate {
    /// A gate for whoever shows a valid token, or for anyone. The refresher keeps keys current and must be run.
    ///
    /// # Errors
    /// There is no TLS to fetch keys over.
    pub fn new(tokens: Option<Tokens>, origins: Origins) -> Result<(Self, Option<Refresher>), rustls::Error> {
        let Some(Tokens { keys, rules }) = tokens else {
            return Ok((Self(Arc::new(Inner { tokens: None, origins, denials: Denials::default() })), None));
        };
        let (keyring, refresher) = Keyring::new(keys)?;
        let inner = Inner { tokens: Some((keyring, rules)), origins, denials: Denials::default() };
        Ok((Self(Arc::new(inner)), refresher))
    }

    /// Who sends this request; somebody without claims where tokens are not asked for. `params` is the URL's query.
    ///
    /// Answers at once, unless the token is signed by a key that is not known: then the published keys are fetched, in
    /// some seconds at most.
    ///
    /// # Errors
    /// Whoever it is must not come in.
    pub async fn admit(&self, headers: &HeaderMap, params: &Params) -> Result<Identity, Denied> {
        let result = self.judge(headers, params).await;
        if let Err(denied) = &result {
            tracing::debug!(%denied, "a request was refused");
            self.0.denials.count(*denied);
        }
        result
    }

    /// Whose token this is, for a connection that shows another one; somebody without claims where tokens are not asked
    /// for. As fast as [`Gate::admit`].
    ///
    /// # Errors
    /// It is not valid.
    pub async fn verify(&self, token: &Credential) -> Result<Identity, Denied> {
        let result = self.check(token).await;
        if let Err(denied) = &result {
            tracing::debug!(%denied, "a new token was refused");
        }
        result
    }

    /// Whether somebody who was admitted may have the server send events to a topic. Where tokens are not asked for,
    /// anyone may: there is nobody to tell from others.
    #[must_use]
    pub fn may_publish(&self, identity: &Identity, topic: &str) -> bool {
        self.0.tokens.is_none() || identity.may_publish(topic)
    }

    /// Who was not let in so far.
    #[must_use]
    pub fn denials(&self) -> Denials {
        self.0.denials.clone()
    }

    /// Whether a page of this origin may talk to us; for answers to pages that are not requests of a client yet.
    #[must_use]
    pub fn allows_origin(&self, headers: &HeaderMap) -> bool {
        self.0.origins.allow(headers)
    }

    async fn judge(&self, headers: &HeaderMap, params: &Params) -> Result<Identity, Denied> {
        if !self.allows_origin(headers) {
            return Err(Denied::Origin);
        }
        if self.0.tokens.is_none() {
            return Ok(Identity::default());
        }
        let token = Credential::of_request(headers, params).ok_or(Denied::Missing)?;
        self.check(&token).await
    }

    async fn check(&self, token: &Credential) -> Result<Identity, Denied> {
        let Some((keyring, rules)) = &self.0.tokens else { return Ok(Identity::default()) };
        let verify = |keys: &KeySet| jwt::verify(token.expose(), keys, rules, wall_clock());
        let state = keyring.now();
        let known = match state.keys.as_deref().map(verify) {
            Some(Err(TokenError::UnknownKey)) => Denied::Token(TokenError::UnknownKey),
            Some(judged) => return Ok(judged?),
            None => Denied::NoKeys,
        };
        match keyring.renewed(&state).await {
            Some(keys) => Ok(verify(&keys)?),
            None => Err(known),
        }
    }
}

impl Denied {
    /// The stable name of the reason.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Origin => "origin_not_allowed",
            Self::Missing => "missing_token",
            Self::Token(TokenError::Expired) => "token_expired",
            Self::Token(_) => "invalid_token",
            Self::NoKeys => "keys_unavailable",
        }
    }

    /// The answer's status, but for a WebSocket's handshake.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Missing | Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The status that refuses a WebSocket's handshake: Phoenix' 403, unless it is not the client's fault.
    #[must_use]
    pub const fn upgrade_status(self) -> StatusCode {
        match self {
            Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
            Self::Origin | Self::Missing | Self::Token(_) => StatusCode::FORBIDDEN,
        }
    }

    /// The answer's body: `{"reason": …}`.
    #[must_use]
    pub fn body(self) -> String {
        format!(r#"{{"reason":"{}"}}"#, self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted() {
        let denials = Denials::default();
        let expired = TokenError::Expired;
        let all = [Denied::Origin, Denied::Missing, expired.into(), TokenError::UnknownKey.into(), Denied::NoKeys];
        all.into_iter().for_each(|denied| denials.count(denied));
        assert!(denials.by_reason().all(|(_, count)| count == 1), "{denials:?}");
    }
}
