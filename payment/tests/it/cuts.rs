//! Connections to the database that are cut while money moves.

use std::future::Future;

use futures::future::{join, join_all};
use payment::domain::State;
use sqlx::PgConnection;
use testing::Fixture;

use crate::{
    harness::{Answer, Harness, Setup, checkout, terms},
    places::PostgresFixtures,
};

/// The answer that comes once the connections are there again. Each call that fails takes a dead one out of its pool.
async fn insist<F: Future<Output = Answer>>(call: impl Fn() -> F) -> Answer {
    for _ in 0..100 {
        let answer = call().await;
        if !is_unknown(answer) {
            return answer;
        }
    }
    panic!("it does not come back");
}

fn is_unknown(answer: Answer) -> bool {
    matches!(answer, Answer::Unavailable | Answer::StoreAway)
}

/// Cuts the connections of all processes to these schemas, whatever they are doing.
async fn cut(hand: &mut PgConnection, schemas: &PostgresFixtures) {
    for schema in [&schemas.payment, &schemas.provider] {
        schema.cut(hand).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn charges_and_refunds_whose_connections_are_cut_happen_once() {
    let Some(schemas) = PostgresFixtures::new() else { return };
    let harnesses = [
        Harness::at(&schemas, Setup::default()).await,
        Harness::at(&schemas, Setup::default()).await,
    ];
    let mut hand = schemas.payment.connect().await;
    let [Harness { books, .. }, _] = &harnesses;
    let (good, mut unknown) = (terms(4200, "pm_card_ok"), 0);
    for _ in 0..10 {
        let checkout = checkout();
        let first = join_all((0..16).map(|i| harnesses[i % 2].charge(checkout, &good)));
        let (answers, ()) = join(first, cut(&mut hand, &schemas)).await;
        let charged = insist(|| harnesses[0].charge(checkout, &good)).await;
        assert!(charged.is_charged(), "{charged:?}");
        assert!(
            answers.iter().all(|answer| *answer == charged || is_unknown(*answer)),
            "{answers:?}"
        );
        assert_eq!(books.lines(checkout).await, [1, 0, 0, 0]);

        let second = join_all((0..16).map(|i| harnesses[i % 2].refund(checkout)));
        let (more, ()) = join(second, cut(&mut hand, &schemas)).await;
        let refunded = insist(|| harnesses[0].refund(checkout)).await;
        assert_eq!(refunded, Answer::Payment(State::Refunded));
        assert!(
            more.iter().all(|answer| *answer == refunded || is_unknown(*answer)),
            "{more:?}"
        );
        assert_eq!(books.lines(checkout).await, [1, 0, 1, 0]);
        unknown += answers
            .into_iter()
            .chain(more)
            .filter(|answer| is_unknown(*answer))
            .count();
    }
    assert!(unknown > 0, "nothing was cut in the middle of anything");
}
