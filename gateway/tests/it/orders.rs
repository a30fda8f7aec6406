use proto::{
    Reason,
    orders::v1::{ListOrdersResponse, Order, OrderItem, OrderStatus},
    status::Refusal,
};

use crate::{
    fakes::{then, usd},
    shop::{Shop, USER},
};

const PATH: &str = "/api/v1/orders";
const ID: &str = "6f9619ff-8b86-5d01-b42d-00cf4fc964ff";

fn order() -> Order {
    let item = OrderItem {
        product_id: 2,
        product_name: "Mouse".to_owned(),
        quantity: 10,
        price: usd(2_999),
        subtotal: usd(29_990),
    };
    Order {
        id: ID.to_owned(),
        checkout_id: "checkout-1".to_owned(),
        user_id: USER.to_owned(),
        total_amount: usd(29_990),
        status: OrderStatus::Confirmed.into(),
        items: vec![item],
        created_at: then(),
        updated_at: then(),
    }
}

const ORDER: &str = concat!(
    r#"{"id":"6f9619ff-8b86-5d01-b42d-00cf4fc964ff","checkout_id":"checkout-1","user_id":"customer-7","#,
    r#""total_amount":299.90,"currency":"USD","status":"CONFIRMED","items":[{"product_id":2,"product_name":"Mouse","#,
    r#""quantity":10,"price":29.99,"subtotal":299.90}],"created_at":"2026-01-02T03:04:05.000Z","#,
    r#""updated_at":"2026-01-02T03:04:05.000Z"}"#
);

#[tokio::test]
async fn orders_are_a_bare_array() {
    let shop = Shop::open().await;
    let reply = shop.get(PATH).await;
    assert_eq!(
        (reply.status.as_u16(), reply.body.as_str(), reply.header("link")),
        (200, "[]", None)
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let message = r#"ListOrdersRequest { user_id: "customer-7", page_size: 0, page_token: "" }"#;
    assert_eq!(shop.fakes.call().message, message);
    shop.fakes.script().orders.orders = vec![order()];
    assert_eq!(shop.get(PATH).await.body, format!("[{ORDER}]"));
}

#[tokio::test]
async fn the_next_page_is_linked_with_the_same_size() {
    let shop = Shop::open().await;
    shop.fakes.script().orders = ListOrdersResponse {
        orders: vec![order()],
        next_page_token: "a/b+c=>&".to_owned(),
    };
    let token = "a%2Fb%2Bc%3D%3E%26";
    let reply = shop.get(PATH).await;
    assert_eq!(
        reply.header("link"),
        Some(format!("<{PATH}?page_token={token}>; rel=\"next\"").as_str())
    );
    let reply = shop.get(&format!("{PATH}?page_token=x&page_size=100&other=1")).await;
    let next = format!("{PATH}?page_size=100&page_token={token}");
    assert_eq!(reply.header("link"), Some(format!("<{next}>; rel=\"next\"").as_str()));

    shop.fakes.script().calls.clear();
    shop.get(&next).await;
    let message = r#"ListOrdersRequest { user_id: "customer-7", page_size: 100, page_token: "a/b+c=>&" }"#;
    assert_eq!(shop.fakes.call().message, message);
}

#[tokio::test]
async fn invalid_pages_are_refused() {
    let shop = Shop::open().await;
    for query in [
        "page_size=0",
        "page_size=101",
        "page_size=1.5",
        "page_size=%31%30%30%30",
        "page_token=%ff",
    ] {
        shop.get(&format!("{PATH}?{query}"))
            .await
            .problem(400, "invalid_argument", "INVALID_ARGUMENT");
    }
    assert!(shop.fakes.script().calls.is_empty());
    shop.fakes
        .refuse(Refusal::field("page_token", "page_token is not valid"));
    let reply = shop.get(&format!("{PATH}?page_token=made-up")).await;
    reply.problem(400, "invalid_argument", "INVALID_ARGUMENT");
    assert_eq!(reply.error_fields(), ["page_token"]);
}

#[tokio::test]
async fn an_order_is_shown() {
    let shop = Shop::open().await;
    shop.fakes.script().order = Some(order());
    let reply = shop.get(&format!("{PATH}/{ID}")).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (200, ORDER));
    let message = format!(r#"GetOrderRequest {{ user_id: "customer-7", order_id: "{ID}" }}"#);
    assert_eq!(shop.fakes.call().message, message);
}

#[tokio::test]
async fn an_invalid_order_id_is_repeated_as_it_was_sent() {
    let shop = Shop::open().await;
    for (sent, shown) in [
        ("not-a-uuid", "not-a-uuid"),
        ("1", "1"),
        ("a%22b", "a\"b"),
        (&ID[1..], &ID[1..]),
    ] {
        let problem = shop
            .get(&format!("{PATH}/{sent}"))
            .await
            .problem(400, "invalid_argument", "INVALID_ARGUMENT");
        assert_eq!(problem["detail"], format!("invalid order_id: {shown}"));
    }
    shop.get(&format!("{PATH}/%ff"))
        .await
        .problem(400, "invalid_argument", "INVALID_ARGUMENT");
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn an_unknown_order_is_not_found() {
    let shop = Shop::open().await;
    shop.fakes
        .refuse(Refusal::new(Reason::OrderNotFound, format!("order not found: {ID}")));
    let problem = shop
        .get(&format!("{PATH}/{ID}"))
        .await
        .problem(404, "not_found", "ORDER_NOT_FOUND");
    assert_eq!(problem["detail"], format!("order not found: {ID}"));
}
