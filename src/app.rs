//! The process: configuration → parts → tasks → an orderly end.

use crate::config::Config;

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the gateway is not part of this build")]
    NotBuilt,
}

/// Runs the gateway until SIGTERM or Ctrl-C, then ends it in order.
///
/// # Errors
/// It can't start.
pub async fn run(_config: &Config) -> Result<(), AppError> {
    std::future::ready(Err(AppError::NotBuilt)).await
}
