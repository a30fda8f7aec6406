//! The world around a saga: participants with books, and a script of what goes wrong with the calls to them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use checkout::{
    domain::{CartLine, CartView, CheckoutId, Failure, Line, PaymentMethod, Priced, ProductId, Purchase, UserId},
    ports::{Answer, Carts, Catalogue, Payment, Payments, PeerError, Stock},
};
use money::{Money, Quantity};
use proto::Reason;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::ledger::Ledger;

/// A call that a saga makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    Cart,
    Prices,
    Reserve,
    Hold,
    Charge,
    FindPayment,
    Confirm,
    Release,
    GiveBack,
    Refund,
}

/// The calls to those that keep books.
pub(crate) const PARTICIPANTS: [At; 8] = [
    At::Reserve,
    At::Hold,
    At::Charge,
    At::FindPayment,
    At::Confirm,
    At::Release,
    At::GiveBack,
    At::Refund,
];

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NeverArrives,
    AnswerLost,
    Twice,
    /// It is executed, and its answer comes when nobody waits for it any more.
    Slow,
    /// The same with the call itself: it is executed after so many others that the caller makes later.
    Overtaken(usize),
}

/// Those that a connection can be made to have.
pub(crate) const FAULTS_OF_CONNECTIONS: [Fault; 3] = [Fault::NeverArrives, Fault::AnswerLost, Fault::Twice];

pub(crate) const FAULTS: [Fault; 6] = [
    Fault::NeverArrives,
    Fault::AnswerLost,
    Fault::Twice,
    Fault::Slow,
    Fault::Overtaken(1),
    Fault::Overtaken(3),
];

/// How long a caller waits for an answer.
const DEADLINE: Duration = Duration::from_secs(8);

/// What a call does to the books.
type Effect = Box<dyn FnOnce(&mut Ledger) + Send>;

/// Holds one call up.
#[derive(Debug)]
pub(crate) struct Gate {
    at: At,
    /// Behind the effect rather than before it.
    behind: bool,
    arrivals: Semaphore,
    open: Semaphore,
}

impl Gate {
    /// Returns once a call waits here.
    pub(crate) async fn reached(&self) {
        self.arrivals.acquire().await.unwrap().forget();
    }

    pub(crate) fn open(&self) {
        self.open.close();
    }
}

