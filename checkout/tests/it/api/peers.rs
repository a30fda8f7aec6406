//! gRPC servers of the fake peers.

use std::sync::{Arc, Mutex};

use checkout::{
    domain::{CartRef, CheckoutId, Failure, Line, PaymentMethod, ProductId, Purchase, UserId},
    ports,
};
use money::Quantity;
use proto::{
    cart::v1::{self as cart, cart_service_server::CartService},
    convert,
    inventory::v1::{self as inventory, inventory_service_server::InventoryService},
    payment::v1::{self as payment, PaymentStatus, payment_service_server::PaymentService},
    product::v1::{self as product, product_service_server::ProductService},
    status::Refusal,
};
use tonic::{Request, Response, Status};

use crate::fake_peers::{
    FakePeers, PeerCall,
    ledger::{PaymentState, PeerLedger},
};

/// The servers of all four peers.
#[derive(Clone)]
pub(super) struct PeerServers {
    pub(super) peers: Arc<FakePeers>,
    /// Statuses for the next calls, which are then not executed.
    pub(super) answers: Arc<Mutex<Vec<(PeerCall, Status)>>>,
}

type Answer<T> = Result<Response<T>, Status>;

impl PeerServers {
    fn planned_answer(&self, call: PeerCall) -> Result<(), Status> {
        let mut answers = self.answers.lock().unwrap();
        match answers.iter().position(|(planned, _)| *planned == call) {
            Some(index) => Err(answers.remove(index).1),
            None => Ok(()),
        }
    }
}

fn refusal(failure: Failure) -> Status {
    let refusal = Refusal::new(failure.reason, failure.message);
    if failure.shortages.is_empty() {
        return refusal.into();
    }
    let shortages = serde_json::to_string(&failure.shortages).unwrap();
    refusal.with(proto::Fact::Shortages, shortages).into()
}

fn id(text: &str) -> CheckoutId {
    CheckoutId(text.parse().unwrap())
}

/// A line without the name and price, which participants do not get.
fn line_of(product_id: i64, quantity: i64) -> Line {
    Line {
        product: ProductId::new(product_id).unwrap(),
        name: String::new(),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: money::Money::usd(0),
    }
}

fn not_called<T>() -> Answer<T> {
    Err(Status::unimplemented("checkout does not call this"))
}

#[tonic::async_trait]
impl CartService for PeerServers {
    async fn get_cart(&self, request: Request<cart::GetCartRequest>) -> Answer<cart::GetCartResponse> {
        self.planned_answer(PeerCall::GetCart)?;
        let user = UserId::new(request.into_inner().user_id).unwrap();
        let view = self
            .peers
            .execute(PeerCall::GetCart, |ledger| ledger.carts.view(&user))
            .await;
        let item = |line: &checkout::domain::CartLine| cart::CartItem {
            product_id: line.product.get(),
            price: Some(line.seen_price.into()),
            quantity: line.quantity.get().try_into().unwrap(),
            ..cart::CartItem::default()
        };
        let hold = |holder: &CheckoutId| cart::Hold {
            checkout_id: holder.to_string(),
            items: Vec::new(),
        };
        let cart = cart::Cart {
            user_id: user.into_string(),
            items: view.lines.iter().map(item).collect(),
            cart_id: view.cart.id.unwrap().to_string(),
            version: view.cart.version,
            in_checkout: view.holders.iter().map(hold).collect(),
            ..cart::Cart::default()
        };
        Ok(Response::new(cart::GetCartResponse { cart: Some(cart) }))
    }

