//! The cost of a statement does not depend on the number of reservations or products.

use std::{sync::Arc, time::Duration};

use inventory::{
    domain::{CheckoutId, Delivery, IdempotencyKey, Lines, ProductId, Refusal},
    ports::StockStore,
};
use money::Quantity;
use runtime::Ids;
use testing::{Fixture, PostgresFixture};

use crate::store::StoreFixture;

/// A scan of this many rows is one of a whole table.
const FULL_SCAN_ROWS: i64 = 10_000;
/// Enough executions for PostgreSQL to switch to a generic plan.
const REPETITIONS: i64 = 8;

const HOUR: Duration = Duration::from_hours(1);

/// A million reservations, a tenth of them held, with lines and ledger; a hundred thousand products and deliveries.
const RESERVATIONS: &str = "
    ALTER TABLE ledger DROP CONSTRAINT ledger_product_id_fkey, DROP CONSTRAINT ledger_checkout_id_fkey;
    ALTER TABLE reservation_lines DROP CONSTRAINT reservation_lines_checkout_id_fkey;
    ALTER TABLE ledger SET UNLOGGED;
    ALTER TABLE reservation_lines SET UNLOGGED;
    ALTER TABLE reservations SET UNLOGGED;
    ALTER TABLE stock SET UNLOGGED;
    ALTER TABLE receipts SET UNLOGGED;
    INSERT INTO stock SELECT n, 1000, 10 FROM generate_series(1001, 101000) n;
    INSERT INTO receipts SELECT 'old ' || n, n, 1000, 1000, 0, now() FROM generate_series(1001, 101000) n;
    INSERT INTO reservations
    SELECT lpad(to_hex(n), 32, '0')::uuid, CASE WHEN n % 10 = 0 THEN 'HELD' ELSE 'CONFIRMED' END,
        now() + n * interval '1 second' + interval '1 hour', NULL, now(), now()
    FROM generate_series(1, 1000000) n;
    INSERT INTO reservation_lines SELECT lpad(to_hex(n), 32, '0')::uuid, 1001 + n % 100000, 1 FROM generate_series(1, 1000000) n;
    INSERT INTO ledger (kind, product_id, on_hand_delta, held_delta, checkout_id, at)
    SELECT 'HELD', 1001 + n % 100000, 0, 1, lpad(to_hex(n), 32, '0')::uuid, now() FROM generate_series(1, 1000000) n;
    ALTER TABLE reservation_lines ADD FOREIGN KEY (checkout_id) REFERENCES reservations NOT VALID;
    ALTER TABLE ledger ADD FOREIGN KEY (checkout_id) REFERENCES reservations NOT VALID,
        ADD FOREIGN KEY (product_id) REFERENCES stock NOT VALID";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_statement_scans_a_whole_table() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let store = fixture.open().await;
    fixture.execute(RESERVATIONS).await;
    fixture.count_scans().await;
    for n in 1..=REPETITIONS {
        Round { store: &store, n }.all().await;
    }
    drop(store);
    let scanned = fixture.full_scans(FULL_SCAN_ROWS).await;
    fixture.drop_schema().await;
    assert_eq!(scanned, []);
}

/// Every method of the store, on products of its own.
struct Round<'a> {
    store: &'a Arc<dyn StockStore>,
    n: i64,
}

impl Round<'_> {
    async fn all(&self) {
        self.list().await;
        self.sell().await;
        self.release().await;
        self.expire().await;
        self.receive().await;
    }

    fn product(&self, offset: i64) -> ProductId {
        ProductId::new(50_000 + 100 * self.n + offset).unwrap()
    }

    fn lines(&self, lines: &[(i64, i64)]) -> Lines {
        let line = |(offset, pieces): &(i64, i64)| (self.product(*offset), Quantity::new(*pieces).unwrap());
        Lines::add_up(lines.iter().map(line)).unwrap()
    }

    async fn reserve(&self, wanted: &[(i64, i64)], ttl: Duration) -> CheckoutId {
        let checkout = new_checkout();
        let reserved = self.store.reserve(checkout, &self.lines(wanted), ttl).await;
        reserved.unwrap().unwrap();
        checkout
    }

    async fn list(&self) {
        assert_eq!(self.store.stock(None, 1_000).await.unwrap().len(), 1_000);
        let some = [self.product(0), self.product(7)];
        assert_eq!(self.store.stock(Some(&some), 1_000).await.unwrap().len(), 2);
    }

    async fn sell(&self) {
        let wanted = [(0, 1), (1, 2), (2, 3), (3, 4)];
        let checkout = self.reserve(&wanted, HOUR).await;
        for _ in 0..2 {
            self.store
                .reserve(checkout, &self.lines(&wanted), HOUR)
                .await
                .unwrap()
                .unwrap();
            self.store.confirm(checkout).await.unwrap().unwrap();
        }
        assert_eq!(self.store.release(checkout).await.unwrap(), Err(Refusal::Confirmed));
        let refused = self
            .store
            .reserve(new_checkout(), &self.lines(&[(0, 1_000)]), HOUR)
            .await;
        assert!(matches!(refused.unwrap(), Err(Refusal::OutOfStock(_))));
    }

    async fn release(&self) {
        let checkout = self.reserve(&[(4, 1)], HOUR).await;
        self.store.release(checkout).await.unwrap().unwrap();
        let unknown = new_checkout();
        assert_eq!(self.store.confirm(unknown).await.unwrap(), Err(Refusal::NotFound));
        self.store.release(unknown).await.unwrap().unwrap();
        let late = self.store.reserve(unknown, &self.lines(&[(4, 1)]), HOUR).await;
        assert_eq!(late.unwrap(), Err(Refusal::Released));
    }

    async fn expire(&self) {
        for offset in 10..30 {
            self.reserve(&[(offset, 1), (offset + 1, 1)], Duration::ZERO).await;
        }
        assert_eq!(self.store.expire(200).await.unwrap(), 20);
        assert_eq!(self.store.expire(200).await.unwrap(), 0);
        let all = [(5, 990)];
        let [sold, lost] = [
            self.reserve(&all, Duration::ZERO).await,
            self.reserve(&[(6, 990)], Duration::ZERO).await,
        ];
        // Needs the stock of expired reservations, and expires at once itself.
        self.reserve(&[(6, 990)], Duration::ZERO).await;
        assert_eq!(self.store.confirm(sold).await.unwrap(), Ok(()));
        self.reserve(&[(6, 990)], HOUR).await;
        assert_eq!(self.store.confirm(lost).await.unwrap(), Err(Refusal::Expired));
        self.store.release(lost).await.unwrap().unwrap();
    }

    async fn receive(&self) {
        let delivery = Delivery {
            key: IdempotencyKey::new(format!("new {}", self.n)).unwrap(),
            product: self.product(0),
            quantity: Quantity::new(5).unwrap(),
        };
        let first = self.store.receive(&delivery).await.unwrap();
        assert_eq!(self.store.receive(&delivery).await.unwrap(), first);
    }
}

fn new_checkout() -> CheckoutId {
    CheckoutId(Ids::random().next())
}
