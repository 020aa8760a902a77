//! Predicates, with Postgres as the oracle: for random expressions over random rows, each row's truth must be what
//! Postgres says of the same expression, and what is refused for its types must be refused by Postgres, too.
//!
//! Reproducible: `WALCAST_TEST_SEED=<seed from the output> cargo test --test it predicates::`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "clippy takes only the test functions themselves for tests")]

mod grammar;

use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;
use grammar::{Grammar, SCHEMA, Written};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, SimpleQueryMessage};
use walcast::change::{Datum, Relation};
use walcast::demo::cluster::{Binaries, Cluster};
use walcast::routing::{
    Claims, Explanation, Expression, ExpressionError, ExpressionErrorKind, Filter, Predicate, Scope, Truth, Values,
    Verdict,
};

use super::values::{connect, load_relation, seeded};

const ROWS: usize = 60;
const EXPRESSIONS: usize = 5_000;
const FILTERS: usize = 1_500;
/// One in so many is also run as a query's `where`.
const QUERIED_EVERY: usize = 3;
const COMPLAINTS_SHOWN: usize = 12;

/// Evaluates each expression over all rows: `t`, `f` and `n` in the order of ids, or the error.
const ORACLE: &str = r"
create function evaluate(expressions text[]) returns setof text language plpgsql as $$
declare expression text; answer text;
begin
  foreach expression in array expressions loop
    begin
      execute format(
          'select string_agg(coalesce(left((%s)::bool::text, 1), ''n''), '''' order by id) from things', expression)
         into answer;
      return next answer;
    exception when others then
      return next 'error: ' || sqlerrm;
    end;
  end loop;
end $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_judged_as_postgres_judges_them() {
    let started = Instant::now();
    let binaries = Binaries::find().unwrap();
    let cluster =
        tokio::task::spawn_blocking(|| Cluster::start(binaries, &[("autovacuum", "off")]).unwrap()).await.unwrap();
    let client = connect(&cluster).await;
    let mut rng = seeded();
    let oracle = Oracle::new(client, &mut rng).await;
    let cases: Vec<Written> = (0..EXPRESSIONS)
        .map(|_| {
            let depth = rng.u8(..3);
            Grammar { rng: &mut rng }.expression(depth)
        })
        .collect();
    let accepted = oracle.compare(&cases, &mut rng).await;
    let filters: Vec<Written> = (0..FILTERS).map(|_| Grammar { rng: &mut rng }.filter()).collect();
    let taken = oracle.compare_filters(&filters, &mut rng).await;
    println!("{taken} of {FILTERS} filters accepted");
    assert!(taken * 4 > FILTERS, "the grammar makes too much that is refused: {taken} of {FILTERS}");
    println!("{accepted} of {EXPRESSIONS} expressions accepted, {ROWS} rows each, in {:?}", started.elapsed());
    assert!(accepted * 2 > EXPRESSIONS, "the grammar makes too much that is refused: {accepted} of {EXPRESSIONS}");
    drop(oracle);
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}

/// A table of random rows, in Postgres and here.
struct Oracle {
    client: Client,
    relation: Arc<Relation>,
    rows: Vec<TextRow>,
    claims: Claims,
}

/// A row as Postgres prints it.
#[derive(Debug, Clone)]
struct TextRow(Vec<Option<String>>);

impl Values for TextRow {
    fn value(&self, index: usize) -> Option<Datum<'_>> {
        Some(self.0.get(index)?.as_ref().map_or(Datum::Null, |text| Datum::Text(text.as_bytes())))
    }
}

/// The same with one value that was not sent.
struct Unsent<'r>(&'r TextRow, usize);

impl Values for Unsent<'_> {
    fn value(&self, index: usize) -> Option<Datum<'_>> {
        if index == self.1 { Some(Datum::Unchanged) } else { self.0.value(index) }
    }
}

impl Oracle {
    async fn new(client: Client, rng: &mut Rng) -> Self {
        client.batch_execute(SCHEMA).await.unwrap();
        client.batch_execute(ORACLE).await.unwrap();
        let rows: Vec<String> = (0..ROWS).map(|id| grammar::row(rng, id)).collect();
        client.batch_execute(&format!("insert into things values {}", rows.join(","))).await.unwrap();
        let relation = load_relation(&client, "things").await;
        let answer = client.simple_query("select * from things order by id").await.unwrap();
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some(TextRow((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()))
            }
            _ => None,
        });
        let claims = grammar::claims().into_iter().map(|(name, value, _)| (name, value)).collect();
        Self { rows: rows.collect(), client, relation, claims: Claims::new(claims) }
    }

    /// How many of the expressions were accepted; fails with the first few that differ.
    async fn compare(&self, cases: &[Written], rng: &mut Rng) -> usize {
        let theirs: Vec<&str> = cases.iter().map(|case| &*case.theirs).collect();
        let answers = self.client.query("select * from evaluate($1)", &[&theirs]).await.unwrap();
        let (mut accepted, mut complaints) = (0, Vec::new());
        for (case, answer) in cases.iter().zip(&answers) {
            let answer: &str = answer.get(0);
            let checked = match self.compile(&case.ours) {
                Err(error) => check_refusal(&error, answer),
                Ok((expression, predicate)) => {
                    accepted += 1;
                    self.check(&expression, &predicate, answer, rng).await
                }
            };
            if let Err(complaint) = checked {
                complaints.push(format!("ours: {}\n  theirs: {}\n  {complaint}\n", case.ours, case.theirs));
            }
        }
        let few = &complaints[..complaints.len().min(COMPLAINTS_SHOWN)];
        assert!(complaints.is_empty(), "{} differ\n{}", complaints.len(), few.join("\n"));
        accepted
    }

    async fn compare_filters(&self, cases: &[Written], rng: &mut Rng) -> usize {
        let theirs: Vec<&str> = cases.iter().map(|case| &*case.theirs).collect();
        let answers = self.client.query("select * from evaluate($1)", &[&theirs]).await.unwrap();
        let mut taken = 0;
        for (case, answer) in cases.iter().zip(&answers) {
            let answer: &str = answer.get(0);
            let filter = Filter::parse(&case.ours).unwrap_or_else(|error| panic!("{case:?}: {error}"));
            let checked = match filter.compile(&Scope::of_relation(&self.relation)) {
                Err(error) => check_filter_refusal(&error.message, answer),
                Ok(predicate) => {
                    taken += 1;
                    self.check_predicate(&predicate, answer, rng).await
                }
            };
            assert_eq!(checked, Ok(()), "{case:?}");
        }
        taken
    }

    async fn check(&self, expression: &Expression, predicate: &Predicate, answer: &str, rng: &mut Rng) -> Checked {
        self.check_types(expression)?;
        self.check_predicate(predicate, answer, rng).await
    }

    async fn check_predicate(&self, predicate: &Predicate, answer: &str, rng: &mut Rng) -> Checked {
        self.check_truths(predicate, answer)?;
        self.check_keys(predicate)?;
        self.check_unsent(predicate, rng)?;
        if rng.usize(..QUERIED_EVERY) == 0 {
            self.check_query(predicate).await?;
        }
        Ok(())
    }

    fn compile(&self, sql: &str) -> Result<(Expression, Predicate), ExpressionError> {
        let expression = Expression::parse(sql)?;
        let predicate = expression.close(&self.claims).compile(&Scope::of_relation(&self.relation))?;
        Ok((expression, predicate))
    }

    fn check_truths(&self, predicate: &Predicate, answer: &str) -> Checked {
        let explanations: Vec<Explanation> = self.rows.iter().map(|row| predicate.explain(row)).collect();
        // An enum's labels are not known here: what is none of them equals no value.
        if answer.starts_with("error: invalid input value for enum") {
            return Ok(());
        }
        if answer.starts_with("error: ") {
            let failed = explanations.iter().any(|explanation| matches!(explanation.verdict, Verdict::Failed(_)));
            return ensure(failed, || format!("accepted: {}; Postgres: {answer}", explained(&explanations[0])));
        }
        for ((explanation, expected), row) in explanations.iter().zip(answer.chars()).zip(&self.rows) {
            let (letter, truth) = match &explanation.verdict {
                Verdict::True => ('t', Truth::True),
                Verdict::False => ('f', Truth::NotTrue),
                Verdict::Null => ('n', Truth::NotTrue),
                other => return Err(format!("{other:?} of {row:?}; Postgres: {answer}")),
            };
            ensure(letter == expected, || format!("Postgres: {expected}, {}\n{row:?}", explained(explanation)))?;
            ensure(predicate.evaluate(row) == Ok(truth), || format!("{:?} is not {truth:?}", predicate.evaluate(row)))?;
        }
        Ok(())
    }

    /// `check` knows no claims, and finds nothing wrong with what compiles with some; the text of it is the same again.
    fn check_types(&self, expression: &Expression) -> Checked {
        let found = expression.check(&Scope::of_relation(&self.relation));
        ensure(found.is_empty(), || format!("check finds {found:?}"))?;
        let again = Expression::parse(&expression.to_string()).map_err(|error| format!("{expression}: {error}"))?;
        ensure(again == *expression && again.canonical() == expression.canonical(), || {
            format!("{again} is not {expression}")
        })
    }

    /// No row that it is true of is missed by its keys.
    fn check_keys(&self, predicate: &Predicate) -> Checked {
        let Some(keys) = predicate.keys() else { return Ok(()) };
        for row in &self.rows {
            let among = row.0[keys.column].as_ref().is_some_and(|value| keys.values.iter().any(|key| **key == **value));
            let is_true = predicate.evaluate(row) == Ok(Truth::True);
            ensure(among || !is_true, || format!("{keys:?} miss {row:?}"))?;
        }
        Ok(())
    }

    /// What is told without a value is what is so with it.
    fn check_unsent(&self, predicate: &Predicate, rng: &mut Rng) -> Checked {
        for row in &self.rows {
            let column = rng.usize(..row.0.len());
            if row.0[column].is_none() {
                continue;
            }
            let (without, with) = (predicate.evaluate(&Unsent(row, column)), predicate.evaluate(row));
            let consistent = without == Ok(Truth::Unsent) || without == with || with.is_err();
            let needed = predicate.columns().contains(&column);
            ensure(consistent && (needed || without == with), || format!("{without:?} without {column} of {row:?}"))?;
        }
        Ok(())
    }

    /// A query with the predicate as its `where` gives the same rows.
    async fn check_query(&self, predicate: &Predicate) -> Checked {
        let mut parameters = Vec::new();
        let name = |index: usize| format!("\"{}\"", self.relation.columns[index].name.replace('"', "\"\""));
        let condition = predicate.sql(&mut |index| name(index), &mut parameters);
        ensure(!condition.contains('\''), || format!("a value stands in the text: {condition}"))?;
        let sql = format!("select id from things where {condition} order by id");
        let bound: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|text| text as _).collect();
        let found = self.client.query(&sql, &bound).await;
        let truths: Result<Vec<Truth>, _> = self.rows.iter().map(|row| predicate.evaluate(row)).collect();
        let Ok(truths) = truths else { return Ok(()) };
        let found = found.map_err(|error| format!("{condition}\n{parameters:?}\n{error:?}"))?;
        let found: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
        let expected: Vec<i32> =
            (0..).zip(truths).filter(|(_, truth)| *truth == Truth::True).map(|(id, _)| id).collect();
        ensure(found == expected, || format!("{condition}\n{parameters:?}\n{found:?} are not {expected:?}"))
    }
}

/// What is not of the subset may be refused at will; what is called wrong must be wrong. Of literals of these types
/// walcast reads only the usual spellings.
fn check_refusal(error: &ExpressionError, answer: &str) -> Checked {
    let narrower = ["interval", "bytea", "inet", "cidr", "date", "time"];
    let ours_alone = match &error.kind {
        ExpressionErrorKind::Unsupported { .. } => true,
        ExpressionErrorKind::Literal { message, .. } | ExpressionErrorKind::Claim { message, .. } => {
            narrower.iter().any(|ty| message.contains(ty))
        }
        _ => false,
    };
    ensure(ours_alone || answer.starts_with("error: "), || format!("refused: {error}; Postgres: {answer}"))
}

/// As above, by the words that a client reads.
fn check_filter_refusal(message: &str, answer: &str) -> Checked {
    let narrower = ["can't be used here", "interval", "bytea", "inet", "cidr", "date", "time"];
    let ours_alone = narrower.iter().any(|words| message.contains(words));
    ensure(ours_alone || answer.starts_with("error: "), || format!("refused: {message}; Postgres: {answer}"))
}

type Checked = Result<(), String>;

fn ensure(holds: bool, complaint: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(complaint()) }
}

fn explained(explanation: &Explanation) -> String {
    let parts: Vec<String> = explanation.parts.iter().map(explained).collect();
    format!("[{} → {} {}]", explanation.text, explanation.verdict, parts.join(" "))
}
