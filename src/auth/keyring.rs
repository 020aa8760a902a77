//! The keys as they are now, and the task that keeps them so.
//!
//! A published set is fetched at start, every [`REFRESH_INTERVAL`], and when a token comes that is signed by no known
//! key: then at most every [`ASKED_INTERVAL`], so that made-up tokens don't become a flood at the issuer's door;
//! whoever comes meanwhile waits for the same answer. When it can't be fetched, or is no key set, the keys from before
//! stay in use, however old: an issuer that is down must not lock everyone out. It is logged, and tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::fetch::{self, FETCH_TIMEOUT, FetchError};
use super::keys::{KeySet, KeySource};
use super::location::JwksUrl;

/// How long a key that the issuer has taken back stays in use here.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// After an attempt that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Between two attempts for the sake of tokens with an unknown key.
const ASKED_INTERVAL: Duration = Duration::from_secs(5);

/// The keys; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    state: watch::Receiver<State>,
    /// `None` where they never change.
    asked: Option<Arc<Notify>>,
}

/// The keys at one time.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// `None` until they could be fetched for the first time.
    pub(super) keys: Option<Arc<KeySet>>,
    /// How many attempts to fetch them have ended.
    attempts: u64,
    /// One is under way.
    fetching: bool,
    /// From when on a token with an unknown key leads to the next.
    ask_from: Instant,
}

impl State {
    fn new(keys: Option<KeySet>, fetching: bool) -> Self {
        Self { keys: keys.map(Arc::new), attempts: 0, fetching, ask_from: Instant::now() }
    }
}

impl Keyring {
    /// The keys, and what keeps them current where that is needed: it must be run.
    ///
    /// # Errors
    /// There is no TLS to fetch them over.
    pub(super) fn new(source: KeySource) -> Result<(Self, Option<Refresher>), rustls::Error> {
        let (place, state) = match source {
            KeySource::Fixed(keys) => {
                let (_, state) = watch::channel(State::new(Some(keys), false));
                return Ok((Self { state, asked: None }, None));
            }
            KeySource::File { path, read } => (Place::File(path), State::new(Some(read), false)),
            KeySource::Url(url) => (Place::Url(url, fetch::tls_config()?), State::new(None, true)),
        };
        let asked = Arc::new(Notify::new());
        let (sender, state) = watch::channel(state);
        let refresher = Refresher { place, state: sender, asked: Arc::clone(&asked) };
        Ok((Self { state, asked: Some(asked) }, Some(refresher)))
    }

    pub(super) fn now(&self) -> State {
        self.state.borrow().clone()
    }

    /// Newer keys than `seen`, which did not do: those that came since, or those that come now. `None` where there are
    /// none, or where it is too early to ask again.
    pub(super) async fn renewed(&self, seen: &State) -> Option<Arc<KeySet>> {
        let asked = self.asked.as_ref()?;
        let mut state = self.state.clone();
        {
            let now = state.borrow();
            if now.attempts == seen.attempts && !now.fetching {
                if Instant::now() < now.ask_from {
                    return None;
                }
                asked.notify_one();
            }
        }
        let newer = state.wait_for(|state| state.attempts > seen.attempts);
        // Longer than an attempt takes, and over all the same should the task be gone.
        let state = timeout(FETCH_TIMEOUT * 2, newer).await.ok()?.ok()?;
        state.keys.clone()
    }
}

/// Keeps published keys current.
#[derive(Debug)]
pub struct Refresher {
    place: Place,
    state: watch::Sender<State>,
    asked: Arc<Notify>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Url(JwksUrl, Arc<ClientConfig>),
}

impl Refresher {
    /// Runs for ever; dropping it ends it.
    pub async fn run(self) {
        let mut pause = match self.place {
            Place::File(_) => REFRESH_INTERVAL, // it was read at start
            Place::Url(..) => self.attempt().await,
        };
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.asked() => self.state.send_modify(|state| state.ask_from = Instant::now() + ASKED_INTERVAL),
            }
            pause = self.attempt().await;
        }
    }

    /// Until somebody asks who may.
    async fn asked(&self) {
        loop {
            self.asked.notified().await;
            // Somebody who asked while the last attempt was under way has its answer.
            if Instant::now() >= self.state.borrow().ask_from {
                return;
            }
        }
    }

    /// One attempt; how long to wait for the next.
    async fn attempt(&self) -> Duration {
        self.state.send_modify(|state| state.fetching = true);
        let result = self.get().await;
        let pause = match &result {
            Ok(keys) => {
                tracing::debug!(?keys, place = %self.place, "the key set is current");
                REFRESH_INTERVAL
            }
            Err(error) => {
                let in_use = self.state.borrow().keys.as_ref().map_or(0, |keys| keys.len());
                tracing::warn!(%error, place = %self.place, in_use, "the key set could not be had; the keys from before stay in use");
                RETRY_INTERVAL
            }
        };
        self.state.send_modify(|state| {
            state.fetching = false;
            state.attempts += 1;
            state.keys = result.ok().map(Arc::new).or_else(|| state.keys.take());
        });
        pause
    }

    async fn get(&self) -> Result<KeySet, FetchError> {
        match &self.place {
            Place::File(path) => Ok(KeySet::of_jwks(&fetch::read(path).await?, true)?),
            Place::Url(url, tls) => Ok(KeySet::of_jwks(&fetch::fetch(url, tls).await?, false)?),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url, _) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
