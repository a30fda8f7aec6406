//! Carts in MongoDB: their documents, their expiry, and errors of the connection.

use std::time::{Duration, Instant};

use cart::{
    Secret,
    domain::Version,
    ports::{CartStore, Saved},
    store::MongoCartStore,
};
use futures::TryStreamExt;
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
};
use runtime::Runtime;
use storage::{OpenError, StoreError};
use testing::{Engine, Fixture, MongoFixture};

use crate::{
    fixtures::mongo_store,
    network::{Proxy, canned_server, unused_address},
    support::{SECOND, cart_of, eventually, user},
};

const DAY: Duration = Duration::from_hours(24);

async fn carts_of(database: &MongoFixture) -> Collection<Document> {
    database.database().await.collection("carts")
}

#[tokio::test]
async fn a_stored_cart_is_readable() {
    let Some(database) = MongoFixture::new() else { return };
    let store = mongo_store(&database).await;
    store.save(&cart_of(&user(), 2), None).await.unwrap();
    let stored = carts_of(&database).await.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(stored.get_str("_id").unwrap(), "u");
    assert_eq!(stored.get_i64("version").unwrap(), 2);
    let date = DateTime::from_millis(4_102_444_800_000);
    assert_eq!(stored.get_datetime("updated_at").unwrap(), &date);
    let line = stored.get_array("lines").unwrap()[0].as_document().unwrap();
    assert_eq!(line.get_str("name").unwrap(), "product 1");
    assert_eq!(
        (line.get_i64("quantity").unwrap(), line.get_i64("price").unwrap()),
        (2, 100)
    );
    database.close().await;
}

#[tokio::test]
async fn a_document_that_is_no_cart_is_corrupt() {
    let Some(database) = MongoFixture::new() else { return };
    let store = mongo_store(&database).await;
    let nonsense = doc! { "_id": "u", "version": "?" };
    carts_of(&database).await.insert_one(nonsense).await.unwrap();
    let loaded = store.load(&user()).await;
    assert!(matches!(loaded, Err(StoreError::Corrupt(_))), "{loaded:?}");
    database.close().await;
}

#[tokio::test]
async fn carts_expire_by_a_ttl_index_or_by_the_expiry_task() {
    let Some(database) = MongoFixture::new() else { return };
    // The second time the index exists.
    for _ in 0..2 {
        let store = mongo_store(&database).await;
        let cursor = carts_of(&database).await.list_indexes().await;
        let ttls: Vec<_> = match cursor {
            Ok(cursor) => cursor
                .try_filter_map(async |index| Ok(index.options.and_then(|options| options.expire_after)))
                .try_collect()
                .await
                .unwrap(),
            // Without a collection there is no index.
            Err(_) => Vec::new(),
        };
        let expected = if store.needs_expiry_task() {
            vec![]
        } else {
            vec![90 * DAY]
        };
        assert_eq!(ttls, expected);
    }
    database.close().await;
}

/// Saves and loads through a proxy that fails.
async fn save_through_failing_proxy(fail: impl Fn(&Proxy)) {
    let Some(database) = MongoFixture::new() else { return };
    let server = database.uri.trim_start_matches("mongodb://").trim_end_matches('/');
    let proxy = Proxy::to(server.to_owned()).await;
    let proxied = MongoFixture {
        uri: format!("mongodb://{}/?directConnection=true", proxy.address),
        name: database.name.clone(),
    };
    let store = mongo_store(&proxied).await;
    store.save(&cart_of(&user(), 1), None).await.unwrap();
    fail(&proxy);
    let begin = Instant::now();
    let save = store.save(&cart_of(&user(), 2), Some(Version(1))).await;
    assert!(matches!(save, Err(StoreError::Unavailable(_))), "{save:?}");
    let load = store.load(&user()).await;
    assert!(matches!(load, Err(StoreError::Unavailable(_))), "{load:?}");
    assert!(!store.is_up().await);
    assert!(begin.elapsed() < 10 * SECOND, "{:?}", begin.elapsed());
    proxy.restore();
    eventually("the server is there again", || store.is_up()).await;
    // Only now is it known whether the failed save was done.
    let found = store.load(&user()).await.unwrap().unwrap().version;
    let again = store.save(&cart_of(&user(), 2), Some(Version(1))).await.unwrap();
    let expected = if found == Version(1) {
        Saved::Done
    } else {
        Saved::Conflict
    };
    assert_eq!(again, expected);
    assert_eq!(store.load(&user()).await.unwrap(), Some(cart_of(&user(), 2)));
    database.close().await;
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_until_it_is_back() {
    save_through_failing_proxy(Proxy::stall).await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_unavailable_until_it_is_back() {
    save_through_failing_proxy(Proxy::disconnect).await;
}

#[tokio::test]
async fn heartbeats_have_a_collection_of_their_own() {
    let Some(database) = MongoFixture::new() else { return };
    let store = mongo_store(&database).await;
    assert!(store.is_up().await);
    let database_handle = database.database().await;
    let count = async |collection| {
        let collection = database_handle.collection::<Document>(collection);
        collection.count_documents(doc! {}).await.unwrap()
    };
    assert_eq!((count("heartbeats").await, count("carts").await), (1, 0));
    database.close().await;
}

async fn refusal(uri: &str) -> OpenError {
    let begin = Instant::now();
    let opened = MongoCartStore::open(&Secret::new(uri), "test_refused", &Runtime::system()).await;
    assert!(begin.elapsed() < 15 * SECOND, "{:?}", begin.elapsed());
    opened.unwrap_err()
}

fn assert_says(refusal: &OpenError, words: &str) {
    let line = refusal.to_string();
    assert!(line.starts_with("MONGO_URI: "), "{line}");
    assert!(line.contains(words) && !line.contains('\n'), "{line}");
    assert!(!line.contains("hush"), "{line}");
}

#[tokio::test]
async fn an_unreachable_server_is_refused() {
    let address = unused_address().await;
    let refusal = refusal(&format!("mongodb://u:hush@{address}/")).await;
    assert_says(&refusal, &format!("no server can be reached at {address}"));
}

#[tokio::test]
async fn a_silent_or_foreign_server_is_refused() {
    for answer in ["", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let address = canned_server(answer).await;
        let refusal = refusal(&format!("mongodb://{address}/")).await;
        assert_says(&refusal, &format!("something listens at {address}"));
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let Some(uri) = Engine::MongoDb.address() else { return };
    let uri = uri.replacen("mongodb://", "mongodb://nobody:hush@", 1);
    assert_says(&refusal(&uri).await, "refuses the user or the password");
}
