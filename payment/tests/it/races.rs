//! Calls for one checkout at the same time.

use futures::future::{join, join_all};
use payment::domain::State;

use crate::bench::{Answer, Bench, Fault, checkout, terms};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_charges_with_one_key_are_one_charge_with_one_answer() {
    let (bench, checkout, terms) = (Bench::new().await, checkout(), terms(4200, "pm_card_ok"));
    let answers = join_all((0..32).map(|_| bench.charge(checkout, &terms))).await;
    assert!(answers[0].is_charged());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(bench.books.lines(checkout).await, [1, 0, 0, 0]);
    assert_eq!(bench.books.held(checkout).await, 4200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_charges_of_which_some_differ_charge_one_amount() {
    let (bench, checkout) = (Bench::new().await, checkout());
    let both = [terms(4200, "pm_card_ok"), terms(4300, "pm_card_ok")];
    let answers = join_all((0..32).map(|i| bench.charge(checkout, &both[i % 2]))).await;
    let winner = answers.iter().position(|answer| answer.is_charged()).unwrap() % 2;
    for (i, answer) in answers.iter().enumerate() {
        if i % 2 == winner {
            assert!(answer.is_charged(), "{answers:?}");
        } else {
            assert_eq!(*answer, Answer::OtherTerms, "{answers:?}");
        }
    }
    assert_eq!(bench.books.held(checkout).await, both[winner].amount.minor_units());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_charge_that_races_its_refund_leaves_no_money_that_the_row_does_not_know() {
    let bench = Bench::new().await;
    let good = terms(4200, "pm_card_ok");
    let (mut refunded, mut cancelled) = (0, 0);
    for round in 0..100 {
        let checkout = checkout();
        // Either one goes first in half of the rounds.
        let (charged, given_back) = if round % 2 == 0 {
            join(bench.charge(checkout, &good), bench.refund(checkout)).await
        } else {
            let (given_back, charged) = join(bench.refund(checkout), bench.charge(checkout, &good)).await;
            (charged, given_back)
        };
        let row = bench.row(checkout).await.unwrap();
        assert_eq!(given_back, Answer::Payment(row));
        match row {
            State::Refunded => {
                assert!(charged.is_charged() || charged == Answer::Cancelled, "{charged:?}");
                assert_eq!(bench.books.lines(checkout).await, [1, 0, 1, 0]);
                refunded += 1;
            }
            State::Cancelled => {
                assert_eq!(charged, Answer::Cancelled);
                assert_eq!(bench.books.lines(checkout).await, [0, 0, 0, 1]);
                cancelled += 1;
            }
            State::Intent | State::Succeeded | State::Declined(_) => panic!("{row:?} after its refund"),
        }
        assert_eq!(bench.charge(checkout, &good).await, Answer::Cancelled);
        assert_eq!(bench.books.held(checkout).await, 0);
    }
    assert_eq!(refunded + cancelled, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_all_calls_with_lost_answers_ends_in_one_truth() {
    let bench = Bench::new().await;
    let good = terms(4200, "pm_card_ok");
    for _ in 0..10 {
        let checkout = checkout();
        bench
            .provider
            .plan((0..24).map(|i| [Fault::None, Fault::AnswerLost, Fault::Down][i % 3]));
        let charges = join_all((0..16).map(|_| bench.charge(checkout, &good)));
        let refunds = join_all((0..8).map(|_| bench.refund(checkout)));
        let reads = join_all((0..8).map(|_| bench.get(checkout)));
        let ((answers, _), _) = join(join(charges, refunds), reads).await;
        bench.provider.plan([]);
        let ids: Vec<_> = answers.into_iter().filter(|answer| answer.is_charged()).collect();
        assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
        let last = bench.refund(checkout).await;
        assert!(
            matches!(last, Answer::Payment(State::Refunded | State::Cancelled)),
            "{last:?}"
        );
        assert_eq!(bench.get(checkout).await, last);
        assert_eq!(bench.books.held(checkout).await, 0);
        let [charges, declined, refunds, tombstones] = bench.books.lines(checkout).await;
        assert_eq!((declined, charges, refunds), (0, refunds, charges));
        assert_eq!(charges + tombstones, 1);
    }
}
