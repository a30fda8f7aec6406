//! The cost of a statement does not depend on the number of products.

use product::domain::Query;
use testing::{Fixture, PostgresFixture};

use crate::catalogue::{StoreFixture, at, details, id, names};

/// A scan of this many rows is one of a whole table.
const FULL_SCAN_ROWS: i64 = 10_000;
/// Enough executions for PostgreSQL to switch to a generic plan.
const REPETITIONS: i64 = 8;

/// All products share some words, and each has a word of its own.
const PRODUCTS: &str = "
    ALTER TABLE products SET UNLOGGED;
    INSERT INTO products (id, name, description, price_minor_units, currency, image_url, created_at, search_text, search_marked)
    SELECT n, 'Lamp ' || n, '', 100, 'USD', '', now(), 'lamp ' || n || chr(10),
        chr(1) || chr(1) || 'lamp ' || chr(1) || chr(1) || n || chr(10)
    FROM generate_series(6, 100005) n";
/// A row of a version before `search_marked`.
const UNMARKED: &str = "
    INSERT INTO products (id, name, description, price_minor_units, currency, image_url, search_text, created_at)
    VALUES (200001, 'Straße', '', 100, 'USD', '', 'straße', now())";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_statement_scans_a_whole_table() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let store = fixture.open().await;
    fixture.execute(PRODUCTS).await;
    fixture.count_scans().await;
    for n in 1..=REPETITIONS {
        let middle = 50_000 + n;
        for query in ["", "lamp", "l", "la", "amp"] {
            for after in [None, Some(id(middle))] {
                let page = store.page(&Query::new(query).unwrap(), after, 21).await.unwrap();
                assert_eq!(page.len(), 21, "{query}");
                assert!(page.iter().all(|product| Some(product.id) > after), "{query}");
            }
        }
        assert_eq!(
            names(&*store, &format!("AMP {middle}")).await,
            [format!("Lamp {middle}")]
        );
        assert_eq!(
            names(&*store, &format!("{middle} LAMP ")).await,
            [format!("Lamp {middle}")]
        );
        assert_eq!(names(&*store, "wireless").await, ["Mouse"]);
        assert_eq!(names(&*store, "ergonomic mo WIRELESS").await, ["Mouse"]);
        assert_eq!(names(&*store, "no such thing").await, Vec::<String>::new());
        assert_eq!(store.find(&[id(n), id(middle), id(1_000_000)]).await.unwrap().len(), 2);
        // The first insert has to skip all taken ids.
        let new = store.put(None, &details("Lamp", "", 1), at(1)).await.unwrap();
        assert_eq!(new.id, id(100_005 + n));
        store
            .put(Some(id(middle)), &details(&format!("Lamp {middle}"), "", 2), at(2))
            .await
            .unwrap();
    }
    fixture.execute(UNMARKED).await;
    assert_eq!(names(&*store, "STRASSE").await, ["Straße"]);
    drop(store);
    let scanned = fixture.full_scans(FULL_SCAN_ROWS).await;
    fixture.drop_schema().await;
    assert_eq!(scanned, []);
}

/// All products share some words, each half has a word, and each product has a word of its own.
const HALVES: &str = "
    ALTER TABLE products SET UNLOGGED;
    INSERT INTO products (id, name, description, price_minor_units, currency, image_url, created_at, search_text)
    SELECT n, 'Lamp ' || n, half || ', like all', 100, 'USD', '', now(), 'lamp ' || n || chr(10) || half || ', like all'
    FROM generate_series(6, 30005) AS n, LATERAL (SELECT (ARRAY['red', 'blue'])[1 + n % 2]) AS halves (half)";
/// The scanned 500 products, a page, and as many candidates of the index.
const MAX_PAGE_READS: i64 = 1_100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_search_page_reads_few_rows_for_any_words() {
    let Some(fixture) = PostgresFixture::new() else { return };
    drop(fixture.open().await);
    fixture.execute(HALVES).await;
    // The next start backfills the new rows.
    drop(fixture.open().await);
    fixture.count_scans().await;
    let rows_read = async || fixture.rows_read("products").await;
    let mut read_before = rows_read().await;
    let long = "x".repeat(100);
    let many = "lamp like all la li al a l red 30001 am amp ike lam";
    for (words, expected) in [
        ("lamp", [21, 21, 10]),
        ("la li", [21, 21, 10]),
        ("l", [21, 21, 10]),
        ("28888", [1, 1, 0]),
        ("zzzz", [0, 0, 0]),
        ("zz", [0, 0, 0]),
        (&long, [0, 0, 0]),
        (many, [0, 0, 0]),
        ("red blue", [0, 0, 0]),
    ] {
        let store = fixture.open().await;
        for (after, expected) in [6, 15_000, 29_995].into_iter().zip(expected) {
            let page = store
                .page(&Query::new(words).unwrap(), Some(id(after)), 21)
                .await
                .unwrap();
            assert_eq!(page.len(), expected, "{words} after {after}");
        }
        drop(store);
        let read = rows_read().await;
        assert!(
            read - read_before < 3 * MAX_PAGE_READS,
            "{words}: {}",
            read - read_before
        );
        read_before = read;
    }
    fixture.drop_schema().await;
}
