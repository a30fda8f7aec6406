//! Fake services: they answer from a script and record their calls.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard},
};

use proto::{
    cart::v1::{self as cart, cart_service_server::CartService},
    checkout::v1::{self as checkout, checkout_service_server::CheckoutService},
    money::v1::Money,
    orders::v1::{self as orders, orders_service_server::OrdersService},
    product::v1::{self as product, product_service_server::ProductService},
};
use tokio::sync::{Notify, Semaphore};
use tonic::{Request, Response, Status, metadata::MetadataMap};

/// A fault of the next calls.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Refuse(Status),
    Panic,
    Hang,
    /// Answers after the notification.
    Wait(Arc<Notify>),
}

#[derive(Debug)]
pub(crate) struct Call {
    /// The message in `Debug` format.
    pub(crate) message: String,
    pub(crate) metadata: MetadataMap,
}

/// The answers, the faults and the recorded calls.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) fault: Option<Fault>,
    /// Takes precedence for calls of the cart service.
    pub(crate) cart_fault: Option<Fault>,
    pub(crate) products: product::GetProductsResponse,
    pub(crate) product: product::GetProductResponse,
    pub(crate) cart: Option<cart::Cart>,
    pub(crate) created: bool,
    pub(crate) checkout: Option<checkout::Checkout>,
    pub(crate) replayed: bool,
    pub(crate) orders: orders::ListOrdersResponse,
    pub(crate) order: Option<orders::Order>,
    pub(crate) calls: Vec<Call>,
}

#[derive(Debug, Clone)]
pub(crate) struct Fakes {
    script: Arc<Mutex<Script>>,
    /// A permit for each call that has begun.
    entered: Arc<Semaphore>,
}

impl Fakes {
    pub(crate) fn new() -> Self {
        Self {
            script: Arc::default(),
            entered: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub(crate) fn refuse(&self, status: impl Into<Status>) {
        self.script().fault = Some(Fault::Refuse(status.into()));
    }

    /// Waits until one more call has begun.
    pub(crate) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    /// Takes the recorded calls, of which there must be one.
    pub(crate) fn call(&self) -> Call {
        let mut calls = std::mem::take(&mut self.script().calls);
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    async fn answer<Q: Debug, A>(
        &self,
        request: Request<Q>,
        answer: impl FnOnce(&Script) -> A,
    ) -> Result<Response<A>, Status> {
        let (metadata, _, message) = request.into_parts();
        let fault = {
            let mut script = self.script();
            script.calls.push(Call {
                message: format!("{message:?}"),
                metadata,
            });
            let is_cart = std::any::type_name::<Q>().contains("cart::v1");
            let cart_fault = script.cart_fault.clone().filter(|_| is_cart);
            cart_fault.or_else(|| script.fault.clone())
        };
        self.entered.add_permits(1);
        match fault {
            None => {}
            Some(Fault::Refuse(status)) => return Err(status),
            Some(Fault::Panic) => panic!("SELECT secret FROM nowhere"),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Wait(until)) => until.notified().await,
        }
        Ok(Response::new(answer(&self.script())))
    }
}

macro_rules! fake {
    ($package:ident::$service:ident { $($method:ident: $request:ident => $response:ident, $answer:expr;)* }) => {
        #[tonic::async_trait]
        impl $service for Fakes {
            $(async fn $method(
                &self,
                request: Request<$package::$request>,
            ) -> Result<Response<$package::$response>, Status> {
                self.answer(request, $answer).await
            })*
        }
    };
}

fake!(product::ProductService {
    get_products: GetProductsRequest => GetProductsResponse, |s| s.products.clone();
    get_product: GetProductRequest => GetProductResponse, |s| s.product.clone();
    batch_get_products: BatchGetProductsRequest => BatchGetProductsResponse,
        |_| product::BatchGetProductsResponse::default();
    upsert_product: UpsertProductRequest => UpsertProductResponse, |_| product::UpsertProductResponse::default();
});

fake!(cart::CartService {
    add_item: AddItemRequest => AddItemResponse,
        |s| cart::AddItemResponse { cart: s.cart.clone(), created: s.created };
    get_cart: GetCartRequest => GetCartResponse, |s| cart::GetCartResponse { cart: s.cart.clone() };
    update_quantity: UpdateQuantityRequest => UpdateQuantityResponse,
        |s| cart::UpdateQuantityResponse { cart: s.cart.clone() };
    remove_item: RemoveItemRequest => RemoveItemResponse, |s| cart::RemoveItemResponse { cart: s.cart.clone() };
    clear_cart: ClearCartRequest => ClearCartResponse, |s| cart::ClearCartResponse { cart: s.cart.clone() };
    hold: HoldRequest => HoldResponse, |s| cart::HoldResponse { cart: s.cart.clone() };
    give_back: GiveBackRequest => GiveBackResponse, |s| cart::GiveBackResponse { cart: s.cart.clone() };
    erase_user: EraseUserRequest => EraseUserResponse, |_| cart::EraseUserResponse::default();
});

fake!(checkout::CheckoutService {
    initiate_checkout: InitiateCheckoutRequest => InitiateCheckoutResponse,
        |s| checkout::InitiateCheckoutResponse { checkout: s.checkout.clone(), replayed: s.replayed };
    get_checkout: GetCheckoutRequest => GetCheckoutResponse,
        |s| checkout::GetCheckoutResponse { checkout: s.checkout.clone() };
    list_checkouts: ListCheckoutsRequest => ListCheckoutsResponse,
        |_| checkout::ListCheckoutsResponse::default();
    prepare_erasure: PrepareErasureRequest => PrepareErasureResponse,
        |_| checkout::PrepareErasureResponse::default();
    erase_user: EraseUserRequest => EraseUserResponse, |_| checkout::EraseUserResponse::default();
});

fake!(orders::OrdersService {
    get_order: GetOrderRequest => GetOrderResponse, |s| orders::GetOrderResponse { order: s.order.clone() };
    list_orders: ListOrdersRequest => ListOrdersResponse, |s| s.orders.clone();
    erase_user: EraseUserRequest => EraseUserResponse, |_| orders::EraseUserResponse::default();
});

#[allow(clippy::unnecessary_wraps, reason = "the fields of messages are optional")]
pub(crate) fn usd(minor_units: i64) -> Option<Money> {
    Some(Money {
        currency_code: "USD".to_owned(),
        minor_units,
    })
}

/// 2026-01-02T03:04:05Z.
#[allow(clippy::unnecessary_wraps, reason = "the fields of messages are optional")]
pub(crate) fn then() -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: 1_767_323_045,
        nanos: 0,
    })
}
