//! Every order of calls, with every fault of the provider, against a model that knows one thing: what the provider has done.

use futures::future::join_all;
use payment::domain::{CheckoutId, DeclineReason, State};

use crate::harness::{Answer, Fault, Harness, checkout, terms};

const DECLINED: DeclineReason = DeclineReason::CardDeclined;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Charge,
    ChargeOtherAmount,
    Refund,
    Get,
}

/// What the provider has done under a key. That is all that a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Nothing,
    Charged,
    Declined,
    Refunded,
    Tombstone,
}

impl Done {
    /// Charges that succeeded, charges that did not, refunds, tombstones.
    fn lines(self) -> [i64; 4] {
        match self {
            Self::Nothing => [0, 0, 0, 0],
            Self::Charged => [1, 0, 0, 0],
            Self::Declined => [0, 1, 0, 0],
            Self::Refunded => [1, 0, 1, 0],
            Self::Tombstone => [0, 0, 0, 1],
        }
    }

    fn charged(self, good_card: bool) -> Self {
        match (self, good_card) {
            (Self::Nothing, true) => Self::Charged,
            (Self::Nothing, false) => Self::Declined,
            (known, _) => known,
        }
    }

    fn refunded(self) -> Self {
        match self {
            Self::Nothing => Self::Tombstone,
            Self::Charged => Self::Refunded,
            known @ (Self::Declined | Self::Refunded | Self::Tombstone) => known,
        }
    }
}

/// Whether the answer is the one that follows from what the provider has done.
fn is_true(call: Call, answer: Answer, done: Done, began_with: Option<Call>) -> bool {
    let state = match done {
        Done::Nothing => State::Intent,
        Done::Charged => State::Succeeded,
        Done::Declined => State::Declined(DECLINED),
        Done::Refunded => State::Refunded,
        Done::Tombstone => State::Cancelled,
    };
    match call {
        Call::Charge => match done {
            Done::Charged => answer.is_charged(),
            Done::Declined => answer == Answer::Declined(DECLINED),
            Done::Refunded | Done::Tombstone => answer == Answer::Cancelled,
            Done::Nothing => false,
        },
        // A payment that was cancelled before it began is of no amount.
        Call::ChargeOtherAmount => {
            answer
                == if began_with == Some(Call::Charge) {
                    Answer::OtherTerms
                } else {
                    Answer::Cancelled
                }
        }
        Call::Refund => done != Done::Nothing && answer == Answer::Payment(state),
        Call::Get => {
            answer
                == if began_with.is_some() {
                    Answer::Payment(state)
                } else {
                    Answer::NotFound
                }
        }
    }
}

/// All sequences of `1..=longest` of these.
fn sequences<T: Copy>(of: &[T], longest: usize) -> Vec<Vec<T>> {
    let mut all: Vec<Vec<T>> = vec![vec![]];
    let mut from = 0;
    for _ in 0..longest {
        let until = all.len();
        for at in from..until {
            for item in of {
                let mut longer = all[at].clone();
                longer.push(*item);
                all.push(longer);
            }
        }
        from = until;
    }
    all.remove(0);
    all
}

struct Played<'a> {
    harness: &'a Harness,
    checkout: CheckoutId,
    good_card: bool,
    done: Done,
    /// The call that made our row, as far as a caller can tell.
    began_with: Option<Call>,
    first_answer: Option<Answer>,
    /// We know of the charge, and of no refund. A refund whose answer was lost is finished by the next one.
    knows_of_charge: bool,
}

