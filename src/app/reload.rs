//! The configuration file of a running gateway: read again when it changes, or on SIGHUP.
//!
//! It is applied whole or not at all: a file with a mistake, or one that the database can't fulfil, is refused with all
//! of its findings, and what ran before goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::catalogue::{gather, judge};
use crate::config::render::{self, Style};
use crate::config::{self, Config, Finding, Source};
use crate::replication::wire::connect_sql;
use crate::telemetry::metrics::Reloads;

/// How often the file is looked at. Asking for its size and time costs microseconds, and works where notifications
/// don't: on network mounts, and where the file is a link that is turned to another one.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Watches the configuration file.
pub(super) struct Reload {
    path: PathBuf,
    /// What runs now.
    source: Arc<Source>,
    /// The file as it was when it was last read.
    stamp: Option<Stamp>,
    /// Counted for operators.
    counts: Arc<Reloads>,
    hangup: Signal,
    looks: Interval,
    /// That the database does not answer has been said.
    said: bool,
}

/// Tells a file that was written, or replaced, from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// None while there is no file: an editor may be about to put it back.
    pub(super) async fn of(path: &Path) -> Option<Self> {
        let metadata = tokio::fs::metadata(path).await.ok()?;
        Some(Self { length: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// What became of a file that was read again.
enum Verdict {
    Applicable(Box<Config>),
    /// It says what runs already.
    Unchanged,
    Refused,
    /// The database has not been asked; it is tried again.
    Unchecked,
}

impl Reload {
    /// `source` is what was read from the file at `path` when the process began.
    ///
    /// # Errors
    /// The process can't listen for signals.
    pub(super) fn new(path: PathBuf, source: Arc<Source>, counts: Arc<Reloads>) -> io::Result<Self> {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { path, source, stamp: None, counts, hangup, looks, said: false })
    }

    /// Returns the next configuration that can be applied.
    pub(super) async fn next(&mut self) -> Config {
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => true,
                _ = self.looks.tick() => false,
            };
            let stamp = Stamp::of(&self.path).await;
            if !asked && stamp == self.stamp {
                continue;
            }
            let verdict = self.read(asked).await;
            if !matches!(verdict, Verdict::Unchecked) {
                (self.stamp, self.said) = (stamp, false);
            }
            if matches!(verdict, Verdict::Refused) {
                self.counts.refused();
            }
            if let Verdict::Applicable(config) = verdict {
                self.source = Arc::clone(&config.source);
                return *config;
            }
        }
    }

    async fn read(&mut self, asked: bool) -> Verdict {
        let loaded = match config::read(&self.path, &|name| std::env::var(name)) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(%error, "the configuration was not reloaded");
                return Verdict::Refused;
            }
        };
        if loaded.source.text() == self.source.text() {
            if asked {
                tracing::info!("SIGHUP: the configuration is as it was");
            }
            return Verdict::Unchanged;
        }
        let Some(config) = loaded.config else {
            refuse(&loaded.findings, &loaded.source);
            return Verdict::Refused;
        };
        self.check(config, loaded.findings).await
    }

    /// Holds the file against the database, as at start.
    async fn check(&mut self, config: Config, mut findings: Vec<Finding>) -> Verdict {
        match facts(&config).await {
            Ok(found) => findings.extend(found),
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    tracing::warn!(%error, "the changed configuration waits: the database can't be asked about it");
                }
                return Verdict::Unchecked;
            }
        }
        if findings.iter().any(Finding::is_error) {
            refuse(&findings, &config.source);
            return Verdict::Refused;
        }
        if !findings.is_empty() {
            tracing::warn!("the changed configuration has warnings\n{}", text(&findings, &config.source));
        }
        for section in config::reload::sections_for_the_next_start(&self.source, &config.source) {
            tracing::warn!(section, "this section has changed too: it takes effect when walcast is started again");
        }
        Verdict::Applicable(Box::new(config))
    }
}

async fn facts(config: &Config) -> Result<Vec<Finding>, Box<dyn std::error::Error>> {
    let client = connect_sql(&config.postgres.connection).await?;
    Ok(judge(&gather(&client, config).await?, config))
}

fn refuse(findings: &[Finding], source: &Source) {
    tracing::error!("the configuration was not reloaded, the former one stays\n{}", text(findings, source));
}

fn text(findings: &[Finding], source: &Source) -> String {
    render::text(findings, source, Style::Plain)
}
