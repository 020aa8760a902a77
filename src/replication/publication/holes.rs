//! Two looks at a publication, compared.

use std::collections::{BTreeMap, BTreeSet};

use super::{Look, Partition, Publication, PublishedColumn, PublishedTable, Suspicion};
use crate::change::{Oid, RelationId};

/// What the feed lacks of what happened between two looks.
#[must_use]
pub fn holes(before: Option<&Publication>, after: &Look) -> Vec<Suspicion> {
    let Some(known) = before else { return joined(None, after) };
    if let Some(reason) = changed_as_a_whole(known, after.publication.as_ref()) {
        let all = known.tables.values().chain(after.tables().map(|(_, table)| table));
        return all.map(|table| Suspicion::of_publication(table, reason)).collect();
    }
    let mut found = joined(Some(known), after);
    for (id, table) in &known.tables {
        match after.publication.as_ref().and_then(|it| it.tables.get(id)) {
            None => found.push(Suspicion::of(table, "the publication does not give it any more")),
            Some(now) => found.extend(changed(*id, table, now, &after.empty)),
        }
    }
    found.extend(relabelled(known, after));
    found
}

/// Why nothing that the publication gave can be gone on with.
fn changed_as_a_whole(before: &Publication, after: Option<&Publication>) -> Option<&'static str> {
    let Some(after) = after else { return Some("the publication was dropped") };
    if after.id != before.id {
        return Some("the publication was dropped and created anew, or is another one");
    }
    if after.operations != before.operations {
        return Some("the publication publishes other operations than before");
    }
    if after.via_root != before.via_root {
        return Some("the publication's `publish_via_partition_root` was changed");
    }
    after.version.is_unexplained(before.version).then_some("the publication was altered, perhaps there and back")
}

/// Tables that are new to the publication with rows in them: nobody was told of those.
fn joined(before: Option<&Publication>, after: &Look) -> Vec<Suspicion> {
    let is_new = |id: &RelationId| before.is_none_or(|it| !it.tables.contains_key(id));
    let has_rows = |id: RelationId, table: &PublishedTable| match table.partitions.is_empty() {
        true => !after.empty.contains(&id.0),
        false => table.partitions.keys().any(|partition| !after.empty.contains(partition)),
    };
    let joined = after.tables().filter(|(id, table)| is_new(id) && has_rows(*id, table));
    let reason = "it joined the publication with rows in it";
    joined.map(|(_, table)| Suspicion::of_publication(table, reason)).collect()
}

fn changed(id: RelationId, before: &PublishedTable, after: &PublishedTable, empty: &BTreeSet<Oid>) -> Vec<Suspicion> {
    let mut found = Vec::new();
    if (&before.schema, &before.name) != (&after.schema, &after.name) {
        found.push(Suspicion::of(before, format!("it was renamed to {}.{}", after.schema, after.name)));
        found.push(Suspicion::of(after, format!("it was renamed from {}.{}", before.schema, before.name)));
    } else if after.named.is_unexplained(before.named) {
        found.push(Suspicion::of(after, "it was renamed or moved, and back again"));
    }
    if !before.members.is_empty() && before.members.is_disjoint(&after.members) {
        let reason = "it was taken out of the publication and put back, or its column list or row filter was changed";
        found.push(Suspicion::of_publication(after, reason));
    }
    found.extend(columns(before, after).map(|reason| Suspicion::of(after, reason)));
    found.extend(partitions(id, before, after, empty));
    found
}

/// A column whose values are others than those that the feed gave. One that is gone, or new and empty, is no hole: rows
/// have it or don't from their next change on.
fn columns(before: &PublishedTable, after: &PublishedTable) -> Option<String> {
    let known: BTreeMap<i16, &PublishedColumn> = before.columns.iter().map(|column| (column.number, column)).collect();
    let is_rewritten = before.file != after.file;
    after.columns.iter().find_map(|column| {
        let name = &column.name;
        let Some(was) = known.get(&column.number) else {
            return column.has_default.then(|| format!("column `{name}` was added with a value for rows that exist"));
        };
        if was.name != *name {
            return Some(format!("column `{}` was renamed to `{name}`", was.name));
        }
        if was.ty != column.ty || was.modifier != column.modifier {
            return Some(format!("the type of column `{name}` was changed"));
        }
        // `alter column … type … using …` leaves no other trace where the type stays the same.
        if was.version.writer != column.version.writer && is_rewritten {
            return Some(format!("column `{name}` was altered, and the table was rewritten"));
        }
        let unexplained = column.version.is_unexplained(was.version);
        unexplained.then(|| format!("column `{name}` was altered, perhaps there and back"))
    })
}

fn partitions(
    id: RelationId,
    before: &PublishedTable,
    after: &PublishedTable,
    empty: &BTreeSet<Oid>,
) -> Option<Suspicion> {
    let known = |partition: &Oid| before.partitions.get(partition);
    if before.partitions.keys().any(|partition| !after.partitions.contains_key(partition)) {
        return Some(Suspicion::of(after, "a partition was detached or dropped"));
    }
    let mut attached = after.partitions.keys().filter(|partition| known(partition).is_none());
    if attached.any(|partition| !empty.contains(partition)) {
        return Some(Suspicion::of(after, "a partition was attached with rows in it"));
    }
    let was_away = |(oid, now): (&Oid, &Partition)| known(oid).is_some_and(|was| was.attached != now.attached);
    if after.partitions.iter().any(was_away) {
        return Some(Suspicion::of(after, "a partition was detached and attached again"));
    }
    let is_other = |(oid, now): &(&Oid, &Partition)| known(oid).is_some_and(|was| was.file != now.file);
    let truncates: Vec<u32> = after.partitions.iter().filter(is_other).map(|(_, partition)| partition.writer).collect();
    (!truncates.is_empty()).then(|| Suspicion {
        unless_truncated: Some((id, truncates)),
        ..Suspicion::of(after, "a partition was truncated by itself, or rewritten")
    })
}

/// Tables with values of an enum of which a label was renamed: rows that exist show the new one.
fn relabelled(before: &Publication, after: &Look) -> Vec<Suspicion> {
    let Some(now) = &after.publication else { return Vec::new() };
    let renamed = |id: &Oid| {
        let (was, labels) = (before.labels.get(id)?, now.labels.get(id)?);
        was.iter().find(|(label, text)| labels.get(label).is_some_and(|now| now != *text)).map(|(_, text)| text)
    };
    let suspicion = |table: &PublishedTable| {
        let used = table.columns.iter().flat_map(|column| super::signature::enums(&column.ty));
        let label = used.into_iter().find_map(|id| renamed(&id))?;
        Some(Suspicion::of(table, format!("the label '{label}' of an enum was renamed")))
    };
    now.tables.values().filter_map(suspicion).collect()
}
