//! Checkout without its interface and its databases: the use cases and the engine, over a journal in memory and a [`World`] of
//! participants, on paused time. A test buys, lets things go wrong in the world, and asks for the verdict.

mod records;
mod verdict;

use std::{sync::Arc, time::Duration};

use checkout::{
    app::{
        Checkouts,
        initiate_checkout::{InitiateError, Initiated},
    },
    domain::{Checkout, CheckoutId, IdempotencyKey, PaymentMethod, Request, UserId},
    saga::{CheckoutMachine, Participants, State},
};
use events::RelayWaker;
use runtime::{Runtime, Tasks};
use saga::{Engine, Filter, Journal, Parts, SagaId, State as _, journal::memory};

use crate::world::World;
use records::Records;

pub(crate) type MemoryJournal = memory::MemoryJournal<CheckoutMachine>;

/// Longer than any saga takes here.
pub(crate) const PATIENCE: Duration = Duration::from_hours(24);
/// What is in the cart of a [`World`], all in all.
pub(crate) const TOTAL: i64 = 2250;

/// The journal, the participants, and one life of the process that drives sagas.
pub(crate) struct Harness {
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
        user: UserId::new(format!("user-of-{key}")).unwrap(),
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

impl Harness {
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
            wake: RelayWaker::default(),
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
}

/// The reason for which a checkout failed, by name.
pub(crate) fn reason(checkout: &Checkout) -> &'static str {
    let State::Failed(failure) = &checkout.state else {
        panic!("not failed: {}", checkout.state.name());
    };
    failure.reason.as_str()
}
