//! A purchase over REST, and what the other interfaces show of it.

use anyhow::{Context, Result};
use cartwright::http::HttpResponse;
use http::{Method, StatusCode, header};
use jiff::Timestamp;
use proto::{
    checkout::v1::{CheckoutStatus, GetCheckoutRequest, InitiateCheckoutRequest, ListCheckoutsRequest},
    notification::v1::{ListNotificationsRequest, NotificationKind},
    orders::v1::{GetOrderRequest, ListOrdersRequest, OrderStatus},
    product::v1::UpsertProductRequest,
};
use serde_json::{Value, json};
use system_tests::{
    home::Profile,
    shops::{Buyer, Shop, wait_for},
};

use super::usd;

on_every_profile! {
    the_catalogue_is_open_to_all_and_prices_have_two_decimals,
    a_search_ignores_word_order_and_case_and_refuses_page_tokens_of_others,
    a_cart_has_the_shape_of_the_contract_empty_and_filled,
    a_purchase_through_rest_has_the_shapes_of_the_contract,
    a_failed_purchase_leaves_the_cart_unchanged,
    operators_list_checkouts_by_their_status,
    a_purchase_shows_in_every_service,
}

const CART: &[&str] = &[
    "cart_id",
    "currency",
    "in_checkout",
    "items",
    "total_items",
    "total_price",
    "updated_at",
    "user_id",
];
const CART_ITEM: &[&str] = &[
    "added_at",
    "price",
    "product_id",
    "product_name",
    "quantity",
    "subtotal",
];
const CHECKOUT: &[&str] = &[
    "checkout_id",
    "created_at",
    "currency",
    "failure",
    "items",
    "order_id",
    "payment_id",
    "status",
    "total_amount",
    "updated_at",
];
const CHECKOUT_ITEM: &[&str] = &["product_id", "product_name", "quantity", "subtotal", "unit_price"];
const ORDER: &[&str] = &[
    "checkout_id",
    "created_at",
    "currency",
    "id",
    "items",
    "status",
    "total_amount",
    "updated_at",
    "user_id",
];
const ORDER_ITEM: &[&str] = &["price", "product_id", "product_name", "quantity", "subtotal"];
const PRODUCT: &[&str] = &[
    "created_at",
    "currency",
    "description",
    "id",
    "image_url",
    "name",
    "price",
];

#[track_caller]
fn assert_fields(object: &Value, fields: &[&str]) {
    let mut found: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, fields);
}

#[track_caller]
fn assert_time(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(text.ends_with('Z') && text.parse::<Timestamp>().is_ok(), "{text}");
    // Always with milliseconds.
    assert_eq!(text.len(), "2026-01-01T00:00:00.000Z".len(), "{text}");
}

/// Whether the raw body contains a text: a parser would hide how numbers are written.
fn contains_text(reply: &HttpResponse, text: &str) -> bool {
    String::from_utf8_lossy(&reply.body).contains(text)
}

async fn order_of(buyer: &Buyer, checkout: &Value) -> Result<Value> {
    let path = format!(
        "/api/v1/orders/{}",
        checkout["order_id"].as_str().context("no order_id")?
    );
    wait_for("the order is there", async || {
        let reply = buyer.get(&path).await?;
        Ok((reply.status == StatusCode::OK).then(|| reply.json()))
    })
    .await
}

