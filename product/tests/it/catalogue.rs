//! The contract of `Catalogue`.

mod fixture;

use std::collections::BTreeSet;

use futures::future::join_all;
use jiff::Timestamp;
use money::Money;
use product::{
    domain::{Details, Product, ProductId, Query, folded},
    ports::Catalogue,
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use proto::ids::MAX_PRODUCT_ID;
use testing::{PostgresFixture, SqliteFixture};

pub(crate) use fixture::StoreFixture;

testing::contract! { catalogue_contract:
    a_new_catalogue_has_the_five_initial_products,
    initial_products_are_written_once,
    the_same_put_twice_is_one_product,
    a_replaced_product_keeps_its_creation_time,
    new_products_get_ids_of_their_own,
    the_largest_id_does_not_stop_new_products,
    new_products_skip_chosen_ids,
    sixty_four_racing_inserts_make_sixty_four_products,
    of_sixty_four_racing_upserts_of_one_product_one_stays,
    products_survive_a_reopen,
    details_of_the_maximum_size_are_stored_unchanged,
    pages_have_no_gaps_and_no_overlaps,
    a_query_matches_parts_of_names_and_descriptions_in_any_case,
    a_query_has_no_wildcards,
    a_query_of_any_length_finds_its_product,
    a_replaced_product_is_found_by_its_new_words_only,
    words_match_in_any_order_and_spelling,
    rows_of_an_earlier_version_are_found,
    an_image_that_an_earlier_version_took_is_not_shown,
    searches_agree_with_the_rule_page_by_page,
    a_search_for_any_words_is_answered,
    find_returns_existing_products_in_order,
}

catalogue_contract!(sqlite: SqliteFixture, postgres: PostgresFixture);

pub(crate) fn id(id: i64) -> ProductId {
    ProductId::new(id).unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn details(name: &str, description: &str, price: i64) -> Details {
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

pub(crate) async fn names(store: &dyn Catalogue, query: &str) -> Vec<String> {
    let products = store.page(&Query::new(query).unwrap(), None, 100).await.unwrap();
    products
        .into_iter()
        .map(|product| product.details.name().to_owned())
        .collect()
}

async fn a_new_catalogue_has_the_five_initial_products(fixture: &dyn StoreFixture) {
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

async fn initial_products_are_written_once(fixture: &dyn StoreFixture) {
    let changed = details("Laptop, used", "", 1);
    fixture.open().await.put(Some(id(1)), &changed, at(0)).await.unwrap();
    let products = all(&*fixture.open().await).await;
    assert_eq!(products.len(), 5);
    assert_eq!(products[0].details, changed);
}

async fn the_same_put_twice_is_one_product(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let lamp = details("Lamp", "", 1_000);
    let first = store.put(Some(id(77)), &lamp, at(1)).await.unwrap();
    let second = store.put(Some(id(77)), &lamp, at(2)).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(store.find(&[id(77)]).await.unwrap(), [first]);
}

async fn a_replaced_product_keeps_its_creation_time(fixture: &dyn StoreFixture) {
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

async fn new_products_get_ids_of_their_own(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let first = store.put(None, &details("Lamp", "", 1), at(1)).await.unwrap();
    let second = store.put(None, &details("Lamp", "", 1), at(1)).await.unwrap();
    assert_ne!(first.id, second.id);
    assert!(first.id > id(5) && second.id > id(5));
}

async fn the_largest_id_does_not_stop_new_products(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    // Earlier versions accepted any id.
    for (next, last) in (6..).zip([MAX_PRODUCT_ID, i64::MAX]) {
        store.put(Some(id(last)), &details("Last", "", 1), at(1)).await.unwrap();
        let new = store.put(None, &details("Lamp", "", 1), at(1)).await.unwrap();
        assert_eq!(new.id, id(next));
        assert_eq!(store.find(&[new.id]).await.unwrap(), [new]);
    }
}

async fn new_products_skip_chosen_ids(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let chosen = details("Chosen", "", 1);
    for n in (6..60).chain(62..70) {
        store.put(Some(id(n)), &chosen, at(1)).await.unwrap();
    }
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        ids.insert(store.put(None, &details("Lamp", "", 1), at(2)).await.unwrap().id);
    }
    assert_eq!(ids.len(), 20);
    let products = all(&*store).await;
    assert_eq!(products.len(), 5 + 54 + 8 + 20);
    let kept = products.iter().filter(|product| product.details == chosen).count();
    assert_eq!(kept, 54 + 8, "no chosen product was replaced");
}

async fn sixty_four_racing_inserts_make_sixty_four_products(fixture: &dyn StoreFixture) {
    let stores = [fixture.open().await, fixture.open().await];
    let lamp = details("Lamp", "", 1);
    let chosen = join_all((6..10).map(|n| stores[0].put(Some(id(n)), &lamp, at(1))));
    let made = join_all((0..64).map(|n: usize| stores[n % 2].put(None, &lamp, at(1))));
    let (chosen, made) = futures::future::join(chosen, made).await;
    assert!(chosen.iter().all(Result::is_ok));
    let ids: BTreeSet<_> = made.into_iter().map(|made| made.unwrap().id).collect();
    assert_eq!(ids.len(), 64);
    for store in &stores {
        let products = all(&**store).await;
        // A put with a chosen id may replace a product that was just inserted under it.
        let replaced = (6..10).filter(|n| ids.contains(&id(*n))).count();
        assert_eq!(products.len(), 5 + 64 + 4 - replaced);
    }
}

async fn of_sixty_four_racing_upserts_of_one_product_one_stays(fixture: &dyn StoreFixture) {
    let stores = [fixture.open().await, fixture.open().await];
    let put = |price: i64| {
        let store = stores[usize::try_from(price).unwrap() % 2].clone();
        async move {
            store
                .put(Some(id(77)), &details("Lamp", "", price), at(price))
                .await
                .unwrap()
        }
    };
    let answers = join_all((1..=64).map(put)).await;
    let created: BTreeSet<_> = answers.iter().map(|product| product.created_at).collect();
    assert_eq!(created.len(), 1, "one insert, the others replaced");
    assert!(answers.contains(&stores[0].find(&[id(77)]).await.unwrap()[0]));
}

async fn products_survive_a_reopen(fixture: &dyn StoreFixture) {
    let put = fixture
        .open()
        .await
        .put(None, &details("Lamp", "bright", 1), at(1))
        .await
        .unwrap();
    assert_eq!(fixture.open().await.find(&[put.id]).await.unwrap(), [put]);
}

async fn details_of_the_maximum_size_are_stored_unchanged(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let long = "\u{1f5a5}".repeat(2_000);
    let large = Details::new("Ü".repeat(200), long.clone(), Money::usd(100_000_000), long).unwrap();
    let put = store.put(None, &large, at(1)).await.unwrap();
    assert_eq!(store.find(&[put.id]).await.unwrap()[0].details, large);
}

async fn pages_have_no_gaps_and_no_overlaps(fixture: &dyn StoreFixture) {
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

async fn a_query_matches_parts_of_names_and_descriptions_in_any_case(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    store.put(None, &details("Äpfel", "aus CRÈME", 1), at(1)).await.unwrap();
    assert_eq!(names(&*store, "LAP").await, ["Laptop"]);
    assert_eq!(names(&*store, "rgb").await, ["Keyboard"]);
    assert_eq!(names(&*store, "äPF").await, ["Äpfel"]);
    assert_eq!(names(&*store, "crème").await, ["Äpfel"]);
    assert_eq!(names(&*store, "apt").await, ["Laptop"]);
    assert_eq!(names(&*store, "o").await, ["Headphones"], "over-ear");
    assert_eq!(names(&*store, "ca").await, ["Headphones"], "noise-cancelling");
    assert_eq!(names(&*store, "fo la").await, ["Laptop"]);
    assert_eq!(names(&*store, "ap").await, Vec::<String>::new());
    assert_eq!(names(&*store, "laptopfor").await, Vec::<String>::new());
}

async fn a_query_has_no_wildcards(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    store
        .put(None, &details("100% wool_scarf", r#"a\b 'quoted' "twice""#, 1), at(1))
        .await
        .unwrap();
    for query in ["%", "_", r"\", "00% w", "L_S", "'", "' \""] {
        assert_eq!(names(&*store, query).await, ["100% wool_scarf"], "{query}");
    }
    assert_eq!(names(&*store, "1%l").await, Vec::<String>::new());
}

async fn a_query_of_any_length_finds_its_product(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let long = "äöü ".repeat(30);
    store.put(None, &details("Äöü", &long, 1), at(1)).await.unwrap();
    for length in 1..=100 {
        let query: String = long.chars().take(length).collect();
        assert_eq!(names(&*store, &query).await, ["Äöü"], "{query:?}");
    }
    // The text has all trigrams of the query, but not in sequence.
    assert_eq!(names(&*store, "äöüäöü").await, Vec::<String>::new());
    assert_eq!(names(&*store, "öüä").await, Vec::<String>::new());
}

async fn a_replaced_product_is_found_by_its_new_words_only(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    for n in 0..50 {
        let name = format!("Lamp {n}");
        store.put(Some(id(77)), &details(&name, "", 1), at(1)).await.unwrap();
        assert_eq!(names(&*store, "lamp").await, [name.as_str()]);
        assert_eq!(names(&*store, &name).await, [name.as_str()]);
    }
    assert_eq!(names(&*store, "lamp 48").await, Vec::<String>::new());
}

async fn words_match_in_any_order_and_spelling(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    for (name, description) in [
        ("ΟΔΥΣΣΕΥΣ", "a hero"),
        ("Caf\u{e9} table", "of walnut"),
        ("Crème brûlée", "decomposed: cre\u{300}me"),
        ("Straßenkarte", ""),
        ("İstanbul poster", ""),
        ("Ｗｉｄｅ screen", "full-width letters"),
    ] {
        store.put(None, &details(name, description, 1), at(1)).await.unwrap();
    }
    for (query, name) in [
        ("ΟΔΥΣ", "ΟΔΥΣΣΕΥΣ"),
        ("οδυς", "ΟΔΥΣΣΕΥΣ"),
        ("cafe\u{301}", "Caf\u{e9} table"),
        ("CAF\u{c9}", "Caf\u{e9} table"),
        ("walnut café", "Caf\u{e9} table"),
        ("table  wal", "Caf\u{e9} table"),
        ("CRÈME decomposed", "Crème brûlée"),
        ("STRASSE", "Straßenkarte"),
        ("strasse ", "Straßenkarte"),
        ("istanbul", "İstanbul poster"),
        ("ISTANBUL", "İstanbul poster"),
        ("poster İST", "İstanbul poster"),
        ("wide", "Ｗｉｄｅ screen"),
        ("ｓｃｒｅｅｎ", "Ｗｉｄｅ screen"),
        ("laptop ", "Laptop"),
        (" gaming\u{3000}LAPTOP", "Laptop"),
    ] {
        assert_eq!(names(&*store, query).await, [name], "{query}");
    }
    for nothing in ["laptop mouse", "walnut hero", "cafetable"] {
        assert_eq!(names(&*store, nothing).await, Vec::<String>::new(), "{nothing}");
    }
    assert_eq!(names(&*store, "  ").await.len(), 11);
}

/// Writes of a process of a version before `search_marked`.
const EARLIER_VERSION: &str = "
    INSERT INTO products (id, name, description, price_minor_units, currency, image_url, search_text, created_at)
    SELECT 50, 'Straße', '', 1, 'USD', '', 'straße', created_at FROM products WHERE id = 1;
    UPDATE products SET name = 'Desk', search_text = 'desk' WHERE id = 1;
    UPDATE products SET name = 'Mouse', search_text = search_text WHERE id = 2;";

async fn rows_of_an_earlier_version_are_found(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    assert_eq!(names(&*store, "strasse").await, Vec::<String>::new());
    // While this process runs and before the next one starts.
    fixture.execute(EARLIER_VERSION).await;
    for _ in 0..2 {
        let store = fixture.open().await;
        assert_eq!(names(&*store, "STRASSE").await, ["Straße"]);
        assert_eq!(names(&*store, "desk").await, ["Desk"]);
        assert_eq!(names(&*store, "laptop").await, Vec::<String>::new());
        assert_eq!(names(&*store, "mouse").await, ["Mouse"]);
        fixture.execute("UPDATE products SET search_marked = NULL").await;
    }
    assert_eq!(names(&*store, "STRASSE").await, ["Straße"]);
    fixture
        .execute("UPDATE products SET search_text = 'table' WHERE id = 1")
        .await;
    assert_eq!(names(&*store, "desk").await, Vec::<String>::new());
    assert_eq!(names(&*store, "TABLE").await, ["Desk"]);
}

async fn an_image_that_an_earlier_version_took_is_not_shown(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    fixture
        .execute("UPDATE products SET image_url = 'javascript:alert(1)' WHERE id = 1")
        .await;
    let product = store.find(&[id(1)]).await.unwrap().remove(0);
    assert_eq!((product.details.name(), product.details.image_url()), ("Laptop", ""));
}

/// Few letters, so that queries often match: words, signs, and scripts without blanks.
const TEXT: &str = "([abcß]{1,4}|[Aİ電話é%'\"-]| ){0,14}";
const WORDS: &str = "([abcß]{1,4}|[Aİ電話é%'\"-]| ){1,4}";

async fn searches_agree_with_the_rule_page_by_page(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let mut runner = TestRunner::deterministic();
    let mut any = |pattern| {
        let strategy = proptest::string::string_regex(pattern).unwrap();
        strategy.new_tree(&mut runner).unwrap().current()
    };
    let mut products = all(&*store).await;
    for n in 0..300 {
        let details = details(&format!("n{n} {}", any(TEXT)), &any(TEXT), 1);
        // Later rounds replace some products.
        products.retain(|product| product.id != id(6 + n % 200));
        products.push(store.put(Some(id(6 + n % 200)), &details, at(1)).await.unwrap());
    }
    products.sort_by_key(|product| product.id);
    for _ in 0..200 {
        let words = any(WORDS);
        let query = Query::new(&words).unwrap();
        let has_words = |product: &&Product| query.matches(&folded(&product.details.search_text()));
        let expected: Vec<_> = products.iter().filter(has_words).map(|product| product.id).collect();
        let mut found = Vec::new();
        loop {
            let page = store.page(&query, found.last().copied(), 7).await.unwrap();
            found.extend(page.iter().map(|product| product.id));
            if page.len() < 7 {
                break;
            }
        }
        assert_eq!(found, expected, "{words:?}");
    }
}

async fn a_search_for_any_words_is_answered(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let letters: Vec<String> = ('a'..='z').chain('0'..='9').map(String::from).collect();
    let (most, unfolding) = (letters.join(" "), "\u{fdfa}".repeat(100));
    let awkward = [
        "AND zz",
        "NOT",
        "a OR b",
        "NEAR(a b)",
        "\"",
        "\"\" \"",
        "*",
        "^",
        "{x} : y",
        "search_marked : x",
        "- +",
        "(",
        "'; --",
        "$1 ?",
        "\u{ffff}\u{fffe}x",
    ];
    for words in awkward.into_iter().chain([most.as_str(), &unfolding, &"x".repeat(100)]) {
        assert_eq!(names(&*store, words).await, Vec::<String>::new(), "{words}");
    }
    let replaced = details("\u{fffd}\u{fffd}x", "", 1);
    store.put(None, &replaced, at(1)).await.unwrap();
    assert_eq!(names(&*store, "\u{ffff}\u{fffe}x").await, Vec::<String>::new());
    assert_eq!(names(&*store, "\u{fffd}\u{fffd}x").await.len(), 1);
}

async fn find_returns_existing_products_in_order(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let found = store.find(&[id(4), id(999), id(2), id(2), id(i64::MAX)]).await.unwrap();
    assert_eq!(found.iter().map(|product| product.id.get()).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(store.find(&[]).await.unwrap(), []);
}
