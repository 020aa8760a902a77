//! What every session of walcast fixes when it connects, whatever the role's or the database's defaults are.

/// Settings on which the text of values depends, and time limits that would end a connection meant to stay.
///
/// Values come in the text form that these select, in the replication session and in catalogue and snapshot queries
/// alike, so that one decoder serves both.
pub const SESSION_SETTINGS: [(&str, &str); 10] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    // 1 to 3 all mean "shortest text that reads back exactly" since Postgres 12.
    ("extra_float_digits", "1"),
    // Creating a slot waits for running transactions, a walsender for changes: neither is a stuck statement.
    ("statement_timeout", "0"),
    // It does apply to the creation of slots, and would leave half of one.
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// The startup packet's `options`: the connection string's own, then ours, because the last one wins.
#[must_use]
pub fn startup_options(own: Option<&str>) -> String {
    let mut options = own.unwrap_or_default().to_owned();
    for (name, value) in SESSION_SETTINGS {
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
        assert!(SESSION_SETTINGS.iter().all(|(name, value)| !format!("{name}{value}").contains([' ', '\\'])));
    }
}
