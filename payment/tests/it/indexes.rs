//! No statement's cost grows with the number of payments.

use payment::{
    domain::{ChargeStatus, CheckoutId, DeclineReason, IdempotencyKey, Payment, PaymentDetails, PaymentId},
    ports::PaymentStore,
    provider::simulated::{ChargeAttempt, ChargeId, Decision, ProviderLedger},
};
use runtime::{Clock, Ids};
use testing::Fixture;
use uuid::Uuid;

use crate::{
    fixtures::{PostgresFixtures, StoreFixture},
    harness::{checkout, terms},
};

/// A statement that reads this many rows scans a whole table.
const MANY: i64 = 10_000;
/// Enough executions for the server to switch to a generic plan.
const TIMES: u128 = 8;

const PAYMENTS: &str = "
    ALTER TABLE payments SET UNLOGGED;
    INSERT INTO payments
    SELECT lpad(to_hex(n), 32, '0')::uuid, ('f' || lpad(to_hex(n), 31, '0'))::uuid, 4200, 'USD', 'pm_card_ok',
        CASE WHEN n % 100 = 0 THEN 'INTENT' ELSE 'SUCCEEDED' END, NULL, now(), now()
    FROM generate_series(1, 1000000) n";

const LEDGER: &str = "
    ALTER TABLE refunds SET UNLOGGED;
    ALTER TABLE charges SET UNLOGGED;
    ALTER TABLE tombstones SET UNLOGGED;
    ALTER TABLE attempts SET UNLOGGED;
    INSERT INTO charges
    SELECT lpad(to_hex(n), 32, '0')::uuid, ('f' || lpad(to_hex(n), 31, '0'))::uuid, 4200, 'USD', 'pm_card_ok', 'SUCCEEDED', NULL, now()
    FROM generate_series(1, 1000000) n;
    INSERT INTO attempts SELECT idempotency_key, 1 FROM charges;
    INSERT INTO refunds SELECT idempotency_key, amount, currency, created_at FROM charges LIMIT 100000;
    INSERT INTO tombstones SELECT ('e' || lpad(to_hex(n), 31, '0'))::uuid, now() FROM generate_series(1, 100000) n";

/// An existing payment.
const fn existing(n: u128) -> CheckoutId {
    CheckoutId(Uuid::from_u128(500_000 + n))
}

fn intent(checkout: CheckoutId) -> Payment {
    let details = PaymentDetails {
        payment_id: PaymentId(Ids::random().next()),
        terms: terms(4200, "pm_card_ok"),
    };
    Payment::intent(checkout, details, Clock::system().now())
}

async fn call_every_method_of_the_store(store: &dyn PaymentStore) {
    let now = Clock::system().now();
    for n in 0..TIMES {
        let (new, late) = (checkout(), checkout());
        assert!(store.load(existing(n)).await.unwrap().is_some());
        store.record_intent(&intent(existing(n))).await.unwrap();
        store.record_intent(&intent(new)).await.unwrap();
        for _ in 0..2 {
            store.settle(new, ChargeStatus::Charged, now).await.unwrap();
            store
                .record_refund(existing(n), ChargeStatus::Refunded, now)
                .await
                .unwrap();
            store.record_refund(late, ChargeStatus::Cancelled, now).await.unwrap();
        }
    }
}

fn attempt(key: &IdempotencyKey, decision: Decision) -> ChargeAttempt {
    ChargeAttempt {
        key: key.clone(),
        charge_id: ChargeId(Ids::random().next()),
        terms: terms(4200, "pm_card_ok"),
        decision,
        down_for: 0,
        at: Clock::system().now(),
    }
}

async fn call_every_method_of_the_ledger(ledger: &dyn ProviderLedger) {
    let now = Clock::system().now();
    for n in 0..TIMES {
        let [new, late, charged] = [checkout(), checkout(), existing(n)].map(IdempotencyKey::from);
        let declined = Decision::Declined(DeclineReason::CardDeclined);
        for key in [&new, &charged] {
            ledger.charge(attempt(key, declined)).await.unwrap();
        }
        for key in [&new, &late, &charged] {
            assert_eq!(ledger.find(key).await.unwrap().is_none(), *key == late);
            ledger.refund(key, now).await.unwrap();
        }
        ledger.charge(attempt(&late, Decision::Succeeded)).await.unwrap();
    }
}

#[tokio::test]
async fn no_statement_scans_a_whole_table() {
    let Some(schemas) = PostgresFixtures::new() else { return };
    let (store, ledger) = (schemas.store().await, schemas.ledger().await);
    let PostgresFixtures { payment, provider } = &schemas;
    for (schema, filling) in [(payment, PAYMENTS), (provider, LEDGER)] {
        schema.execute(filling).await;
        schema.count_scans().await;
    }
    call_every_method_of_the_store(&*store).await;
    call_every_method_of_the_ledger(&*ledger).await;
    drop((store, ledger));
    for schema in [payment, provider] {
        let scanned = schema.full_scans(MANY).await;
        schema.drop_schema().await;
        assert_eq!(scanned, []);
    }
}
