//! Node scripts of `tests/interop`, which drive the binary as its users' programs do.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{PATIENCE, repository};

/// A running script. It prints a line for each thing it has seen, and the test reacts.
#[derive(Debug)]
pub(crate) struct Script {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// `node tests/interop/<name>` with the environment `variables`.
    pub(crate) fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_at(&repository().join("tests/interop").join(name), variables)
    }

    /// The same with a script somewhere else.
    pub(crate) fn start_at(path: &Path, variables: &[(&str, &str)]) -> Self {
        let clients = repository().join("tests/interop/node_modules");
        assert!(clients.is_dir(), "the clients are not installed: run `make test`");
        let mut command = Command::new("node");
        command.arg(path).envs(variables.iter().copied()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start node (is it installed?)");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { name: path.display().to_string(), child, lines }
    }

    /// Until the script prints `line`; whatever comes before is skipped.
    pub(crate) async fn until(&mut self, line: &str) {
        let rest = self.until_prefix(line).await;
        assert_eq!(rest, "", "more than {line:?}");
    }

    /// Until the script prints a line that begins with `prefix`; gives the rest of it.
    pub(crate) async fn until_prefix(&mut self, prefix: &str) -> String {
        let awaited = async {
            while let Some(printed) = self.lines.next_line().await.expect("read the script's output") {
                if let Some(rest) = printed.strip_prefix(prefix) {
                    return Some(rest.to_owned());
                }
            }
            None
        };
        let seen = tokio::time::timeout(PATIENCE, awaited).await;
        if let Ok(Some(rest)) = seen {
            return rest;
        }
        let _already_ended = self.child.start_kill();
        let errors = self.errors().await;
        panic!("{} did not say {prefix:?}:\n{errors}", self.name);
    }

    /// Lets a script go on that waits for its standard input.
    pub(crate) async fn go_on(&mut self) {
        let input = self.child.stdin.as_mut().expect("piped");
        input.write_all(b"go on\n").await.expect("write to the script");
    }

    /// For signals.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id().expect("a running script")
    }

    /// Waits for the end, which must be a good one.
    pub(crate) async fn succeed(mut self) {
        let drained = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        if tokio::time::timeout(PATIENCE * 2, drained).await.is_err() {
            let _already_ended = self.child.start_kill();
        }
        let errors = self.errors().await;
        let status = self.child.wait().await.expect("wait for node");
        assert!(status.success(), "{}: {status}\n{errors}", self.name);
    }

    async fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _partial = stderr.read_to_string(&mut text).await;
        }
        text
    }
}
