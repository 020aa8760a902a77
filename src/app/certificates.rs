//! The certificate of a running gateway: read again when its files change, or on SIGHUP.
//!
//! A new one that can't be used, or that has expired, is refused with a log line, and the one before stays. Connections
//! that are there go on with what they were made with.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::AppError;
use super::reload::Stamp;
use crate::telemetry::metrics::CertificateGauge;
use crate::tls::{Certificate, Files, FilesError};
use crate::transport::{Tls, TlsControl};

/// How often the files are looked at, as the configuration file is.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The certificate in use, and where it comes from.
pub(super) struct Certificates {
    files: Files,
    control: TlsControl,
    gauge: Arc<CertificateGauge>,
    hangup: Signal,
}

/// Both files as they were at a look.
type Stamps = [Option<Stamp>; 2];

/// Why a changed certificate is not used.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("the certificate has expired")]
    Expired,
    #[error("it can't be served with: {0}")]
    Tls(#[from] rustls::Error),
}

impl Certificates {
    /// # Errors
    /// The files are no certificate and its key, or the process can't listen for signals.
    pub(super) fn read(files: Files) -> Result<Self, AppError> {
        let certificate = Certificate::read(&files).map_err(AppError::Certificate)?;
        let control = TlsControl::new(&certificate)?;
        let gauge = Arc::new(CertificateGauge::new(certificate.validity.not_after));
        let hangup = signal(SignalKind::hangup()).map_err(AppError::Signals)?;
        Ok(Self { files, control, gauge, hangup })
    }

    pub(super) fn tls(&self) -> Tls {
        self.control.tls()
    }

    /// Where operators see until when it is good.
    pub(super) fn gauge(&self) -> Arc<CertificateGauge> {
        Arc::clone(&self.gauge)
    }

    /// Watches the files until it is dropped.
    pub(super) async fn watch(mut self) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut judged = self.stamps().await;
        let mut seen = judged;
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => true,
                _ = looks.tick() => false,
            };
            let stamps = self.stamps().await;
            // Two files are not replaced at once: they have to be at rest from one look to the next.
            let is_at_rest = std::mem::replace(&mut seen, stamps) == stamps;
            if asked || (is_at_rest && stamps != judged) {
                judged = stamps;
                self.replace();
            }
        }
    }

    async fn stamps(&self) -> Stamps {
        [Stamp::of(&self.files.certificate).await, Stamp::of(&self.files.key).await]
    }

    fn replace(&self) {
        match self.try_replace() {
            Ok(not_after) => {
                self.gauge.applied(not_after);
                tracing::info!(file = %self.files.certificate.display(), "the TLS certificate was read again");
            }
            Err(error) => {
                self.gauge.refused();
                tracing::error!(%error, "the TLS certificate was not replaced, the former one stays");
            }
        }
    }

    fn try_replace(&self) -> Result<i64, Refused> {
        let certificate = Certificate::read(&self.files)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if certificate.validity.has_ended(i64::try_from(now).unwrap_or(i64::MAX)) {
            return Err(Refused::Expired);
        }
        self.control.replace(&certificate)?;
        Ok(certificate.validity.not_after)
    }
}
