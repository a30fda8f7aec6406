//! The contract of the order store, over all adapters.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use events::Inbox;
use futures::future::join_all;
use jiff::Timestamp;
use money::{Currency, Money, Quantity};
use orders::{
    domain::{CheckoutId, Line, Order, OrderId, OrderIds, ProductId, UserId},
    ports::{OrderStore, Recorded},
    store::{PostgresOrderStore, SqliteOrderStore},
};
use runtime::Points;
use storage::{Cursor, StoreError};
use testing::{Fixture, PostgresFixture, SqliteFixture};
use uuid::Uuid;

/// A database. Each call opens the store anew, as another process would.
#[async_trait]
pub(crate) trait StoreFixture: Send + Sync {
    async fn open(&self) -> Arc<dyn OrderStore>;
    async fn inbox(&self) -> Arc<dyn Inbox>;
}

#[async_trait]
impl StoreFixture for SqliteFixture {
    async fn open(&self) -> Arc<dyn OrderStore> {
        let store = SqliteOrderStore::open(&self.file("orders.db"), &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn inbox(&self) -> Arc<dyn Inbox> {
        let store = SqliteOrderStore::open(&self.file("orders.db"), &Points::none()).await;
        Arc::new(store.unwrap().inbox())
    }
}

#[async_trait]
impl StoreFixture for PostgresFixture {
    async fn open(&self) -> Arc<dyn OrderStore> {
        let store = PostgresOrderStore::open(&self.address(), &self.schema, &Points::none()).await;
        Arc::new(store.unwrap())
    }

    async fn inbox(&self) -> Arc<dyn Inbox> {
        let store = PostgresOrderStore::open(&self.address(), &self.schema, &Points::none()).await;
        Arc::new(store.unwrap().inbox())
    }
}

testing::contract! { store_contract:
    an_order_is_read_as_it_was_recorded,
    a_repeated_event_has_no_further_effect,
    another_event_of_the_same_checkout_changes_nothing,
    an_applied_event_creates_no_second_order,
    an_order_is_not_repeated_after_its_inbox_row_was_pruned,
    the_id_of_another_checkouts_order_is_refused_without_an_inbox_row,
    the_id_of_another_checkouts_order_is_refused_for_a_known_event_too,
    an_order_is_visible_to_its_user_only,
    orders_survive_a_reopen,
    of_64_concurrent_writers_one_creates_the_order,
    of_64_checkouts_that_race_for_an_order_id_one_gets_it,
    of_64_orders_recorded_at_once_none_is_lost,
    an_order_keeps_the_sequence_of_its_many_lines,
    a_name_of_two_megabytes_is_read_as_it_was_recorded,
    pages_contain_every_order_once_newest_first,
    the_last_page_has_no_next_cursor,
    a_cursor_may_have_any_time,
    the_orders_of_an_erased_customer_are_detached_also_when_they_arrive_later,
    an_order_recorded_during_an_erasure_is_detached,
}

store_contract!(sqlite: SqliteFixture, postgres: PostgresFixture);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name.to_owned()).unwrap()
}

fn line(product: i64, name: &str, quantity: i64, price: i64, currency: Currency) -> Line {
    let money = |amount| Money::new(amount, currency);
    let pieces = Quantity::new(quantity).unwrap();
    Line::new(
        ProductId::new(product).unwrap(),
        name.to_owned(),
        pieces,
        money(price),
        money(price * quantity),
    )
    .unwrap()
}

/// The `n`th order, of checkout `n`, bought at millisecond `at`.
pub(crate) fn order(n: u128, user_name: &str, at: i64) -> Order {
    let yen: Currency = "JPY".parse().unwrap();
    let lines = vec![line(7, "naïve \"laptop\"; --", 2, 500, yen), line(3, "", 1, 1, yen)];
    of_lines(n, user_name, at, lines, yen)
}

fn of_lines(n: u128, user_name: &str, at: i64, lines: Vec<Line>, currency: Currency) -> Order {
    let ids = OrderIds {
        id: OrderId(Uuid::from_u128(n)),
        checkout_id: CheckoutId(Uuid::from_u128(n + 1_000_000)),
        user_id: user(user_name),
    };
    let total = Money::sum(currency, lines.iter().map(Line::subtotal)).unwrap();
    Order::new(ids, lines, total, Timestamp::from_millisecond(at).unwrap()).unwrap()
}

