//! What every adapter of `Catalogue` must do.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::join_all;
use jiff::Timestamp;
use money::Money;
use product::{
    domain::{Details, Product, ProductId, Query},
    ports::Catalogue,
    store::SqliteCatalogue,
};
use runtime::CrashPoints;

macro_rules! catalogue_contract {
    ($($adapter:ident: $fixture:ty),+ $(,)?) => { $(
        catalogue_contract! { @cases $adapter, $fixture:
            a_new_catalogue_has_the_five_starting_products,
            starting_products_are_not_written_again,
            the_same_put_twice_is_one_product,
            a_replaced_product_keeps_when_it_was_created,
            new_products_get_ids_of_their_own,
            the_largest_id_does_not_stop_new_products,
            sixty_four_writers_of_new_products_make_sixty_four,
            sixty_four_writers_of_one_product_leave_one_of_theirs,
            what_was_put_is_there_after_a_reopen,
            details_of_the_largest_size_come_back_as_they_were,
            pages_follow_each_other_without_gap_or_overlap,
            a_query_finds_parts_of_names_and_descriptions_in_any_case,
            wildcards_stand_for_themselves,
            found_are_those_that_exist_in_order,
        }
    )+ };
    (@cases $adapter:ident, $fixture:ty: $($case:ident,)+) => {
        mod $adapter { $(
            #[tokio::test]
            async fn $case() {
                super::$case(&<$fixture>::new()).await;
            }
        )+ }
    };
}

catalogue_contract!(sqlite: super::SqliteFixture);

/// A place for one catalogue, which may be opened again and again.
#[async_trait::async_trait]
trait Fixture: Send + Sync {
    async fn open(&self) -> Arc<dyn Catalogue>;
}

struct SqliteFixture(tempfile::TempDir);

impl SqliteFixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait::async_trait]
impl Fixture for SqliteFixture {
    async fn open(&self) -> Arc<dyn Catalogue> {
        let path = self.0.path().join("product.db");
        Arc::new(SqliteCatalogue::open(&path, &CrashPoints::none()).await.unwrap().0)
    }
}

