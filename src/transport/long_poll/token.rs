//! The token by which a client names its session, and how far it has got.
//!
//! A client sends the token of the last answer that it has handled. So the token says which messages those were: what
//! came after them is sent again until a token shows that it arrived.
#![deny(clippy::indexing_slicing)]

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

/// Which session; not to be guessed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) struct SessionKey {
    /// The shard that has it, and the connection's slot there.
    pub(in crate::transport) shard: u16,
    pub(in crate::transport) slot: u32,
    pub(in crate::transport) secret: [u8; SECRET_LENGTH],
}

/// As much as nobody guesses.
pub(in crate::transport) const SECRET_LENGTH: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) struct Token {
    pub(in crate::transport) key: SessionKey,
    /// How many of the session's messages the client has.
    pub(in crate::transport) received: u64,
}

/// Text that is no token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token of a long-poll session")]
pub(in crate::transport) struct ParseTokenError;

impl fmt::Debug for SessionKey {
    // The secret is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {} of shard {}", self.slot, self.shard)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionKey { shard, slot, secret } = self.key;
        let mut bytes = Vec::with_capacity(KEY_LENGTH);
        bytes.extend(shard.to_be_bytes());
        bytes.extend(slot.to_be_bytes());
        bytes.extend(secret);
        write!(f, "{}.{}", BASE64URL_NOPAD.encode(&bytes), self.received)
    }
}

/// Shard, slot, secret.
const KEY_LENGTH: usize = 2 + 4 + SECRET_LENGTH;
/// The longest text: the key in base64, a dot, and a 64-bit number.
const TEXT_LENGTH_MAX: usize = (KEY_LENGTH * 4).div_ceil(3) + 1 + 20;

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, received) = text.split_once('.').ok_or(ParseTokenError)?;
        if text.len() > TEXT_LENGTH_MAX || !received.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseTokenError);
        }
        let bytes = BASE64URL_NOPAD.decode(key.as_bytes()).map_err(|_| ParseTokenError)?;
        let (shard, rest) = bytes.split_first_chunk().ok_or(ParseTokenError)?;
        let (slot, rest) = rest.split_first_chunk().ok_or(ParseTokenError)?;
        let secret = rest.try_into().map_err(|_| ParseTokenError)?;
        let key = SessionKey { shard: u16::from_be_bytes(*shard), slot: u32::from_be_bytes(*slot), secret };
        Ok(Self { key, received: received.parse().map_err(|_| ParseTokenError)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_back_as_it_went(shard: u16, slot: u32, secret: [u8; SECRET_LENGTH], received: u64) {
            let token = Token { key: SessionKey { shard, slot, secret }, received };
            prop_assert_eq!(token.to_string().parse(), Ok(token));
            prop_assert!(token.to_string().len() <= TEXT_LENGTH_MAX);
        }

        #[test]
        fn any_text_is_a_token_or_an_error(text in "[a-zA-Z0-9_.=-]{0,60}|.{0,60}") {
            let _parsed = text.parse::<Token>();
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = SessionKey { shard: 1, slot: 2, secret: [77; SECRET_LENGTH] };
        assert_eq!(format!("{:?}", Token { key, received: 3 }), "Token { key: session 2 of shard 1, received: 3 }");
    }
}
