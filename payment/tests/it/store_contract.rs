//! What every payment store does, whatever it is made of. A new adapter is one more line at the end.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use money::Money;
use payment::{
    domain::{CheckoutId, DeclineReason, Opened, Payment, PaymentId, Standing, State, Terms},
    ports::PaymentStore,
    store::SqlitePaymentStore,
};
use runtime::{CrashPoints, Ids};
use storage::StoreError;
use tempfile::TempDir;

use crate::bench::{checkout, terms};

/// A store that can be closed and opened again.
#[async_trait]
trait Fixture: Sized {
    async fn new() -> Self;
    fn store(&self) -> Arc<dyn PaymentStore>;
    async fn reopened(self) -> Self;
}

struct SqliteFixture {
    store: Arc<dyn PaymentStore>,
    folder: TempDir,
}

impl SqliteFixture {
    async fn on(folder: TempDir) -> Self {
        let path = folder.path().join("payment.db");
        Self {
            store: Arc::new(SqlitePaymentStore::open(&path, &CrashPoints::none()).await.unwrap()),
            folder,
        }
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    fn store(&self) -> Arc<dyn PaymentStore> {
        self.store.clone()
    }

    async fn reopened(self) -> Self {
        let Self { store, folder } = self;
        drop(store);
        Self::on(folder).await
    }
}

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn intent_of(checkout: CheckoutId, terms: Terms) -> Payment {
    Payment::intent(
        checkout,
        Opened {
            payment_id: PaymentId(Ids::random().next()),
            terms,
        },
        at(1_700_000_000_123),
    )
}

fn intent(checkout: CheckoutId) -> Payment {
    intent_of(checkout, terms(4200, "pm_card_ok"))
}

const STANDINGS: [Standing; 4] = [
    Standing::Charged,
    Standing::Declined(DeclineReason::InsufficientFunds),
    Standing::Refunded,
    Standing::Cancelled,
];

async fn what_is_opened_is_loaded_as_it_was(fixture: impl Fixture) {
    let store = fixture.store();
    let most = Terms {
        amount: Money::new(i64::MAX, "JPY".parse().unwrap()),
        method: "x".repeat(64).parse().unwrap(),
    };
    for terms in [terms(1, "p"), most] {
        let checkout = checkout();
        assert_eq!(store.load(checkout).await.unwrap(), None);
        let payment = intent_of(checkout, terms);
        assert_eq!(store.open(&payment).await.unwrap(), payment);
        assert_eq!(store.load(checkout).await.unwrap(), Some(payment));
    }
}

async fn the_first_intent_stands(fixture: impl Fixture) {
    let (store, checkout) = (fixture.store(), checkout());
    let first = intent(checkout);
    store.open(&first).await.unwrap();
    assert_eq!(store.open(&first).await.unwrap(), first);
    assert_eq!(
        store.open(&intent_of(checkout, terms(1, "pm_other"))).await.unwrap(),
        first
    );
    assert_eq!(store.load(checkout).await.unwrap(), Some(first));
}

async fn a_payment_id_that_is_taken_is_a_conflict(fixture: impl Fixture) {
    let (store, first) = (fixture.store(), intent(checkout()));
    store.open(&first).await.unwrap();
    let second = Payment {
        checkout_id: checkout(),
        ..first
    };
    assert!(matches!(store.open(&second).await, Err(StoreError::Conflict)));
    assert_eq!(store.load(second.checkout_id).await.unwrap(), None);
}

async fn each_answer_settles_an_open_payment_and_again_changes_nothing(fixture: impl Fixture) {
    let store = fixture.store();
    for standing in STANDINGS {
        let open = intent(checkout());
        store.open(&open).await.unwrap();
        let settled = store.settle(open.checkout_id, standing, at(5)).await.unwrap();
        assert_ne!(settled.state, State::Intent);
        assert_eq!(
            settled,
            Payment {
                state: settled.state,
                ..open.clone()
            }
        );
        assert_eq!(store.settle(open.checkout_id, standing, at(6)).await.unwrap(), settled);
        assert_eq!(store.refund(open.checkout_id, standing, at(7)).await.unwrap(), settled);
        assert_eq!(store.open(&open).await.unwrap(), settled);
        assert_eq!(store.load(open.checkout_id).await.unwrap(), Some(settled));
    }
}

async fn an_answer_that_comes_after_the_refund_changes_nothing(fixture: impl Fixture) {
    let (store, open) = (fixture.store(), intent(checkout()));
    store.open(&open).await.unwrap();
    let refunded = store.refund(open.checkout_id, Standing::Refunded, at(5)).await.unwrap();
    assert_eq!(refunded.state, State::Refunded);
    assert_eq!(
        store.settle(open.checkout_id, Standing::Charged, at(6)).await.unwrap(),
        refunded
    );
}

async fn a_charged_payment_is_refunded(fixture: impl Fixture) {
    let (store, open) = (fixture.store(), intent(checkout()));
    store.open(&open).await.unwrap();
    store.settle(open.checkout_id, Standing::Charged, at(5)).await.unwrap();
    let refunded = store.refund(open.checkout_id, Standing::Refunded, at(6)).await.unwrap();
    assert_eq!(
        refunded,
        Payment {
            state: State::Refunded,
            ..open
        }
    );
}

async fn a_contradiction_is_corrupt_and_changes_nothing(fixture: impl Fixture) {
    let (store, open) = (fixture.store(), intent(checkout()));
    store.open(&open).await.unwrap();
    let charged = store.settle(open.checkout_id, Standing::Charged, at(5)).await.unwrap();
    let result = store.refund(open.checkout_id, Standing::Cancelled, at(6)).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    assert_eq!(store.load(open.checkout_id).await.unwrap(), Some(charged));
}

async fn a_payment_that_is_not_there_cannot_be_settled(fixture: impl Fixture) {
    let (store, checkout) = (fixture.store(), checkout());
    let result = store.settle(checkout, Standing::Charged, at(5)).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    assert_eq!(store.load(checkout).await.unwrap(), None);
}

async fn a_refund_before_its_charge_leaves_a_tombstone_that_the_charge_finds(fixture: impl Fixture) {
    let (store, checkout) = (fixture.store(), checkout());
    let tombstone = store.refund(checkout, Standing::Cancelled, at(5)).await.unwrap();
    let expected = Payment {
        checkout_id: checkout,
        opened: None,
        state: State::Cancelled,
        created_at: at(5),
    };
    assert_eq!(tombstone, expected);
    assert_eq!(
        store.refund(checkout, Standing::Cancelled, at(6)).await.unwrap(),
        expected
    );
    assert_eq!(store.open(&intent(checkout)).await.unwrap(), expected);
}

async fn everything_is_there_after_a_reopen(fixture: impl Fixture) {
    let (open, settled, cancelled) = (intent(checkout()), intent(checkout()), checkout());
    let store = fixture.store();
    store.open(&open).await.unwrap();
    store.open(&settled).await.unwrap();
    let declined = store.settle(settled.checkout_id, STANDINGS[1], at(5)).await.unwrap();
    let tombstone = store.refund(cancelled, Standing::Cancelled, at(6)).await.unwrap();
    drop(store);
    let fixture = fixture.reopened().await;
    let store = fixture.store();
    assert_eq!(store.load(open.checkout_id).await.unwrap(), Some(open));
    assert_eq!(store.load(settled.checkout_id).await.unwrap(), Some(declined));
    assert_eq!(store.load(cancelled).await.unwrap(), Some(tombstone));
    assert!(store.is_up().await);
}

async fn sixty_four_racing_intents_are_one_payment(fixture: impl Fixture) {
    let (store, checkout) = (fixture.store(), checkout());
    let intents: Vec<_> = (0..64).map(|_| intent(checkout)).collect();
    let opened = join_all(intents.iter().map(|intent| store.open(intent))).await;
    let ids: HashSet<_> = opened
        .into_iter()
        .map(|payment| payment.unwrap().opened.unwrap().payment_id)
        .collect();
    assert_eq!(ids.len(), 1);
}

async fn sixty_four_racing_writers_of_their_own_checkouts_do_not_disturb_each_other(fixture: impl Fixture) {
    let store = fixture.store();
    let written = join_all((0..64).map(|i| {
        let store = store.clone();
        async move {
            let open = intent(checkout());
            store.open(&open).await.unwrap();
            let standing = STANDINGS[i % 4];
            (standing, store.settle(open.checkout_id, standing, at(5)).await.unwrap())
        }
    }))
    .await;
    for (standing, payment) in written {
        assert_eq!(
            payment.state,
            payment::domain::after(Some(State::Intent), standing).unwrap()
        );
        assert_eq!(store.load(payment.checkout_id).await.unwrap(), Some(payment));
    }
}

async fn sixty_four_racing_settlements_and_refunds_end_refunded(fixture: impl Fixture) {
    let (store, open) = (fixture.store(), intent(checkout()));
    store.open(&open).await.unwrap();
    let all = join_all((0..64).map(|i| {
        let (store, checkout) = (store.clone(), open.checkout_id);
        async move {
            if i % 2 == 0 {
                store.settle(checkout, Standing::Charged, at(i)).await.unwrap().state
            } else {
                store.refund(checkout, Standing::Refunded, at(i)).await.unwrap().state
            }
        }
    }))
    .await;
    assert!(
        all.iter().skip(1).step_by(2).all(|state| *state == State::Refunded),
        "{all:?}"
    );
    assert_eq!(
        store.load(open.checkout_id).await.unwrap().unwrap().state,
        State::Refunded
    );
}

/// One test for each case and adapter.
macro_rules! store_contract {
    ($($adapter:ident: $fixture:ty),*) => {
        $(store_contract!(@cases $adapter $fixture;
            what_is_opened_is_loaded_as_it_was
            the_first_intent_stands
            a_payment_id_that_is_taken_is_a_conflict
            each_answer_settles_an_open_payment_and_again_changes_nothing
            an_answer_that_comes_after_the_refund_changes_nothing
            a_charged_payment_is_refunded
            a_contradiction_is_corrupt_and_changes_nothing
            a_payment_that_is_not_there_cannot_be_settled
            a_refund_before_its_charge_leaves_a_tombstone_that_the_charge_finds
            everything_is_there_after_a_reopen
            sixty_four_racing_intents_are_one_payment
            sixty_four_racing_writers_of_their_own_checkouts_do_not_disturb_each_other
            sixty_four_racing_settlements_and_refunds_end_refunded
        );)*
    };
    (@cases $adapter:ident $fixture:ty; $($case:ident)*) => {
        mod $adapter {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                super::$case(<$fixture>::new().await).await;
            })*
        }
    };
}

store_contract!(sqlite: SqliteFixture);
