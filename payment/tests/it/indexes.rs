//! That no statement's cost rises with the number of payments.

use payment::{
    domain::{CheckoutId, DeclineReason, IdempotencyKey, Opened, Payment, PaymentId, Standing},
    ports::PaymentStore,
    provider::simulated::{ChargeId, Ledger, Order, Verdict},
};
use runtime::{Clock, Ids};
use testing::Fixture;
use uuid::Uuid;

use crate::{
    harness::{checkout, terms},
    places::{PostgresFixtures, Stores},
};

/// A read of this many rows is one of a whole table.
const MANY: i64 = 10_000;
/// Often enough that the server plans for any values instead of those at hand.
const TIMES: u128 = 8;

const PAYMENTS: &str = "
    ALTER TABLE payments SET UNLOGGED;
    INSERT INTO payments
    SELECT lpad(to_hex(n), 32, '0')::uuid, ('f' || lpad(to_hex(n), 31, '0'))::uuid, 4200, 'USD', 'pm_card_ok',
        CASE WHEN n % 100 = 0 THEN 'INTENT' ELSE 'SUCCEEDED' END, NULL, now(), now()
    FROM generate_series(1, 1000000) n";

const BOOKS: &str = "
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

/// One of those that are there.
const fn known(n: u128) -> CheckoutId {
    CheckoutId(Uuid::from_u128(500_000 + n))
}

fn intent(checkout: CheckoutId) -> Payment {
    let opened = Opened {
        payment_id: PaymentId(Ids::random().next()),
        terms: terms(4200, "pm_card_ok"),
    };
    Payment::intent(checkout, opened, Clock::system().now())
}

async fn call_every_method_of_the_store(store: &dyn PaymentStore) {
    let now = Clock::system().now();
    for n in 0..TIMES {
        let (new, late) = (checkout(), checkout());
        assert!(store.load(known(n)).await.unwrap().is_some());
        store.open(&intent(known(n))).await.unwrap();
        store.open(&intent(new)).await.unwrap();
        for _ in 0..2 {
            store.settle(new, Standing::Charged, now).await.unwrap();
            store.refund(known(n), Standing::Refunded, now).await.unwrap();
            store.refund(late, Standing::Cancelled, now).await.unwrap();
        }
    }
}

fn order(key: &IdempotencyKey, verdict: Verdict) -> Order {
    Order {
        key: key.clone(),
        charge_id: ChargeId(Ids::random().next()),
        terms: terms(4200, "pm_card_ok"),
        verdict,
        down_for: 0,
        at: Clock::system().now(),
    }
}

async fn call_every_method_of_the_ledger(ledger: &dyn Ledger) {
    let now = Clock::system().now();
    for n in 0..TIMES {
        let [new, late, charged] = [checkout(), checkout(), known(n)].map(IdempotencyKey::from);
        let declined = Verdict::Declined(DeclineReason::CardDeclined);
        for key in [&new, &charged] {
            ledger.charge(order(key, declined)).await.unwrap();
        }
        for key in [&new, &late, &charged] {
            assert_eq!(ledger.find(key).await.unwrap().is_none(), *key == late);
            ledger.refund(key, now).await.unwrap();
        }
        ledger.charge(order(&late, Verdict::Succeeded)).await.unwrap();
    }
}

#[tokio::test]
async fn no_statement_reads_a_table_from_end_to_end() {
    let Some(schemas) = PostgresFixtures::new() else { return };
    let (store, ledger) = (schemas.store().await, schemas.ledger().await);
    let PostgresFixtures { payment, provider } = &schemas;
    for (schema, filling) in [(payment, PAYMENTS), (provider, BOOKS)] {
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
