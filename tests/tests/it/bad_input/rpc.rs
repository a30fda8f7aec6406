//! Every method of every service.

use anyhow::{Context, Result};
use bytes::Bytes;
use cartwright::ServiceName::{self, Cart, Checkout, Inventory, Notification, Orders, Payment, Product};
use prost::Message;
use proto::{
    cart::v1::{AddItemRequest, ClearCartRequest, GetCartRequest, RemoveItemRequest, UpdateQuantityRequest},
    checkout::v1::{GetCheckoutRequest, InitiateCheckoutRequest, ListCheckoutsRequest},
    inventory::v1::{AddStockRequest, ConfirmRequest, GetStockRequest, Line, ReleaseRequest, ReserveRequest},
    money::v1::Money,
    notification::v1::ListNotificationsRequest,
    orders::v1::{GetOrderRequest, ListOrdersRequest},
    payment::v1::{ChargeRequest, GetPaymentRequest, RefundRequest},
    product::v1::{BatchGetProductsRequest, GetProductRequest, GetProductsRequest, UpsertProductRequest},
};
use system_tests::shops::{Shop, call_raw, reason_of};
use tonic::Code;

use super::{NOBODYS, lived_in, without_a_trace};

/// A call, and the refusal that it earns.
struct Bad {
    service: ServiceName,
    method: &'static str,
    message: Bytes,
    code: Code,
    reason: &'static str,
}

fn bad(service: ServiceName, method: &'static str, message: &impl Message, reason: &'static str) -> Bad {
    let code = proto::Reason::parse(reason).map_or(Code::Ok, proto::Reason::code);
    Bad {
        service,
        method,
        message: message.encode_to_vec().into(),
        code,
        reason,
    }
}

fn path(service: ServiceName, method: &str) -> String {
    let name = service.as_str();
    let (first, rest) = name.split_at(1);
    format!("/{name}.v1.{}{rest}Service/{method}", first.to_uppercase())
}

impl Bad {
    async fn send(self, shop: &Shop) -> Result<()> {
        let path = path(self.service, self.method);
        let line = format!("{path} {:.60?}", self.message);
        let status = call_raw(&shop.channel(self.service)?, &path, self.message)
            .await?
            .err()
            .context(line.clone())?;
        let found = reason_of(&status).context(line.clone())?;
        assert_eq!(
            found,
            (self.code, self.reason.to_owned()),
            "{line}: {}",
            status.message()
        );
        Ok(())
    }
}

const USERS: [&str; 3] = ["", "a\nb", "\0"];
const NO_UUIDS: [&str; 4] = [
    "",
    "abc",
    "00000000-0000-4000-8000-00000000000",
    "00000000-0000-4000-8000-00000000000g",
];

fn money(currency: &str, minor_units: i64) -> Option<Money> {
    Some(Money {
        currency_code: currency.to_owned(),
        minor_units,
    })
}

fn products() -> Vec<Bad> {
    let page = |page: GetProductsRequest| bad(Product, "GetProducts", &page, "INVALID_ARGUMENT");
    let mut all = vec![
        page(GetProductsRequest {
            page_size: -1,
            ..Default::default()
        }),
        page(GetProductsRequest {
            page_size: i32::MIN,
            ..Default::default()
        }),
        page(GetProductsRequest {
            page_token: "garbage".to_owned(),
            ..Default::default()
        }),
        page(GetProductsRequest {
            page_token: "x".repeat(100_000),
            ..Default::default()
        }),
        page(GetProductsRequest {
            query: "x".repeat(101),
            ..Default::default()
        }),
        page(GetProductsRequest {
            query: "\0".to_owned(),
            ..Default::default()
        }),
        bad(
            Product,
            "GetProduct",
            &GetProductRequest { id: i64::MAX },
            "PRODUCT_NOT_FOUND",
        ),
        bad(
            Product,
            "BatchGetProducts",
            &BatchGetProductsRequest { ids: vec![1; 101] },
            "INVALID_ARGUMENT",
        ),
        bad(
            Product,
            "BatchGetProducts",
            &BatchGetProductsRequest { ids: vec![1, -1] },
            "INVALID_PRODUCT_ID",
        ),
    ];
    for id in [0, -1, i64::MIN] {
        all.push(bad(
            Product,
            "GetProduct",
            &GetProductRequest { id },
            "INVALID_PRODUCT_ID",
        ));
    }
    let good = || UpsertProductRequest {
        id: 1,
        name: "n".to_owned(),
        price: money("USD", 1),
        ..Default::default()
    };
    let upsert = |message: UpsertProductRequest| bad(Product, "UpsertProduct", &message, "INVALID_ARGUMENT");
    for name in ["", " ", "a\nb", &"x".repeat(201)] {
        all.push(upsert(UpsertProductRequest {
            name: name.to_owned(),
            ..good()
        }));
    }
    for price in [0, -1, 100_000_001, i64::MAX, i64::MIN] {
        all.push(upsert(UpsertProductRequest {
            price: money("USD", price),
            ..good()
        }));
    }
    for currency in ["", "usd", "EUR", "US", "USDT", "Ü$"] {
        all.push(upsert(UpsertProductRequest {
            price: money(currency, 1),
            ..good()
        }));
    }
    all.push(upsert(UpsertProductRequest { price: None, ..good() }));
    all.push(upsert(UpsertProductRequest {
        description: "x".repeat(2_001),
        ..good()
    }));
    all.push(upsert(UpsertProductRequest {
        image_url: "x".repeat(2_001),
        ..good()
    }));
    let negative = UpsertProductRequest { id: -1, ..good() };
    all.push(bad(Product, "UpsertProduct", &negative, "INVALID_PRODUCT_ID"));
    all
}

