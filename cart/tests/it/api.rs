//! The service over gRPC.

use cart::domain::{CheckoutId, Hold, Line, Version};
use money::{Money, Quantity};
use proto::{
    Reason,
    cart::v1::{
        AddItemRequest, AddItemResponse, Cart, ClearCartRequest, GetCartRequest, GiveBackRequest, RemoveItemRequest,
        UpdateQuantityRequest,
    },
    status::{fields, reason, refused},
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Shop, cart_of, in_2100, offer, pieces, user};

fn usd(minor_units: i64) -> proto::money::v1::Money {
    Money::usd(minor_units).into()
}

impl Shop {
    async fn add(&self, product_id: i64, quantity: i32, version: Option<i64>) -> Result<AddItemResponse, Status> {
        let request = AddItemRequest {
            user_id: "u".to_owned(),
            product_id,
            quantity,
            expected_version: version,
            idempotency_key: String::new(),
        };
        self.client
            .clone()
            .add_item(request)
            .await
            .map(tonic::Response::into_inner)
    }

    async fn get(&self) -> Cart {
        let request = GetCartRequest {
            user_id: "u".to_owned(),
            fresh: false,
        };
        self.client
            .clone()
            .get_cart(request)
            .await
            .unwrap()
            .into_inner()
            .cart
            .unwrap()
    }

    async fn update(&self, product_id: i64, quantity: i32, version: Option<i64>) -> Result<Cart, Status> {
        let request = UpdateQuantityRequest {
            user_id: "u".to_owned(),
            product_id,
            quantity,
            expected_version: version,
        };
        self.client
            .clone()
            .update_quantity(request)
            .await
            .map(|answer| answer.into_inner().cart.unwrap())
    }

    async fn remove(&self, product_id: i64, version: Option<i64>) -> Result<Cart, Status> {
        let request = RemoveItemRequest {
            user_id: "u".to_owned(),
            product_id,
            expected_version: version,
        };
        self.client
            .clone()
            .remove_item(request)
            .await
            .map(|answer| answer.into_inner().cart.unwrap())
    }

    async fn clear(&self, version: Option<i64>) -> Result<Cart, Status> {
        let request = ClearCartRequest {
            user_id: "u".to_owned(),
            expected_version: version,
        };
        self.client
            .clone()
            .clear_cart(request)
            .await
            .map(|answer| answer.into_inner().cart.unwrap())
    }
}

#[tokio::test]
async fn a_cart_that_was_never_filled_is_empty() {
    let shop = Shop::open().await;
    let empty = Cart {
        user_id: "u".to_owned(),
        total_price: Some(usd(0)),
        ..Cart::default()
    };
    assert_eq!(shop.get().await, empty);
    assert_eq!(shop.clear(None).await.unwrap(), empty);
    assert_eq!(shop.remove(1, None).await.unwrap(), empty);
}

#[tokio::test]
async fn a_cart_is_filled_changed_and_emptied() {
    let shop = Shop::open().await;
    let first = shop.add(2, 3, None).await.unwrap();
    assert!(first.created);
    assert!(!shop.add(2, 1, None).await.unwrap().created);
    let filled = shop.add(1, 1, None).await.unwrap().cart.unwrap();
    assert_eq!(
        filled
            .items
            .iter()
            .map(|item| (item.product_id, item.quantity))
            .collect::<Vec<_>>(),
        [(2, 4), (1, 1)]
    );
    let line = &filled.items[0];
    assert_eq!(
        (line.product_name.as_str(), &line.price, &line.subtotal),
        ("product 2", &Some(usd(200)), &Some(usd(800)))
    );
    assert_eq!((filled.total_price.clone(), filled.version), (Some(usd(900)), 3));
    assert!(line.added_at.is_some() && filled.updated_at.is_some());
    assert!(!filled.cart_id.is_empty());
    assert_eq!(shop.get().await, filled);

    let updated = shop.update(2, 9, None).await.unwrap();
    assert_eq!((updated.items[0].quantity, updated.version), (9, 4));
    let removed = shop.remove(2, None).await.unwrap();
    assert_eq!((removed.items.len(), removed.version), (1, 5));
    assert_eq!(shop.remove(2, None).await.unwrap(), removed);
    let cleared = shop.clear(None).await.unwrap();
    assert_eq!(
        (cleared.items.len(), cleared.version, cleared.total_price.clone()),
        (0, 6, Some(usd(0)))
    );
    assert_eq!(cleared.cart_id, filled.cart_id);
    assert_eq!(shop.clear(None).await.unwrap(), cleared);
    assert_eq!(shop.get().await, cleared);
}