impl Played<'_> {
    /// Makes a call, unless it makes no sense yet.
    async fn make(&self, call: Call) -> Option<Answer> {
        let method = if self.good_card {
            "pm_card_ok"
        } else {
            "pm_card_declined"
        };
        Some(match call {
            Call::Charge => self.harness.charge(self.checkout, &terms(4200, method)).await,
            Call::ChargeOtherAmount if self.began_with.is_some() => {
                self.harness.charge(self.checkout, &terms(4201, method)).await
            }
            // It would be the first, so there is nothing that it differs from.
            Call::ChargeOtherAmount => return None,
            Call::Refund => self.harness.refund(self.checkout).await,
            Call::Get => self.harness.get(self.checkout).await,
        })
    }

    /// Makes a call and checks its answer, and the provider's books after it.
    async fn play(&mut self, call: Call) {
        let Some(answer) = self.make(call).await else { return };
        let asked = self.harness.provider.calls();
        assert!(asked.len() <= 1, "one call to the provider each");
        let fault = asked.first().copied();
        if call == Call::Charge {
            self.began_with.get_or_insert(call);
        }
        if fault.is_some_and(|fault| fault != Fault::Down) {
            self.done = match call {
                Call::Charge => self.done.charged(self.good_card),
                Call::Refund => self.done.refunded(),
                Call::ChargeOtherAmount | Call::Get => self.done,
            };
        }
        assert_eq!(
            self.harness.books.lines(self.checkout).await,
            self.done.lines(),
            "the provider's books"
        );
        if fault.is_some_and(|fault| fault != Fault::None) {
            assert_eq!(answer, Answer::Unavailable);
            return;
        }
        if call == Call::Refund {
            self.began_with.get_or_insert(call);
        }
        let known = if self.knows_of_charge && call != Call::Refund {
            Done::Charged
        } else {
            self.done
        };
        assert!(
            is_true(call, answer, known, self.began_with),
            "{call:?} was answered {answer:?}, and the provider has done {:?}",
            self.done
        );
        self.knows_of_charge = match call {
            Call::Charge | Call::Get => known == Done::Charged,
            Call::Refund => false,
            Call::ChargeOtherAmount => self.knows_of_charge,
        };
        if answer.is_charged() {
            assert_eq!(
                *self.first_answer.get_or_insert(answer),
                answer,
                "the payment id is the same every time"
            );
        }
    }
}

/// Plays a sequence and then asks for the truth, twice.
async fn play(harness: &Harness, calls: &[Call], faults: &[Fault], good_card: bool) {
    harness.provider.plan(faults.iter().copied());
    let mut played = Played {
        harness,
        checkout: checkout(),
        good_card,
        done: Done::Nothing,
        began_with: None,
        first_answer: None,
        knows_of_charge: false,
    };
    for call in calls {
        played.play(*call).await;
    }
    harness.provider.plan([]);
    played.play(Call::Get).await;
    played.play(Call::Refund).await;
    played.play(Call::Charge).await;
    played.play(Call::Get).await;
    assert_eq!(
        harness.books.held(played.checkout).await,
        0,
        "everything is given back in the end"
    );
}

/// One harness for each worker, so that plans do not mix.
async fn play_all(cases: Vec<(Vec<Call>, Vec<Fault>, bool)>) {
    let workers = cases.chunks(cases.len().div_ceil(8)).map(|share| async move {
        let harness = Harness::new().await;
        for (calls, faults, good_card) in share {
            let context = format!("{calls:?} {faults:?} good card: {good_card}");
            let played = std::panic::AssertUnwindSafe(play(&harness, calls, faults, *good_card));
            let result = futures::FutureExt::catch_unwind(played).await;
            assert!(result.is_ok(), "in {context}");
        }
    });
    join_all(workers).await;
}

#[tokio::test]
async fn every_order_of_calls_has_one_effect_and_one_answer() {
    let calls = [Call::Charge, Call::ChargeOtherAmount, Call::Refund, Call::Get];
    let mut cases = Vec::new();
    for sequence in sequences(&calls, 4) {
        for good_card in [true, false] {
            cases.push((sequence.clone(), vec![], good_card));
        }
    }
    assert_eq!(cases.len(), 2 * (4 + 16 + 64 + 256));
    play_all(cases).await;
}

#[tokio::test]
async fn every_order_of_calls_with_every_fault_of_the_provider_has_one_effect_and_one_answer() {
    let calls = [Call::Charge, Call::Refund, Call::Get];
    let faults = [Fault::None, Fault::Down, Fault::AnswerLost];
    let mut cases = Vec::new();
    for sequence in sequences(&calls, 3) {
        for plan in sequences(&faults, 3)
            .into_iter()
            .filter(|plan| plan.len() == sequence.len())
        {
            cases.push((sequence.clone(), plan, true));
        }
    }
    for sequence in [
        [Call::Charge; 3],
        [Call::Charge, Call::Refund, Call::Charge],
        [Call::Charge, Call::Get, Call::Refund],
    ] {
        for plan in sequences(&faults, 3) {
            cases.push((sequence.to_vec(), plan, false));
        }
    }
    play_all(cases).await;
}

#[tokio::test]
async fn a_late_charge_after_its_refund_is_refused_here_and_at_the_provider() {
    let (harness, checkout, terms) = (Harness::new().await, checkout(), terms(100, "pm_card_ok"));
    assert_eq!(harness.refund(checkout).await, Answer::Payment(State::Cancelled));
    assert_eq!(harness.charge(checkout, &terms).await, Answer::Cancelled);
    // Past our own row, too.
    let late = payment::ports::PaymentProvider::charge(&*harness.provider, checkout, &terms).await;
    assert_eq!(late.unwrap(), payment::domain::Standing::Cancelled);
    assert_eq!(harness.books.lines(checkout).await, [0, 0, 0, 1]);
}
