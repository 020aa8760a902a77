//! What the demo tells the person who started it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One line a step, with the time it took.
#[derive(Debug)]
pub(super) struct Steps {
    quiet: bool,
    begun: Instant,
    last: Instant,
}

impl Steps {
    pub(super) fn new(quiet: bool) -> Self {
        let now = Instant::now();
        let steps = Self { quiet, begun: now, last: now };
        steps.say("walcast demo");
        steps
    }

    /// A step has succeeded; the time is that since the one before.
    pub(super) fn done(&mut self, step: &str) {
        let took = self.last.elapsed();
        self.last = Instant::now();
        self.say(&format!("  {:>8}  {step}", milliseconds(took)));
    }

    /// Everything runs.
    pub(super) fn open(&self, admin: SocketAddr, database_url: &str) {
        if self.quiet {
            return print(&format!("http://{admin}/demo/"));
        }
        let total = milliseconds(self.begun.elapsed());
        self.say(&format!(
            "\n  Ready after {total}. Open  http://{admin}/demo/\n  \
             Example pages, a few lines of script each:  http://{admin}/examples/\n\n  \
             Change a row yourself and watch the page:\n    \
             psql {database_url} -c \"update orders set status = 'cancelled' where status = 'placed'\"\n\n  \
             Ctrl-C stops everything and leaves nothing behind."
        ));
    }

    pub(super) fn stopping(&mut self) {
        self.last = Instant::now();
        self.say("\nstopping");
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            print(text);
        }
    }
}

fn print(text: &str) {
    // Whoever closed the pipe does not want to read it; the demo goes on.
    let _reader_gone = writeln!(io::stdout(), "{text}");
}

fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