    async fn hold(&self, request: Request<cart::HoldRequest>) -> Answer<cart::HoldResponse> {
        self.planned_answer(PeerCall::Hold)?;
        let request = request.into_inner();
        let line = |line: &cart::HoldLine| line_of(line.product_id, line.quantity);
        let purchase = Purchase {
            lines: request.lines.iter().map(line).collect(),
            total: money::Money::usd(0),
            cart: CartRef {
                id: (!request.cart_id.is_empty()).then(|| request.cart_id.parse().unwrap()),
                version: request.cart_version,
            },
        };
        let (id, user) = (id(&request.checkout_id), UserId::new(request.user_id).unwrap());
        let hold = |ledger: &mut PeerLedger| ledger.carts.hold(id, &user, &purchase);
        self.peers.execute(PeerCall::Hold, hold).await.map_err(refusal)?;
        Ok(Response::new(cart::HoldResponse::default()))
    }

    async fn give_back(&self, request: Request<cart::GiveBackRequest>) -> Answer<cart::GiveBackResponse> {
        self.planned_answer(PeerCall::GiveBack)?;
        let request = request.into_inner();
        let (id, user) = (id(&request.checkout_id), UserId::new(request.user_id).unwrap());
        let give_back = |ledger: &mut PeerLedger| ledger.carts.give_back(id, &user);
        self.peers.execute(PeerCall::GiveBack, give_back).await;
        Ok(Response::new(cart::GiveBackResponse::default()))
    }

    async fn add_item(&self, _: Request<cart::AddItemRequest>) -> Answer<cart::AddItemResponse> {
        not_called()
    }

    async fn update_quantity(&self, _: Request<cart::UpdateQuantityRequest>) -> Answer<cart::UpdateQuantityResponse> {
        not_called()
    }

    async fn remove_item(&self, _: Request<cart::RemoveItemRequest>) -> Answer<cart::RemoveItemResponse> {
        not_called()
    }

    async fn clear_cart(&self, _: Request<cart::ClearCartRequest>) -> Answer<cart::ClearCartResponse> {
        not_called()
    }

    async fn erase_user(&self, _: Request<cart::EraseUserRequest>) -> Answer<cart::EraseUserResponse> {
        not_called()
    }
}

#[tonic::async_trait]
impl ProductService for PeerServers {
    async fn batch_get_products(
        &self,
        request: Request<product::BatchGetProductsRequest>,
    ) -> Answer<product::BatchGetProductsResponse> {
        self.planned_answer(PeerCall::GetPrices)?;
        let ids = request.into_inner().ids;
        let prices = self.peers.execute(PeerCall::GetPrices, |_| self.peers.prices()).await;
        let product = |(id, priced): (ProductId, checkout::domain::PricedProduct)| product::Product {
            id: id.get(),
            name: priced.name,
            price: Some(priced.price.into()),
            ..product::Product::default()
        };
        let found = prices.into_iter().filter(|(product, _)| ids.contains(&product.get()));
        Ok(Response::new(product::BatchGetProductsResponse {
            products: found.map(product).collect(),
        }))
    }

    async fn get_products(&self, _: Request<product::GetProductsRequest>) -> Answer<product::GetProductsResponse> {
        not_called()
    }

    async fn get_product(&self, _: Request<product::GetProductRequest>) -> Answer<product::GetProductResponse> {
        not_called()
    }

    async fn upsert_product(
        &self,
        _: Request<product::UpsertProductRequest>,
    ) -> Answer<product::UpsertProductResponse> {
        not_called()
    }
}

#[tonic::async_trait]
impl InventoryService for PeerServers {
    async fn reserve(&self, request: Request<inventory::ReserveRequest>) -> Answer<inventory::ReserveResponse> {
        self.planned_answer(PeerCall::Reserve)?;
        let request = request.into_inner();
        let line = |line: inventory::Line| line_of(line.product_id, line.quantity);
        let (id, lines) = (
            id(&request.checkout_id),
            request.lines.into_iter().map(line).collect::<Vec<_>>(),
        );
        let reserved = self
            .peers
            .execute(PeerCall::Reserve, |ledger| ledger.reserve(id, &lines))
            .await;
        reserved.map_err(refusal)?;
        Ok(Response::new(inventory::ReserveResponse::default()))
    }