fn id(id: i64) -> ProductId {
    ProductId::new(id).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn details(name: &str, description: &str, price: i64) -> Details {
    Details::new(
        name.to_owned(),
        description.to_owned(),
        Money::usd(price),
        String::new(),
    )
    .unwrap()
}

async fn all(store: &dyn Catalogue) -> Vec<Product> {
    store.page(&Query::default(), None, 1_000).await.unwrap()
}

async fn names(store: &dyn Catalogue, query: &str) -> Vec<String> {
    let products = store.page(&Query::new(query).unwrap(), None, 100).await.unwrap();
    products
        .into_iter()
        .map(|product| product.details.name().to_owned())
        .collect()
}

async fn a_new_catalogue_has_the_five_starting_products(fixture: &dyn Fixture) {
    let products = all(&*fixture.open().await).await;
    let seen: Vec<_> = products
        .iter()
        .map(|p| {
            (
                p.id.get(),
                p.details.name(),
                p.details.price().minor_units(),
                p.details.description(),
            )
        })
        .collect();
    let expected = [
        (1, "Laptop", 129_999, "for work and gaming"),
        (2, "Mouse", 2_999, "wireless, ergonomic"),
        (3, "Keyboard", 8_999, "mechanical, with RGB lighting"),
        (4, "Monitor", 39_999, "27-inch, 4K"),
        (5, "Headphones", 24_999, "over-ear, noise-cancelling"),
    ];
    assert_eq!(seen, expected);
}

async fn starting_products_are_not_written_again(fixture: &dyn Fixture) {
    let changed = details("Laptop, used", "", 1);
    fixture.open().await.put(Some(id(1)), &changed, at(0)).await.unwrap();
    let products = all(&*fixture.open().await).await;
    assert_eq!(products.len(), 5);
    assert_eq!(products[0].details, changed);
}

async fn the_same_put_twice_is_one_product(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let lamp = details("Lamp", "", 1_000);
    let first = store.put(Some(id(77)), &lamp, at(1)).await.unwrap();
    let second = store.put(Some(id(77)), &lamp, at(2)).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(store.find(&[id(77)]).await.unwrap(), [first]);
}

async fn a_replaced_product_keeps_when_it_was_created(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    store
        .put(Some(id(77)), &details("Lamp", "old", 1_000), at(1))
        .await
        .unwrap();
    let new = details("Desk lamp", "new", 2_000);
    let replaced = store.put(Some(id(77)), &new, at(2)).await.unwrap();
    assert_eq!(
        replaced,
        Product {
            id: id(77),
            details: new,
            created_at: at(1)
        }
    );
    assert_eq!(names(&*store, "old").await, Vec::<String>::new());
    assert_eq!(names(&*store, "desk").await, ["Desk lamp"]);
}

async fn new_products_get_ids_of_their_own(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let first = store.put(None, &details("Lamp", "", 1), at(1)).await.unwrap();
    let second = store.put(None, &details("Lamp", "", 1), at(1)).await.unwrap();
    assert_ne!(first.id, second.id);
    assert!(first.id > id(5) && second.id > id(5));
}

async fn the_largest_id_does_not_stop_new_products(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    store
        .put(Some(id(i64::MAX)), &details("Last", "", 1), at(1))
        .await
        .unwrap();
    let new = store.put(None, &details("Lamp", "", 1), at(1)).await.unwrap();
    assert_eq!(store.find(&[new.id]).await.unwrap(), [new]);
}

async fn sixty_four_writers_of_new_products_make_sixty_four(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let lamp = details("Lamp", "", 1);
    let made = join_all((0..64).map(|_| store.put(None, &lamp, at(1)))).await;
    let ids: BTreeSet<_> = made.into_iter().map(|made| made.unwrap().id).collect();
    assert_eq!(ids.len(), 64);
    assert_eq!(all(&*store).await.len(), 5 + 64);
}

async fn sixty_four_writers_of_one_product_leave_one_of_theirs(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let put = |price| {
        let store = store.clone();
        async move {
            store
                .put(Some(id(77)), &details("Lamp", "", price), at(price))
                .await
                .unwrap()
        }
    };
    let answers = join_all((1..=64).map(put)).await;
    let created: BTreeSet<_> = answers.iter().map(|product| product.created_at).collect();
    assert_eq!(created.len(), 1, "the first one made it, all others replaced it");
    assert!(answers.contains(&store.find(&[id(77)]).await.unwrap()[0]));
}

async fn what_was_put_is_there_after_a_reopen(fixture: &dyn Fixture) {
    let put = fixture
        .open()
        .await
        .put(None, &details("Lamp", "bright", 1), at(1))
        .await
        .unwrap();
    assert_eq!(fixture.open().await.find(&[put.id]).await.unwrap(), [put]);
}

async fn details_of_the_largest_size_come_back_as_they_were(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let long = "\u{1f5a5}".repeat(2_000);
    let large = Details::new("Ü".repeat(200), long.clone(), Money::usd(100_000_000), long).unwrap();
    let put = store.put(None, &large, at(1)).await.unwrap();
    assert_eq!(store.find(&[put.id]).await.unwrap()[0].details, large);
}

async fn pages_follow_each_other_without_gap_or_overlap(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for n in 0..20 {
        store
            .put(None, &details(&format!("Lamp {n}"), "", 1), at(1))
            .await
            .unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.page(&Query::default(), after, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page);
    }
    assert_eq!(seen, all(&*store).await);
    assert_eq!(seen.len(), 25);
}

async fn a_query_finds_parts_of_names_and_descriptions_in_any_case(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    store.put(None, &details("Äpfel", "aus CRÈME", 1), at(1)).await.unwrap();
    assert_eq!(names(&*store, "LAP").await, ["Laptop"]);
    assert_eq!(names(&*store, "rgb").await, ["Keyboard"]);
    assert_eq!(names(&*store, "äPF").await, ["Äpfel"]);
    assert_eq!(names(&*store, "crème").await, ["Äpfel"]);
    assert_eq!(
        names(&*store, "o").await,
        ["Laptop", "Mouse", "Keyboard", "Monitor", "Headphones"]
    );
    assert_eq!(names(&*store, "laptopfor").await, Vec::<String>::new());
}

async fn wildcards_stand_for_themselves(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    store
        .put(None, &details("100% wool_scarf", r"a\b 'quoted'", 1), at(1))
        .await
        .unwrap();
    for query in ["%", "_", r"\", "0% w", "L_S", "'"] {
        assert_eq!(names(&*store, query).await, ["100% wool_scarf"], "{query}");
    }
    assert_eq!(names(&*store, "1%l").await, Vec::<String>::new());
}

async fn found_are_those_that_exist_in_order(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let found = store.find(&[id(4), id(999), id(2), id(2), id(i64::MAX)]).await.unwrap();
    assert_eq!(found.iter().map(|product| product.id.get()).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(store.find(&[]).await.unwrap(), []);
}