/// The same purchase under another order id.
fn renamed(order: &Order, id: u128) -> Order {
    let (checkout_id, user_id) = (order.checkout_id(), order.user_id().clone());
    let ids = OrderIds {
        id: OrderId(Uuid::from_u128(id)),
        checkout_id,
        user_id,
    };
    Order::new(ids, order.lines().to_vec(), order.total(), order.created_at()).unwrap()
}

async fn record(store: &Arc<dyn OrderStore>, order: &Order, event: u128) -> Recorded {
    store.record(order, Uuid::from_u128(event), now()).await.unwrap()
}

async fn all(store: &Arc<dyn OrderStore>, name: &str) -> Vec<Order> {
    all_of(store, &user(name)).await
}

async fn all_of(store: &Arc<dyn OrderStore>, user: &UserId) -> Vec<Order> {
    let page = store.list(user, None, 1_000_000).await.unwrap();
    assert_eq!(page.next, None);
    page.items
}

async fn an_order_is_read_as_it_was_recorded(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let order = order(1, "ann", 5);
    assert_eq!(record(&store, &order, 1).await, Recorded::Created);
    assert_eq!(store.find(&user("ann"), order.id()).await.unwrap(), Some(order.clone()));
    assert_eq!(all(&store, "ann").await, [order]);
    assert!(store.is_up().await);
}

async fn a_repeated_event_has_no_further_effect(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let order = order(1, "ann", 5);
    assert_eq!(record(&store, &order, 1).await, Recorded::Created);
    assert_eq!(record(&store, &order, 1).await, Recorded::Duplicate);
    assert_eq!(all(&store, "ann").await, [order]);
}

async fn another_event_of_the_same_checkout_changes_nothing(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let first = order(1, "ann", 5);
    record(&store, &first, 1).await;
    assert_eq!(record(&store, &first, 2).await, Recorded::Duplicate);
    assert_eq!(record(&store, &renamed(&first, 99), 3).await, Recorded::Duplicate);
    assert_eq!(all(&store, "ann").await, [first]);
}

async fn an_applied_event_creates_no_second_order(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let first = order(1, "ann", 5);
    record(&store, &first, 1).await;
    assert_eq!(record(&store, &order(2, "ann", 5), 1).await, Recorded::Duplicate);
    assert_eq!(all(&store, "ann").await, [first]);
}

async fn an_order_is_not_repeated_after_its_inbox_row_was_pruned(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let first = order(1, "ann", 5);
    assert_eq!(record(&store, &first, 1).await, Recorded::Created);
    let group = proto::events::ORDERS_GROUP;
    let pruned = fixture
        .inbox()
        .await
        .prune(group, Timestamp::from_second(4_000_000_000).unwrap(), &[])
        .await;
    assert_eq!(pruned.unwrap(), 1);
    assert_eq!(record(&store, &first, 1).await, Recorded::Duplicate);
    assert_eq!(all(&store, "ann").await, [first]);
}

async fn the_id_of_another_checkouts_order_is_refused_without_an_inbox_row(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (first, second) = (order(1, "ann", 5), order(2, "ann", 4));
    record(&store, &first, 1).await;
    assert_eq!(record(&store, &renamed(&second, 1), 2).await, Recorded::IdTaken);
    assert_eq!(all(&store, "ann").await, std::slice::from_ref(&first));
    // The event has no inbox row: with the right order it can still be applied.
    assert_eq!(record(&store, &second, 2).await, Recorded::Created);
    assert_eq!(all(&store, "ann").await, [first, second]);
}

async fn the_id_of_another_checkouts_order_is_refused_for_a_known_event_too(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (first, second) = (order(1, "ann", 5), order(2, "ann", 4));
    record(&store, &first, 1).await;
    assert_eq!(record(&store, &renamed(&second, 1), 1).await, Recorded::IdTaken);
    // The first inbox row stays.
    assert_eq!(record(&store, &second, 1).await, Recorded::Duplicate);
    assert_eq!(all(&store, "ann").await, [first]);
}

async fn an_order_is_visible_to_its_user_only(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let order = order(1, "ann", 5);
    record(&store, &order, 1).await;
    let nameless = UserId::stored(String::new());
    for other in ["bob", "Ann", "ann ", "an_", "%"]
        .map(user)
        .into_iter()
        .chain([nameless])
    {
        assert_eq!(store.find(&other, order.id()).await.unwrap(), None, "{other:?}");
        assert!(all_of(&store, &other).await.is_empty(), "{other:?}");
    }
    let absent = OrderId(Uuid::from_u128(2));
    assert_eq!(store.find(&user("ann"), absent).await.unwrap(), None);
}

