//! Every method of every service.
#![allow(
    clippy::needless_update,
    reason = "a request of the table has some of its fields, or all"
)]

use anyhow::{Context, Result};
use bytes::Bytes;
use cartwright::ServiceName::{self, Cart, Checkout, Inventory, Notification, Orders, Payment, Product};
use prost::Message;
use proto::{
    cart::v1::{AddItemRequest, ClearCartRequest, GetCartRequest, RemoveItemRequest, UpdateQuantityRequest},
    checkout::v1::{GetCheckoutRequest, InitiateCheckoutRequest, ListCheckoutsRequest},
    ids::MAX_PRODUCT_ID,
    inventory::v1::{AddStockRequest, ConfirmRequest, GetStockRequest, Line, ReleaseRequest, ReserveRequest},
    money::v1::Money,
    notification::v1::ListNotificationsRequest,
    orders::v1::{GetOrderRequest, ListOrdersRequest},
    payment::v1::{ChargeRequest, GetPaymentRequest, RefundRequest},
    product::v1::{BatchGetProductsRequest, GetProductRequest, GetProductsRequest, UpsertProductRequest},
};
use system_tests::{
    home::Profile,
    shops::{Shop, call_raw, reason_of},
};
use tonic::Code;

use super::{NOBODYS, assert_unchanged, shop_with_history};

/// A call and its expected refusal.
struct BadCall {
    service: ServiceName,
    method: &'static str,
    message: Bytes,
    code: Code,
    reason: &'static str,
}

impl BadCall {
    /// `request` is the name of the message, which contains that of the method.
    fn new(service: ServiceName, request: &'static str, message: &impl Message, reason: &'static str) -> Self {
        let code = proto::Reason::parse(reason).map_or(Code::Ok, proto::Reason::code);
        let (method, message) = (request.trim_end_matches("Request"), message.encode_to_vec().into());
        Self {
            service,
            method,
            message,
            code,
            reason,
        }
    }

    async fn send(self, shop: &Shop) -> Result<()> {
        let name = self.service.as_str();
        let (first, rest) = name.split_at(1);
        let path = format!("/{name}.v1.{}{rest}Service/{}", first.to_uppercase(), self.method);
        let line = format!("{path} {:.60?}", self.message);
        let answer = call_raw(&shop.channel(self.service)?, &path, self.message).await?;
        let status = answer.err().with_context(|| format!("{line} was accepted"))?;
        let found = reason_of(&status).with_context(|| line.clone())?;
        assert_eq!(
            found,
            (self.code, self.reason.to_owned()),
            "{line}: {}",
            status.message()
        );
        Ok(())
    }
}

/// Adds rows to a table: service, request, reason. Fields that a row does not name have their default.
macro_rules! refused {
    ($table:ident: $($service:ident $request:ident { $($field:ident: $value:expr),* } $reason:literal;)+) => {
        $(
            let request = $request { $($field: $value.into(),)* ..Default::default() };
            $table.push(BadCall::new($service, stringify!($request), &request, $reason));
        )+
    };
}

const USERS: [&str; 3] = ["", "a\nb", "\0"];
const NO_UUIDS: [&str; 6] = [
    "",
    "abc",
    "00000000-0000-4000-8000-00000000000",
    "00000000-0000-4000-8000-00000000000g",
    "00000000000040008000000000000000",
    "{00000000-0000-4000-8000-000000000000}",
];
const RESIDENT: &str = "resident";

fn long(characters: usize) -> String {
    "x".repeat(characters)
}

fn money(currency: &str, minor_units: i64) -> Money {
    Money {
        currency_code: currency.to_owned(),
        minor_units,
    }
}

