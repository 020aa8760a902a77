//! What every session of walcast fixes when it connects, whatever the role's or the database's defaults are.

use crate::change::json::SESSION_SETTINGS;

/// Time limits that would end a connection that is meant to stay.
const NO_TIME_LIMITS: [(&str, &str); 4] = [
    // Creating a slot waits for running transactions, a walsender for changes: neither is a stuck statement.
    ("statement_timeout", "0"),
    // It does apply to the creation of slots, and would leave half of one.
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// Everything that is fixed: what the text of values depends on, in the replication session and in catalogue and
/// snapshot queries alike, and that there are no time limits.
pub fn session_settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    SESSION_SETTINGS.iter().copied().chain(NO_TIME_LIMITS)
}

/// The startup packet's `options`: the connection string's own, then ours, because the last one wins.
#[must_use]
pub fn startup_options(own: Option<&str>) -> String {
    let mut options = own.unwrap_or_default().to_owned();
    for (name, value) in session_settings() {
        if !options.is_empty() {
            options.push(' ');
        }
        // Blanks separate options; none of ours has one.
        options.push_str(&format!("-c {name}={value}"));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_come_last_and_have_no_blanks() {
        let options = startup_options(Some("-c search_path=app -c TimeZone=Asia/Tokyo"));
        assert!(options.starts_with("-c search_path=app"));
        assert!(options.find("TimeZone=Asia").unwrap() < options.find("TimeZone=UTC").unwrap());
        assert!(session_settings().all(|(name, value)| !format!("{name}{value}").contains([' ', '\\'])));
    }
}
