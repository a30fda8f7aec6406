//! That no statement's cost rises with the number of products.

use product::domain::Query;
use testing::{Fixture, PostgresFixture};

use crate::catalogue::{Catalogues, at, details, id, names};

/// A read of this many rows is one of a whole table.
const MANY: i64 = 10_000;
/// Often enough that the server plans for any values instead of those at hand.
const TIMES: i64 = 8;

/// All have some text in common, and each has some of its own.
const PRODUCTS: &str = "
    ALTER TABLE products SET UNLOGGED;
    INSERT INTO products (id, name, description, price_minor_units, currency, image_url, created_at, search_text, search_marked)
    SELECT n, 'Lamp ' || n, '', 100, 'USD', '', now(), 'lamp ' || n || chr(10),
        chr(1) || chr(1) || 'lamp ' || chr(1) || chr(1) || n || chr(10)
    FROM generate_series(6, 100005) n";
/// Written by an earlier version, and found all the same.
const UNMARKED: &str = "
    INSERT INTO products (id, name, description, price_minor_units, currency, image_url, search_text, created_at)
    VALUES (200001, 'Straße', '', 100, 'USD', '', 'straße', now())";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_statement_reads_a_table_from_end_to_end() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let store = fixture.open().await;
    fixture.execute(PRODUCTS).await;
    fixture.count_scans().await;
    for n in 1..=TIMES {
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
        // The first of them has to find its way past all ids that are taken.
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
    let scanned = fixture.full_scans(MANY).await;
    fixture.drop_schema().await;
    assert_eq!(scanned, []);
}

/// All have some words, one half or the other has some, and each has one of its own.
const HALVES: &str = "
    ALTER TABLE products SET UNLOGGED;
    INSERT INTO products (id, name, description, price_minor_units, currency, image_url, created_at, search_text)
    SELECT n, 'Lamp ' || n, half || ', like all', 100, 'USD', '', now(), 'lamp ' || n || chr(10) || half || ', like all'
    FROM generate_series(6, 30005) AS n, LATERAL (SELECT (ARRAY['red', 'blue'])[1 + n % 2]) AS halves (half)";
/// What a page may read: the next 500 products, a page, and as many candidates again.
const PAGE_READS: i64 = 1_100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_page_of_a_search_reads_few_rows_whatever_is_looked_for() {
    let Some(fixture) = PostgresFixture::new() else { return };
    drop(fixture.open().await);
    fixture.execute(HALVES).await;
    // The next start finds what is not marked yet.
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
        assert!(read - read_before < 3 * PAGE_READS, "{words}: {}", read - read_before);
        read_before = read;
    }
    fixture.drop_schema().await;
}
