//! `--database-url`: what stands in for a configuration file when walcast is tried out.

use std::error::Error;
use std::net::SocketAddr;

use crate::config::published::{Published, TableName};

/// How many tables a line names before it says how many more there are.
const NAMED_MAX: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct DatabaseUrl {
    /// The database to try walcast on, as in postgres://user:password@host/database; no configuration file is read
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The publication that says which tables there are [default: walcast]
    #[arg(long, value_name = "NAME", requires = "database_url")]
    publication: Option<String>,
    /// The replication slot; each gateway of a server needs one of its own [default: walcast]
    #[arg(long, value_name = "NAME", requires = "database_url")]
    slot: Option<String>,
}

impl DatabaseUrl {
    pub(super) const fn is_given(&self) -> bool {
        self.database_url.is_some()
    }

    pub(super) fn published(&self) -> Option<Published> {
        let mut published = Published::new(self.database_url.clone()?);
        if let Some(publication) = &self.publication {
            published.publication.clone_from(publication);
        }
        if let Some(slot) = &self.slot {
            published.slot.clone_from(slot);
        }
        Some(published)
    }
}

/// What other commands have to be given for the same: "the same --database-url", and what else is no default.
pub(super) fn same_options(published: &Published) -> String {
    let own = Published::new(String::new());
    let named = |option: &str, name: &str, default: &str| (name != default).then(|| format!("{option} {}", word(name)));
    let names =
        [named("--publication", &published.publication, &own.publication), named("--slot", &published.slot, &own.slot)];
    let names: Vec<String> = names.into_iter().flatten().collect();
    if names.is_empty() {
        "the same --database-url".to_owned()
    } else {
        format!("the same --database-url and {}", names.join(" "))
    }
}

/// As a shell takes it for one word.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Without a file nobody is asked for a token: others than this machine must not get in.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    let address: SocketAddr =
        text.parse().map_err(|_| "an IP address and a port are expected, as in 127.0.0.1:4000")?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("without a configuration file walcast listens on loopback only, as in 127.0.0.1:4000; save the configuration \
         that it prints, and change `listen` there"
        .into())
}

/// "public.a, public.b and 3 more".
pub(super) fn named<'t>(tables: impl IntoIterator<Item = &'t TableName>) -> String {
    let names: Vec<String> = tables.into_iter().map(TableName::qualified).collect();
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_let_in() {
        assert!(loopback("127.0.0.1:4000").is_ok() && loopback("[::1]:4000").is_ok());
        for (text, says) in [("0.0.0.0:4000", "loopback only"), ("localhost", "an IP address and a port")] {
            assert!(loopback(text).unwrap_err().to_string().contains(says), "{text}");
        }
    }

    #[test]
    fn what_must_be_given_again_is_named() {
        let mut published = Published::new("postgres://db".to_owned());
        assert_eq!(same_options(&published), "the same --database-url");
        published.slot = "second".to_owned();
        assert_eq!(same_options(&published), "the same --database-url and --slot second");
        published.publication = "it's all".to_owned();
        assert_eq!(same_options(&published), r"the same --database-url and --publication 'it'\''s all' --slot second");
    }

    #[test]
    fn many_tables_are_a_few_and_a_number() {
        let tables: Vec<_> =
            (0..12).map(|n| TableName { schema: "public".to_owned(), name: format!("t{n}") }).collect();
        assert_eq!(named(&tables[..2]), "public.t0, public.t1");
        assert!(named(&tables).ends_with("public.t9 and 2 more"));
    }
}
