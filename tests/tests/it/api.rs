//! The public interfaces: gRPC on the port of each service, REST on the port of the gateway.

mod methods;
mod purchase;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cartwright::{ServiceName, http::HttpResponse};
use http::StatusCode;
use proto::{
    cart::v1::UpdateQuantityRequest,
    checkout::v1::InitiateCheckoutRequest,
    inventory::v1::ConfirmRequest,
    money::v1::Money,
    notification::v1::ListNotificationsRequest,
    orders::v1::GetOrderRequest,
    payment::v1::{ChargeRequest, GetPaymentRequest, PaymentStatus},
    product::v1::GetProductRequest,
};
use runtime::config::Span;
use system_tests::{
    home::Profile,
    shops::{Shop, reason_of, until},
};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const SERVICES: [(ServiceName, &str); 7] = [
    (ServiceName::Product, "product.v1.ProductService"),
    (ServiceName::Cart, "cart.v1.CartService"),
    (ServiceName::Inventory, "inventory.v1.InventoryService"),
    (ServiceName::Payment, "payment.v1.PaymentService"),
    (ServiceName::Checkout, "checkout.v1.CheckoutService"),
    (ServiceName::Orders, "orders.v1.OrdersService"),
    (ServiceName::Notification, "notification.v1.NotificationService"),
];
const NOBODYS: &str = "00000000-0000-4000-8000-000000000000";

#[allow(clippy::unnecessary_wraps, reason = "a field of a message may be absent")]
fn usd(minor_units: i64) -> Option<Money> {
    Some(Money {
        currency_code: "USD".to_owned(),
        minor_units,
    })
}

async fn reflect(channel: &Channel, request: MessageRequest) -> Result<MessageResponse> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let mut answers = client
        .server_reflection_info(futures::stream::iter([request]))
        .await?
        .into_inner();
    let answer = answers.message().await?.context("reflection did not answer")?;
    answer.message_response.context("reflection answered nothing")
}

#[tokio::test]
async fn every_port_tells_its_health_and_describes_its_service() -> Result<()> {
    let mut shop = Shop::open(Profile::Embedded).await?;
    for (service, name) in SERVICES {
        let channel = shop.channel(service)?;
        let mut health = HealthClient::new(channel.clone());
        for asked in ["", name] {
            let answer = health
                .check(HealthCheckRequest {
                    service: asked.to_owned(),
                })
                .await?
                .into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{name}");
        }
        let other = health
            .check(HealthCheckRequest {
                service: "no.such.Service".to_owned(),
            })
            .await;
        assert_eq!(other.unwrap_err().code(), Code::NotFound, "{name}");

        let MessageResponse::ListServicesResponse(listed) =
            reflect(&channel, MessageRequest::ListServices(String::new())).await?
        else {
            panic!("{name} does not list its services");
        };
        let listed: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
        for expected in ["grpc.health.v1.Health", name] {
            assert!(
                listed.iter().any(|listed| listed == expected),
                "{expected} is not among {listed:?}"
            );
        }

        let symbol = MessageRequest::FileContainingSymbol(name.to_owned());
        let MessageResponse::FileDescriptorResponse(files) = reflect(&channel, symbol).await? else {
            panic!("{name} is not described");
        };
        let (_, short) = name.rsplit_once('.').unwrap();
        let described = files
            .file_descriptor_proto
            .iter()
            .any(|file| contains(file, short.as_bytes()));
        assert!(described, "{name} is described by a file without it");
    }
    shop.stop().await;
    Ok(())
}

fn contains(file: &[u8], name: &[u8]) -> bool {
    file.windows(name.len()).any(|window| window == name)
}

