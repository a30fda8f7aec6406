//! Invalid requests for each method.

use proto::{
    Reason,
    cart::v1::{
        AddItemRequest, ClearCartRequest, GetCartRequest, GiveBackRequest, HoldLine, HoldRequest, RemoveItemRequest,
        UpdateQuantityRequest,
    },
    status::{fields, refused},
};
use tonic::{Code, Status};

use crate::support::Shop;

/// The reason and the field of a refusal.
type Expected = (Reason, &'static str);

const USER: Expected = (Reason::InvalidArgument, "user_id");
const PRODUCT: Expected = (Reason::InvalidProductId, "product_id");
const QUANTITY: Expected = (Reason::InvalidQuantity, "quantity");
const VERSION: Expected = (Reason::InvalidArgument, "expected_version");
const CHECKOUT: Expected = (Reason::InvalidArgument, "checkout_id");

fn check<T: std::fmt::Debug>(answer: Result<T, Status>, (reason, field): Expected) {
    let status = answer.unwrap_err();
    assert_eq!(
        (status.code(), refused(&status)),
        (Code::InvalidArgument, Some(reason)),
        "{status:?}"
    );
    let invalid: Vec<_> = fields(&status).into_iter().map(|(field, _)| field).collect();
    assert_eq!(invalid, [field]);
}

fn bad_users() -> [String; 4] {
    [String::new(), "u".repeat(129), "a\u{0}b".to_owned(), "a\nb".to_owned()]
}

const BAD_PRODUCTS: [i64; 3] = [0, -1, i64::MIN];
const BAD_QUANTITIES: [i32; 5] = [0, -1, 100, i32::MIN, i32::MAX];
const BAD_VERSIONS: [i64; 2] = [-1, i64::MIN];
/// Without hyphens, and in braces.
const BAD_CHECKOUTS: [&str; 2] = [
    "01900000000070008000000000000001",
    "{01900000-0000-7000-8000-000000000001}",
];

#[tokio::test]
async fn add_item_refuses_invalid_fields() {
    let shop = Shop::open().await;
    let mut client = shop.client.clone();
    let good = AddItemRequest {
        user_id: "u".to_owned(),
        product_id: 1,
        quantity: 1,
        expected_version: None,
        idempotency_key: String::new(),
    };
    for user_id in bad_users() {
        // All fields are invalid. The user is checked first.
        let request = AddItemRequest {
            user_id,
            product_id: 0,
            quantity: 0,
            expected_version: Some(-1),
            idempotency_key: String::new(),
        };
        check(client.add_item(request).await, USER);
    }
    for product_id in BAD_PRODUCTS {
        check(
            client
                .add_item(AddItemRequest {
                    product_id,
                    quantity: 0,
                    ..good.clone()
                })
                .await,
            PRODUCT,
        );
    }
    for quantity in BAD_QUANTITIES {
        // The quantity is checked before the lookup of the product.
        check(
            client
                .add_item(AddItemRequest {
                    product_id: 2000,
                    quantity,
                    ..good.clone()
                })
                .await,
            QUANTITY,
        );
    }
    for version in BAD_VERSIONS {
        check(
            client
                .add_item(AddItemRequest {
                    expected_version: Some(version),
                    ..good.clone()
                })
                .await,
            VERSION,
        );
    }
}

#[tokio::test]
async fn get_cart_refuses_invalid_fields() {
    let shop = Shop::open().await;
    let mut client = shop.client.clone();
    for user_id in bad_users() {
        check(client.get_cart(GetCartRequest { user_id, fresh: false }).await, USER);
    }
}

#[tokio::test]
async fn update_quantity_refuses_invalid_fields() {
    let shop = Shop::open().await;
    let mut client = shop.client.clone();
    let good = UpdateQuantityRequest {
        user_id: "u".to_owned(),
        product_id: 1,
        quantity: 1,
        expected_version: None,
    };
    for user_id in bad_users() {
        check(
            client
                .update_quantity(UpdateQuantityRequest {
                    user_id,
                    ..good.clone()
                })
                .await,
            USER,
        );
    }
    for product_id in BAD_PRODUCTS {
        check(
            client
                .update_quantity(UpdateQuantityRequest {
                    product_id,
                    ..good.clone()
                })
                .await,
            PRODUCT,
        );
    }
    for quantity in BAD_QUANTITIES {
        check(
            client
                .update_quantity(UpdateQuantityRequest {
                    quantity,
                    ..good.clone()
                })
                .await,
            QUANTITY,
        );
    }
    for version in BAD_VERSIONS {
        let request = UpdateQuantityRequest {
            expected_version: Some(version),
            ..good.clone()
        };
        check(client.update_quantity(request).await, VERSION);
    }
}

#[tokio::test]
async fn remove_item_refuses_invalid_fields() {
    let shop = Shop::open().await;
    let mut client = shop.client.clone();
    let good = RemoveItemRequest {
        user_id: "u".to_owned(),
        product_id: 1,
        expected_version: None,
    };
    for user_id in bad_users() {
        check(
            client
                .remove_item(RemoveItemRequest {
                    user_id,
                    ..good.clone()
                })
                .await,
            USER,
        );
    }
    for product_id in BAD_PRODUCTS {
        check(
            client
                .remove_item(RemoveItemRequest {
                    product_id,
                    ..good.clone()
                })
                .await,
            PRODUCT,
        );
    }
    for version in BAD_VERSIONS {
        let request = RemoveItemRequest {
            expected_version: Some(version),
            ..good.clone()
        };
        check(client.remove_item(request).await, VERSION);
    }
}

#[tokio::test]
async fn clear_cart_refuses_invalid_fields() {
    let shop = Shop::open().await;
    let mut client = shop.client.clone();
    for user_id in bad_users() {
        check(
            client
                .clear_cart(ClearCartRequest {
                    user_id,
                    expected_version: None,
                })
                .await,
            USER,
        );
    }
    for version in BAD_VERSIONS {
        let request = ClearCartRequest {
            user_id: "u".to_owned(),
            expected_version: Some(version),
        };
        check(client.clear_cart(request).await, VERSION);
    }
}

#[tokio::test]
async fn hold_and_give_back_refuse_other_forms_of_a_checkout_id() {
    let shop = Shop::open().await;
    let mut client = shop.client.clone();
    for checkout_id in BAD_CHECKOUTS {
        let hold = HoldRequest {
            user_id: "u".to_owned(),
            checkout_id: checkout_id.to_owned(),
            cart_id: String::new(),
            cart_version: 1,
            lines: vec![HoldLine {
                product_id: 1,
                quantity: 1,
            }],
        };
        check(client.hold(hold).await, CHECKOUT);
        let give_back = GiveBackRequest {
            user_id: "u".to_owned(),
            checkout_id: checkout_id.to_owned(),
        };
        check(client.give_back(give_back).await, CHECKOUT);
    }
}

#[tokio::test]
async fn unusual_but_valid_user_ids_have_carts() {
    let shop = Shop::open().await;
    let mut client = shop.client.clone();
    for user_id in [
        "ü".repeat(128),
        " ".to_owned(),
        "'; DROP TABLE carts; --".to_owned(),
        "𝄞".to_owned(),
    ] {
        let request = AddItemRequest {
            user_id: user_id.clone(),
            product_id: 1,
            quantity: 1,
            expected_version: Some(0),
            idempotency_key: String::new(),
        };
        client.add_item(request).await.unwrap();
        let cart = client
            .get_cart(GetCartRequest {
                user_id: user_id.clone(),
                fresh: false,
            })
            .await
            .unwrap()
            .into_inner()
            .cart;
        assert_eq!(cart.unwrap().user_id, user_id);
    }
}
