//! The sample writer: a steady, varied stream of changes that looks like a shop, a match day and a newsroom.
//!
//! All state is in the database, so that whoever changes rows beside it (with psql, say) does not confuse it. Seeded:
//! the same seed makes the same choices on the same rows.

mod football;
mod stock;

use std::time::Duration;

use fastrand::Rng;
use tokio_postgres::{Client, Error};

use self::football::Match;
use super::{DemoError, database};

/// A few changes a second: one can follow them, and the page never looks still.
const PAUSE_MS: std::ops::Range<u64> = 150..450;
/// As many orders as a page shows without scrolling.
const ORDERS_MAX: i64 = 15;
const ARTICLES_MAX: i64 = 4;

/// What the writer does in one transaction. The numbers are how often, relative to one another: an order takes four
/// steps from being placed to being delivered, and new ones are placed a little faster than they are delivered.
const ACTIONS: [(Action, u32); 8] = [
    (Action::PlaceOrder, 10),
    (Action::AdvanceOrder, 22),
    (Action::CancelOrder, 1),
    (Action::ArchiveOrder, 12),
    (Action::PlayMinute, 14),
    (Action::PublishArticle, 4),
    (Action::EditArticle, 4),
    (Action::WithdrawArticle, 2),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    PlaceOrder,
    AdvanceOrder,
    CancelOrder,
    ArchiveOrder,
    PlayMinute,
    PublishArticle,
    EditArticle,
    WithdrawArticle,
}

/// Writes until it is aborted.
///
/// # Errors
/// The connection is lost. A statement that fails (somebody dropped the table) is logged, and the next one is tried.
pub(super) async fn run(url: String, seed: u64) -> Result<(), DemoError> {
    let mut client = database::connect(&url).await?;
    let mut rng = Rng::with_seed(seed);
    loop {
        tokio::time::sleep(Duration::from_millis(rng.u64(PAUSE_MS))).await;
        let action = choose(&mut rng);
        if let Err(source) = perform(action, &mut client, &mut rng).await {
            if client.is_closed() {
                return Err(DemoError::Database { action: "write sample rows", source });
            }
            tracing::warn!(?action, error = %source, "the sample writer's statement failed");
        }
    }
}

fn choose(rng: &mut Rng) -> Action {
    let tickets: u32 = ACTIONS.iter().map(|(_, weight)| weight).sum();
    let mut ticket = rng.u32(..tickets);
    for (action, weight) in ACTIONS {
        if ticket < weight {
            return action;
        }
        ticket -= weight;
    }
    // Not reached: the ticket is below the sum of the weights.
    Action::PlayMinute
}

async fn perform(action: Action, client: &mut Client, rng: &mut Rng) -> Result<(), Error> {
    match action {
        Action::PlaceOrder => place_order(client, rng).await,
        Action::AdvanceOrder => on_a_random_row(client, rng, ADVANCE_ORDER).await,
        Action::CancelOrder => on_a_random_row(client, rng, CANCEL_ORDER).await,
        Action::ArchiveOrder => client.batch_execute(ARCHIVE_ORDER).await,
        Action::PlayMinute => play_minute(client, rng).await,
        Action::PublishArticle => publish_article(client, rng).await,
        Action::EditArticle => edit_article(client, rng).await,
        Action::WithdrawArticle => on_a_random_row(client, rng, WITHDRAW_ARTICLE).await,
    }
}

const PLACE_ORDER: &str = "
    insert into orders (customer_id, customer, item, quantity, total)
    select id, name, $1::text, $2::int4, $2::int4 * $3::text::numeric from customers
    where (select count(*) from orders) < $4
    order by md5(id::text || $5) limit 1";

const ADVANCE_ORDER: &str = "
    update orders set updated_at = now(), status = case status
        when 'placed' then 'paid' when 'paid' then 'packed' when 'packed' then 'shipped' else 'delivered'
    end::order_status
    where id = (select id from orders where status in ('placed', 'paid', 'packed', 'shipped')
                order by md5(id::text || $1) limit 1)";

const CANCEL_ORDER: &str = "
    update orders set status = 'cancelled', updated_at = now()
    where id = (select id from orders where status in ('placed', 'paid') order by md5(id::text || $1) limit 1)";

/// The one that has been finished for longest, but not at once: people want to see it delivered.
const ARCHIVE_ORDER: &str = "
    delete from orders where (select count(*) from orders) > 12 and id = (
        select id from orders where status in ('delivered', 'cancelled') and updated_at < now() - interval '4 seconds'
        order by updated_at limit 1)";

const PUBLISH_ARTICLE: &str = "
    insert into articles (section, title, summary, author)
    select $1::text, $2::text, $3::text, $4::text
    where (select count(*) from articles) < $5 and not exists (select from articles where title = $2)";

const EDIT_ARTICLE: &str = "
    update articles set summary = $2, revision = revision + 1, edited_at = now()
    where title = $1 and summary <> $2";

const WITHDRAW_ARTICLE: &str = "
    delete from articles where id = (select id from articles order by md5(id::text || $1) limit 1)
    and (select count(*) from articles) > 3";

/// For statements that choose a row by `order by md5(id || $1)`: seeded, and whatever ids there are.
async fn on_a_random_row(client: &Client, rng: &mut Rng, statement: &str) -> Result<(), Error> {
    client.execute(statement, &[&nonce(rng)]).await.map(drop)
}

fn nonce(rng: &mut Rng) -> String {
    format!("{:08x}", rng.u32(..))
}

async fn place_order(client: &Client, rng: &mut Rng) -> Result<(), Error> {
    let Some((item, price)) = rng.choice(stock::ITEMS) else { return Ok(()) };
    let quantity = rng.i32(1..=4);
    client.execute(PLACE_ORDER, &[item, &quantity, price, &ORDERS_MAX, &nonce(rng)]).await.map(drop)
}

async fn publish_article(client: &Client, rng: &mut Rng) -> Result<(), Error> {
    let Some(article) = rng.choice(stock::ARTICLES) else { return Ok(()) };
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&article.section, &article.title, &article.summary, &article.author, &ARTICLES_MAX];
    client.execute(PUBLISH_ARTICLE, &values).await.map(drop)
}

async fn edit_article(client: &Client, rng: &mut Rng) -> Result<(), Error> {
    let published = client.query("select title from articles", &[]).await?;
    let titles: Vec<&str> = published.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let candidates = stock::ARTICLES.iter().filter(|article| titles.contains(&article.title));
    let Some(article) = rng.choice(candidates.collect::<Vec<_>>()) else { return Ok(()) };
    client.execute(EDIT_ARTICLE, &[&article.title, &article.second_edition]).await.map(drop)
}

/// All matches in one transaction: they arrive on the scoreboard together.
async fn play_minute(client: &mut Client, rng: &mut Rng) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let rows = transaction.query(football::SELECT, &[]).await?;
    for row in rows {
        let before = Match::from_row(&row)?;
        let after = before.clone().next_minute(rng);
        if after != before {
            transaction.execute(football::UPDATE, &after.parameters()).await?;
        }
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_chosen_sooner_or_later() {
        let mut rng = Rng::with_seed(1);
        let mut missing: Vec<Action> = ACTIONS.iter().map(|(action, _)| *action).collect();
        for _ in 0..1000 {
            let chosen = choose(&mut rng);
            missing.retain(|action| *action != chosen);
        }
        assert_eq!(missing, []);
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let choices = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..100).map(|_| choose(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
    }
}
