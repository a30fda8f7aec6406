//! [`FakePeers`]: the ports to other services, over a [`PeerLedger`] that stores the effects and the answers of their
//! calls. `calls` makes calls fail.

mod calls;
pub(crate) mod ledger;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use checkout::{
    domain::{
        CartLine, CartView, CheckoutId, Failure, Line, PaymentMethod, PricedProduct, ProductId, Purchase, UserId,
    },
    ports::{Carts, Catalogue, Payment, Payments, PeerError, PeerOutcome, Stock},
};
use money::{Money, Quantity};
use proto::Reason;
use tonic::Status;

use calls::Calls;
pub(crate) use calls::{CONNECTION_FAULTS, FAULTS, Fault, PeerCall, SAGA_CALLS, When};
use ledger::PeerLedger;

#[derive(Default)]
pub(crate) struct FakePeers {
    ledger: Mutex<PeerLedger>,
    prices: Mutex<BTreeMap<ProductId, PricedProduct>>,
    calls: Calls,
}

impl FakePeers {
    /// Two products in stock. Each customer's cart has two pieces of product 1 and one of product 2: 22.50 in total.
    pub(crate) fn new() -> Arc<Self> {
        let peers = Self::default();
        peers.restock(1000);
        peers.set_price(1, 1000);
        peers.set_price(2, 250);
        peers.fill_cart(&[(1, 2, 1000), (2, 1, 250)]);
        Arc::new(peers)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, PeerLedger> {
        self.ledger.lock().unwrap()
    }

    /// Sets the available stock of both products.
    pub(crate) fn restock(&self, pieces: i64) {
        self.ledger().available = [1, 2].map(|id| (ProductId::new(id).unwrap(), pieces)).into();
    }

    pub(crate) fn set_price(&self, product: i64, price: i64) {
        let priced = PricedProduct {
            name: format!("Product {product}"),
            price: Money::usd(price),
        };
        let product = ProductId::new(product).unwrap();
        self.prices.lock().unwrap().insert(product, priced);
    }

    pub(crate) fn delist(&self, product: i64) {
        self.prices.lock().unwrap().remove(&ProductId::new(product).unwrap());
    }

    /// Replaces the free lines of every cart: product, quantity and seen price.
    pub(crate) fn fill_cart(&self, lines: &[(i64, i64, i64)]) {
        let line = |&(product, quantity, price)| CartLine {
            product: ProductId::new(product).unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
            seen_price: Money::usd(price),
        };
        self.ledger().carts.fill(lines.iter().map(line).collect());
    }

    pub(crate) fn cart(&self, user: &UserId) -> CartView {
        self.ledger().carts.view(user)
    }

    pub(crate) fn prices(&self) -> BTreeMap<ProductId, PricedProduct> {
        self.prices.lock().unwrap().clone()
    }
}

/// The outcome as the adapters decide it: refused only for one of these reasons.
fn outcome<T>(answer: Result<Result<T, Failure>, Status>, refusals: &[Reason]) -> PeerOutcome<T> {
    match answer {
        Ok(Ok(value)) => PeerOutcome::Done(value),
        Ok(Err(failure)) if refusals.contains(&failure.reason) => PeerOutcome::Refused(failure),
        Ok(Err(failure)) => PeerOutcome::Unknown(Status::failed_precondition(failure.message).into()),
        Err(status) => PeerOutcome::Unknown(status.into()),
    }
}

#[async_trait]
impl Carts for FakePeers {
    async fn get_cart(&self, user: &UserId) -> Result<CartView, PeerError> {
        let user = user.clone();
        Ok(self
            .call(PeerCall::GetCart, move |ledger| ledger.carts.view(&user))
            .await?)
    }

    async fn hold(&self, id: CheckoutId, user: &UserId, purchase: &Purchase) -> PeerOutcome<()> {
        let (user, purchase) = (user.clone(), purchase.clone());
        let called = self.call(PeerCall::Hold, move |ledger| ledger.carts.hold(id, &user, &purchase));
        outcome(called.await, &[Reason::CartChanged])
    }

    async fn give_back(&self, id: CheckoutId, user: &UserId) -> PeerOutcome<()> {
        let user = user.clone();
        let called = self.call(PeerCall::GiveBack, move |ledger| ledger.carts.give_back(id, &user));
        outcome(called.await.map(Ok), &[])
    }
}

#[async_trait]
impl Catalogue for FakePeers {
    async fn current_prices(&self, products: &[ProductId]) -> Result<BTreeMap<ProductId, PricedProduct>, PeerError> {
        self.call(PeerCall::GetPrices, |_| ()).await?;
        let mut prices = self.prices();
        prices.retain(|product, _| products.contains(product));
        Ok(prices)
    }
}

#[async_trait]
impl Stock for FakePeers {
    async fn reserve(&self, id: CheckoutId, lines: &[Line]) -> PeerOutcome<()> {
        let lines = lines.to_vec();
        let called = self
            .call(PeerCall::Reserve, move |ledger| ledger.reserve(id, &lines))
            .await;
        outcome(called, &[Reason::OutOfStock, Reason::ReservationReleased])
    }

    async fn confirm(&self, id: CheckoutId) -> PeerOutcome<()> {
        let called = self.call(PeerCall::Confirm, move |ledger| ledger.confirm(id)).await;
        outcome(called, &[Reason::ReservationExpired])
    }

    async fn release(&self, id: CheckoutId) -> PeerOutcome<()> {
        outcome(
            self.call(PeerCall::Release, move |ledger| ledger.release(id)).await,
            &[],
        )
    }
}

#[async_trait]
impl Payments for FakePeers {
    async fn charge(&self, id: CheckoutId, amount: Money, method: &PaymentMethod) -> PeerOutcome<String> {
        let method = method.clone();
        let called = self
            .call(PeerCall::Charge, move |ledger| ledger.charge(id, amount, &method))
            .await;
        let declines = ledger::DECLINES.map(|(_, reason)| reason);
        outcome(called, &[&declines[..], &[Reason::PaymentCancelled]].concat())
    }

    async fn refund(&self, id: CheckoutId) -> PeerOutcome<()> {
        let called = self.call(PeerCall::Refund, move |ledger| ledger.refund(id)).await;
        outcome(called.map(Ok), &[])
    }

    async fn find(&self, id: CheckoutId) -> Result<Payment, PeerError> {
        Ok(self
            .call(PeerCall::GetPayment, move |ledger| ledger.payment(id))
            .await?)
    }
}