#[tokio::test]
async fn an_error_of_each_service_carries_exactly_one_reason() -> Result<()> {
    let shop = Shop::open(Profile::Embedded).await?;
    let (user_id, checkout_id) = (|| "somebody".to_owned(), || NOBODYS.to_owned());
    let product = GetProductRequest { id: 999 };
    let update = UpdateQuantityRequest {
        user_id: user_id(),
        product_id: 1,
        quantity: 1,
        ..Default::default()
    };
    let charge = ChargeRequest {
        checkout_id: checkout_id(),
        amount: usd(100),
        payment_method: "pm_card_declined".to_owned(),
    };
    let initiate = InitiateCheckoutRequest {
        user_id: user_id(),
        idempotency_key: "k".to_owned(),
        ..Default::default()
    };
    let order = GetOrderRequest {
        user_id: user_id(),
        order_id: NOBODYS.to_owned(),
    };
    let list = ListNotificationsRequest {
        user_id: user_id(),
        page_size: -1,
        page_token: String::new(),
    };
    let confirm = ConfirmRequest {
        checkout_id: checkout_id(),
    };
    let refused = [
        shop.products()?.get_product(product).await.map(drop),
        shop.carts()?.update_quantity(update).await.map(drop),
        shop.inventory()?.confirm(confirm).await.map(drop),
        shop.payments()?.charge(charge).await.map(drop),
        shop.checkouts()?.initiate_checkout(initiate).await.map(drop),
        shop.orders()?.get_order(order).await.map(drop),
        shop.notifications()?.list_notifications(list).await.map(drop),
    ]
    .map(Result::unwrap_err);
    let reasons = refused.iter().map(reason_of).collect::<Result<Vec<_>>>()?;
    let expected = [
        (Code::NotFound, "PRODUCT_NOT_FOUND"),
        (Code::NotFound, "ITEM_NOT_FOUND"),
        (Code::NotFound, "RESERVATION_NOT_FOUND"),
        (Code::FailedPrecondition, "CARD_DECLINED"),
        (Code::FailedPrecondition, "CART_EMPTY"),
        (Code::NotFound, "ORDER_NOT_FOUND"),
        (Code::InvalidArgument, "INVALID_ARGUMENT"),
    ];
    assert_eq!(reasons, expected.map(|(code, reason)| (code, reason.to_owned())));
    let blamed = proto::status::fields(&refused[6]);
    assert_eq!(blamed.iter().map(|(field, _)| field).collect::<Vec<_>>(), ["page_size"]);
    Ok(())
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_its_charge_is_still_made() -> Result<()> {
    let latency = Span(Duration::from_millis(900));
    let shop = Shop::with_settings(Profile::Embedded, |settings| {
        settings.payment_min_latency = latency;
        settings.payment_max_latency = latency;
    })
    .await?;
    let charge = ChargeRequest {
        checkout_id: NOBODYS.to_owned(),
        amount: usd(100),
        payment_method: "pm_card_ok".to_owned(),
    };
    let mut request = Request::new(charge);
    request.set_timeout(Duration::from_millis(100));
    let began = Instant::now();
    let late = shop.payments()?.charge(request).await.unwrap_err();
    assert!(
        matches!(late.code(), Code::Cancelled | Code::DeadlineExceeded),
        "{late:?}"
    );
    assert!(
        began.elapsed() < latency.0,
        "the deadline came after {:?}",
        began.elapsed()
    );
    let payments = shop.payments()?;
    until("the charge that nobody waited for is known", async || {
        let request = GetPaymentRequest {
            checkout_id: NOBODYS.to_owned(),
        };
        let known = payments
            .clone()
            .get_payment(request)
            .await?
            .into_inner()
            .payment
            .context("no payment")?;
        Ok(known.status() == PaymentStatus::Succeeded)
    })
    .await
}

/// The dependencies in a readiness report, which must all be up.
fn dependencies(reply: &HttpResponse) -> Vec<String> {
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    let report = reply.json();
    assert_eq!(report["status"], "ok");
    let dependencies = report["dependencies"].as_object().unwrap();
    assert!(dependencies.values().all(|state| state == "up"), "{report}");
    dependencies.keys().cloned().collect()
}

#[tokio::test]
async fn readiness_lists_every_dependency_on_both_ports() -> Result<()> {
    let shop = Shop::open(Profile::Embedded).await?;
    let anonymous = shop.anonymous()?;
    assert_eq!(anonymous.read("/health").await?, serde_json::json!({"status": "ok"}));
    assert_eq!(anonymous.read("/health/live").await?["status"], "ok");
    let listed = dependencies(&anonymous.get("/health/ready").await?);
    for service in [
        "product",
        "cart",
        "inventory",
        "payment",
        "checkout",
        "orders",
        "notification",
        "event-bus",
    ] {
        assert!(
            listed.iter().any(|name| name.starts_with(service)),
            "{service} is not among {listed:?}"
        );
    }
    let admin = cartwright::http::Customer {
        gateway: shop.admin()?,
        token: None,
    };
    assert_eq!(dependencies(&admin.get("/health/ready").await?), listed);
    assert_eq!(admin.get("/health/live").await?.status, StatusCode::OK);
    assert_eq!(admin.get("/api/v1/products").await?.status, StatusCode::NOT_FOUND);
    Ok(())
}
