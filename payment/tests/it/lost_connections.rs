//! Database connections that are closed during charges and refunds.

use std::future::Future;

use futures::future::{join, join_all};
use payment::domain::State;
use sqlx::PgConnection;
use testing::Fixture;

use crate::{
    fixtures::PostgresFixtures,
    harness::{Harness, Outcome, Setup, checkout, terms},
};

/// Calls until the outcome is known. Each failed call removes a dead connection from its pool.
async fn call_until_known<F: Future<Output = Outcome>>(call: impl Fn() -> F) -> Outcome {
    for _ in 0..100 {
        let answer = call().await;
        if !is_unknown(answer) {
            return answer;
        }
    }
    panic!("still unknown after 100 calls");
}

fn is_unknown(answer: Outcome) -> bool {
    matches!(answer, Outcome::Unknown | Outcome::StoreUnavailable)
}

/// Closes the connections of all processes to these schemas.
async fn close_connections(admin: &mut PgConnection, schemas: &PostgresFixtures) {
    for schema in [&schemas.payment, &schemas.provider] {
        schema.cut(admin).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn charges_and_refunds_with_lost_connections_happen_once() {
    let Some(schemas) = PostgresFixtures::new() else { return };
    let harnesses = [
        Harness::at(&schemas, Setup::default()).await,
        Harness::at(&schemas, Setup::default()).await,
    ];
    let mut admin = schemas.payment.connect().await;
    let [Harness { audit, .. }, _] = &harnesses;
    let (good, mut unknown) = (terms(4200, "pm_card_ok"), 0);
    for _ in 0..10 {
        let checkout = checkout();
        let first = join_all((0..16).map(|i| harnesses[i % 2].charge(checkout, &good)));
        let (answers, ()) = join(first, close_connections(&mut admin, &schemas)).await;
        let charged = call_until_known(|| harnesses[0].charge(checkout, &good)).await;
        assert!(charged.is_charged(), "{charged:?}");
        assert!(
            answers.iter().all(|answer| *answer == charged || is_unknown(*answer)),
            "{answers:?}"
        );
        assert_eq!(audit.row_counts(checkout).await, [1, 0, 0, 0]);

        let second = join_all((0..16).map(|i| harnesses[i % 2].refund(checkout)));
        let (more, ()) = join(second, close_connections(&mut admin, &schemas)).await;
        let refunded = call_until_known(|| harnesses[0].refund(checkout)).await;
        assert_eq!(refunded, Outcome::Payment(State::Refunded));
        assert!(
            more.iter().all(|answer| *answer == refunded || is_unknown(*answer)),
            "{more:?}"
        );
        assert_eq!(audit.row_counts(checkout).await, [1, 0, 1, 0]);
        unknown += answers
            .into_iter()
            .chain(more)
            .filter(|answer| is_unknown(*answer))
            .count();
    }
    assert!(unknown > 0, "no call was interrupted");
}
