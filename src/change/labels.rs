//! The labels that enums have.

use std::collections::HashMap;

use super::Oid;

/// How many labels a message lists: some enums have hundreds.
const LISTED_MAX: usize = 20;

/// Of the enums that published columns are of, as the catalogue had them at one time. Labels can be added at any time,
/// and the feed doesn't tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnumLabels(HashMap<Oid, Enum>);

/// An enum: its name, and its labels as they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enum {
    pub name: Box<str>,
    pub labels: Vec<Box<str>>,
}

impl Enum {
    /// As a message shows them.
    #[must_use]
    pub fn listed(&self) -> String {
        let listed = self.labels.iter().take(LISTED_MAX).map(|label| &**label).collect::<Vec<_>>().join(", ");
        if self.labels.len() > LISTED_MAX { format!("{listed}, …") } else { listed }
    }
}

impl EnumLabels {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The enum, where it is known and has no such label.
    #[must_use]
    pub fn lacking(&self, oid: Oid, label: &str) -> Option<&Enum> {
        self.0.get(&oid).filter(|it| it.labels.iter().all(|known| **known != *label))
    }
}

impl FromIterator<(Oid, Enum)> for EnumLabels {
    fn from_iter<I: IntoIterator<Item = (Oid, Enum)>>(enums: I) -> Self {
        Self(enums.into_iter().collect())
    }
}
