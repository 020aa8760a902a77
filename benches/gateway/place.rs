//! Which core a process has: the server under measure one, everything else another.

use std::process::Command;

/// The core of what is measured.
pub(crate) const SERVER_CORE: &str = "0";
/// The core of its clients, of Postgres, and of this program.
const OTHER_CORE: &str = "1";

/// Whether processes are pinned, as they are where there are two cores and `taskset` (of util-linux).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pinned: bool,
}

impl Place {
    /// Pins this process, and with it all that it starts from now on. To be called before there is a second thread.
    pub(crate) fn take() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let own = std::process::id().to_string();
        let pin = || Command::new("taskset").args(["-p", "-c", OTHER_CORE, &own]).output();
        Self { pinned: cores > 1 && pin().is_ok_and(|output| output.status.success()) }
    }

    /// The beginning of a command line that runs a program on the server's core; empty where nothing is pinned.
    pub(crate) const fn of_server(self) -> &'static [&'static str] {
        if self.pinned { &["taskset", "-c", SERVER_CORE] } else { &[] }
    }
}
