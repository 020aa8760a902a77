//! `walcast demo`, and its page in headless Chromium.

use std::fs;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::gateway::signal;
use crate::support::node::Script;
use crate::support::{PATIENCE, ScratchFolder, free_port};

/// `walcast demo` and the address that it prints.
struct Demo {
    child: Child,
    page: String,
    /// The throwaway cluster's folder is made in here, where one can see whether it goes.
    temporary: ScratchFolder,
}

impl Demo {
    async fn start() -> Self {
        let temporary = ScratchFolder::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_walcast"));
        command.args(["demo", "--quiet", "--listen"]).arg(format!("127.0.0.1:{}", free_port()));
        command.arg("--admin").arg(format!("127.0.0.1:{}", free_port()));
        command.env("TMPDIR", temporary.join("")).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the demo starts in time");
        let page = line.unwrap().expect("the demo prints its page's address");
        Self { child, page, temporary }
    }

    async fn stop(mut self, signal_name: &str) {
        signal(self.child.id().unwrap(), signal_name).await;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the demo stops in time").unwrap();
        assert!(status.success(), "after SIG{signal_name}: {status}");
        let left: Vec<_> = fs::read_dir(self.temporary.join("")).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

#[tokio::test]
async fn rows_change_before_ones_eyes() {
    let demo = Demo::start().await;
    let picture = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-page.png");
    let variables = [("WALCAST_PAGE", demo.page.as_str()), ("WALCAST_SCREENSHOT", picture.to_str().unwrap())];
    Script::start("demo_page.mjs", &variables).succeed().await;
    assert!(picture.is_file());
    demo.stop("INT").await;
}

#[tokio::test]
async fn the_example_pages_do_what_they_are_for() {
    let demo = Demo::start().await;
    let pictures = env!("CARGO_TARGET_TMPDIR");
    let variables = [("WALCAST_PAGE", demo.page.as_str()), ("WALCAST_PICTURES", pictures)];
    Script::start("examples.mjs", &variables).succeed().await;
    demo.stop("INT").await;
}

#[test]
fn an_examples_script_is_short() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for name in ["dashboard", "scoreboard", "chat", "document", "notifications"] {
        let script = fs::read_to_string(examples.join(name).join(format!("{name}.js"))).unwrap();
        assert!(script.lines().count() < 100, "{name}");
    }
}

#[tokio::test]
async fn nothing_is_left_behind_after_sigterm() {
    Demo::start().await.stop("TERM").await;
}

#[tokio::test]
async fn the_page_keeps_its_rows_as_the_updates_say() {
    Script::start("page_rows.mjs", &[]).succeed().await;
}

#[tokio::test]
async fn the_pages_client_comes_back_from_everything() {
    Script::start("page_client.mjs", &[]).succeed().await;
}
