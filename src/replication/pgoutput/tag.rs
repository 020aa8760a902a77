//! The bytes by which messages and their parts are told apart.

pub(super) const BEGIN: u8 = b'B';
pub(super) const COMMIT: u8 = b'C';
pub(super) const ORIGIN: u8 = b'O';
pub(super) const RELATION: u8 = b'R';
pub(super) const TYPE: u8 = b'Y';
pub(super) const INSERT: u8 = b'I';
pub(super) const UPDATE: u8 = b'U';
pub(super) const DELETE: u8 = b'D';
pub(super) const TRUNCATE: u8 = b'T';
pub(super) const MESSAGE: u8 = b'M';

/// Stream start, stop, commit and abort (option `streaming`); begin prepare, prepare, commit prepared, rollback
/// prepared and stream prepare (option `two_phase`).
pub(super) const NEVER_REQUESTED: [u8; 9] = *b"SEcAbPKrp";

/// Before the tuple with the old values of the replica identity's columns.
pub(super) const KEY_TUPLE: u8 = b'K';
/// Before the tuple with all old values.
pub(super) const OLD_TUPLE: u8 = b'O';
/// Before the tuple with the new values.
pub(super) const NEW_TUPLE: u8 = b'N';
