//! The use cases and the engine over a journal in memory and [`FakePeers`], on paused time. A test makes purchases with
//! faults, and then asserts that journal, ledger and outbox are consistent.

mod consistency;
mod records;

use std::{sync::Arc, time::Duration};

use checkout::{
    app::{
        Checkouts,
        initiate_checkout::{InitiateError, Initiated},
    },
    domain::{Checkout, CheckoutId, CheckoutRequest, IdempotencyKey, PaymentMethod, UserId},
    saga::{CheckoutMachine, Participants, State},
};
use events::RelayWaker;
use runtime::{Runtime, Tasks};
use saga::{Engine, Filter, Journal, Parts, Saga, SagaId, State as _, journal::memory};
use tokio::task::JoinHandle;

use crate::fake_peers::FakePeers;
use records::MemoryRecords;

pub(crate) type MemoryJournal = memory::MemoryJournal<CheckoutMachine>;

/// Longer than any saga here takes.
pub(crate) const TIMEOUT: Duration = Duration::from_hours(24);
/// The total of the cart of [`FakePeers::new`].
pub(crate) const TOTAL: i64 = 2250;

/// The journal, the peers, and one process that drives sagas.
pub(crate) struct Harness {
    pub(crate) peers: Arc<FakePeers>,
    pub(crate) journal: MemoryJournal,
    pub(crate) records: Arc<MemoryRecords>,
    pub(crate) checkouts: Checkouts,
    pub(crate) runtime: Runtime,
    /// Clients run on when the process stops.
    clients: Tasks,
}

/// A request with this key. Each key has its own customer.
pub(crate) fn request(key: &str) -> CheckoutRequest {
    CheckoutRequest {
        user: UserId::new(format!("user-of-{key}")).unwrap(),
        key: IdempotencyKey::new(key).unwrap(),
        method: PaymentMethod::new("pm_card_ok").unwrap(),
        accept_price_changes: false,
        expected_total: None,
        cart_version: None,
    }
}

pub(crate) fn paid_with(key: &str, method: &str) -> CheckoutRequest {
    CheckoutRequest {
        method: PaymentMethod::new(method).unwrap(),
        ..request(key)
    }
}

/// A request of the customer of the key `k`, under another key.
pub(crate) fn by_same_customer(key: &str) -> CheckoutRequest {
    CheckoutRequest {
        user: request("k").user,
        ..request(key)
    }
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::process("me", FakePeers::new(), MemoryJournal::default())
    }

    fn process(owner: &str, peers: Arc<FakePeers>, journal: MemoryJournal) -> Self {
        let participants = Participants {
            carts: peers.clone(),
            stock: peers.clone(),
            payments: peers.clone(),
        };
        let parts = Parts {
            journal: Arc::new(journal.clone()),
            calls: Arc::new(participants),
            wake: RelayWaker::default(),
            owner: owner.to_owned(),
        };
        let runtime = Runtime::system();
        let records = Arc::new(MemoryRecords::new(journal.clone()));
        let checkouts = Checkouts {
            engine: Engine::new(parts, &runtime),
            records: records.clone(),
            carts: peers.clone(),
            catalogue: peers.clone(),
        };
        Self {
            peers,
            journal,
            records,
            checkouts,
            runtime,
            clients: Tasks::new(),
        }
    }

    /// Another process over the same journal and peers.
    pub(crate) fn another(&self, owner: &str) -> Self {
        Self::process(owner, self.peers.clone(), self.journal.clone())
    }

    /// Starts recovery, as each process does at its start.
    pub(crate) fn recover(&self) {
        let engine = self.checkouts.engine.clone();
        let start = async move {
            engine.release_leases_of_earlier_run().await;
            engine.recover().await;
        };
        self.runtime.tasks.spawn(start);
    }

    /// Buys, and waits for the end.
    pub(crate) async fn initiate(&self, request: CheckoutRequest) -> Result<Initiated, InitiateError> {
        self.checkouts.initiate(request, TIMEOUT).await
    }

    /// Buys with a new key.
    pub(crate) async fn buy(&self, request: CheckoutRequest) -> Checkout {
        let initiated = self.initiate(request).await.unwrap();
        assert!(!initiated.replayed);
        initiated.checkout
    }

    /// Buys in the background.
    pub(crate) fn spawn_purchase(&self, request: CheckoutRequest) -> JoinHandle<Result<Initiated, InitiateError>> {
        let checkouts = self.checkouts.clone();
        self.clients
            .spawn(async move { checkouts.initiate(request, TIMEOUT).await })
    }

    pub(crate) async fn checkouts(&self) -> Vec<Checkout> {
        self.list(false).await
    }

    pub(crate) async fn needing_attention(&self) -> Vec<Checkout> {
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

    /// The checkout once it has ended.
    pub(crate) async fn wait_for_end(&self, id: CheckoutId) -> Checkout {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let engine = &self.checkouts.engine;
        let saga = engine.wait(SagaId(id.0), deadline, Saga::is_final).await;
        let saga = saga.unwrap().unwrap();
        assert!(saga.is_final(), "{saga:?}");
        saga.into()
    }

    /// Asserts that there is one checkout, and returns it.
    pub(crate) async fn only_checkout(&self) -> Checkout {
        let mut all = self.checkouts().await;
        assert_eq!(all.len(), 1);
        all.remove(0)
    }
}

/// The name of the reason for which a checkout failed.
pub(crate) fn reason(checkout: &Checkout) -> &'static str {
    let State::Failed(failure) = &checkout.state else {
        panic!("not failed: {}", checkout.state.name());
    };
    failure.reason.as_str()
}