/// The changes of a cart with all that they can hold: those that have no use for a value leave it out.
fn changes(
    user: &str,
    product_id: i64,
    quantity: i32,
    expected_version: Option<i64>,
    reason: &'static str,
) -> Vec<Bad> {
    let user_id = || user.to_owned();
    let add = AddItemRequest {
        user_id: user_id(),
        product_id,
        quantity,
        expected_version,
    };
    let update = UpdateQuantityRequest {
        user_id: user_id(),
        product_id,
        quantity,
        expected_version,
    };
    let remove = RemoveItemRequest {
        user_id: user_id(),
        product_id,
        expected_version,
    };
    let clear = ClearCartRequest {
        user_id: user_id(),
        expected_version,
    };
    let mut all = vec![
        bad(Cart, "AddItem", &add, reason),
        bad(Cart, "UpdateQuantity", &update, reason),
    ];
    if quantity == 1 {
        all.push(bad(Cart, "RemoveItem", &remove, reason));
    }
    if quantity == 1 && product_id == 2 {
        all.push(bad(Cart, "ClearCart", &clear, reason));
    }
    all
}

fn carts() -> Vec<Bad> {
    let mut all = Vec::new();
    let long = "x".repeat(129);
    for user in USERS.into_iter().chain([long.as_str()]) {
        all.extend(changes(user, 2, 1, None, "INVALID_ARGUMENT"));
        all.push(bad(
            Cart,
            "GetCart",
            &GetCartRequest {
                user_id: user.to_owned(),
            },
            "INVALID_ARGUMENT",
        ));
    }
    for product in [0, -1, i64::MIN] {
        all.extend(changes("resident", product, 1, None, "INVALID_PRODUCT_ID"));
    }
    for quantity in [0, -1, 100, i32::MAX, i32::MIN] {
        all.extend(changes("resident", 2, quantity, None, "INVALID_QUANTITY"));
    }
    for version in [-1, i64::MIN] {
        all.extend(changes("resident", 2, 1, Some(version), "INVALID_ARGUMENT"));
    }
    for version in [0, 999, i64::MAX] {
        all.extend(changes("resident", 2, 1, Some(version), "CART_VERSION_MISMATCH"));
    }
    let unknown = AddItemRequest {
        user_id: "resident".to_owned(),
        product_id: i64::MAX,
        quantity: 1,
        ..Default::default()
    };
    all.push(bad(Cart, "AddItem", &unknown, "PRODUCT_NOT_FOUND"));
    let absent = UpdateQuantityRequest {
        user_id: "resident".to_owned(),
        product_id: 5,
        quantity: 1,
        ..Default::default()
    };
    all.push(bad(Cart, "UpdateQuantity", &absent, "ITEM_NOT_FOUND"));
    all
}

