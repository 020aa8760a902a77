use super::*;

fn version(writer: u32, rest: i64) -> Version {
    Version { writer, rest }
}

fn column(number: i16, name: &str, ty: &str) -> PublishedColumn {
    let (name, ty) = (name.into(), ty.into());
    PublishedColumn { number, name, ty, modifier: -1, has_default: false, version: version(3, 0) }
}

/// `public.{name}` with the columns `id` and `body`.
fn table(id: Oid, name: &str) -> PublishedTable {
    PublishedTable {
        schema: "public".into(),
        name: name.into(),
        named: version(3, 0),
        members: [1000 + id].into(),
        file: id,
        columns: vec![column(1, "id", "23"), column(2, "body", "25")],
        partitions: BTreeMap::new(),
    }
}

fn partitioned(ids: &[(Oid, Oid, u32)]) -> PublishedTable {
    let partition =
        |(id, file, writer): &(Oid, Oid, u32)| (*id, Partition { file: *file, writer: *writer, attached: 0 });
    PublishedTable { partitions: ids.iter().map(partition).collect(), file: 0, ..table(1, "log") }
}

fn look(tables: impl IntoIterator<Item = PublishedTable>) -> Look {
    let id = |table: &PublishedTable| RelationId(table.members.first().map_or(1, |member| member % 1000));
    let tables = tables.into_iter().map(|table| (id(&table), table)).collect();
    let publication = Publication {
        id: 9,
        version: version(3, 0),
        operations: [true; 4],
        via_root: true,
        tables,
        labels: BTreeMap::from([(500, BTreeMap::from([(501, "sad".to_owned())]))]),
    };
    Look { publication: Some(publication), ..Look::default() }
}

fn with(table: &PublishedTable, alter: impl FnOnce(&mut PublishedTable)) -> PublishedTable {
    let mut table = table.clone();
    alter(&mut table);
    table
}

/// The tables with a hole, and why.
fn told(before: &Look, after: &Look) -> Vec<String> {
    let told = |it: Suspicion| format!("{}.{}: {}", it.hole.schema, it.hole.name, it.hole.reason);
    holes(before.publication.as_ref(), after).into_iter().map(told).collect()
}

#[track_caller]
fn check(before: PublishedTable, after: PublishedTable, expected: &[&str]) {
    let other = || table(2, "other");
    assert_eq!(told(&look([before, other()]), &look([after, other()])), expected);
}

#[test]
fn what_is_as_it_was_is_no_hole() {
    check(table(1, "t"), table(1, "t"), &[]);
    check(table(1, "t"), with(&table(1, "t"), |it| it.file = 77), &[]);
}

#[test]
fn a_table_that_leaves_or_has_another_name_is() {
    let reason = "public.t: the publication does not give it any more";
    assert_eq!(told(&look([table(1, "t")]), &look([])), [reason]);
    let renamed = ["public.t: it was renamed to public.u", "public.u: it was renamed from public.t"];
    check(table(1, "t"), table(1, "u"), &renamed);
    let back = with(&table(1, "t"), |it| it.named = version(4, 0));
    check(table(1, "t"), back, &["public.t: it was renamed or moved, and back again"]);
    check(table(1, "t"), with(&table(1, "t"), |it| it.named = version(4, 1)), &[]);
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
    check(by(&[1, 2001]), by(&[1]), &[]);
    check(by(&[1]), by(&[1, 2001]), &[]);
    check(by(&[]), by(&[]), &[]);
    let reason = "public.t: it was taken out of the publication and put back, or its column list or row filter was \
                  changed";
    check(by(&[1]), by(&[1001]), &[reason]);
    check(by(&[1]), by(&[]), &[reason]);
}

#[test]
fn columns_are_known_by_their_numbers() {
    let before = table(1, "t");
    let renamed = with(&before, |it| it.columns[1].name = "text".into());
    check(before.clone(), renamed, &["public.t: column `body` was renamed to `text`"]);
    let retyped = with(&before, |it| it.columns[1].ty = "1043".into());
    check(before.clone(), retyped, &["public.t: the type of column `body` was changed"]);
    let scaled = with(&before, |it| it.columns[1].modifier = 8);
    check(before.clone(), scaled, &["public.t: the type of column `body` was changed"]);
    let shorter = with(&before, |it| drop(it.columns.pop()));
    check(before.clone(), shorter.clone(), &[]);
    check(shorter, before.clone(), &[]);
    // Dropped, and added again with another number.
    let again = with(&before, |it| it.columns[1] = PublishedColumn { has_default: true, ..column(3, "body", "25") });
    check(before, again, &["public.t: column `body` was added with a value for rows that exist"]);
}

#[test]
fn a_column_that_was_altered_is_as_it_was_only_where_that_is_sure() {
    let before = table(1, "t");
    let not_null = with(&before, |it| it.columns[1].version = version(4, 1));
    check(before.clone(), not_null.clone(), &[]);
    let rewritten = with(&not_null, |it| it.file = 77);
    check(before.clone(), rewritten, &["public.t: column `body` was altered, and the table was rewritten"]);
    let there_and_back = with(&before, |it| it.columns[1].version = version(4, 0));
    check(before, there_and_back, &["public.t: column `body` was altered, perhaps there and back"]);
}

#[test]
fn a_label_that_was_renamed_concerns_the_tables_that_have_it() {
    let with_enum = |name, id| with(&table(id, name), |it| it.columns[1].ty = "400(\"x\" 500e500,)".into());
    let before = look([with_enum("t", 1), table(2, "u")]);
    let labelled = |labels: &[(Oid, &str)]| {
        let mut after = before.clone();
        let labels = labels.iter().map(|(id, label)| (*id, (*label).to_owned())).collect();
        after.publication.iter_mut().for_each(|it| drop(it.labels.insert(500, BTreeMap::clone(&labels))));
        told(&before, &after)
    };
    assert_eq!(labelled(&[(501, "sad"), (502, "happy")]), [""; 0]);
    assert_eq!(labelled(&[(501, "blue")]), ["public.t: the label 'sad' of an enum was renamed"]);
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
    let truncated = holes(look([before()]).publication.as_ref(), &look([partitioned(&[(11, 7, 8), (12, 9, 8)])]));
    assert_eq!(truncated[0].unless_truncated, Some((RelationId(1), vec![8, 8])));
    let mut away = partitioned(&[(11, 1, 5), (12, 2, 5)]);
    away.partitions.values_mut().for_each(|it| it.attached = 7);
    check(before(), away, &["public.log: a partition was detached and attached again"]);
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
    assert_eq!(altered(&|it| it.id = 10), all("the publication was dropped and created anew, or is another one"));
    let operations = "the publication publishes other operations than before";
    assert_eq!(altered(&|it| it.operations[1] = false), all(operations));
    let via_root = "the publication's `publish_via_partition_root` was changed";
    assert_eq!(altered(&|it| it.via_root = false), all(via_root));
    let there_and_back = "the publication was altered, perhaps there and back";
    assert_eq!(altered(&|it| it.version.writer = 4), all(there_and_back));
    assert_eq!(altered(&|it| it.version = version(4, 1)), BTreeSet::new());
    assert_eq!(told(&before, &Look::default()), ["public.t: the publication was dropped"]);
}
