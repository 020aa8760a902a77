//! Decoding on a standby.
