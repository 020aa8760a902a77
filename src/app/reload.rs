//! The configuration of a running gateway: its file is read again when it changes, or on SIGHUP; where there is none,
//! so is the list of the published tables.
//!
//! What has changed is applied whole or not at all: a file with a mistake, or one that the database can't fulfil, is
//! refused with all of its findings, and what ran before goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::catalogue::{gather, judge};
use crate::config::code::Code;
use crate::config::published::{Published, TableName, published_tables};
use crate::config::render::{self, Style};
use crate::config::{self, Config, Finding, Loaded, Source};
use crate::replication::wire::{ConnectionConfig, connect_sql};
use crate::telemetry::metrics::Reloads;

use super::service::Service;

/// What the configuration was made from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// This file.
    File(PathBuf),
    /// The tables of a publication.
    Published(Box<Published>),
}

/// How often the file is looked at. Asking for its size and time costs microseconds, and works where notifications
/// don't: on network mounts, and where the file is a link that is turned to another one.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the published tables are asked for, which takes a connection: whoever has just published a table and waits
/// for it is patient for so long.
const TABLES_INTERVAL: Duration = Duration::from_secs(5);

/// Watches what the configuration is made from.
pub(super) struct Reload {
    origin: Origin,
    connection: ConnectionConfig,
    /// What runs now.
    source: Arc<Source>,
    /// The file as it was when it was last read.
    stamp: Option<Stamp>,
    /// Of the published tables, what was refused and need not be refused again.
    refused: Option<Arc<Source>>,
    /// Counted for operators.
    counts: Arc<Reloads>,
    /// Told of a reload that was asked for.
    service: Service,
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
    /// `config` is what was read from `origin` when the process began.
    ///
    /// # Errors
    /// The process can't listen for signals.
    pub(super) fn new(origin: Origin, config: &Config, counts: Arc<Reloads>, service: Service) -> io::Result<Self> {
        let mut looks = interval(match &origin {
            Origin::File(_) => LOOK_INTERVAL,
            Origin::Published(_) => TABLES_INTERVAL,
        });
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (connection, source) = (config.postgres.connection.clone(), Arc::clone(&config.source));
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { origin, connection, source, stamp: None, refused: None, counts, service, hangup, looks, said: false })
    }

    /// Returns the next configuration that can be applied; once it is, the service manager has to be told.
    pub(super) async fn next(&mut self) -> Config {
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => true,
                _ = self.looks.tick() => false,
            };
            if asked {
                self.service.reloading();
            }
            match self.look(asked).await {
                Verdict::Applicable(config) => {
                    self.source = Arc::clone(&config.source);
                    return *config;
                }
                Verdict::Unchanged | Verdict::Refused | Verdict::Unchecked if asked => self.service.reloaded(),
                Verdict::Unchanged | Verdict::Refused | Verdict::Unchecked => {}
            }
        }
    }

    async fn look(&mut self, asked: bool) -> Verdict {
        let stamp = match &self.origin {
            Origin::File(path) => {
                let stamp = Stamp::of(path).await;
                if !asked && stamp == self.stamp {
                    return Verdict::Unchanged;
                }
                stamp
            }
            Origin::Published(_) => None,
        };
        let verdict = self.read(asked).await;
        if !matches!(verdict, Verdict::Unchecked) {
            (self.stamp, self.said) = (stamp, false);
        }
        if matches!(verdict, Verdict::Refused) {
            self.counts.refused();
        }
        verdict
    }

    async fn read(&mut self, asked: bool) -> Verdict {
        let loaded = match self.load().await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Verdict::Unchecked,
            Err(error) => {
                tracing::error!(%error, "the configuration was not reloaded");
                return Verdict::Refused;
            }
        };
        let is_known = |known: &Source| known.text() == loaded.source.text();
        if is_known(&self.source) || !asked && self.refused.as_deref().is_some_and(is_known) {
            if asked {
                tracing::info!("SIGHUP: the configuration is as it was");
            }
            return Verdict::Unchanged;
        }
        let source = loaded.source;
        let verdict = match loaded.config {
            Some(config) => self.check(config, loaded.findings).await,
            None => {
                refuse(&loaded.findings, &source);
                Verdict::Refused
            }
        };
        self.refused = matches!(verdict, Verdict::Refused).then_some(source);
        verdict
    }

    /// None where the database does not say which tables there are.
    async fn load(&mut self) -> Result<Option<Loaded>, config::ReadError> {
        let published = match &self.origin {
            Origin::File(path) => return config::read(path, &|name| std::env::var(name)).map(Some),
            Origin::Published(published) => published,
        };
        let tables = match tables(&self.connection, &published.publication).await {
            Ok(Some(tables)) => tables,
            answer => {
                if !std::mem::replace(&mut self.said, true) {
                    let error = answer.err().map(|error| error.to_string());
                    tracing::warn!(error, "which tables are published can't be told now; the routes stay as they are");
                }
                return Ok(None);
            }
        };
        Ok(Some(published.load(&tables)))
    }

    /// Holds the file against the database, as at start.
    async fn check(&mut self, config: Config, mut findings: Vec<Finding>) -> Verdict {
        match facts(&config).await {
            // That somebody streams from the slot is this process' own doing, and what it says itself where it waits.
            Ok(found) => findings.extend(found.into_iter().filter(|finding| finding.code != Code::SlotActive)),
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
        // The process that streams from the slot is this one.
        findings.retain(|finding| finding.code != Code::SlotActive);
        if !findings.is_empty() {
            tracing::warn!("the changed configuration has warnings\n{}", text(&findings, &config.source));
        }
        for section in config::reload::sections_for_the_next_start(&self.source, &config.source) {
            tracing::warn!(section, "this section has changed too: it takes effect when walcast is started again");
        }
        Verdict::Applicable(Box::new(config))
    }
}

async fn tables(
    connection: &ConnectionConfig,
    publication: &str,
) -> Result<Option<Vec<TableName>>, Box<dyn std::error::Error>> {
    Ok(published_tables(&connect_sql(connection).await?, publication).await?)
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
