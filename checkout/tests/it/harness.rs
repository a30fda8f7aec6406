//! Sagas over participants with books, on paused time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use checkout::{
    app::{
        Checkouts,
        initiate_checkout::{InitiateError, Initiated},
    },
    domain::{Checkout, CheckoutId, IdempotencyKey, PaymentMethod, Request, Status, UserId},
    ports::{CustomerRecords, Ended, Unheld},
    saga::{CheckoutMachine, Participants, STEPS, STEPS_WITHOUT_A_HOLD, State},
};
use events::Wake;
use runtime::{Runtime, Tasks};
use saga::{Engine, Filter, Journal, Parts, SagaId, State as _, journal::memory};
use storage::StoreError;

use crate::{
    carts::wanted,
    ledger::Hold,
    world::{At, World},
};

pub(crate) type MemoryJournal = memory::MemoryJournal<CheckoutMachine>;

/// Longer than any saga takes here.
pub(crate) const PATIENCE: Duration = Duration::from_hours(24);
/// What is in the cart of a [`World`], all in all.
pub(crate) const TOTAL: i64 = 2250;

/// The journal, the participants, and one life of the process that drives sagas.
pub(crate) struct Bench {
    pub(crate) world: Arc<World>,
    pub(crate) journal: MemoryJournal,
    pub(crate) checkouts: Checkouts,
    pub(crate) runtime: Runtime,
    /// They outlive the process.
    clients: Tasks,
}

/// A request with this key, of a customer of its own.
pub(crate) fn request(key: &str) -> Request {
    Request {
        user: UserId(format!("user-of-{key}")),
        key: IdempotencyKey::new(key).unwrap(),
        method: PaymentMethod::new("pm_card_ok").unwrap(),
        accept_price_changes: false,
        expected_total: None,
        cart_version: None,
    }
}

