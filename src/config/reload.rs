//! What a configuration file that was changed can change in a running gateway.

use std::collections::BTreeSet;

use super::source::Source;

/// Sections that a reload applies.
const APPLIED: [&str; 2] = ["route", "channel"];

/// The other sections that are not as they were: they are read at start only, and wait for the next one.
///
/// Both files have been judged before, so that both are TOML; one that is not has no sections here.
#[must_use]
pub fn sections_for_the_next_start(running: &Source, changed: &Source) -> Vec<String> {
    let sections = |source: &Source| source.text().parse::<toml::Table>().unwrap_or_default();
    let (running, changed) = (sections(running), sections(changed));
    let names: BTreeSet<&String> = running.keys().chain(changed.keys()).collect();
    let waits = |name: &&&String| !APPLIED.contains(&name.as_str()) && running.get(**name) != changed.get(**name);
    names.iter().filter(waits).map(|name| (**name).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_start_only_is_named() {
        let source = |text: &str| Source::new("walcast.toml".to_owned(), text.to_owned());
        let running = source("[server]\nlisten = \"a\"\n[limits]\nframe = 1\n[[route]]\ntopic = \"x\"\n");
        let changed = source("[server]\nlisten = \"b\"\n[replay]\nwindow = \"1m\"\n[limits]\nframe = 1 # same\n");
        assert_eq!(sections_for_the_next_start(&running, &changed), ["replay", "server"]);
        assert!(sections_for_the_next_start(&running, &running).is_empty());
    }
}
