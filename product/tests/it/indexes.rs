//! That no statement's cost rises with the number of products.

use product::domain::Query;
use testing::postgres;

use crate::catalogue::{Fixture, PostgresFixture, at, details, id, names};

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
    let PostgresFixture { url, schema } = &fixture;
    postgres::execute(url, schema, PRODUCTS).await.unwrap();
    postgres::count_scans(url, schema).await.unwrap();
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
    postgres::execute(url, schema, UNMARKED).await.unwrap();
    assert_eq!(names(&*store, "STRASSE").await, ["Straße"]);
    drop(store);
    let scanned = postgres::full_scans(url, schema, MANY).await.unwrap();
    let drop = format!("DROP SCHEMA \"{schema}\" CASCADE");
    postgres::execute(url, schema, &drop).await.unwrap();
    assert_eq!(scanned, []);
}