async fn orders_survive_a_reopen(fixture: &dyn StoreFixture) {
    let first = fixture.open().await;
    let order = order(1, "ann", 5);
    record(&first, &order, 1).await;
    drop(first);
    let second = fixture.open().await;
    assert_eq!(all(&second, "ann").await, std::slice::from_ref(&order));
    assert_eq!(record(&second, &order, 1).await, Recorded::Duplicate);
}

async fn of_64_concurrent_writers_one_creates_the_order(fixture: &dyn StoreFixture) {
    let (store, other) = (fixture.open().await, fixture.open().await);
    let order = order(1, "ann", 5);
    // From two replicas; half of the writers share an event, half have an event each.
    let writers = (0..64).map(|n| {
        let store = if n % 2 == 0 { &store } else { &other };
        record(store, &order, if n < 32 { 0 } else { n })
    });
    let recorded = join_all(writers).await;
    assert_eq!(recorded.iter().filter(|r| **r == Recorded::Created).count(), 1);
    assert_eq!(recorded.iter().filter(|r| **r == Recorded::Duplicate).count(), 63);
    assert_eq!(all(&store, "ann").await, [order]);
}

async fn of_64_checkouts_that_race_for_an_order_id_one_gets_it(fixture: &dyn StoreFixture) {
    let (store, other) = (fixture.open().await, fixture.open().await);
    let orders: Vec<Order> = (0..64).map(|n| order(n, "ann", 5)).collect();
    let renamed_orders: Vec<Order> = orders.iter().map(|order| renamed(order, 99)).collect();
    let writers = (0..).zip(&renamed_orders).map(|(n, order)| {
        let store = if n % 2 == 0 { &store } else { &other };
        record(store, order, n)
    });
    let recorded = join_all(writers).await;
    assert_eq!(recorded.iter().filter(|r| **r == Recorded::Created).count(), 1);
    assert_eq!(recorded.iter().filter(|r| **r == Recorded::IdTaken).count(), 63);
    // The refused events have no inbox rows: with the right orders they can still be applied.
    for ((event, order), recorded) in (0..).zip(&orders).zip(recorded) {
        let expected = if recorded == Recorded::Created {
            Recorded::Duplicate
        } else {
            Recorded::Created
        };
        assert_eq!(record(&store, order, event).await, expected);
    }
    assert_eq!(all(&store, "ann").await.len(), 64);
}

async fn of_64_orders_recorded_at_once_none_is_lost(fixture: &dyn StoreFixture) {
    let (store, other) = (fixture.open().await, fixture.open().await);
    let orders: Vec<Order> = (0..64).map(|n| order(n, "ann", i64::try_from(n).unwrap())).collect();
    let writers = (0..).zip(&orders).map(|(event, order)| {
        let store = if event % 2 == 0 { &store } else { &other };
        record(store, order, event)
    });
    let recorded = join_all(writers).await;
    assert!(recorded.iter().all(|r| *r == Recorded::Created));
    let newest_first: Vec<Order> = orders.into_iter().rev().collect();
    assert_eq!(all(&store, "ann").await, newest_first);
    assert_eq!(all(&other, "ann").await, newest_first);
}

async fn an_order_keeps_the_sequence_of_its_many_lines(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    // The last line is free.
    let lines = (1..=1_234)
        .rev()
        .map(|n| line(n, &n.to_string(), 1, n - 1, Currency::USD))
        .collect();
    let order = of_lines(1, "ann", 5, lines, Currency::USD);
    record(&store, &order, 1).await;
    assert_eq!(store.find(&user("ann"), order.id()).await.unwrap(), Some(order));
}

async fn a_name_of_two_megabytes_is_read_as_it_was_recorded(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let lines = vec![line(1, &"é".repeat(1 << 20), 1, 5, Currency::USD)];
    let order = of_lines(1, "ann", 5, lines, Currency::USD);
    record(&store, &order, 1).await;
    assert_eq!(all(&store, "ann").await, [order]);
}

async fn pages_contain_every_order_once_newest_first(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    // Five per millisecond, some before 1970; ids do not grow with time.
    let mut orders: Vec<Order> = (0..60)
        .map(|n: u128| order(n * 37 % 61, "ann", i64::try_from(n).unwrap() / 5 - 3))
        .collect();
    for (event, order) in (0..).zip(&orders) {
        assert_eq!(record(&store, order, event).await, Recorded::Created);
    }
    record(&store, &order(500, "bob", 0), 500).await;
    orders.sort_by_key(|order| std::cmp::Reverse((order.created_at(), order.id().0)));
    for size in [1, 7, 59, 60, 61] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(&user("ann"), after, size).await.unwrap();
            assert!(page.items.len() <= usize::try_from(size).unwrap());
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, orders, "pages of {size}");
    }
    let ids: HashSet<_> = orders.iter().map(Order::id).collect();
    assert_eq!(ids.len(), 60);
}