    async fn confirm(&self, request: Request<inventory::ConfirmRequest>) -> Answer<inventory::ConfirmResponse> {
        self.planned_answer(PeerCall::Confirm)?;
        let id = id(&request.into_inner().checkout_id);
        let confirmed = self.peers.execute(PeerCall::Confirm, |ledger| ledger.confirm(id)).await;
        confirmed.map_err(refusal)?;
        Ok(Response::new(inventory::ConfirmResponse::default()))
    }

    async fn release(&self, request: Request<inventory::ReleaseRequest>) -> Answer<inventory::ReleaseResponse> {
        self.planned_answer(PeerCall::Release)?;
        let id = id(&request.into_inner().checkout_id);
        let released = self.peers.execute(PeerCall::Release, |ledger| ledger.release(id)).await;
        released.map_err(refusal)?;
        Ok(Response::new(inventory::ReleaseResponse::default()))
    }

    async fn get_stock(&self, _: Request<inventory::GetStockRequest>) -> Answer<inventory::GetStockResponse> {
        not_called()
    }

    async fn add_stock(&self, _: Request<inventory::AddStockRequest>) -> Answer<inventory::AddStockResponse> {
        not_called()
    }
}

#[tonic::async_trait]
impl PaymentService for PeerServers {
    async fn charge(&self, request: Request<payment::ChargeRequest>) -> Answer<payment::ChargeResponse> {
        self.planned_answer(PeerCall::Charge)?;
        let request = request.into_inner();
        let amount = convert::money("amount", request.amount)?;
        let method = PaymentMethod::new(&request.payment_method).unwrap();
        let id = id(&request.checkout_id);
        let charge = |ledger: &mut PeerLedger| ledger.charge(id, amount, &method);
        let payment_id = self.peers.execute(PeerCall::Charge, charge).await.map_err(refusal)?;
        let payment = payment::Payment {
            payment_id,
            status: PaymentStatus::Succeeded.into(),
            ..payment::Payment::default()
        };
        Ok(Response::new(payment::ChargeResponse { payment: Some(payment) }))
    }

    async fn refund(&self, request: Request<payment::RefundRequest>) -> Answer<payment::RefundResponse> {
        self.planned_answer(PeerCall::Refund)?;
        let id = id(&request.into_inner().checkout_id);
        self.peers.execute(PeerCall::Refund, |ledger| ledger.refund(id)).await;
        Ok(Response::new(payment::RefundResponse::default()))
    }

    async fn get_payment(&self, request: Request<payment::GetPaymentRequest>) -> Answer<payment::GetPaymentResponse> {
        self.planned_answer(PeerCall::GetPayment)?;
        let id = id(&request.into_inner().checkout_id);
        let find = |ledger: &mut PeerLedger| (ledger.payments.get(&id).cloned(), ledger.payment(id));
        let (paid, known) = self.peers.execute(PeerCall::GetPayment, find).await;
        let status = match paid {
            None => return Err(Refusal::new(proto::Reason::PaymentNotFound, "no such payment").into()),
            Some(PaymentState::Charged) => PaymentStatus::Succeeded,
            Some(PaymentState::Declined(_)) => PaymentStatus::Declined,
            Some(PaymentState::Refunded) => PaymentStatus::Refunded,
            Some(PaymentState::Cancelled) => PaymentStatus::Cancelled,
        };
        let (payment_id, decline_reason) = match known {
            ports::Payment::Succeeded { payment_id } => (payment_id, String::new()),
            ports::Payment::Declined(failure) => (String::new(), failure.reason.as_str().to_owned()),
            ports::Payment::Open => (String::new(), String::new()),
        };
        let payment = payment::Payment {
            payment_id,
            decline_reason,
            status: status.into(),
            ..payment::Payment::default()
        };
        Ok(Response::new(payment::GetPaymentResponse { payment: Some(payment) }))
    }
}