async fn the_catalogue_is_open_to_all_and_prices_have_two_decimals(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    shop.upsert_product(0, "Pen", 1_050).await?;
    let anonymous = shop.anonymous()?;
    let first = anonymous.read("/api/v1/products?page_size=5").await?;
    assert_fields(&first, &["next_page_token", "products"]);
    let products = first["products"].as_array().unwrap();
    for product in products {
        assert_fields(product, PRODUCT);
        assert_time(&product["created_at"]);
    }
    let (first_product, token) = (&products[0], first["next_page_token"].as_str().unwrap());
    assert_eq!(first_product["id"], 1);
    let rest = anonymous
        .get(&format!("/api/v1/products?page_size=5&page_token={token}"))
        .await?;
    assert!(contains_text(&rest, r#""price":10.50"#), "{rest:?}");
    assert_eq!(rest.json()["next_page_token"], "");
    let found = anonymous.read("/api/v1/products?q=GAMING").await?;
    assert_eq!(found["products"].as_array().map(Vec::len), Some(1));
    let laptop = anonymous.get("/api/v1/products/1").await?;
    assert!(contains_text(&laptop, r#""price":1299.99"#), "{laptop:?}");
    assert_eq!(&laptop.json(), first_product);
    Ok(())
}

async fn a_search_ignores_word_order_and_case_and_refuses_page_tokens_of_others(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let mut products = shop.products()?;
    for name in ["ΟΔΥΣΣΕΥΣ lamp", "Caf\u{e9} lamp", "Straße"] {
        let new = UpsertProductRequest {
            name: name.to_owned(),
            description: "red".to_owned(),
            price: usd(100),
            ..Default::default()
        };
        products.upsert_product(new).await?;
    }
    let anonymous = shop.anonymous()?;
    for (query, found) in [
        ("%CE%BF%CE%B4%CF%85%CF%82", 1), // ending in a final sigma
        ("cafe%CC%81%20", 1),
        ("STRASSE", 1),
        ("red+lamp", 2),
        ("red+LAMP+caf%C3%A9", 1),
        ("lamp+mouse", 0),
    ] {
        let page = anonymous.read(&format!("/api/v1/products?q={query}")).await?;
        assert_eq!(
            page["products"].as_array().map(Vec::len),
            Some(found),
            "{query}: {page}"
        );
    }
    let first = anonymous.read("/api/v1/products?q=red&page_size=1").await?;
    let token = first["next_page_token"].as_str().context("no token")?;
    for (query, status) in [("red", 200), ("RED+", 200), ("lamp", 400), ("", 400)] {
        let reply = anonymous
            .get(&format!("/api/v1/products?q={query}&page_token={token}"))
            .await?;
        assert_eq!(reply.status.as_u16(), status, "{query}");
        if status == 400 {
            assert_eq!(reply.json()["errors"][0]["field"], "page_token");
        }
    }
    Ok(())
}

async fn a_cart_has_the_shape_of_the_contract_empty_and_filled(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    let empty = ada.read("/api/v1/cart").await?;
    assert_fields(&empty, CART);
    assert_eq!((&empty["cart_id"], &empty["total_items"]), (&json!(""), &json!(0)));
    assert_eq!((&empty["items"], &empty["in_checkout"]), (&json!([]), &json!([])));
    let mouse = json!({"product_id": 2, "quantity": 2});
    let added = ada.post("/api/v1/cart/items", &mouse).await?;
    assert_eq!(
        (added.status, added.headers[header::ETAG].to_str()?),
        (StatusCode::CREATED, "\"1\"")
    );
    let more = ada.post("/api/v1/cart/items", &mouse).await?;
    assert_eq!(
        (more.status, more.headers[header::ETAG].to_str()?),
        (StatusCode::OK, "\"2\"")
    );
    assert!(contains_text(&more, r#""total_price":119.96"#), "{more:?}");
    ada.add(1, 1).await?;
    let cart = ada.read("/api/v1/cart").await?;
    assert_fields(&cart, CART);
    assert_fields(&cart["items"][0], CART_ITEM);
    assert_time(&cart["updated_at"]);
    assert_eq!((&cart["total_items"], &cart["user_id"]), (&json!(2), &json!("ada")));
    let emptied = ada.call(Method::DELETE, "/api/v1/cart", None).await?;
    assert_eq!((emptied.status, &emptied.json()["items"]), (StatusCode::OK, &json!([])));
    Ok(())
}

async fn a_purchase_through_rest_has_the_shapes_of_the_contract(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let ada = shop.buyer("ada")?;
    ada.add(1, 2).await?;
    ada.add(2, 1).await?;
    let reply = ada.checkout("first", "pm_card_ok").await?;
    let bought = reply.json();
    assert_eq!(reply.status, StatusCode::CREATED, "{bought}");
    assert_fields(&bought, CHECKOUT);
    assert_fields(&bought["items"][0], CHECKOUT_ITEM);
    assert!(contains_text(&reply, r#""total_amount":2629.97"#), "{bought}");
    assert_eq!(
        (&bought["status"], &bought["failure"]),
        (&json!("COMPLETED"), &Value::Null)
    );
    let path = format!("/api/v1/checkout/{}", bought["checkout_id"].as_str().unwrap());
    assert_eq!(reply.headers[header::LOCATION], path);

    let mut shown = ada.read(&path).await?;
    let history = shown.as_object_mut().unwrap().remove("history").context("no history")?;
    assert_eq!(shown, bought);
    let steps: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["status"].clone())
        .collect();
    let expected = "INITIATED INVENTORY_RESERVED PAYMENT_PENDING PAYMENT_COMPLETED COMPLETED";
    assert_eq!(steps, expected.split(' ').collect::<Vec<_>>());
    assert_fields(&history[0], &["at", "detail", "status"]);
    assert_time(&history[0]["at"]);

    let order = order_of(&ada, &bought).await?;
    assert_fields(&order, ORDER);
    assert_fields(&order["items"][0], ORDER_ITEM);
    assert_eq!(
        (&order["status"], &order["total_amount"]),
        (&json!("CONFIRMED"), &bought["total_amount"])
    );
    assert_eq!(ada.read("/api/v1/orders").await?, json!([order]));
    shop.wait_until_idle().await?;
    assert_eq!(ada.read("/api/v1/cart").await?["items"], json!([]));
    assert_eq!(shop.stock(1).await?, (98, 0));
    shop.balance().await
}

async fn a_failed_purchase_leaves_the_cart_unchanged(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    for (method, reason) in [
        ("pm_card_declined", "CARD_DECLINED"),
        ("pm_card_insufficient_funds", "INSUFFICIENT_FUNDS"),
        ("pm_card_expired", "CARD_EXPIRED"),
        ("pm_card_invalid_cvc", "INVALID_CVC"),
    ] {
        let buyer = shop.buyer(method)?;
        buyer.add(5, 2).await?;
        let cart = buyer.get("/api/v1/cart").await?.json();
        let reply = buyer.checkout("k", method).await?;
        let refused = reply.json();
        assert_eq!(
            (reply.status, &refused["status"]),
            (StatusCode::CREATED, &json!("FAILED")),
            "{refused}"
        );
        assert_eq!(
            (&refused["failure"]["reason"], &refused["payment_id"]),
            (&json!(reason), &Value::Null)
        );
        assert_fields(&refused["failure"], &["message", "reason"]);
        let left = buyer.get("/api/v1/cart").await?.json();
        for what in ["cart_id", "items", "total_price"] {
            assert_eq!(left[what], cart[what], "{what}");
        }
    }
    let greedy = shop.buyer("greedy")?;
    greedy.add(1, 99).await?;
    greedy.buy("some", "pm_card_ok").await?;
    shop.wait_until_idle().await?;
    let refused = greedy.buy_one(1, 2, "more", "pm_card_ok").await?;
    let shortage = json!([{"product_id": 1, "requested": 2, "available": 1}]);
    assert_eq!(
        (&refused["failure"]["reason"], &refused["failure"]["items"]),
        (&json!("OUT_OF_STOCK"), &shortage)
    );
    assert_eq!(shop.stock(5).await?, (200, 0));
    shop.balance().await
}

async fn operators_list_checkouts_by_their_status(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let bob = shop.buyer("bob")?;
    bob.add(3, 2).await?;
    let initiate = InitiateCheckoutRequest {
        user_id: "bob".to_owned(),
        idempotency_key: "k".to_owned(),
        ..Default::default()
    };
    let mut checkouts = shop.checkouts()?;
    let bought = checkouts.initiate_checkout(initiate.clone()).await?.into_inner();
    let checkout = bought.checkout.context("no checkout")?;
    assert_eq!(
        (checkout.status(), checkout.total_amount.clone()),
        (CheckoutStatus::Completed, usd(17_998))
    );
    let again = checkouts.initiate_checkout(initiate).await?.into_inner();
    assert_eq!(
        (bought.replayed, again.replayed, again.checkout.as_ref()),
        (false, true, Some(&checkout))
    );
    shop.wait_until_idle().await?;
    let refused = bob.buy_one(4, 1, "other", "pm_card_declined").await?;
    let (bought, refused) = (checkout.checkout_id.as_str(), refused["checkout_id"].as_str().unwrap());
    for (status, ids) in [
        (CheckoutStatus::Unspecified, vec![bought, refused]),
        (CheckoutStatus::Completed, vec![bought]),
        (CheckoutStatus::Failed, vec![refused]),
        (CheckoutStatus::PaymentPending, vec![]),
    ] {
        let list = ListCheckoutsRequest {
            status: status.into(),
            ..Default::default()
        };
        let listed = checkouts.list_checkouts(list).await?.into_inner().checkouts;
        let listed: Vec<_> = listed.iter().map(|one| one.checkout_id.as_str()).collect();
        assert_eq!(listed, ids, "{status:?}");
    }
    let stuck = ListCheckoutsRequest {
        needs_attention: true,
        ..Default::default()
    };
    assert_eq!(checkouts.list_checkouts(stuck).await?.into_inner().checkouts, []);
    shop.balance().await
}

async fn a_purchase_shows_in_every_service(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let bob = shop.buyer("bob")?;
    let bought = bob.buy_one(3, 2, "k", "pm_card_ok").await?;
    shop.wait_until_idle().await?;
    let refused = bob.buy_one(4, 1, "other", "pm_card_declined").await?;
    shop.wait_until_idle().await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let user_id = || "bob".to_owned();

    let get = GetCheckoutRequest {
        user_id: user_id(),
        checkout_id: text(&bought["checkout_id"]),
    };
    let known = shop.checkouts()?.get_checkout(get).await?.into_inner();
    let known = known.checkout.context("no checkout")?;
    assert_eq!((known.history.len(), known.order_id), (5, text(&bought["order_id"])));
    let get = GetOrderRequest {
        user_id: user_id(),
        order_id: text(&bought["order_id"]),
    };
    let mut orders = shop.orders()?;
    let order = orders.get_order(get).await?.into_inner().order.context("no order")?;
    assert_eq!(
        (order.status(), order.total_amount.clone()),
        (OrderStatus::Confirmed, usd(17_998))
    );
    let list = ListOrdersRequest {
        user_id: user_id(),
        ..Default::default()
    };
    assert_eq!(orders.list_orders(list).await?.into_inner().orders, [order]);

    let list = ListNotificationsRequest {
        user_id: user_id(),
        ..Default::default()
    };
    let sent = shop
        .notifications()?
        .list_notifications(list)
        .await?
        .into_inner()
        .notifications;
    let sent: Vec<_> = sent.into_iter().map(|one| (one.kind(), one.checkout_id)).collect();
    let expected = [
        (NotificationKind::CheckoutFailed, text(&refused["checkout_id"])),
        (NotificationKind::OrderConfirmed, text(&bought["checkout_id"])),
    ];
    assert_eq!(sent, expected);
    shop.balance().await
}
