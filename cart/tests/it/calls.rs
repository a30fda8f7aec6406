//! Repeated calls change nothing more and get the first answer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use cart::{
    app::{CartError, Carts},
    domain::{Added, CallId, CartRefusal, ChangeOptions, IdempotencyKey, ProductId, UserId, Version},
    ports::{ProductLookup, Products},
};
use proto::{
    Reason,
    cart::v1::{
        AddItemRequest, ClearCartRequest, RemoveItemRequest, UpdateQuantityRequest,
        cart_service_client::CartServiceClient,
    },
    status::refused,
};
use runtime::Runtime;
use testing::{Fixture, SqliteFixture};
use tonic::{Request, transport::Channel};
use uuid::Uuid;

use crate::{
    fixtures::sqlite_store,
    support::{Shop, add, carts, guarded, memory_cache, pieces, product, quantities, user, with_fake_store},
};

fn call(n: u128) -> ChangeOptions {
    ChangeOptions {
        call_id: Some(CallId(Uuid::from_u128(n))),
        ..ChangeOptions::default()
    }
}

fn call_expecting(n: u128, version: i64) -> ChangeOptions {
    ChangeOptions {
        expected_version: Some(Version(version)),
        ..call(n)
    }
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

fn with_key(name: &str) -> ChangeOptions {
    ChangeOptions {
        idempotency_key: Some(key(name)),
        ..ChangeOptions::default()
    }
}

#[tokio::test]
async fn a_repeated_addition_counts_once_and_gets_the_first_answer() {
    let (_, carts) = with_fake_store();
    for _ in 0..3 {
        let (cart, added) = carts.add_item(user(), product(1), pieces(2), call(1)).await.unwrap();
        assert_eq!(
            (quantities(&cart).as_slice(), added),
            ([(1, 2)].as_slice(), Added::NewLine)
        );
    }
    for _ in 0..3 {
        let (cart, added) = carts.add_item(user(), product(1), pieces(2), call(2)).await.unwrap();
        assert_eq!(
            (quantities(&cart).as_slice(), added),
            ([(1, 4)].as_slice(), Added::ExistingLine)
        );
    }
    let (cart, added) = carts.add_item(user(), product(1), pieces(2), call(1)).await.unwrap();
    assert_eq!((cart.version, added), (Version(2), Added::NewLine), "the cart as it is");
}

#[tokio::test]
async fn a_repeated_change_does_not_conflict_with_itself() {
    let (_, carts) = with_fake_store();
    for _ in 0..2 {
        let added = carts
            .add_item(user(), product(1), pieces(1), call_expecting(1, 0))
            .await;
        assert_eq!(added.unwrap().0.version, Version(1));
    }
    for _ in 0..2 {
        let updated = carts
            .update_quantity(user(), product(1), pieces(5), call_expecting(2, 1))
            .await;
        assert_eq!(updated.unwrap().version, Version(2));
    }
    for _ in 0..2 {
        let removed = carts.remove_item(user(), product(1), call_expecting(3, 2)).await;
        assert_eq!(removed.unwrap().version, Version(3));
    }
    // The repeated update finds no line any more.
    let updated = carts
        .update_quantity(user(), product(1), pieces(5), call_expecting(2, 1))
        .await;
    assert_eq!(updated.unwrap().version, Version(3));
    carts.add_item(user(), product(2), pieces(1), call(4)).await.unwrap();
    for _ in 0..2 {
        let cleared = carts.clear_cart(user(), call_expecting(5, 4)).await.unwrap();
        assert_eq!(cleared.version, Version(5));
    }
    let other = carts.clear_cart(user(), call_expecting(6, 4)).await;
    let current = Version(5);
    assert!(matches!(other, Err(CartError::Refused(CartRefusal::VersionMismatch { current: c })) if c == current));
}

#[tokio::test]
async fn a_repeated_removal_leaves_what_was_added_since() {
    let (_, carts) = with_fake_store();
    carts.add_item(user(), product(1), pieces(1), call(1)).await.unwrap();
    carts.remove_item(user(), product(1), call(2)).await.unwrap();
    carts.add_item(user(), product(1), pieces(7), call(3)).await.unwrap();
    let cart = carts.remove_item(user(), product(1), call(2)).await.unwrap();
    assert_eq!(quantities(&cart), [(1, 7)]);
    carts.clear_cart(user(), call(4)).await.unwrap();
    carts.add_item(user(), product(1), pieces(9), call(5)).await.unwrap();
    let cart = carts.clear_cart(user(), call(4)).await.unwrap();
    assert_eq!(quantities(&cart), [(1, 9)]);
}

enum BrokenCatalogue {
    Unavailable,
    Empty,
}

#[async_trait]
impl Products for BrokenCatalogue {
    async fn find(&self, _: ProductId) -> ProductLookup {
        match self {
            Self::Unavailable => ProductLookup::Unknown("away".into()),
            Self::Empty => ProductLookup::NotFound,
        }
    }
}

#[tokio::test]
async fn a_repeated_addition_is_answered_without_the_catalogue() {
    let (store, carts) = with_fake_store();
    let options = || ChangeOptions {
        idempotency_key: Some(key("k")),
        ..call(1)
    };
    carts.add_item(user(), product(1), pieces(1), options()).await.unwrap();
    for catalogue in [BrokenCatalogue::Unavailable, BrokenCatalogue::Empty] {
        let (cache, runtime) = (guarded(memory_cache()), Runtime::system());
        let carts = Carts::new(store.clone(), cache, Arc::new(catalogue), &runtime);
        let (cart, added) = carts.add_item(user(), product(1), pieces(1), call(1)).await.unwrap();
        assert_eq!((cart.version, added), (Version(1), Added::NewLine));
        let (cart, _) = carts
            .add_item(user(), product(1), pieces(1), with_key("k"))
            .await
            .unwrap();
        assert_eq!(cart.version, Version(1));
        let other = carts.add_item(user(), product(1), pieces(1), call(2)).await;
        assert!(matches!(
            other,
            Err(CartError::CatalogueUnavailable(_) | CartError::ProductNotFound)
        ));
        store.down.store(true, Ordering::SeqCst);
        let unknown = carts.add_item(user(), product(1), pieces(1), call(1)).await;
        assert!(matches!(unknown, Err(CartError::Store(_))));
        store.down.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_key_adds_once_and_repetitions_get_the_current_cart() {
    let (_, carts) = with_fake_store();
    let add = |options| carts.add_item(user(), product(1), pieces(2), options);
    assert_eq!(add(with_key("k")).await.unwrap().1, Added::NewLine);
    carts
        .update_quantity(user(), product(1), pieces(9), ChangeOptions::default())
        .await
        .unwrap();
    for _ in 0..3 {
        let (cart, added) = add(with_key("k")).await.unwrap();
        assert_eq!(
            (quantities(&cart).as_slice(), added),
            ([(1, 9)].as_slice(), Added::ExistingLine)
        );
    }
    assert_eq!(quantities(&add(with_key("other")).await.unwrap().0), [(1, 11)]);
    let other_customer = carts
        .add_item(UserId::new("v").unwrap(), product(1), pieces(2), with_key("k"))
        .await;
    assert_eq!(quantities(&other_customer.unwrap().0), [(1, 2)]);
}

#[tokio::test]
async fn another_request_with_a_used_call_id_or_key_is_refused() {
    let (_, carts) = with_fake_store();
    let first = ChangeOptions {
        idempotency_key: Some(key("k")),
        ..call(1)
    };
    carts.add_item(user(), product(1), pieces(2), first).await.unwrap();
    let others = [
        carts
            .add_item(user(), product(1), pieces(3), with_key("k"))
            .await
            .map(|_| ()),
        carts
            .add_item(user(), product(2), pieces(2), with_key("k"))
            .await
            .map(|_| ()),
        carts.add_item(user(), product(2), pieces(2), call(1)).await.map(|_| ()),
        carts
            .update_quantity(user(), product(1), pieces(2), call(1))
            .await
            .map(|_| ()),
        carts.remove_item(user(), product(1), call(1)).await.map(|_| ()),
        carts.clear_cart(user(), call(1)).await.map(|_| ()),
    ];
    for other in others {
        assert!(
            matches!(other, Err(CartError::Refused(CartRefusal::KeyReused))),
            "{other:?}"
        );
    }
    let cart = carts.get_cart(&user()).await.unwrap();
    assert_eq!(
        (quantities(&cart).as_slice(), cart.version),
        ([(1, 2)].as_slice(), Version(1))
    );
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_repeated() {
    let (store, carts) = with_fake_store();
    let add = || carts.add_item(user(), product(1), pieces(3), call(1));
    store.loses_answers.store(true, Ordering::SeqCst);
    add().await.unwrap_err();
    store.loses_answers.store(false, Ordering::SeqCst);
    let (cart, added) = add().await.unwrap();
    assert_eq!(
        (quantities(&cart).as_slice(), added),
        ([(1, 3)].as_slice(), Added::NewLine)
    );
    assert_eq!(cart.version, Version(1));
}

#[tokio::test]
async fn a_write_reported_as_a_conflict_by_mistake_is_not_repeated() {
    let (store, carts) = with_fake_store();
    store.reports_false_conflict.store(true, Ordering::SeqCst);
    let (cart, added) = carts.add_item(user(), product(1), pieces(3), call(1)).await.unwrap();
    assert_eq!(
        (quantities(&cart).as_slice(), added),
        ([(1, 3)].as_slice(), Added::NewLine)
    );
}

#[tokio::test]
async fn the_same_call_in_two_processes_at_once_counts_once() {
    let files = SqliteFixture::new().unwrap();
    let store = sqlite_store(&files).await;
    let shops = [carts(store.clone(), memory_cache()), carts(store, memory_cache())];
    for n in 1..=20 {
        let deliveries = (0..8).map(|k| shops[k % 2].add_item(user(), product(1), pieces(1), call(n)));
        for delivered in futures::future::join_all(deliveries).await {
            let sum = i64::try_from(n).unwrap();
            assert_eq!(quantities(&delivered.unwrap().0), [(1, sum)]);
        }
    }
}

#[tokio::test]
async fn calls_with_small_ids_count_after_those_with_large_ones() {
    let (_, carts) = with_fake_store();
    for (n, id) in (0..99).rev().enumerate() {
        let (cart, _) = carts.add_item(user(), product(1), pieces(1), call(id)).await.unwrap();
        assert_eq!(quantities(&cart), [(1, i64::try_from(n).unwrap() + 1)]);
    }
}

#[tokio::test]
async fn without_an_id_every_call_counts() {
    let (_, carts) = with_fake_store();
    for n in 1..=3 {
        let cart = add(&carts, 1, 1).await;
        assert_eq!(quantities(&cart), [(1, n)]);
    }
}

/// A client that sets call ids itself.
async fn client(shop: &Shop) -> CartServiceClient<Channel> {
    let channel = Channel::from_shared(format!("http://{}", shop.address)).unwrap();
    let channel = channel.connect_timeout(Duration::from_secs(10)).connect().await;
    CartServiceClient::new(channel.unwrap())
}

fn request<T>(message: T, call: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(call) = call {
        request.metadata_mut().insert("x-call-id", call.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_call_is_identified_by_its_header() {
    let shop = Shop::open().await;
    let mut client = client(&shop).await;
    let add = AddItemRequest {
        user_id: "u".to_owned(),
        product_id: 1,
        quantity: 2,
        expected_version: None,
        idempotency_key: String::new(),
    };
    let ids = [1, 2, 3, 4].map(|n| Uuid::from_u128(n).to_string());
    for (call, quantity, created) in [
        (Some(ids[0].as_str()), 2, true),
        (Some(&ids[0]), 2, true),
        (Some(&ids[1]), 4, false),
        (Some(&ids[1]), 4, false),
        (None, 6, false),
        (None, 8, false),
        (Some("no id"), 10, false),
        (Some("no id"), 12, false),
        (Some(&ids[0]), 12, true),
    ] {
        let answer = client.add_item(request(add.clone(), call)).await.unwrap().into_inner();
        assert_eq!(
            (answer.cart.unwrap().items[0].quantity, answer.created),
            (quantity, created)
        );
    }
    let update = UpdateQuantityRequest {
        user_id: "u".to_owned(),
        product_id: 1,
        quantity: 5,
        expected_version: Some(6),
    };
    let remove = RemoveItemRequest {
        user_id: "u".to_owned(),
        product_id: 1,
        expected_version: Some(7),
    };
    let clear = ClearCartRequest {
        user_id: "u".to_owned(),
        expected_version: Some(9),
    };
    for _ in 0..2 {
        let updated = client.update_quantity(request(update.clone(), Some(&ids[2]))).await;
        assert_eq!(updated.unwrap().into_inner().cart.unwrap().version, 7);
    }
    for _ in 0..2 {
        let removed = client.remove_item(request(remove.clone(), Some(&ids[3]))).await;
        assert_eq!(removed.unwrap().into_inner().cart.unwrap().version, 8);
    }
    let id = Uuid::from_u128(5).to_string();
    client.add_item(request(add, None)).await.unwrap();
    for _ in 0..2 {
        let cleared = client.clear_cart(request(clear.clone(), Some(&id))).await;
        assert_eq!(cleared.unwrap().into_inner().cart.unwrap().version, 10);
    }
    let other = client.clear_cart(request(clear, None)).await.unwrap_err();
    assert_eq!(refused(&other), Some(Reason::CartVersionMismatch));
}