fn products() -> Vec<BadCall> {
    let mut all = Vec::new();
    refused! { all:
        Product GetProductsRequest { page_size: -1 } "INVALID_ARGUMENT";
        Product GetProductsRequest { page_size: i32::MIN } "INVALID_ARGUMENT";
        Product GetProductsRequest { page_token: "garbage" } "INVALID_ARGUMENT";
        Product GetProductsRequest { page_token: long(100_000) } "INVALID_ARGUMENT";
        Product GetProductsRequest { query: long(101) } "INVALID_ARGUMENT";
        Product GetProductsRequest { query: "\0" } "INVALID_ARGUMENT";
        Product GetProductRequest { id: 0 } "INVALID_PRODUCT_ID";
        Product GetProductRequest { id: -1 } "INVALID_PRODUCT_ID";
        Product GetProductRequest { id: i64::MIN } "INVALID_PRODUCT_ID";
        Product GetProductRequest { id: MAX_PRODUCT_ID } "PRODUCT_NOT_FOUND";
        Product GetProductRequest { id: MAX_PRODUCT_ID + 1 } "INVALID_PRODUCT_ID";
        Product BatchGetProductsRequest { ids: [1_i64; 101] } "INVALID_ARGUMENT";
        Product BatchGetProductsRequest { ids: [1_i64, -1] } "INVALID_PRODUCT_ID";
        Product BatchGetProductsRequest { ids: [1_i64, MAX_PRODUCT_ID + 1] } "INVALID_PRODUCT_ID";
        Product UpsertProductRequest { id: MAX_PRODUCT_ID + 1, name: "n", price: money("USD", 1) } "INVALID_PRODUCT_ID";
        Product UpsertProductRequest { id: i64::MAX, name: "n", price: money("USD", 1) } "INVALID_PRODUCT_ID";
        Product UpsertProductRequest { id: -1, name: "n", price: money("USD", 1) } "INVALID_PRODUCT_ID";
        Product UpsertProductRequest { id: 1, name: "n" } "INVALID_ARGUMENT";
        Product UpsertProductRequest { id: 1, name: "n", price: money("USD", 1), description: long(2_001) } "INVALID_ARGUMENT";
        Product UpsertProductRequest { id: 1, name: "n", price: money("USD", 1), image_url: long(2_001) } "INVALID_ARGUMENT";
    }
    for name in ["", " ", "a\nb", &long(201)] {
        refused! { all: Product UpsertProductRequest { id: 1, name: name, price: money("USD", 1) } "INVALID_ARGUMENT"; }
    }
    for price in [0, -1, 100_000_001, i64::MAX, i64::MIN] {
        refused! { all: Product UpsertProductRequest { id: 1, name: "n", price: money("USD", price) } "INVALID_ARGUMENT"; }
    }
    for currency in ["", "usd", "EUR", "US", "USDT", "Ü$"] {
        refused! { all: Product UpsertProductRequest { id: 1, name: "n", price: money(currency, 1) } "INVALID_ARGUMENT"; }
    }
    all
}

fn carts() -> Vec<BadCall> {
    let mut all = Vec::new();
    for user in USERS.map(str::to_owned).into_iter().chain([long(129)]) {
        let user = user.as_str();
        refused! { all:
            Cart AddItemRequest { user_id: user, product_id: 2, quantity: 1 } "INVALID_ARGUMENT";
            Cart GetCartRequest { user_id: user } "INVALID_ARGUMENT";
            Cart UpdateQuantityRequest { user_id: user, product_id: 2, quantity: 1 } "INVALID_ARGUMENT";
            Cart RemoveItemRequest { user_id: user, product_id: 2 } "INVALID_ARGUMENT";
            Cart ClearCartRequest { user_id: user } "INVALID_ARGUMENT";
        }
    }
    for product in [0, -1, i64::MIN, MAX_PRODUCT_ID + 1, i64::MAX] {
        refused! { all:
            Cart AddItemRequest { user_id: RESIDENT, product_id: product, quantity: 1 } "INVALID_PRODUCT_ID";
            Cart UpdateQuantityRequest { user_id: RESIDENT, product_id: product, quantity: 1 } "INVALID_PRODUCT_ID";
            Cart RemoveItemRequest { user_id: RESIDENT, product_id: product } "INVALID_PRODUCT_ID";
        }
    }
    for pieces in [0, -1, 100, i32::MAX, i32::MIN] {
        refused! { all:
            Cart AddItemRequest { user_id: RESIDENT, product_id: 2, quantity: pieces } "INVALID_QUANTITY";
            Cart UpdateQuantityRequest { user_id: RESIDENT, product_id: 2, quantity: pieces } "INVALID_QUANTITY";
        }
    }
    all.extend(
        [-1, i64::MIN]
            .into_iter()
            .flat_map(|version| versioned(version, "INVALID_ARGUMENT")),
    );
    all.extend(
        [0, 999, i64::MAX]
            .into_iter()
            .flat_map(|version| versioned(version, "CART_VERSION_MISMATCH")),
    );
    refused! { all:
        Cart AddItemRequest { user_id: RESIDENT, product_id: MAX_PRODUCT_ID, quantity: 1 } "PRODUCT_NOT_FOUND";
        Cart AddItemRequest { user_id: RESIDENT, product_id: 2, quantity: 97 } "INVALID_QUANTITY";
        Cart UpdateQuantityRequest { user_id: RESIDENT, product_id: 5, quantity: 1 } "ITEM_NOT_FOUND";
    }
    all
}

