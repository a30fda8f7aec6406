//! Carts in MongoDB: what others see of them there, how old ones go, and what is said when it cannot be reached.

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
    network::{Proxy, nobody, parrot},
    places::mongo_store,
    support::{SECOND, cart_of, eventually, user},
};

const DAY: Duration = Duration::from_hours(24);

async fn carts_of(database: &MongoFixture) -> Collection<Document> {
    database.database().await.collection("carts")
}

#[tokio::test]
async fn a_person_can_read_what_is_stored() {
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
async fn old_carts_go_by_an_index_of_the_server_or_by_sweeps() {
    let Some(database) = MongoFixture::new() else { return };
    // Twice: the second time the index is there.
    for _ in 0..2 {
        let store = mongo_store(&database).await;
        let cursor = carts_of(&database).await.list_indexes().await;
        let lives: Vec<_> = match cursor {
            Ok(cursor) => cursor
                .try_filter_map(async |index| Ok(index.options.and_then(|options| options.expire_after)))
                .try_collect()
                .await
                .unwrap(),
            // There is no collection yet, and so no index.
            Err(_) => Vec::new(),
        };
        let expected = if store.wants_sweeps() { vec![] } else { vec![90 * DAY] };
        assert_eq!(lives, expected);
    }
    database.close().await;
}

/// Asks a server through a wire that fails in the middle.
async fn saves_through(fail: impl Fn(&Proxy)) {
    let Some(database) = MongoFixture::new() else { return };
    let server = database.uri.trim_start_matches("mongodb://").trim_end_matches('/');
    let proxy = Proxy::to(server.to_owned()).await;
    let there = MongoFixture {
        uri: format!("mongodb://{}/?directConnection=true", proxy.address),
        name: database.name.clone(),
    };
    let store = mongo_store(&there).await;
    store.save(&cart_of(&user(), 1), None).await.unwrap();
    fail(&proxy);
    let begin = Instant::now();
    let save = store.save(&cart_of(&user(), 2), Some(Version(1))).await;
    assert!(matches!(save, Err(StoreError::Unavailable(_))), "{save:?}");
    let load = store.load(&user()).await;
    assert!(matches!(load, Err(StoreError::Unavailable(_))), "{load:?}");
    assert!(!store.is_up().await);
    assert!(begin.elapsed() < 10 * SECOND, "{:?}", begin.elapsed());
    proxy.mend();
    eventually("the server is there again", || store.is_up()).await;
    // The save was done, or not; it can be known now.
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
async fn a_server_that_hangs_in_the_middle_is_unavailable_until_it_is_back() {
    saves_through(Proxy::block).await;
}

#[tokio::test]
async fn a_server_that_goes_away_in_the_middle_is_unavailable_until_it_is_back() {
    saves_through(Proxy::cut).await;
}

#[tokio::test]
async fn a_heartbeat_is_written_where_no_cart_is() {
    let Some(database) = MongoFixture::new() else { return };
    let store = mongo_store(&database).await;
    assert!(store.is_up().await);
    let there = database.database().await;
    let count = async |collection| {
        let collection = there.collection::<Document>(collection);
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
async fn where_nobody_is_there_is_no_server() {
    let address = nobody().await;
    let refusal = refusal(&format!("mongodb://u:hush@{address}/")).await;
    assert_says(&refusal, &format!("no server can be reached at {address}"));
}

#[tokio::test]
async fn what_says_nothing_or_nonsense_is_no_server() {
    for answer in ["", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let address = parrot(answer).await;
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