#[derive(Default)]
pub(crate) struct World {
    ledger: Mutex<Ledger>,
    prices: Mutex<BTreeMap<ProductId, Priced>>,
    /// Calls that are overtaken, and by how many more.
    on_the_way: Mutex<Vec<(usize, Effect)>>,
    script: Mutex<BTreeMap<At, VecDeque<Option<Fault>>>>,
    always: Mutex<BTreeMap<At, Fault>>,
    gates: Mutex<Vec<Arc<Gate>>>,
    calls: Mutex<Vec<At>>,
    /// Whether the time of every hold is over, and its stock gone, before it is confirmed.
    holds_are_short: Arc<AtomicBool>,
    /// Whether the pieces of every cart are gone before they are held.
    carts_change: Arc<AtomicBool>,
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
        self.ledger().available = [(ProductId(1), pieces), (ProductId(2), pieces)].into();
    }

    pub(crate) fn set_price(&self, product: i64, price: i64) {
        let priced = Priced {
            name: format!("Product {product}"),
            price: Money::usd(price),
        };
        self.prices.lock().unwrap().insert(ProductId(product), priced);
    }

    pub(crate) fn delist(&self, product: i64) {
        self.prices.lock().unwrap().remove(&ProductId(product));
    }

    /// Puts these into every cart in place of what is free there: product, quantity and the price that was seen.
    pub(crate) fn fill_cart(&self, lines: &[(i64, i64, i64)]) {
        let line = |&(product, quantity, price)| CartLine {
            product: ProductId(product),
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

    pub(crate) fn expire_every_hold(&self) {
        self.holds_are_short.store(true, SeqCst);
    }

    pub(crate) fn change_every_cart(&self) {
        self.carts_change.store(true, SeqCst);
    }

    /// What happens to the next calls of this kind.
    pub(crate) fn script(&self, at: At, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.script.lock().unwrap().entry(at).or_default().extend(faults);
    }

    /// What happens to all calls of this kind that are not in the script.
    pub(crate) fn always(&self, at: At, fault: Fault) {
        self.always.lock().unwrap().insert(at, fault);
    }

    /// From here on nothing goes wrong.
    pub(crate) fn heal(&self) {
        self.script.lock().unwrap().clear();
        self.always.lock().unwrap().clear();
    }

    /// Holds up the next call of this kind before it has an effect.
    pub(crate) fn gate_before(&self, at: At) -> Arc<Gate> {
        self.gate(at, false)
    }

    /// Holds up the next call of this kind after it has had its effect.
    pub(crate) fn gate_behind(&self, at: At) -> Arc<Gate> {
        self.gate(at, true)
    }

    fn gate(&self, at: At, behind: bool) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            at,
            behind,
            arrivals: Semaphore::new(0),
            open: Semaphore::new(0),
        });
        self.gates.lock().unwrap().push(gate.clone());
        gate
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> Vec<At> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn calls_of(&self, at: At) -> usize {
        self.calls().iter().filter(|call| **call == at).count()
    }

    pub(crate) fn next_fault(&self, at: At) -> Option<Fault> {
        let scripted = self.script.lock().unwrap().get_mut(&at).and_then(VecDeque::pop_front);
        scripted.unwrap_or_else(|| self.always.lock().unwrap().get(&at).copied())
    }

    async fn pass(&self, at: At, behind: bool) {
        let gate = {
            let mut gates = self.gates.lock().unwrap();
            let place = gates.iter().position(|gate| gate.at == at && gate.behind == behind);
            place.map(|place| gates.remove(place))
        };
        if let Some(gate) = gate {
            gate.arrivals.add_permits(1);
            // It is never given a permit: it ends when the gate is opened.
            let _ = gate.open.acquire().await;
        }
    }

    /// A call that is executed, between its gates.
    pub(crate) async fn execute<T>(&self, at: At, act: impl FnOnce(&mut Ledger) -> T) -> T {
        self.made(at).await;
        self.pass(at, false).await;
        let answer = act(&mut self.ledger());
        self.deliver(1);
        self.pass(at, true).await;
        tokio::task::yield_now().await;
        answer
    }

    async fn made(&self, at: At) {
        self.calls.lock().unwrap().push(at);
        tokio::task::yield_now().await;
    }

    /// Executes those calls that so many others have overtaken by now.
    fn deliver(&self, more: usize) {
        let mut on_the_way = self.on_the_way.lock().unwrap();
        for (others, effect) in std::mem::take(&mut *on_the_way) {
            match others.saturating_sub(more) {
                0 => effect(&mut self.ledger()),
                others => on_the_way.push((others, effect)),
            }
        }
    }

    /// Executes whatever is still on the way.
    pub(crate) fn deliver_all(&self) {
        self.deliver(usize::MAX);
    }

    /// A call, and what goes wrong with it. An error is an answer that was not seen.
    async fn call<T>(&self, at: At, mut act: impl FnMut(&mut Ledger) -> T + Send + 'static) -> Result<T, Status> {
        match self.next_fault(at) {
            None => Ok(self.execute(at, act).await),
            Some(Fault::NeverArrives) => {
                self.made(at).await;
                Err(Status::unavailable("connection lost"))
            }
            Some(Fault::AnswerLost) => {
                self.execute(at, act).await;
                Err(Status::cancelled("Timeout expired"))
            }
            Some(Fault::Twice) => {
                self.execute(at, &mut act).await;
                Ok(self.execute(at, act).await)
            }
            Some(Fault::Slow) => {
                self.execute(at, act).await;
                Err(too_late().await)
            }
            Some(Fault::Overtaken(by)) => {
                self.made(at).await;
                let effect: Effect = Box::new(move |ledger| drop(act(ledger)));
                self.on_the_way.lock().unwrap().push((by, effect));
                Err(too_late().await)
            }
        }
    }

    /// What Confirm does.
    pub(crate) fn confirmation(&self, id: CheckoutId) -> impl Fn(&mut Ledger) -> Result<(), Failure> + Send + 'static {
        let holds_are_short = self.holds_are_short.clone();
        move |ledger| {
            if holds_are_short.load(SeqCst) {
                ledger.expire(id);
                ledger.sell_out();
            }
            ledger.confirm(id)
        }
    }

    /// What Hold does.
    pub(crate) fn hold(
        &self,
        id: CheckoutId,
        user: &UserId,
        purchase: &Purchase,
    ) -> impl Fn(&mut Ledger) -> Result<(), Failure> + Send + 'static {
        let (user, purchase, carts_change) = (user.clone(), purchase.clone(), self.carts_change.clone());
        move |ledger| {
            if carts_change.load(SeqCst) {
                ledger.carts.clear(&user);
            }
            ledger.carts.hold(id, &user, &purchase)
        }
    }
}

/// What a caller makes of an answer that has not come in time.
async fn too_late() -> Status {
    let answer = tokio::time::timeout(DEADLINE, std::future::pending::<()>()).await;
    Status::deadline_exceeded(answer.unwrap_err().to_string())
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
        let hold = self.hold(id, user, purchase);
        answer(self.call(At::Hold, hold).await, &[Reason::CartChanged])
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
        answer(
            self.call(At::Confirm, self.confirmation(id)).await,
            &[Reason::ReservationExpired],
        )
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