/// Changes with a version that the cart does not have.
fn versioned(version: i64, reason: &'static str) -> Vec<BadCall> {
    let mut all = Vec::new();
    refused! { all:
        Cart AddItemRequest { user_id: RESIDENT, product_id: 2, quantity: 1, expected_version: version } "";
        Cart UpdateQuantityRequest { user_id: RESIDENT, product_id: 2, quantity: 1, expected_version: version } "";
        Cart RemoveItemRequest { user_id: RESIDENT, product_id: 2, expected_version: version } "";
        Cart ClearCartRequest { user_id: RESIDENT, expected_version: version } "";
    }
    let code = proto::Reason::parse(reason).map_or(Code::Ok, proto::Reason::code);
    all.into_iter().map(|bad| BadCall { code, reason, ..bad }).collect()
}

fn inventory() -> Vec<BadCall> {
    let line = |product_id, quantity| Line { product_id, quantity };
    let mut all = Vec::new();
    refused! { all:
        Inventory ReserveRequest { checkout_id: NOBODYS } "INVALID_ARGUMENT";
        Inventory ReserveRequest { checkout_id: NOBODYS, lines: vec![line(1, 1); 101] } "INVALID_ARGUMENT";
        Inventory ReserveRequest { checkout_id: NOBODYS, lines: [line(1, 1_000_000), line(1, 1)] } "INVALID_QUANTITY";
        Inventory ReserveRequest { checkout_id: NOBODYS, lines: [line(1, 1), line(0, 1)] } "INVALID_PRODUCT_ID";
        Inventory ConfirmRequest { checkout_id: NOBODYS } "RESERVATION_NOT_FOUND";
        Inventory GetStockRequest { product_ids: vec![1_i64; 1_001] } "INVALID_ARGUMENT";
        Inventory GetStockRequest { product_ids: [0_i64] } "INVALID_PRODUCT_ID";
        Inventory GetStockRequest { product_ids: [MAX_PRODUCT_ID + 1] } "INVALID_PRODUCT_ID";
    }
    for pieces in [0, -1, 1_000_001, i64::MAX, i64::MIN] {
        refused! { all:
            Inventory ReserveRequest { checkout_id: NOBODYS, lines: [line(1, pieces)] } "INVALID_QUANTITY";
            Inventory AddStockRequest { product_id: 1, quantity: pieces, idempotency_key: "k" } "INVALID_QUANTITY";
        }
    }
    for product in [0, -1, i64::MIN, MAX_PRODUCT_ID + 1, i64::MAX] {
        refused! { all:
            Inventory AddStockRequest { product_id: product, quantity: 1, idempotency_key: "k" } "INVALID_PRODUCT_ID";
        }
    }
    for key in ["", "a\nb", &long(256)] {
        refused! { all:
            Inventory AddStockRequest { product_id: 1, quantity: 1, idempotency_key: key } "INVALID_ARGUMENT";
        }
    }
    for id in NO_UUIDS {
        refused! { all:
            Inventory ReserveRequest { checkout_id: id, lines: [line(1, 1)] } "INVALID_ARGUMENT";
            Inventory ConfirmRequest { checkout_id: id } "INVALID_ARGUMENT";
            Inventory ReleaseRequest { checkout_id: id } "INVALID_ARGUMENT";
        }
    }
    all
}

