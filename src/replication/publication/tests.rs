use super::*;
use crate::change::{Column, ReplicaIdentity, Type, TypeKind};

fn column(name: &str, oid: Oid) -> Column {
    let ty = Arc::new(Type { oid, base_oid: oid, name: "t".into(), kind: TypeKind::Text });
    Column { name: name.into(), identity: false, ty }
}

/// `public.{name}` with the columns `id` and `body`.
fn table(id: Oid, name: &str) -> PublishedTable {
    PublishedTable {
        relation: Arc::new(Relation {
            id: RelationId(id),
            schema: "public".into(),
            name: name.into(),
            replica_identity: ReplicaIdentity::Default,
            columns: vec![column("id", 23), column("body", 25)],
        }),
        members: [1000 + id].into(),
        columns: (1..=2).map(|number| PublishedColumn { number, modifier: -1, has_default: false }).collect(),
        partitions: BTreeMap::new(),
    }
}

fn partitioned(ids: &[(Oid, Oid, u32)]) -> PublishedTable {
    let partitions = ids.iter().map(|(id, file, xid)| (*id, Partition { file: *file, xid: *xid })).collect();
    PublishedTable { partitions, ..table(1, "log") }
}

fn look(tables: impl IntoIterator<Item = PublishedTable>) -> Look {
    let tables = tables.into_iter().map(|table| (table.relation.id, table)).collect();
    let publication = Publication { id: 9, operations: [true; 4], via_root: true, tables };
    Look { publication: Some(publication), ..Look::default() }
}

fn with_relation(table: &PublishedTable, alter: impl FnOnce(&mut Relation)) -> PublishedTable {
    let mut relation = (*table.relation).clone();
    alter(&mut relation);
    PublishedTable { relation: Arc::new(relation), ..table.clone() }
}

/// The tables with a hole, and why.
fn told(before: &Look, after: &Look) -> Vec<String> {
    let told = |it: Suspicion| format!("{}.{}: {}", it.hole.schema, it.hole.name, it.hole.reason);
    holes(before, after).into_iter().map(told).collect()
}

#[track_caller]
fn check(before: PublishedTable, after: PublishedTable, expected: &[&str]) {
    let other = || table(2, "other");
    assert_eq!(told(&look([before, other()]), &look([after, other()])), expected);
}

#[test]
fn what_is_as_it_was_is_no_hole() {
    check(table(1, "t"), table(1, "t"), &[]);
    let weaker = with_relation(&table(1, "t"), |it| it.replica_identity = ReplicaIdentity::Nothing);
    check(table(1, "t"), weaker, &[]);
}

#[test]
fn a_table_that_leaves_or_has_another_name_is() {
    let reason = "public.t: the publication does not give it any more";
    assert_eq!(told(&look([table(1, "t")]), &look([])), [reason]);
    let renamed = ["public.t: it was renamed to public.u", "public.u: it was renamed from public.t"];
    check(table(1, "t"), table(1, "u"), &renamed);
    // Created anew under its name.
    let mut anew = look([table(3, "t")]);
    anew.empty = [3].into();
    assert_eq!(told(&look([table(1, "t")]), &anew), [reason]);
}

#[test]
fn a_table_that_joins_is_one_if_it_has_rows() {
    let mut after = look([table(1, "t"), table(2, "u")]);
    after.empty = [1].into();
    assert_eq!(told(&look([]), &after), ["public.u: it joined the publication with rows in it"]);
    let mut after = look([partitioned(&[(11, 1, 1), (12, 1, 1)])]);
    after.empty = [11].into();
    assert_eq!(told(&look([]), &after), ["public.log: it joined the publication with rows in it"]);
    after.empty = [11, 12].into();
    assert_eq!(told(&look([]), &after), [""; 0]);
}

#[test]
fn a_membership_that_lasted_is_enough() {
    let by = |members: &[Oid]| PublishedTable { members: members.iter().copied().collect(), ..table(1, "t") };
    check(by(&[1, 2]), by(&[2]), &[]);
    check(by(&[1]), by(&[1, 2]), &[]);
    check(by(&[]), by(&[]), &[]);
    let reason = "public.t: it was taken out of the publication and put back, or its column list or row filter was \
                  changed";
    check(by(&[1]), by(&[2]), &[reason]);
    check(by(&[1]), by(&[]), &[reason]);
}

#[test]
fn columns_are_known_by_their_numbers() {
    let before = table(1, "t");
    let renamed = with_relation(&before, |it| it.columns[1].name = "text".into());
    check(before.clone(), renamed, &["public.t: column `body` was renamed to `text`"]);
    let retyped = with_relation(&before, |it| it.columns[1] = column("body", 1043));
    check(before.clone(), retyped, &["public.t: the type of column `body` was changed"]);
    let mut scaled = before.clone();
    scaled.columns[1].modifier = 8;
    check(before.clone(), scaled, &["public.t: the type of column `body` was changed"]);
    let mut shorter = with_relation(&before, |it| drop(it.columns.pop()));
    shorter.columns.pop();
    check(before.clone(), shorter.clone(), &[]);
    check(shorter.clone(), before.clone(), &[]);
    // Dropped, and added again with another number.
    let mut again = before.clone();
    again.columns[1] = PublishedColumn { number: 3, modifier: -1, has_default: true };
    check(before, again, &["public.t: column `body` was added with a value for rows that exist"]);
}

#[test]
fn partitions_are_told_apart_by_whether_they_hold_rows() {
    let before = || partitioned(&[(11, 1, 5), (12, 2, 5)]);
    check(before(), partitioned(&[(11, 1, 5)]), &["public.log: a partition was detached or dropped"]);
    let more = partitioned(&[(11, 1, 5), (12, 2, 5), (13, 3, 6)]);
    check(before(), more.clone(), &["public.log: a partition was attached with rows in it"]);
    let mut after = look([more]);
    after.empty = [13].into();
    assert_eq!(told(&look([before()]), &after), [""; 0]);
    let truncated = holes(&look([before()]), &look([partitioned(&[(11, 7, 8), (12, 9, 8)])]));
    assert_eq!(truncated[0].unless_truncated, Some((RelationId(1), vec![8, 8])));
    // Grants and the like write the row in `pg_class`, and leave the file.
    check(before(), partitioned(&[(11, 1, 8), (12, 2, 8)]), &[]);
}

#[test]
fn a_publication_that_is_another_breaks_off_everything() {
    let before = look([table(1, "t")]);
    let altered = |alter: &dyn Fn(&mut Publication)| {
        let mut after = look([table(1, "t")]);
        after.publication.iter_mut().for_each(alter);
        told(&before, &after).into_iter().collect::<BTreeSet<_>>()
    };
    let all = |reason: &str| BTreeSet::from([format!("public.t: {reason}")]);
    assert_eq!(altered(&|it| it.id = 10), all("the publication was dropped and created anew"));
    let operations = "the publication publishes other operations than before";
    assert_eq!(altered(&|it| it.operations[1] = false), all(operations));
    let via_root = "the publication's `publish_via_partition_root` was changed";
    assert_eq!(altered(&|it| it.via_root = false), all(via_root));
    assert_eq!(told(&before, &Look::default()), ["public.t: the publication was dropped"]);
}