fn inventory() -> Vec<Bad> {
    let line = |product_id, quantity| Line { product_id, quantity };
    let reserve = |lines: Vec<Line>, reason| {
        bad(
            Inventory,
            "Reserve",
            &ReserveRequest {
                checkout_id: NOBODYS.to_owned(),
                lines,
            },
            reason,
        )
    };
    let mut all = vec![
        reserve(vec![], "INVALID_ARGUMENT"),
        reserve(vec![line(1, 1); 101], "INVALID_ARGUMENT"),
        reserve(vec![line(1, 1_000_000), line(1, 1)], "INVALID_QUANTITY"),
        reserve(vec![line(1, 1), line(0, 1)], "INVALID_PRODUCT_ID"),
        bad(
            Inventory,
            "GetStock",
            &GetStockRequest {
                product_ids: vec![1; 1_001],
            },
            "INVALID_ARGUMENT",
        ),
        bad(
            Inventory,
            "GetStock",
            &GetStockRequest { product_ids: vec![0] },
            "INVALID_PRODUCT_ID",
        ),
        bad(
            Inventory,
            "Confirm",
            &ConfirmRequest {
                checkout_id: NOBODYS.to_owned(),
            },
            "RESERVATION_NOT_FOUND",
        ),
    ];
    let add = |product_id, quantity, key: &str, reason| {
        let message = AddStockRequest {
            product_id,
            quantity,
            idempotency_key: key.to_owned(),
        };
        bad(Inventory, "AddStock", &message, reason)
    };
    for quantity in [0, -1, 1_000_001, i64::MAX, i64::MIN] {
        all.push(reserve(vec![line(1, quantity)], "INVALID_QUANTITY"));
        all.push(add(1, quantity, "k", "INVALID_QUANTITY"));
    }
    for product in [0, -1, i64::MIN] {
        all.push(add(product, 1, "k", "INVALID_PRODUCT_ID"));
    }
    for key in ["", "a\nb", &"k".repeat(256)] {
        all.push(add(1, 1, key, "INVALID_ARGUMENT"));
    }
    for id in NO_UUIDS {
        let checkout_id = || id.to_owned();
        let wrong = ReserveRequest {
            checkout_id: checkout_id(),
            lines: vec![line(1, 1)],
        };
        all.push(bad(Inventory, "Reserve", &wrong, "INVALID_ARGUMENT"));
        all.push(bad(
            Inventory,
            "Confirm",
            &ConfirmRequest {
                checkout_id: checkout_id(),
            },
            "INVALID_ARGUMENT",
        ));
        all.push(bad(
            Inventory,
            "Release",
            &ReleaseRequest {
                checkout_id: checkout_id(),
            },
            "INVALID_ARGUMENT",
        ));
    }
    all
}

fn payments() -> Vec<Bad> {
    let charge = |id: &str, amount, method: &str| {
        let message = ChargeRequest {
            checkout_id: id.to_owned(),
            amount,
            payment_method: method.to_owned(),
        };
        bad(Payment, "Charge", &message, "INVALID_ARGUMENT")
    };
    let unknown = GetPaymentRequest {
        checkout_id: NOBODYS.to_owned(),
    };
    let mut all = vec![
        charge(NOBODYS, None, "pm_card_ok"),
        bad(Payment, "GetPayment", &unknown, "PAYMENT_NOT_FOUND"),
    ];
    for minor_units in [0, -1, i64::MIN] {
        all.push(charge(NOBODYS, money("USD", minor_units), "pm_card_ok"));
    }
    for currency in ["", "usd", "USDT", "\0\0\0"] {
        all.push(charge(NOBODYS, money(currency, 1), "pm_card_ok"));
    }
    for method in ["", "PM", "pm card", &"m".repeat(65), "\0"] {
        all.push(charge(NOBODYS, money("USD", 1), method));
    }
    for id in NO_UUIDS {
        let checkout_id = || id.to_owned();
        all.push(charge(id, money("USD", 1), "pm_card_ok"));
        all.push(bad(
            Payment,
            "Refund",
            &RefundRequest {
                checkout_id: checkout_id(),
            },
            "INVALID_ARGUMENT",
        ));
        all.push(bad(
            Payment,
            "GetPayment",
            &GetPaymentRequest {
                checkout_id: checkout_id(),
            },
            "INVALID_ARGUMENT",
        ));
    }
    all
}