#[tokio::test]
async fn a_line_shows_the_price_that_was_seen_when_it_was_last_added_to() {
    let shop = Shop::open().await;
    shop.add(1, 1, None).await.unwrap();
    shop.raise_prices(50);
    assert_eq!(shop.get().await.items[0].price, Some(usd(100)));
    assert_eq!(shop.update(1, 2, None).await.unwrap().items[0].price, Some(usd(100)));
    let cart = shop.add(1, 1, None).await.unwrap().cart.unwrap();
    assert_eq!(
        (cart.items[0].price.clone(), cart.total_price),
        (Some(usd(150)), Some(usd(450)))
    );
}

#[tokio::test]
async fn carts_outlive_a_restart() {
    let shop = Shop::open().await;
    let cart = shop.add(1, 1, None).await.unwrap().cart.unwrap();
    assert_eq!(shop.restart().await.get().await, cart);
}

#[tokio::test]
async fn a_change_to_another_version_than_expected_is_refused() {
    let shop = Shop::open().await;
    shop.add(1, 1, Some(0)).await.unwrap();
    let refusals = [
        shop.add(1, 1, Some(0)).await.unwrap_err(),
        shop.update(1, 2, Some(2)).await.unwrap_err(),
        shop.remove(1, Some(9)).await.unwrap_err(),
        shop.clear(Some(i64::MAX)).await.unwrap_err(),
    ];
    for status in refusals {
        assert_eq!(
            (status.code(), refused(&status)),
            (Code::FailedPrecondition, Some(Reason::CartVersionMismatch))
        );
        assert_eq!(proto::status::metadata(&status, "version").as_deref(), Some("1"));
    }
    assert_eq!(shop.clear(Some(1)).await.unwrap().version, 2);
}

#[tokio::test]
async fn limits_are_refused_with_their_reason() {
    let shop = Shop::open().await;
    for id in 1..=50 {
        shop.add(id, 99, None).await.unwrap();
    }
    let full = shop.add(51, 1, None).await.unwrap_err();
    assert_eq!(
        (full.code(), refused(&full)),
        (Code::FailedPrecondition, Some(Reason::CartFull))
    );
    let sum = shop.add(1, 1, None).await.unwrap_err();
    assert_eq!(
        (sum.code(), refused(&sum)),
        (Code::InvalidArgument, Some(Reason::InvalidQuantity))
    );
    assert_eq!(
        fields(&sum),
        [("quantity".to_owned(), "quantity must be between 1 and 99".to_owned())]
    );
    let missing = shop.update(51, 1, None).await.unwrap_err();
    assert_eq!(
        (missing.code(), refused(&missing)),
        (Code::NotFound, Some(Reason::ItemNotFound))
    );
    assert_eq!(missing.message(), "item not found in cart");
    assert_eq!(shop.get().await.version, 50);
}

#[tokio::test]
async fn a_total_that_overflows_is_an_invalid_argument() {
    let shop = Shop::open().await;
    let status = shop.add(1004, 3, None).await.unwrap_err();
    assert_eq!(
        (status.code(), refused(&status)),
        (Code::InvalidArgument, Some(Reason::InvalidArgument))
    );
    assert!(shop.get().await.items.is_empty());
}

