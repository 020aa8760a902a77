//! `walcast why`, by the real binary against a real server: word for word.

use super::check::Shop;

const CONFIG: &str = r#"
[postgres]
url = "${DATABASE_URL}"

[auth]
mode = "jwt"
secret = "a secret that is long enough for HS256"

[[route]]
table = "public.orders"
topic = "orders:{customer_id}"
columns = ["id", "customer_id", "status", "total"]
where = "status <> 'draft' and (total < 100 or claims.role = 'admin')"
allow = "claims.customer_id = customer_id or claims.role = 'admin'"

[[route]]
table = "public.notes"
topic = "notes"
where = "owner_id = claims.sub"

[[route]]
table = "public.articles"
topic = "notes"
ops = ["insert"]

[[channel]]
topic = "rooms:{room}"
allow = "room = claims.room"
"#;

fn shop() -> Shop {
    let shop = Shop::open(&[]);
    shop.sql(
        "create type state as enum ('draft', 'open');
         create table orders (id int primary key, customer_id int, status state, total numeric, secret text);
         alter table orders replica identity full;
         create table notes (id int primary key, owner_id uuid);
         create table articles (id int primary key);
         create publication walcast for table orders, notes, articles",
    );
    shop
}

#[track_caller]
fn says(shop: &Shop, arguments: &[&str], expected: &str) {
    let outcome = shop.walcast(CONFIG, &[&["why"], arguments].concat());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
    assert_eq!(outcome.stdout, expected);
}

#[test]
fn it_is_said_which_rule_decided_and_how() {
    let shop = shop();
    let row = r#"{"id": 1, "customer_id": 7, "status": "open", "total": 250}"#;
    says(
        &shop,
        &["orders:7", "--claims", r#"{"customer_id": 7}"#, "--row", row],
        "topic orders:7

route 1: public.orders to orders:{customer_id}
  allow: (claims.customer_id = customer_id) or (claims.role = 'admin')
    (7 = customer_id) or null → true
      7 = customer_id → true
      null → null
  row
    belongs to topic orders:7
    where: (status <> 'draft') and ((total < 100) or (claims.role = 'admin'))
      (status <> 'draft') and ((total < 100) or null) → null
        status <> 'draft' → true
        (total < 100) or null → null
          total < 100 → false
          null → null

may join, and does not see the row
",
    );
}

#[test]
fn a_row_enters_and_leaves() {
    let shop = shop();
    let row = r#"{"id": 1, "customer_id": 7, "status": "open", "total": 250}"#;
    says(
        &shop,
        &[
            "orders:7",
            "--claims",
            r#"{"customer_id": 7}"#,
            "--filter",
            "total=gt.20&status=eq.open",
            "--old",
            r#"{"customer_id": 7, "status": "draft"}"#,
            "--row",
            &row.replace("250", "25"),
        ],
        "topic orders:7

route 1: public.orders to orders:{customer_id}
  allow: (claims.customer_id = customer_id) or (claims.role = 'admin')
    (7 = customer_id) or null → true
      7 = customer_id → true
      null → null
  old row
    belongs to topic orders:7
    where: (status <> 'draft') and ((total < 100) or (claims.role = 'admin'))
      (status <> 'draft') and ((total < 100) or null) → false
        status <> 'draft' → false
        (total < 100) or null → null
          total < 100 → null
          null → null
    filter
      (status = 'open') and (total > 20) → false
        status = 'open' → false
        total > 20 → null
  new row
    belongs to topic orders:7
    where: (status <> 'draft') and ((total < 100) or (claims.role = 'admin'))
      (status <> 'draft') and ((total < 100) or null) → true
        status <> 'draft' → true
        (total < 100) or null → true
          total < 100 → true
          null → null
    filter
      (status = 'open') and (total > 20) → true
        status = 'open' → true
        total > 20 → true

may join, and sees the row enter, as an insert
",
    );
}

#[test]
fn whoever_may_not_join_is_told_why() {
    let shop = shop();
    says(
        &shop,
        &["orders:8", "--claims", r#"{"customer_id": "seven", "role": "guest"}"#],
        "topic orders:8

route 1: public.orders to orders:{customer_id}
  allow: (claims.customer_id = customer_id) or (claims.role = 'admin')
    fails: `claims.customer_id` can't be cast to integer

may not join: every route of a topic has to allow it, and its channel
",
    );
    says(
        &shop,
        &["rooms:den", "--claims", r#"{"room": "attic"}"#],
        "topic rooms:den

channel 1: rooms:{room}
  allow: room = claims.room
    room = 'attic' → false

may not join: every route of a topic has to allow it, and its channel
",
    );
    says(
        &shop,
        &["nowhere"],
        "topic nowhere

no route feeds this topic, and no channel has it: a join is answered with \"unmatched topic\"
",
    );
}

#[test]
fn every_route_of_the_topic_is_tried() {
    let shop = shop();
    says(
        &shop,
        &[
            "notes",
            "--claims",
            r#"{"sub": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}"#,
            "--table",
            "public.notes",
            "--op",
            "delete",
            "--row",
            r#"{"id": 1, "owner_id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}"#,
        ],
        "topic notes

route 2: public.notes to notes
  allow: everyone
  row
    belongs to topic notes
    where: owner_id = claims.sub
      owner_id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' → true

route 3: public.articles to notes
  allow: everyone
  does not take public.notes

may join, and sees the row
",
    );
}

#[test]
fn what_can_not_be_answered_says_what_is_missing() {
    let shop = shop();
    let refused = |arguments: &[&str]| {
        let outcome = shop.walcast(CONFIG, &[&["why"], arguments].concat());
        assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
        outcome.stderr
    };
    assert_eq!(
        refused(&["notes", "--row", r#"{"id": 1}"#]),
        "error: whose row is it? Say one of --table public.articles, --table public.notes\n"
    );
    assert_eq!(
        refused(&["orders:7", "--row", r#"{"idd": 1}"#]),
        "error: the row: public.orders publishes no column `idd`\n"
    );
    assert_eq!(refused(&["orders:7", "--claims", "[]"]), "error: --claims takes a JSON object, as in '{\"id\": 1}'\n");
    assert!(refused(&["orders:7", "--filter", "total"]).starts_with("error: `total=` is no condition"));
    assert!(
        refused(&["orders:7", "--row", r#"{"id": "x"}"#]).starts_with("error: the row is no row of public.orders: ")
    );
}