fn checkouts() -> Vec<Bad> {
    let initiate = |user: &str, key: &str, method: &str, reason| {
        let message = InitiateCheckoutRequest {
            user_id: user.to_owned(),
            idempotency_key: key.to_owned(),
            payment_method: method.to_owned(),
            accept_price_changes: false,
        };
        bad(Checkout, "InitiateCheckout", &message, reason)
    };
    let get = |user: &str, id: &str, reason| {
        bad(
            Checkout,
            "GetCheckout",
            &GetCheckoutRequest {
                user_id: user.to_owned(),
                checkout_id: id.to_owned(),
            },
            reason,
        )
    };
    let list = |message: ListCheckoutsRequest| bad(Checkout, "ListCheckouts", &message, "INVALID_ARGUMENT");
    let mut all = vec![
        initiate("resident", "", "", "MISSING_IDEMPOTENCY_KEY"),
        initiate("newcomer", "bought", "", "CART_EMPTY"),
        initiate("resident", "bought", "pm_card_slow", "IDEMPOTENCY_KEY_REUSED"),
        get("resident", NOBODYS, "CHECKOUT_NOT_FOUND"),
        list(ListCheckoutsRequest {
            status: 99,
            ..Default::default()
        }),
        list(ListCheckoutsRequest {
            status: -1,
            ..Default::default()
        }),
        list(ListCheckoutsRequest {
            page_size: -1,
            ..Default::default()
        }),
        list(ListCheckoutsRequest {
            page_token: "garbage".to_owned(),
            ..Default::default()
        }),
    ];
    for key in ["a\nb", "\0", &"k".repeat(256)] {
        all.push(initiate("resident", key, "", "INVALID_ARGUMENT"));
    }
    for method in ["PM", "pm card", &"m".repeat(65), "\0"] {
        all.push(initiate("resident", "k", method, "INVALID_ARGUMENT"));
    }
    for user in USERS {
        all.push(initiate(user, "k", "", "INVALID_ARGUMENT"));
        all.push(get(user, NOBODYS, "INVALID_ARGUMENT"));
    }
    all.extend(NO_UUIDS.map(|id| get("resident", id, "INVALID_ARGUMENT")));
    all
}

fn readers() -> Vec<Bad> {
    let get = |user: &str, id: &str, reason| {
        bad(
            Orders,
            "GetOrder",
            &GetOrderRequest {
                user_id: user.to_owned(),
                order_id: id.to_owned(),
            },
            reason,
        )
    };
    let list = |user: &str, page_size, token: &str| {
        let (user_id, page_token) = (user.to_owned(), token.to_owned());
        let orders = ListOrdersRequest {
            user_id: user_id.clone(),
            page_size,
            page_token: page_token.clone(),
        };
        let notifications = ListNotificationsRequest {
            user_id,
            page_size,
            page_token,
        };
        [
            bad(Orders, "ListOrders", &orders, "INVALID_ARGUMENT"),
            bad(Notification, "ListNotifications", &notifications, "INVALID_ARGUMENT"),
        ]
    };
    let mut all = vec![
        get("resident", NOBODYS, "ORDER_NOT_FOUND"),
        get("resident", &"x".repeat(9_000), "INVALID_ARGUMENT"),
    ];
    all.extend(NO_UUIDS.map(|id| get("resident", id, "INVALID_ARGUMENT")));
    all.extend(USERS.map(|user| get(user, NOBODYS, "INVALID_ARGUMENT")));
    all.extend(USERS.iter().flat_map(|user| list(user, 0, "")));
    all.extend(list(&"x".repeat(129), 0, ""));
    all.extend(list("resident", -1, ""));
    all.extend(list("resident", i32::MIN, ""));
    all.extend(list("resident", 0, "garbage"));
    all.extend(list("resident", 0, &"A".repeat(10_000)));
    all
}

/// All methods, each with a field of its request that is a string.
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

/// Bytes that are no message of any method.
fn no_messages() -> Vec<Bad> {
    let mut all = Vec::new();
    for (service, method, text) in METHODS {
        let broken = |message: Vec<u8>| Bad {
            service,
            method,
            message: message.into(),
            code: Code::InvalidArgument,
            reason: "INVALID_REQUEST",
        };
        // Bits that are no tag; a field that is longer than the message; a number without an end; a wire type that is none.
        all.extend([vec![0xff; 16], vec![0x0a, 0x7f], vec![0x08, 0xff, 0xff], vec![0x0f]].map(&broken));
        // Not UTF-8.
        all.extend(text.map(|field| broken(vec![field << 3 | 2, 2, 0xc3, 0x28])));
        let large = Bad {
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
        all.push(Bad {
            service,
            method: "Destroy",
            message: Bytes::new(),
            code,
            reason,
        });
    }
    all
}

#[tokio::test]
async fn every_method_refuses_what_makes_no_sense_and_nothing_changes() -> Result<()> {
    let shop = lived_in().await?;
    let all = [products(), carts(), inventory(), payments(), checkouts(), readers()];
    without_a_trace(&shop, async {
        for bad in all.into_iter().flatten() {
            bad.send(&shop).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_by_every_method() -> Result<()> {
    let shop = lived_in().await?;
    without_a_trace(&shop, async {
        for bad in no_messages() {
            bad.send(&shop).await?;
        }
        Ok(())
    })
    .await
}
