//! The real binary, with a config file of its own, on free ports.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{PATIENCE, ScratchFolder, eventually, free_port};

/// What the gateway said and how it ended, where a test runs it to its end.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `walcast run` as a child process. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Gateway {
    folder: ScratchFolder,
    child: Option<Child>,
    port: u16,
    admin_port: u16,
}

impl Gateway {
    /// `walcast setup`, then `walcast run`, then waits until it is ready. `routes` is TOML after
    /// `[postgres]`, `[server]` and `[auth] mode = "none"`: `[[route]]`s, `[limits]` and so on.
    pub(crate) async fn start(database_url: &str, routes: &str) -> Self {
        Self::start_edited(database_url, routes, |config| config).await
    }

    /// The same with another config file.
    pub(crate) async fn start_edited(database_url: &str, routes: &str, edit: impl FnOnce(String) -> String) -> Self {
        let mut gateway = Self::configure(database_url, routes);
        gateway.edit_config(edit);
        let setup = gateway.walcast("setup").await;
        assert!(setup.status.success(), "walcast setup: {}\n{}{}", setup.status, setup.stdout, setup.stderr);
        gateway.spawn();
        gateway.wait_until_ready().await;
        gateway
    }

    /// Only writes the config file; for tests of what comes before or instead of a good start.
    pub(crate) fn configure(database_url: &str, routes: &str) -> Self {
        let gateway = Self { folder: ScratchFolder::new(), child: None, port: free_port(), admin_port: free_port() };
        let server = format!(
            "[server]\nlisten = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"\n",
            gateway.port, gateway.admin_port
        );
        let postgres = format!("[postgres]\nurl = \"{database_url}\"\npublication = \"walcast\"\nslot = \"walcast\"\n");
        gateway.write_config(&format!("{postgres}\n{server}\n[auth]\nmode = \"none\"\n\n{routes}"));
        gateway
    }

    /// Replaces the config file.
    pub(crate) fn write_config(&self, text: &str) {
        fs::write(self.config_file(), text).expect("write the config file");
    }

    pub(crate) fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config_file()).expect("read the config file");
        self.write_config(&edit(text));
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.join("walcast.toml")
    }

    /// Adds a line to the config's section `[postgres]`.
    pub(crate) fn configure_postgres(&self, line: &str) {
        let text = fs::read_to_string(self.config_file()).expect("read the config file");
        self.write_config(&text.replacen("[postgres]\n", &format!("[postgres]\n{line}\n"), 1));
    }

    /// Runs a subcommand, with its arguments, with this config file to its end.
    pub(crate) async fn walcast(&self, subcommand: &str) -> Finished {
        self.walcast_with(subcommand, &[]).await
    }

    /// The same with the environment `variables`.
    pub(crate) async fn walcast_with(&self, subcommand: &str, variables: &[(&str, &str)]) -> Finished {
        let file = self.config_file();
        let mut arguments: Vec<&str> = subcommand.split(' ').collect();
        arguments.extend(["-c", file.to_str().expect("a path of ours")]);
        walcast(&arguments, variables).await
    }

    /// Starts `walcast run`, whether it was set up or not; its logs are added to those of earlier runs.
    pub(crate) fn spawn(&mut self) {
        self.spawn_with(&[]);
    }

    /// The same with the environment `variables`.
    pub(crate) fn spawn_with(&mut self, variables: &[(&str, &str)]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_walcast"));
        command.envs(variables.iter().copied());
        self.run(command);
    }

    /// The same by a program that runs others, such as `taskset`; these are its first words.
    pub(crate) fn spawn_under(&mut self, words: &[&str]) {
        let mut words = words.iter().copied().chain([env!("CARGO_BIN_EXE_walcast")]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        self.run(command);
    }

    fn run(&mut self, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("open the log");
        command.arg("run").arg("-c").arg(self.config_file()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("share the log")).stderr(log);
        self.child = Some(command.spawn().expect("start walcast"));
    }

    /// `walcast run --database-url`, on this gateway's ports and without its config file; what it prints is in
    /// [`Gateway::printed`].
    pub(crate) fn spawn_without_file(&mut self, database_url: &str) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("open the log");
        let printed = File::create(self.folder.join("printed")).expect("open a file for what is printed");
        let mut command = Command::new(env!("CARGO_BIN_EXE_walcast"));
        let (listen, admin) = (format!("127.0.0.1:{}", self.port), format!("127.0.0.1:{}", self.admin_port));
        command.args(["run", "--database-url", database_url, "--listen", &listen, "--admin", &admin]);
        command.stdin(Stdio::null()).stdout(printed).stderr(log).kill_on_drop(true);
        self.child = Some(command.spawn().expect("start walcast"));
    }

    /// What went to standard output, and not to the log.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(self.folder.join("printed")).unwrap_or_default()
    }

    /// Until `/readyz` answers 200; fails at once where the process ends before.
    pub(crate) async fn wait_until_ready(&mut self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.readyz().await != Some(200) {
            let ended = self.running().try_wait().expect("look at walcast");
            assert!(ended.is_none(), "walcast ended before it was ready: {ended:?}\n{}", self.log());
            assert!(tokio::time::Instant::now() < deadline, "not ready within {PATIENCE:?}\n{}", self.log());
            tokio::time::sleep(super::POLL).await;
        }
    }

    /// The status of `/readyz`; `None` where nobody answers.
    pub(crate) async fn readyz(&self) -> Option<u16> {
        get(self.admin_port, "/readyz").await.map(|(status, _)| status)
    }

    /// GET on the admin listener: status and body.
    pub(crate) async fn get_admin(&self, path: &str) -> (u16, String) {
        eventually("an answer from the admin listener", || get(self.admin_port, path)).await
    }

    /// What a Phoenix client takes as its endpoint.
    pub(crate) fn socket_url(&self) -> String {
        format!("ws://127.0.0.1:{}/socket", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) const fn admin_port(&self) -> u16 {
        self.admin_port
    }

    pub(crate) fn process_id(&mut self) -> u32 {
        self.running().id().expect("a running walcast")
    }

    /// Everything that this gateway has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let id = self.process_id();
        signal(id, "TERM").await;
        self.wait().await
    }

    /// SIGKILL: no time for anything.
    pub(crate) async fn kill(&mut self) {
        self.running().kill().await.expect("kill walcast");
        self.child = None;
    }

    /// Until the process ends by itself.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let waited = tokio::time::timeout(PATIENCE, self.running().wait()).await;
        let status = waited.unwrap_or_else(|_| panic!("walcast does not end\n{}", self.log()));
        self.child = None;
        status.expect("wait for walcast")
    }

    fn running(&mut self) -> &mut Child {
        self.child.as_mut().expect("walcast was started")
    }
}

/// Runs the program with these arguments and environment variables to its end.
pub(crate) async fn walcast(arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walcast"));
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("walcast {arguments:?} hangs")).expect("run walcast");
    Finished {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Sends a signal by its name (`TERM`, `HUP`, `STOP`, …).
pub(crate) async fn signal(process_id: u32, name: &str) {
    let script = format!("kill -{name} {process_id}");
    let status = Command::new("sh").args(["-c", &script]).status().await.expect("run sh");
    assert!(status.success(), "{script}: {status}");
}

/// A plain GET to a local port; `None` where no whole answer comes.
pub(crate) async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
