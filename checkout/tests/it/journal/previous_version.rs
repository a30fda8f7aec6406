//! A process of the version before the saga engine works beside a new one on PostgreSQL: its statements, in their own
//! words, on the schema of today.

use std::time::Duration;

use checkout::saga::State;
use runtime::Ids;
use saga::{SagaId, State as _};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use testing::{Fixture, PostgresFixture};
use uuid::Uuid;

use super::fixture::{Stores, Tables, begun, steps};
use crate::sagas::{HOUR, data, lease};

const BEGIN: &str = "
    WITH begun AS (
        INSERT INTO checkouts (id, user_id, idempotency_key, fingerprint, state, status, lines, total_minor, currency,
            payment_method, cart_id, cart_version, created_at, updated_at, version, owner, fence, hold_fence, lease_until,
            wake_at)
        SELECT $1, 'user-1', $2, 'pm_card_ok:false', 'INITIATED', 'INITIATED',
            '[{\"product_id\": 1, \"name\": \"Ware 1\", \"quantity\": 2, \"unit_price\": 1000}]'::jsonb, 2000, 'USD',
            'pm_card_ok', $3, 7, now(), now(), 1, 'old', 1, 1, clock_timestamp(), clock_timestamp()
        ON CONFLICT (user_id, idempotency_key) DO NOTHING
        RETURNING id, version, state, created_at)
    INSERT INTO history (checkout_id, version, state, at, detail) SELECT id, version, state, created_at, 'begun' FROM begun";

const CLAIM: &str = "
    WITH due AS MATERIALIZED (
        SELECT id FROM checkouts
        WHERE state NOT IN ('COMPLETED', 'FAILED') AND lease_until <= statement_timestamp()
            AND wake_at <= statement_timestamp()
        ORDER BY lease_until LIMIT 10 FOR UPDATE SKIP LOCKED)
    UPDATE checkouts SET owner = 'old', fence = fence + 1, hold_fence = fence + 1, lease_until = clock_timestamp() + $1
    WHERE id IN (SELECT id FROM due)
    RETURNING id, version, fence";

const RECORD: &str = "
    WITH moved AS (
        UPDATE checkouts SET state = $4, status = $4, failure = NULL, payment_id = NULL, updated_at = now(),
            version = $2 + 1, attempts = 0, needs_attention = false, wake_at = clock_timestamp(),
            lease_until = clock_timestamp() + $5, held = $6
        WHERE id = $1 AND version = $2 AND fence = $3
        RETURNING id, version)
    INSERT INTO history (checkout_id, version, state, at, detail) SELECT id, version, $4, now(), '' FROM moved";

/// The old process begins a saga whose lease expires at once.
async fn begin(old: &mut PgConnection, key: &str) -> SagaId {
    let id = Ids::random().next();
    let begin = sqlx::query(BEGIN).bind(id).bind(key).bind(Uuid::NAMESPACE_OID);
    assert_eq!(begin.execute(old).await.unwrap().rows_affected(), 1);
    SagaId(id)
}

/// The old process claims what is due: id, version, fence.
async fn claim(old: &mut PgConnection, ttl: Duration) -> Vec<(SagaId, i64, i64)> {
    let rows = sqlx::query(CLAIM).bind(ttl).fetch_all(old).await.unwrap();
    let claimed = rows
        .iter()
        .map(|row| (SagaId(row.get("id")), row.get("version"), row.get("fence")));
    claimed.collect()
}

/// The old process records a step of a saga that it has claimed. Whether it still owned the saga.
async fn record(old: &mut PgConnection, claimed: (SagaId, i64, i64), state: &State, ttl: Duration) -> bool {
    let (id, version, fence) = claimed;
    let record = sqlx::query(RECORD)
        .bind(id.0)
        .bind(version)
        .bind(fence)
        .bind(state.name())
        .bind(ttl)
        .bind(matches!(state, State::CartHeld));
    record.execute(old).await.unwrap().rows_affected() == 1
}

async fn history(fixture: &PostgresFixture, id: SagaId) -> Vec<String> {
    let sql = AssertSqlSafe(format!(
        "SELECT state FROM history WHERE checkout_id = '{id}' ORDER BY version"
    ));
    sqlx::query_scalar(sql)
        .fetch_all(&mut fixture.connect().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn sagas_of_a_process_of_the_version_before_are_driven_on() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let Tables { journal, .. } = fixture.open().await;
    let mut old = fixture.connect().await;
    let id = begin(&mut old, "k").await;
    let known = journal.find("user-1", "k").await.unwrap().unwrap();
    assert_eq!((known.id, &known.state, known.context), (id, &State::Initiated, None));
    let mine = lease("new", Duration::ZERO);
    let claimed = journal.claim_due(&mine, 10).await.unwrap().remove(0);
    let reserved = steps(data(7), [State::InventoryReserved]);
    assert_eq!(journal.record(&claimed, &reserved, &mine).await.unwrap(), 2);
    // The old process has lost the saga, and claims it back.
    assert!(!record(&mut old, (id, 1, 1), &State::InventoryReserved, HOUR).await);
    let claims = claim(&mut old, Duration::ZERO).await;
    assert_eq!(claims, [(id, 2, 3)]);
    assert!(record(&mut old, claims[0], &State::CartHeld, Duration::ZERO).await);
    let claimed = journal.claim_due(&mine, 10).await.unwrap().remove(0);
    assert_eq!((&claimed.saga.state, claimed.saga.data.held), (&State::CartHeld, true));
    assert_eq!(
        history(&fixture, id).await,
        ["INITIATED", "INVENTORY_RESERVED", "CART_HELD"]
    );
    fixture.drop_schema().await;
}

#[tokio::test]
async fn a_process_of_the_version_before_drives_new_sagas_on() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let Tables { journal, .. } = fixture.open().await;
    let began = begun(journal.as_ref(), "k", Duration::ZERO).await;
    let id = began.saga.id;
    let mut old = fixture.connect().await;
    assert_eq!(claim(&mut old, Duration::ZERO).await, [(id, 1, 2)]);
    let reserved = steps(data(7), [State::InventoryReserved]);
    let lost = journal.record(&began, &reserved, &lease("me", HOUR)).await;
    assert!(matches!(lost, Err(storage::StoreError::Conflict)), "{lost:?}");
    assert!(record(&mut old, (id, 1, 2), &State::InventoryReserved, Duration::ZERO).await);
    let claimed = journal.claim_due(&lease("me", HOUR), 10).await.unwrap().remove(0);
    assert_eq!((claimed.saga.id, &claimed.saga.state), (id, &State::InventoryReserved));
    assert!(claim(&mut old, HOUR).await.is_empty(), "the new process owns it");
    fixture.drop_schema().await;
}
