//! Connections to the database that are cut while money moves.

use std::{future::Future, sync::Arc};

use futures::future::{join, join_all};
use payment::domain::State;
use sqlx::{Connection, PgConnection};

use crate::{
    bench::{Answer, Bench, Setup, checkout, terms},
    places::{Place, Schemas},
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
async fn cut(hand: &mut PgConnection, schemas: &Schemas) {
    let names = [&schemas.payment, &schemas.provider].map(|schema| format!("cartwright-{schema}"));
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ANY($1)";
    sqlx::query(cut).bind(names).execute(hand).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn charges_and_refunds_whose_connections_are_cut_happen_once() {
    let Some(schemas) = Schemas::new().await else {
        return;
    };
    let schemas = Arc::new(schemas);
    let place: Arc<dyn Place> = schemas.clone();
    let benches = [
        Bench::at(&place, Setup::default()).await,
        Bench::at(&place, Setup::default()).await,
    ];
    let mut hand = PgConnection::connect(&schemas.url).await.unwrap();
    let [Bench { books, .. }, _] = &benches;
    let (good, mut unknown) = (terms(4200, "pm_card_ok"), 0);
    for _ in 0..10 {
        let checkout = checkout();
        let first = join_all((0..16).map(|i| benches[i % 2].charge(checkout, &good)));
        let (answers, ()) = join(first, cut(&mut hand, &schemas)).await;
        let charged = insist(|| benches[0].charge(checkout, &good)).await;
        assert!(charged.is_charged(), "{charged:?}");
        assert!(
            answers.iter().all(|answer| *answer == charged || is_unknown(*answer)),
            "{answers:?}"
        );
        assert_eq!(books.lines(checkout).await, [1, 0, 0, 0]);

        let second = join_all((0..16).map(|i| benches[i % 2].refund(checkout)));
        let (more, ()) = join(second, cut(&mut hand, &schemas)).await;
        let refunded = insist(|| benches[0].refund(checkout)).await;
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
