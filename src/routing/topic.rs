//! A topic's name.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The longest topic, in bytes: Phoenix' binary frames carry its length in one byte.
pub const MAX_TOPIC_LENGTH: usize = 255;

/// A topic that a client can join: 1 to [`MAX_TOPIC_LENGTH`] bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

/// Text that can't name a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("a topic can't be empty")]
    Empty,
    #[error("a topic of {length} bytes is too long: use at most {MAX_TOPIC_LENGTH}")]
    TooLong { length: usize },
}

impl Topic {
    /// Checks the length and copies the text.
    ///
    /// # Errors
    /// Empty text, or more than [`MAX_TOPIC_LENGTH`] bytes.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        match text.len() {
            0 => Err(TopicError::Empty),
            1..=MAX_TOPIC_LENGTH => Ok(Self(text.into())),
            length => Err(TopicError::TooLong { length }),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Topic {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_to_255_bytes() {
        assert_eq!(Topic::parse("").unwrap_err(), TopicError::Empty);
        assert_eq!(Topic::parse("a").unwrap().as_str(), "a");
        assert_eq!(Topic::parse(&"a".repeat(255)).unwrap().len(), 255);
        assert_eq!(Topic::parse(&"ä".repeat(128)).unwrap_err(), TopicError::TooLong { length: 256 });
    }
}
