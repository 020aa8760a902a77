//! What an operator sees: logs and health.

pub mod health;
pub mod logging;