/// A line of all pieces that a quantity can count.
fn largest_line(id: i64, price: Money) -> Line {
    let offer = offer(id);
    Line {
        product: offer.product,
        name: offer.name,
        price,
        seen_in: Version(1),
        quantity: pieces(Quantity::MAX),
        added_at: in_2100(),
    }
}

#[tokio::test]
async fn a_hold_that_cannot_be_given_back_is_an_internal_error_and_no_refusal() {
    let most = Money::usd(Money::MAX_MINOR_UNITS / Quantity::MAX);
    let cases = [
        // The pieces of the line cannot be counted.
        vec![largest_line(1, Money::usd(1))],
        // The total cannot be computed.
        vec![largest_line(2, most), largest_line(3, most)],
    ];
    for lines in cases {
        let shop = Shop::open().await;
        let mut broken = cart_of(&user(), 1);
        broken.holds.push(Hold {
            checkout: CheckoutId(Uuid::nil()),
            lines,
        });
        shop.sqlite_store().await.save(&broken, None).await.unwrap();
        let request = GiveBackRequest {
            user_id: "u".to_owned(),
            checkout_id: Uuid::nil().to_string(),
        };
        let status = shop.client.clone().give_back(request).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Internal, Some(Reason::Internal))
        );
    }
}

#[tokio::test]
async fn a_product_that_does_not_exist_cannot_be_added() {
    let shop = Shop::open().await;
    let status = shop.add(2000, 1, None).await.unwrap_err();
    assert_eq!(
        (status.code(), refused(&status)),
        (Code::NotFound, Some(Reason::ProductNotFound))
    );
    assert_eq!(status.message(), "product not found");
    assert_eq!(fields(&status)[0].0, "product_id");
}

#[tokio::test]
async fn a_product_cannot_be_added_on_an_unusable_answer_of_the_catalogue() {
    let shop = Shop::open().await;
    for id in [1001, 1002, 1003] {
        let status = shop.add(id, 1, None).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Unavailable, Some(Reason::ServiceUnavailable)),
            "{id}"
        );
    }
    assert!(shop.get().await.items.is_empty());
}

#[tokio::test]
async fn without_the_catalogue_everything_works_but_adding() {
    let mut shop = Shop::open().await;
    shop.add(1, 1, None).await.unwrap();
    shop.close_products().await;
    let mut client = shop.client.clone();
    let user_id = "u".to_owned();
    let request = AddItemRequest {
        user_id: user_id.clone(),
        product_id: 1,
        quantity: 1,
        expected_version: None,
        idempotency_key: String::new(),
    };
    let status = client.add_item(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Unavailable, Some(Reason::ServiceUnavailable))
    );
    let request = UpdateQuantityRequest {
        user_id: user_id.clone(),
        product_id: 1,
        quantity: 5,
        expected_version: None,
    };
    client.update_quantity(request).await.unwrap();
    let cart = client
        .get_cart(GetCartRequest { user_id, fresh: false })
        .await
        .unwrap()
        .into_inner()
        .cart
        .unwrap();
    assert_eq!(cart.items[0].quantity, 5);
}

#[tokio::test]
async fn the_service_listens_on_its_own_port_too() {
    let shop = Shop::open().await;
    let policy = runtime::channel::Policy {
        deadline: crate::support::MINUTE,
        points: runtime::Points::none(),
        faults: runtime::Faults::none(),
    };
    let peer = runtime::channel::Peer::tcp(&shop.address.to_string(), policy).unwrap();
    let mut client = proto::cart::v1::cart_service_client::CartServiceClient::new(peer);
    let cart = client
        .get_cart(GetCartRequest {
            user_id: "u".to_owned(),
            fresh: false,
        })
        .await
        .unwrap()
        .into_inner()
        .cart
        .unwrap();
    assert_eq!(cart.version, 0);
}