async fn the_last_page_has_no_next_cursor(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    for n in 0..4 {
        record(&store, &order(n, "ann", 5), n).await;
    }
    let first = store.list(&user("ann"), None, 2).await.unwrap();
    let second = store.list(&user("ann"), first.next, 2).await.unwrap();
    assert!(first.next.is_some());
    assert_eq!((second.items.len(), second.next), (2, None));
    assert_eq!(store.list(&user("nobody"), None, 2).await.unwrap().next, None);
}

async fn a_cursor_may_have_any_time(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let order = order(1, "ann", 5);
    record(&store, &order, 1).await;
    // A forged token may contain times that no store can represent.
    let ann = user("ann");
    let page_after = |at| store.list(&ann, Some(Cursor { at, id: Uuid::max() }), 2);
    assert_eq!(page_after(Timestamp::MIN).await.unwrap().items, []);
    assert_eq!(page_after(Timestamp::MAX).await.unwrap().items, [order]);
}

async fn the_orders_of_an_erased_customer_are_detached_also_when_they_arrive_later(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let placed: Vec<_> = (1..=5).map(|n| order(n, "ann", 5)).collect();
    for (event, order) in (1..).zip(&placed) {
        record(&store, order, event).await;
    }
    let bobs = order(6, "bob", 5);
    record(&store, &bobs, 6).await;
    let (late, new) = (order(7, "ann", 5), order(8, "ann", 5));
    let checkouts = [placed[0].checkout_id(), late.checkout_id()];
    let erase = async |limit| store.erase(&user("ann"), &checkouts, limit).await.unwrap();
    assert_eq!((erase(3).await, erase(3).await, erase(3).await), (3, 2, 0));
    assert_eq!(record(&store, &late, 7).await, Recorded::Created, "accounting needs it");
    assert_eq!(all(&store, "ann").await, []);
    assert_eq!(all(&store, "bob").await, [bobs]);
    for order in placed.iter().chain([&late]) {
        let erased = UserId::erased(order.checkout_id());
        let kept = store.find(&erased, order.id()).await.unwrap().unwrap();
        assert_eq!((kept.lines(), kept.total()), (order.lines(), order.total()));
    }
    // The same id is a new customer from now on.
    record(&store, &new, 8).await;
    assert_eq!(all(&store, "ann").await, [new]);
}

async fn an_order_recorded_during_an_erasure_is_detached(fixture: &dyn StoreFixture) {
    let stores = [fixture.open().await, fixture.open().await];
    let orders: Vec<_> = (0..64).map(|n| order(n, "ann", 5)).collect();
    let checkouts: Vec<_> = orders.iter().map(Order::checkout_id).collect();
    let recorders = (0..).zip(&orders).map(async |(n, order): (usize, _)| {
        let event = u128::try_from(n).unwrap();
        record(&stores[n % 2], order, event).await
    });
    let ann = user("ann");
    let (recorded, erased) = tokio::join!(join_all(recorders), stores[0].erase(&ann, &checkouts, 1000));
    erased.unwrap();
    assert!(recorded.iter().all(|recorded| *recorded == Recorded::Created));
    assert_eq!(all(&stores[1], "ann").await, []);
}

#[tokio::test]
async fn an_order_that_postgresql_cannot_store_is_corrupt_and_not_unavailable() {
    let Some(fixture) = PostgresFixture::new() else {
        return;
    };
    let store = fixture.open().await;
    let of_name = |n, name, at| of_lines(n, "ann", at, vec![line(1, name, 1, 5, Currency::USD)], Currency::USD);
    let (nul, too_early) = (
        of_name(1, "a\0b", 5),
        of_name(2, "a", Timestamp::MIN.as_millisecond() + 1),
    );
    for (event, order) in (1..).zip([nul, too_early]) {
        let recorded = store.record(&order, Uuid::from_u128(event), now()).await;
        assert!(matches!(recorded, Err(StoreError::Corrupt(_))), "{recorded:?}");
    }
    assert!(all(&store, "ann").await.is_empty());
}