fn payments() -> Vec<BadCall> {
    let (usd, ok) = (|minor_units| money("USD", minor_units), "pm_card_ok");
    let mut all = Vec::new();
    refused! { all:
        Payment ChargeRequest { checkout_id: NOBODYS, payment_method: ok } "INVALID_ARGUMENT";
        Payment ChargeRequest { checkout_id: NOBODYS, payment_method: ok, amount: usd(0) } "INVALID_ARGUMENT";
        Payment ChargeRequest { checkout_id: NOBODYS, payment_method: ok, amount: usd(-1) } "INVALID_ARGUMENT";
        Payment ChargeRequest { checkout_id: NOBODYS, payment_method: ok, amount: usd(i64::MIN) } "INVALID_ARGUMENT";
        Payment GetPaymentRequest { checkout_id: NOBODYS } "PAYMENT_NOT_FOUND";
    }
    for currency in ["", "usd", "USDT", "\0\0\0"] {
        refused! { all:
            Payment ChargeRequest { checkout_id: NOBODYS, payment_method: ok, amount: money(currency, 1) } "INVALID_ARGUMENT";
        }
    }
    for method in ["", "PM", "pm card", &long(65), "\0"] {
        refused! { all:
            Payment ChargeRequest { checkout_id: NOBODYS, payment_method: method, amount: usd(1) } "INVALID_ARGUMENT";
        }
    }
    for id in NO_UUIDS {
        refused! { all:
            Payment ChargeRequest { checkout_id: id, payment_method: ok, amount: usd(1) } "INVALID_ARGUMENT";
            Payment RefundRequest { checkout_id: id } "INVALID_ARGUMENT";
            Payment GetPaymentRequest { checkout_id: id } "INVALID_ARGUMENT";
        }
    }
    all
}

fn checkouts() -> Vec<BadCall> {
    let mut all = Vec::new();
    refused! { all:
        Checkout InitiateCheckoutRequest { user_id: RESIDENT } "MISSING_IDEMPOTENCY_KEY";
        Checkout InitiateCheckoutRequest { user_id: "newcomer", idempotency_key: "bought" } "CART_EMPTY";
        Checkout InitiateCheckoutRequest { user_id: RESIDENT, idempotency_key: "bought", payment_method: "pm_card_slow" }
            "IDEMPOTENCY_KEY_REUSED";
        Checkout GetCheckoutRequest { user_id: RESIDENT, checkout_id: NOBODYS } "CHECKOUT_NOT_FOUND";
        Checkout ListCheckoutsRequest { status: 99 } "INVALID_ARGUMENT";
        Checkout ListCheckoutsRequest { status: -1 } "INVALID_ARGUMENT";
        Checkout ListCheckoutsRequest { page_size: -1 } "INVALID_ARGUMENT";
        Checkout ListCheckoutsRequest { page_token: "garbage" } "INVALID_ARGUMENT";
    }
    for key in ["a\nb", "\0", &long(256)] {
        refused! { all: Checkout InitiateCheckoutRequest { user_id: RESIDENT, idempotency_key: key } "INVALID_ARGUMENT"; }
    }
    for method in ["PM", "pm card", &long(65), "\0"] {
        refused! { all:
            Checkout InitiateCheckoutRequest { user_id: RESIDENT, idempotency_key: "k", payment_method: method }
                "INVALID_ARGUMENT";
        }
    }
    for user in USERS {
        refused! { all:
            Checkout InitiateCheckoutRequest { user_id: user, idempotency_key: "k" } "INVALID_ARGUMENT";
            Checkout GetCheckoutRequest { user_id: user, checkout_id: NOBODYS } "INVALID_ARGUMENT";
        }
    }
    for id in NO_UUIDS {
        refused! { all: Checkout GetCheckoutRequest { user_id: RESIDENT, checkout_id: id } "INVALID_ARGUMENT"; }
    }
    all
}

