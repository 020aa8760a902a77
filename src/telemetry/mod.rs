//! What an operator sees: logs, health and metrics.

pub mod health;
pub mod inspector;
pub mod logging;
pub mod metrics;
