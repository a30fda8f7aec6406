//! Behaviour under concurrent writers and on large tables.

use std::time::Duration;

use checkout::{
    domain::{Status, UserId},
    ports::CustomerRecords,
    saga::{CheckoutMachine, State},
};
use futures::future::join;
use proto::Reason;
use runtime::Ids;
use saga::{Begun, Claimed, Continuation, Fence, Filter, Journal, Retry, SagaId, Signal, testing::fixture::event};
use sqlx::{AssertSqlSafe, PgConnection};
use testing::{Fixture, PostgresFixture};
use uuid::Uuid;

use super::fixture::{Stores, Tables, begun, steps};
use crate::{
    fake_peers::ledger::failure,
    sagas::{HOUR, data, lease, new_saga},
};

/// More runs than PostgreSQL makes (5) before it may switch a prepared statement to a generic plan.
const RUNS: i64 = 8;

/// Another session, with an open transaction.
async fn session(fixture: &PostgresFixture, statement: &str) -> PgConnection {
    let mut session = fixture.connect().await;
    let sql = format!("BEGIN; {statement}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut session).await.unwrap();
    session
}

/// Returns once a statement of the journal waits for a lock.
async fn wait_for_lock_wait(fixture: &PostgresFixture) {
    let mut session = fixture.connect().await;
    let waits = async {
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'",
            )
            .bind(fixture.application())
            .fetch_one(&mut session)
            .await
            .unwrap();
            if waiting > 0 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap();
}

#[tokio::test]
async fn a_begin_waits_for_an_uncommitted_begin_of_the_same_key() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let Tables { journal, .. } = fixture.open().await;
    begun(journal.as_ref(), "k", HOUR).await;
    for (end, key) in [("COMMIT", "k1"), ("ROLLBACK", "k2")] {
        let first = Ids::random().next();
        // Another process has inserted a saga of this key, and not committed yet.
        let insert = format!(
            "CREATE TEMP TABLE first ON COMMIT DROP AS SELECT * FROM checkouts WHERE idempotency_key = 'k';
             UPDATE first SET id = '{first}', idempotency_key = '{key}';
             INSERT INTO checkouts SELECT * FROM first;
             INSERT INTO history SELECT id, 1, state, created_at, '' FROM first"
        );
        let mut session = session(&fixture, &insert).await;
        let (new, lease) = (new_saga("user-1"), lease("me", HOUR));
        let begin = journal.begin(&new, key, &lease);
        let end = async {
            wait_for_lock_wait(&fixture).await;
            sqlx::raw_sql(end).execute(&mut session).await.unwrap();
        };
        let (answer, ()) = join(begin, end).await;
        match answer.unwrap() {
            Begun::Exists(known) => assert_eq!((key, known.id), ("k1", SagaId(first))),
            Begun::Created(Fence(fence)) => assert_eq!((key, fence), ("k2", 1)),
            Begun::Refused => panic!("refused"),
        }
    }
}

#[tokio::test]
async fn a_claim_skips_a_locked_saga() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let Tables { journal, .. } = fixture.open().await;
    let busy = begun(journal.as_ref(), "busy", Duration::ZERO).await.saga.id;
    let free = begun(journal.as_ref(), "free", Duration::ZERO).await.saga.id;
    let lock = format!("SELECT 1 FROM checkouts WHERE id = '{busy}' FOR UPDATE");
    let mut session = session(&fixture, &lock).await;
    let mine = lease("me", HOUR);
    let claims = async || {
        let claimed = journal.claim_due(&mine, 10).await.unwrap();
        claimed.iter().map(|claim| claim.saga.id).collect::<Vec<_>>()
    };
    assert_eq!(claims().await, [free]);
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await.unwrap();
    assert_eq!(claims().await, [busy]);
}

#[tokio::test]
async fn no_statement_scans_a_whole_table() {
    let Some(fixture) = PostgresFixture::new() else { return };
    let tables = fixture.open().await;
    fill(&fixture).await;
    fixture.count_scans().await;
    for n in 0..RUNS {
        run_all_writes(&tables, n).await;
        run_all_reads(tables.journal.as_ref(), n).await;
    }
    drop(tables);
    let scanned = fixture.full_scans(10_000).await;
    assert_eq!(scanned, []);
    // The search for checkouts without a hold reads only those of the user.
    let (searches, rows) = index_scans(&fixture).await;
    assert!(searches >= 2 * RUNS, "{searches}");
    assert!(rows <= 200 * RUNS, "{rows} rows in {searches} searches");
    fixture.drop_schema().await;
}

