//! The cost of searches.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::Row as _;

use super::*;

/// Steps of SQLite's virtual machine, far fewer than there are products.
const MAX_STEPS: u64 = 10_000;
const PRODUCTS: &str = "
    WITH RECURSIVE n(n) AS (SELECT 6 UNION ALL SELECT n + 1 FROM n WHERE n < 40005)
    INSERT INTO products (id, name, description, price_minor_units, currency, image_url, created_at, search_text)
    SELECT n, 'Lamp ' || n, iif(n % 2, 'red', 'blue') || ', like all', 100, 'USD', '', 0,
        'lamp ' || n || char(10) || iif(n % 2, 'red', 'blue') || ', like all'
    FROM n";

/// Returns the number of matches after an id and the number of steps.
async fn search(reader: &mut SqliteConnection, words: &str, after: i64) -> (usize, u64) {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = steps.clone();
    let mut handle = reader.lock_handle().await.unwrap();
    handle.set_progress_handler(1, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    drop(handle);
    let phrases = Query::new(words).unwrap().phrases();
    let found = sqlx::query(SEARCH)
        .bind(match_expression(&phrases))
        .bind(after)
        .bind(serde_json::json!(phrases).to_string())
        .bind(21)
        .fetch_all(reader)
        .await
        .unwrap();
    (found.len(), steps.load(Ordering::Relaxed))
}

async fn plan(reader: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(explain).fetch_all(reader).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn the_cost_of_a_page_does_not_rise_with_the_number_of_products() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("product.db");
    let (_, db) = SqliteCatalogue::open(&path, &Points::none()).await.unwrap();
    db.write(commits::UPSERT, |tx| {
        async move {
            sqlx::query(PRODUCTS).execute(tx).await?;
            Ok(())
        }
        .boxed()
    })
    .await
    .unwrap();
    // The next start backfills the new rows.
    drop(db);
    let (_, db) = SqliteCatalogue::open(&path, &Points::none()).await.unwrap();
    let mut reader = db.reader().acquire().await.unwrap();
    let long = "x".repeat(100);
    let many = "lamp like all la li al a l m 3 an am amp ike lam";
    for (words, pages) in [
        // Words of all products: at the beginning, in the middle and near the end.
        ("lamp", [(0, 21), (20_000, 21), (39_995, 10)]),
        ("la li", [(0, 21), (20_000, 21), (39_995, 10)]),
        ("l", [(0, 21), (20_000, 21), (39_995, 10)]),
        // Words of few products or of none.
        ("29999", [(0, 1), (20_000, 1), (39_995, 0)]),
        ("zzzz", [(0, 0), (20_000, 0), (39_995, 0)]),
        ("zz", [(0, 0), (20_000, 0), (39_995, 0)]),
        (&long, [(0, 0), (20_000, 0), (39_995, 0)]),
        (many, [(0, 0), (20_000, 0), (39_995, 0)]),
        // Each word is in half of the products, both words in none.
        ("red blue", [(0, 0), (20_000, 0), (39_995, 0)]),
    ] {
        for (after, expected) in pages {
            let (found, steps) = search(&mut reader, words, after).await;
            assert_eq!(found, expected, "{words} after {after}");
            assert!(steps < MAX_STEPS, "{words} after {after}: {steps} steps");
        }
    }
}

#[tokio::test]
async fn no_query_scans_or_sorts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("product.db");
    let (_, db) = SqliteCatalogue::open(&path, &Points::none()).await.unwrap();
    let mut reader = db.reader().acquire().await.unwrap();
    for sql in [PAGE, SEARCH, IS_BACKFILLED, UNMARKED, FIND] {
        for step in plan(&mut reader, sql).await {
            let is_by_index = step.contains("USING INTEGER PRIMARY KEY")
                || step.contains("INDEX products_unmarked")
                // 64: in id order; M1: one MATCH on the index; >: after an id.
                || step.contains("VIRTUAL TABLE INDEX 64:M1>");
            let is_of_products = step.contains(" products");
            assert!(is_by_index || !is_of_products, "{sql}: {step}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
}
