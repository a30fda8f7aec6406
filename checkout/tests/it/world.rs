//! The participants of a saga, as [`World`]: the ports of checkout over a [`Ledger`], which remembers what each call did. What
//! goes wrong on the way to them is in `calls`.

mod calls;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use checkout::{
    domain::{CartLine, CartView, CheckoutId, Failure, Line, PaymentMethod, Priced, ProductId, Purchase, UserId},
    ports::{Answer, Carts, Catalogue, Payment, Payments, PeerError, Stock},
};
use money::{Money, Quantity};
use proto::Reason;
use tonic::Status;

use crate::ledger::Ledger;
use calls::Calls;
pub(crate) use calls::{At, FAULTS, FAULTS_OF_CONNECTIONS, Fault, PARTICIPANTS};

#[derive(Default)]
pub(crate) struct World {
    ledger: Mutex<Ledger>,
    prices: Mutex<BTreeMap<ProductId, Priced>>,
    calls: Calls,
}

impl World {
    /// Two products in stock, and customers who each have a cart with two of the one and one of the other: 22.50 together.
    pub(crate) fn new() -> Arc<Self> {
        let world = Self::default();
        world.restock(1000);
        world.set_price(1, 1000);
        world.set_price(2, 250);
        world.fill_cart(&[(1, 2, 1000), (2, 1, 250)]);
        Arc::new(world)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// So many pieces of each of the two.
    pub(crate) fn restock(&self, pieces: i64) {
        self.ledger().available = [
            (ProductId::new(1).unwrap(), pieces),
            (ProductId::new(2).unwrap(), pieces),
        ]
        .into();
    }

    pub(crate) fn set_price(&self, product: i64, price: i64) {
        let priced = Priced {
            name: format!("Product {product}"),
            price: Money::usd(price),
        };
        self.prices
            .lock()
            .unwrap()
            .insert(ProductId::new(product).unwrap(), priced);
    }

    pub(crate) fn delist(&self, product: i64) {
        self.prices.lock().unwrap().remove(&ProductId::new(product).unwrap());
    }

    /// Puts these into every cart in place of what is free there: product, quantity and the price that was seen.
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

    pub(crate) fn prices(&self) -> BTreeMap<ProductId, Priced> {
        self.prices.lock().unwrap().clone()
    }
}

/// What an adapter makes of an answer: only what is known of that call is a refusal.
fn answer<T>(answer: Result<Result<T, Failure>, Status>, refusals: &[Reason]) -> Answer<T> {
    match answer {
        Ok(Ok(value)) => Answer::Done(value),
        Ok(Err(failure)) if refusals.contains(&failure.reason) => Answer::Refused(failure),
        Ok(Err(failure)) => Answer::Unknown(Status::failed_precondition(failure.message).into()),
        Err(status) => Answer::Unknown(status.into()),
    }
}

#[async_trait]
impl Carts for World {
    async fn cart_of(&self, user: &UserId) -> Result<CartView, PeerError> {
        let user = user.clone();
        Ok(self.call(At::Cart, move |ledger| ledger.carts.view(&user)).await?)
    }

    async fn hold(&self, id: CheckoutId, user: &UserId, purchase: &Purchase) -> Answer<()> {
        let (user, purchase) = (user.clone(), purchase.clone());
        let called = self.call(At::Hold, move |ledger| ledger.carts.hold(id, &user, &purchase));
        answer(called.await, &[Reason::CartChanged])
    }

    async fn give_back(&self, id: CheckoutId, user: &UserId) -> Answer<()> {
        let user = user.clone();
        let called = self.call(At::GiveBack, move |ledger| ledger.carts.give_back(id, &user));
        answer(called.await.map(Ok), &[])
    }
}

#[async_trait]
impl Catalogue for World {
    async fn prices_of(&self, products: &[ProductId]) -> Result<BTreeMap<ProductId, Priced>, PeerError> {
        self.call(At::Prices, |_| ()).await?;
        let mut prices = self.prices();
        prices.retain(|product, _| products.contains(product));
        Ok(prices)
    }
}

#[async_trait]
impl Stock for World {
    async fn reserve(&self, id: CheckoutId, lines: &[Line]) -> Answer<()> {
        let lines = lines.to_vec();
        let called = self.call(At::Reserve, move |ledger| ledger.reserve(id, &lines)).await;
        answer(called, &[Reason::OutOfStock, Reason::ReservationReleased])
    }

    async fn confirm(&self, id: CheckoutId) -> Answer<()> {
        let called = self.call(At::Confirm, move |ledger| ledger.confirm(id)).await;
        answer(called, &[Reason::ReservationExpired])
    }

    async fn release(&self, id: CheckoutId) -> Answer<()> {
        answer(self.call(At::Release, move |ledger| ledger.release(id)).await, &[])
    }
}

#[async_trait]
impl Payments for World {
    async fn charge(&self, id: CheckoutId, amount: Money, method: &PaymentMethod) -> Answer<String> {
        let method = method.clone();
        let called = self
            .call(At::Charge, move |ledger| ledger.charge(id, amount, &method))
            .await;
        let declines = crate::ledger::DECLINES.map(|(_, reason)| reason);
        answer(called, &[&declines[..], &[Reason::PaymentCancelled]].concat())
    }

    async fn refund(&self, id: CheckoutId) -> Answer<()> {
        let called = self.call(At::Refund, move |ledger| ledger.refund(id)).await;
        answer(called.map(Ok), &[])
    }

    async fn find(&self, id: CheckoutId) -> Result<Payment, PeerError> {
        Ok(self.call(At::FindPayment, move |ledger| ledger.payment(id)).await?)
    }
}