/// Inserts a million final sagas, one in a hundred of them failed, and 500 unfinished ones; each with a history. One in
/// ten has no hold.
async fn fill(fixture: &PostgresFixture) {
    let rows = "
        -- The rows are consistent and need not survive a crash.
        ALTER TABLE history DROP CONSTRAINT history_checkout_id_fkey;
        ALTER TABLE history SET UNLOGGED;
        ALTER TABLE checkouts SET UNLOGGED;
        INSERT INTO checkouts (id, user_id, idempotency_key, fingerprint, state, status, failure, lines, total_minor, currency,
            payment_method, cart_version, created_at, updated_at, version, owner, fence, lease_until, wake_at, needs_attention,
            held)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 'user-' || lpad((n / 1000)::text, 4, '0'), 'key-' || lpad(n::text, 7, '0'),
            'pm_card_ok:false', state, state,
            CASE state WHEN 'FAILED' THEN '{\"reason\": \"CARD_DECLINED\", \"message\": \"\"}'::jsonb END,
            '[{\"product_id\": 1, \"name\": \"Laptop\", \"quantity\": 1, \"unit_price\": 129999}]', 129999, 'USD',
            'pm_card_ok', 1, now(), now(), 1, 'owner', 1, now() + interval '1 hour', now(), n % 4000 = 0,
            n % 10 <> 0
        FROM generate_series(1, 1000000) n, LATERAL (SELECT CASE WHEN n % 2000 = 0 THEN 'PAYMENT_PENDING'
            WHEN n % 100 = 0 THEN 'FAILED' ELSE 'COMPLETED' END AS state) made;
        INSERT INTO history (checkout_id, version, state, at, detail)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 1, 'INITIATED', now(), '' FROM generate_series(1, 1000000) n;
        ALTER TABLE history ADD CONSTRAINT history_checkout_id_fkey FOREIGN KEY (checkout_id) REFERENCES checkouts NOT VALID";
    fixture.execute(rows).await;
}

/// The scans of the index of checkouts without a hold, and the rows that they read.
async fn index_scans(fixture: &PostgresFixture) -> (i64, i64) {
    let mut session = fixture.connect().await;
    sqlx::query_as(
        "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes
         WHERE schemaname = $1 AND indexrelname = 'checkouts_unheld'",
    )
    .bind(&fixture.schema)
    .fetch_one(&mut session)
    .await
    .unwrap()
}

/// Runs the statements of a saga from its begin to its end, and those of signals.
async fn run_all_writes(tables: &Tables, n: i64) {
    let (journal, mine) = (tables.journal.as_ref(), lease("me", HOUR));
    let key = format!("new-{n}");
    let began = begun(journal, &key, HOUR).await;
    let mut record = steps(
        data(7),
        [State::InventoryReserved, State::CartHeld, State::PaymentPending],
    );
    record.continuation = Continuation::Retry(Retry {
        after: Duration::ZERO,
        attempts: 1,
        needs_attention: true,
    });
    let version = journal
        .record(&began, &record, &lease("me", Duration::ZERO))
        .await
        .unwrap();
    let claimed = journal.claim_due(&mine, 100).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].saga.version), (1, version));
    journal.release_all("me").await.unwrap();
    let claimed = journal.claim_due(&mine, 100).await.unwrap().remove(0);
    let signal = Signal {
        id: Uuid::from_u128(u128::try_from(n).unwrap()),
        name: "any".to_owned(),
        payload: String::new(),
    };
    journal.send(claimed.saga.id, &signal).await.unwrap();
    assert_eq!(journal.unread(claimed.saga.id).await.unwrap(), [signal]);
    let mut record = steps(data(7), [State::PaymentCompleted, State::Completed]);
    record.event = Some(("topic", event(&began.saga)));
    journal.record(&claimed, &record, &mine).await.unwrap();
    assert!(journal.claim_due(&mine, 100).await.unwrap().is_empty());
    // user-0001 has many checkouts, some of them without a hold.
    let records: &dyn CustomerRecords = tables.records.as_ref();
    for user in ["user-1", "user-0001"] {
        records
            .without_hold(&UserId::new(user.to_owned()).unwrap(), 1)
            .await
            .unwrap();
    }
    let saga = new_saga("user-0001");
    let Begun::Created(fence) = journal.begin(&saga, &key, &mine).await.unwrap() else {
        panic!("not begun");
    };
    let ended = steps(data(7), [State::Failed(failure(Reason::OutOfStock))]);
    journal.record(&Claimed { saga, fence }, &ended, &mine).await.unwrap();
    let known = journal.begin(&new_saga("user-1"), &key, &mine).await;
    assert!(matches!(known, Ok(Begun::Exists(known)) if known.id == claimed.saga.id));
}

/// Runs every statement that reads: first and later pages, of frequent and of rare statuses.
async fn run_all_reads(journal: &dyn Journal<CheckoutMachine>, n: i64) {
    let found = journal.find("user-0001", &format!("key-{:07}", 1000 + n)).await;
    let found = found.unwrap().unwrap();
    assert_eq!(found.scope, "user-0001");
    assert!(journal.get(found.id, None).await.unwrap().is_some());
    let statuses = [
        (None, 20),
        (Some(Status::Completed), 20),
        (Some(Status::Failed), 20),
        (Some(Status::PaymentPending), 20),
        (Some(Status::Initiated), 0),
    ];
    for (status, expected) in statuses {
        for needs_attention in [false, true] {
            let mut page = Filter {
                status: status.map(Status::name),
                needs_attention,
                after: None,
                limit: 20,
            };
            for _ in 0..2 {
                let found = journal.list(page).await.unwrap();
                if !needs_attention {
                    assert_eq!(found.len(), expected, "{page:?}");
                }
                page.after = found.last().map(|saga| saga.id).or(page.after);
            }
        }
    }
}
