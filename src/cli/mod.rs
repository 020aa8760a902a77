//! The command line: one file a subcommand. What they have in common is the configuration file, and that findings and
//! progress go to standard error, results to standard output.

mod check;
mod database_url;
mod demo;
mod health;
mod output;
mod run;
mod setup;
mod tail;
mod why;

use std::error::Error;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, Loaded};

/// Where the configuration is looked for when nobody says, in this order.
const DEFAULT_FILES: [&str; 2] = ["walcast.toml", "config/walcast.toml"];

/// Findings, or something that did not succeed. Wrong usage is 2, as clap has it.
const FAILURE: u8 = 1;

const AFTER_HELP: &str = "\
To try it on a database of your own, without a configuration file:
  walcast setup --database-url URL   publishes its tables (--print shows the SQL instead)
  walcast run --database-url URL     serves them on this machine, and prints the configuration that would do the same

To begin in earnest:
  1. Write walcast.toml: where the database is, who may connect, which table goes to which topic.
  2. walcast setup --print   shows the SQL that the database needs; walcast setup runs it.
  3. walcast check --database   says what is still wrong, and how to mend it.
  4. walcast run   serves clients.

Exit codes: 0 all is well (of `run`: it was asked to stop, and stopped in order), 1 something is wrong (it is printed),
2 the command line is wrong.";

/// Postgres' write-ahead log as live updates for Phoenix Channels clients.
#[derive(Debug, Parser)]
#[command(name = "walcast", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Arguments {
    /// The configuration file [default: walcast.toml, then config/walcast.toml]
    #[arg(short, long, global = true, env = "WALCAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Setup(setup::Arguments),
    Tail(tail::Arguments),
    Why(why::Arguments),
    Health(health::Arguments),
    Demo(crate::demo::Options),
}

impl Command {
    /// The database's url was given in place of a file.
    const fn needs_no_file(&self) -> bool {
        match self {
            Self::Run(arguments) => arguments.database.is_given(),
            Self::Setup(arguments) => arguments.database.is_given(),
            _ => false,
        }
    }
}

/// What a subcommand returns: an exit code, or an error that has not been printed yet.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let matches = without_empty_variables(Arguments::command()).get_matches();
    let Arguments { config, command } = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if command.needs_no_file() && matches.value_source("config") == Some(ValueSource::CommandLine) {
        let message = "--database-url stands in for a configuration file: leave out it or --config";
        Arguments::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    let outcome = match command {
        Command::Run(arguments) => run::execute(config.as_deref(), &arguments),
        Command::Check(arguments) => check::execute(config.as_deref(), &arguments),
        Command::Setup(arguments) => setup::execute(config.as_deref(), &arguments),
        Command::Health(arguments) => health::execute(config.as_deref(), &arguments),
        Command::Why(arguments) => why::execute(config.as_deref(), &arguments),
        Command::Tail(arguments) => tail::execute(config.as_deref(), arguments),
        Command::Demo(arguments) => demo::execute(arguments),
    };
    outcome.unwrap_or_else(|error| {
        output::error(error.as_ref());
        ExitCode::from(FAILURE)
    })
}

/// A variable that is set to nothing counts as unset: that is how compose files and units leave one out.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|argument| {
        if argument.get_env().is_some_and(is_empty) { argument.env(None::<&'static str>) } else { argument }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Reads and judges the configuration file that the user named, or the first default that exists.
fn load(path: Option<&Path>) -> Result<Loaded, Box<dyn Error>> {
    Ok(config::read(file(path)?, &|name| std::env::var(name))?)
}

/// The configuration's file.
fn file(path: Option<&Path>) -> Result<&Path, Box<dyn Error>> {
    file_or_default(path).ok_or_else(|| {
        let [first, second] = DEFAULT_FILES;
        format!(
            "no configuration file: there is neither {first} nor {second} here; name one with --config, or try \
             `walcast run --database-url URL`, which needs none"
        )
        .into()
    })
}

/// The file that the user named, or the first default that exists.
fn file_or_default(path: Option<&Path>) -> Option<&Path> {
    path.or_else(|| DEFAULT_FILES.iter().map(Path::new).find(|path| path.exists()))
}

/// Where something that listens at this address is reached on its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, listen.port())
}

/// A runtime for the few queries of `check` and `setup`.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_explains_itself() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands() {
            assert!(subcommand.get_about().is_some(), "{} has no help", subcommand.get_name());
        }
    }
}