fn readers() -> Vec<BadCall> {
    let mut all = Vec::new();
    refused! { all:
        Orders GetOrderRequest { user_id: RESIDENT, order_id: NOBODYS } "ORDER_NOT_FOUND";
        Orders GetOrderRequest { user_id: RESIDENT, order_id: long(9_000) } "INVALID_ARGUMENT";
    }
    for id in NO_UUIDS {
        refused! { all: Orders GetOrderRequest { user_id: RESIDENT, order_id: id } "INVALID_ARGUMENT"; }
    }
    for user in USERS.map(str::to_owned).into_iter().chain([long(129)]) {
        let user = user.as_str();
        refused! { all:
            Orders GetOrderRequest { user_id: user, order_id: NOBODYS } "INVALID_ARGUMENT";
            Orders ListOrdersRequest { user_id: user } "INVALID_ARGUMENT";
            Notification ListNotificationsRequest { user_id: user } "INVALID_ARGUMENT";
        }
    }
    for size in [-1, i32::MIN] {
        refused! { all:
            Orders ListOrdersRequest { user_id: RESIDENT, page_size: size } "INVALID_ARGUMENT";
            Notification ListNotificationsRequest { user_id: RESIDENT, page_size: size } "INVALID_ARGUMENT";
        }
    }
    for token in ["garbage", "=", &long(10_000)] {
        refused! { all:
            Orders ListOrdersRequest { user_id: RESIDENT, page_token: token } "INVALID_ARGUMENT";
            Notification ListNotificationsRequest { user_id: RESIDENT, page_token: token } "INVALID_ARGUMENT";
        }
    }
    all
}

/// All methods, each with the number of a string field of its request.
const METHODS: [(ServiceName, &str, Option<u8>); 23] = [
    (Product, "GetProducts", Some(3)),
    (Product, "GetProduct", None),
    (Product, "BatchGetProducts", None),
    (Product, "UpsertProduct", Some(2)),
    (Cart, "AddItem", Some(1)),
    (Cart, "GetCart", Some(1)),
    (Cart, "UpdateQuantity", Some(1)),
    (Cart, "RemoveItem", Some(1)),
    (Cart, "ClearCart", Some(1)),
    (Inventory, "GetStock", None),
    (Inventory, "Reserve", Some(1)),
    (Inventory, "Confirm", Some(1)),
    (Inventory, "Release", Some(1)),
    (Inventory, "AddStock", Some(3)),
    (Payment, "Charge", Some(1)),
    (Payment, "Refund", Some(1)),
    (Payment, "GetPayment", Some(1)),
    (Checkout, "InitiateCheckout", Some(2)),
    (Checkout, "GetCheckout", Some(1)),
    (Checkout, "ListCheckouts", Some(4)),
    (Orders, "GetOrder", Some(2)),
    (Orders, "ListOrders", Some(3)),
    (Notification, "ListNotifications", Some(3)),
];

/// Bytes that are not a message of any method.
fn no_messages() -> Vec<BadCall> {
    let mut all = Vec::new();
    for (service, method, text) in METHODS {
        let broken = |message: Vec<u8>| BadCall {
            service,
            method,
            message: message.into(),
            code: Code::InvalidArgument,
            reason: "INVALID_REQUEST",
        };
        // An invalid tag; a field longer than the message; an unterminated varint; an unknown wire type.
        all.extend([vec![0xff; 16], vec![0x0a, 0x7f], vec![0x08, 0xff, 0xff], vec![0x0f]].map(&broken));
        // Not UTF-8.
        all.extend(text.map(|field| broken(vec![field << 3 | 2, 2, 0xc3, 0x28])));
        let large = BadCall {
            code: Code::ResourceExhausted,
            reason: "PAYLOAD_TOO_LARGE",
            ..broken(vec![0x7a; 5 << 20])
        };
        all.push(large);
    }
    for service in ServiceName::ALL
        .into_iter()
        .filter(|service| *service != ServiceName::Gateway)
    {
        let (code, reason) = (Code::Unimplemented, "METHOD_NOT_ALLOWED");
        all.push(BadCall {
            service,
            method: "Destroy",
            message: Bytes::new(),
            code,
            reason,
        });
    }
    all
}

on_every_profile! {
    every_method_refuses_invalid_requests_and_changes_nothing,
    every_method_refuses_bytes_that_are_no_message,
}

async fn every_method_refuses_invalid_requests_and_changes_nothing(profile: Profile) -> Result<()> {
    let shop = shop_with_history(profile).await?;
    let all = [products(), carts(), inventory(), payments(), checkouts(), readers()];
    assert_unchanged(&shop, async {
        for bad in all.into_iter().flatten() {
            bad.send(&shop).await?;
        }
        Ok(())
    })
    .await
}

async fn every_method_refuses_bytes_that_are_no_message(profile: Profile) -> Result<()> {
    let shop = shop_with_history(profile).await?;
    assert_unchanged(&shop, async {
        for bad in no_messages() {
            bad.send(&shop).await?;
        }
        Ok(())
    })
    .await
}