pub(crate) fn paid_with(key: &str, method: &str) -> Request {
    Request {
        method: PaymentMethod::new(method).unwrap(),
        ..request(key)
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::life("me", World::new(), MemoryJournal::default())
    }

    fn life(owner: &str, world: Arc<World>, journal: MemoryJournal) -> Self {
        let participants = Participants {
            carts: world.clone(),
            stock: world.clone(),
            payments: world.clone(),
        };
        let parts = Parts {
            journal: Arc::new(journal.clone()),
            calls: Arc::new(participants),
            wake: Wake::default(),
            owner: owner.to_owned(),
        };
        let runtime = Runtime::system();
        let checkouts = Checkouts {
            engine: Engine::new(parts, &runtime),
            records: Arc::new(Records(journal.clone())),
            carts: world.clone(),
            catalogue: world.clone(),
        };
        Self {
            world,
            journal,
            checkouts,
            runtime,
            clients: Tasks::new(),
        }
    }

    /// Another process, over the same journal and participants.
    pub(crate) fn another(&self, owner: &str) -> Self {
        Self::life(owner, self.world.clone(), self.journal.clone())
    }

    /// Starts recovery, as a process does when it starts.
    pub(crate) fn recover(&self) {
        let engine = self.checkouts.engine.clone();
        self.runtime.tasks.spawn(async move { engine.recover().await });
    }

    /// Buys, however long that takes.
    pub(crate) async fn initiate(&self, request: Request) -> Result<Initiated, InitiateError> {
        self.checkouts.initiate(request, PATIENCE).await
    }

    pub(crate) async fn buy(&self, request: Request) -> Checkout {
        let initiated = self.initiate(request).await.unwrap();
        assert!(!initiated.replayed);
        initiated.checkout
    }

    /// Starts to buy, in the background.
    pub(crate) fn start_to_buy(&self, request: Request) -> tokio::task::JoinHandle<Result<Initiated, InitiateError>> {
        let checkouts = self.checkouts.clone();
        self.clients
            .spawn(async move { checkouts.initiate(request, PATIENCE).await })
    }

    pub(crate) async fn checkouts(&self) -> Vec<Checkout> {
        self.list(false).await
    }

    /// Those that somebody should look at.
    pub(crate) async fn in_need(&self) -> Vec<Checkout> {
        self.list(true).await
    }

    async fn list(&self, needs_attention: bool) -> Vec<Checkout> {
        let filter = Filter {
            status: None,
            needs_attention,
            after: None,
            limit: 1000,
        };
        let found = self.journal.list(filter).await.unwrap();
        found.into_iter().map(Checkout::from).collect()
    }

    pub(crate) async fn get(&self, id: CheckoutId) -> Checkout {
        let found = self.journal.get(SagaId(id.0), None).await.unwrap();
        found.unwrap().0.into()
    }

    pub(crate) async fn history(&self, id: CheckoutId) -> Vec<String> {
        let (_, history) = self.journal.get(SagaId(id.0), None).await.unwrap().unwrap();
        history.into_iter().map(|entry| entry.state).collect()
    }

    /// The checkout once this holds of it. Time is paused: the looks cost none.
    pub(crate) async fn once(&self, id: CheckoutId, holds: impl Fn(&Checkout) -> bool) -> Checkout {
        let wait = async {
            loop {
                let checkout = self.get(id).await;
                if holds(&checkout) {
                    break checkout;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    pub(crate) async fn ended(&self, id: CheckoutId) -> Checkout {
        self.once(id, |checkout| checkout.state.is_terminal()).await
    }

    /// The only checkout there is.
    pub(crate) async fn only(&self) -> Checkout {
        let mut all = self.checkouts().await;
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    /// That every saga has ended, and that its verdict is what the books say. `what` is shown when it is not.
    pub(crate) async fn assert_sound(&self, what: &str) {
        // What comes now comes after everybody has stopped waiting for it.
        self.world.deliver_all();
        let all = self.checkouts().await;
        for checkout in &all {
            self.assert_books(checkout, what);
            self.assert_history(checkout, what).await;
            let key = checkout.id.to_string();
            let events = self
                .journal
                .outbox()
                .into_iter()
                .filter(|event| event.key == key)
                .count();
            assert_eq!(events, 1, "{what}: events");
        }
        let ledger = self.world.ledger();
        assert!(
            ledger.holds.len() <= all.len(),
            "{what}: a reservation without a checkout"
        );
        let is_known = |holder: &CheckoutId| all.iter().any(|checkout| checkout.id == *holder);
        assert!(
            ledger.carts.holders().iter().all(is_known),
            "{what}: pieces of a cart without a checkout"
        );
        assert!(
            ledger.payments.len() <= all.len(),
            "{what}: a payment without a checkout"
        );
        assert_eq!(self.journal.outbox().len(), all.len(), "{what}");
    }

    fn assert_books(&self, checkout: &Checkout, what: &str) {
        let mut ledger = self.world.ledger();
        let in_cart = ledger.carts.held(checkout.id, &checkout.user);
        let (hold, movements) = (ledger.hold(checkout.id), ledger.movements(checkout.id));
        match checkout.status() {
            Status::Completed => {
                assert_eq!(hold, Some(&Hold::Sold), "{what}");
                assert_eq!(movements, [checkout.purchase.total.minor_units()], "{what}");
                // They are there until its event has reached the cart.
                let pieces = checkout.held.then(|| wanted(&checkout.purchase.lines));
                assert_eq!(in_cart, pieces, "{what}");
            }
            Status::Failed => {
                let over = matches!(hold, Some(Hold::Released | Hold::Refused(_)));
                assert!(over, "{what}: {hold:?}");
                assert_eq!(in_cart, None, "{what}");
                assert_eq!(ledger.charged(checkout.id), 0, "{what}");
                assert!(movements.len() <= 2, "{what}: {movements:?}");
            }
            Status::Initiated | Status::InventoryReserved | Status::PaymentPending | Status::PaymentCompleted => {
                panic!("{what}: unfinished: {checkout:?}")
            }
        }
        assert!(!checkout.needs_attention, "{what}");
    }

    async fn assert_history(&self, checkout: &Checkout, what: &str) {
        let history = self.history(checkout.id).await;
        assert_eq!(i64::try_from(history.len()).unwrap(), checkout.version, "{what}");
        for step in history.windows(2) {
            let step = (step[0].as_str(), step[1].as_str());
            // Steps that were taken before carts had holds.
            let is_of_before = checkout.purchase.cart.id.is_none() && !checkout.held;
            let (allowed, was_allowed) = (STEPS.contains(&step), STEPS_WITHOUT_A_HOLD.contains(&step));
            assert!(allowed || is_of_before && was_allowed, "{what}: {step:?}");
        }
        let was_held = history.iter().any(|state| state == "CART_HELD");
        assert_eq!(was_held, checkout.held, "{what}");
    }

    /// That nothing has begun, and nobody was asked for anything that has an effect.
    pub(crate) async fn assert_untouched(&self) {
        assert_eq!(self.checkouts().await, []);
        let only_read = |at: &At| matches!(at, At::Cart | At::Prices);
        assert!(self.world.calls().iter().all(only_read));
        assert!(self.journal.outbox().is_empty());
    }
}

/// The reason for which a checkout failed, by name.
pub(crate) fn reason(checkout: &Checkout) -> &'static str {
    let State::Failed(failure) = &checkout.state else {
        panic!("not failed: {}", checkout.state.name());
    };
    failure.reason.as_str()
}

/// What the journal says of customers.
struct Records(MemoryJournal);

#[async_trait]
impl CustomerRecords for Records {
    async fn unheld(&self, user: &UserId, cart_version: i64) -> Result<Option<Unheld>, StoreError> {
        let all = self.0.sagas().into_iter().map(Checkout::from);
        let of_user = all.filter(|old| old.user == *user && old.purchase.cart.id.is_none() && !old.held);
        let is_in_the_way = |old: &Checkout| match old.state {
            State::Initiated | State::InventoryReserved | State::PaymentPending | State::PaymentCompleted => true,
            State::Completed => old.purchase.cart.version >= cart_version,
            State::CartHeld | State::Releasing(_) | State::GivingBack(_) | State::Refunding(_) | State::Failed(_) => {
                false
            }
        };
        let first = of_user.filter(is_in_the_way).min_by_key(|old| old.state.is_terminal());
        Ok(first.map(|first| Unheld {
            by: first.id,
            has_ended: first.state.is_terminal(),
        }))
    }

    async fn ended(&self, _: &UserId, _: usize) -> Result<Ended, StoreError> {
        panic!("nobody is erased here")
    }

    async fn unpublished(&self, _: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        panic!("nobody is erased here")
    }

    async fn forget(&self, _: &UserId, _: &[CheckoutId]) -> Result<u64, StoreError> {
        panic!("nobody is erased here")
    }
}
