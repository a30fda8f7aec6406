//! Every order of calls, with every fault of the provider, against a model whose only state is that of the provider.

use futures::future::join_all;
use payment::domain::{CheckoutId, DeclineReason, State};

use crate::harness::{Fault, Harness, Outcome, checkout, terms};

const DECLINED: DeclineReason = DeclineReason::CardDeclined;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Charge,
    ChargeOtherAmount,
    Refund,
    Get,
}

/// The model: what the provider has done under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    Nothing,
    Charged,
    Declined,
    Refunded,
    Tombstone,
}

impl Model {
    /// The rows of the ledger: successful charges, declined charges, refunds, tombstones.
    fn row_counts(self) -> [i64; 4] {
        match self {
            Self::Nothing => [0, 0, 0, 0],
            Self::Charged => [1, 0, 0, 0],
            Self::Declined => [0, 1, 0, 0],
            Self::Refunded => [1, 0, 1, 0],
            Self::Tombstone => [0, 0, 0, 1],
        }
    }

    fn after_charge(self, good_card: bool) -> Self {
        match (self, good_card) {
            (Self::Nothing, true) => Self::Charged,
            (Self::Nothing, false) => Self::Declined,
            (known, _) => known,
        }
    }

    fn after_refund(self) -> Self {
        match self {
            Self::Nothing => Self::Tombstone,
            Self::Charged => Self::Refunded,
            known @ (Self::Declined | Self::Refunded | Self::Tombstone) => known,
        }
    }
}

/// Whether the answer follows from the model.
fn is_expected(call: Call, answer: Outcome, model: Model, first_call: Option<Call>) -> bool {
    let state = match model {
        Model::Nothing => State::Intent,
        Model::Charged => State::Succeeded,
        Model::Declined => State::Declined(DECLINED),
        Model::Refunded => State::Refunded,
        Model::Tombstone => State::Cancelled,
    };
    match call {
        Call::Charge => match model {
            Model::Charged => answer.is_charged(),
            Model::Declined => answer == Outcome::Declined(DECLINED),
            Model::Refunded | Model::Tombstone => answer == Outcome::Cancelled,
            Model::Nothing => false,
        },
        // A payment that was cancelled before its charge has no amount.
        Call::ChargeOtherAmount => {
            answer
                == if first_call == Some(Call::Charge) {
                    Outcome::TermsMismatch
                } else {
                    Outcome::Cancelled
                }
        }
        Call::Refund => model != Model::Nothing && answer == Outcome::Payment(state),
        Call::Get => {
            answer
                == if first_call.is_some() {
                    Outcome::Payment(state)
                } else {
                    Outcome::NotFound
                }
        }
    }
}

/// All sequences of 1 to `longest` items.
fn sequences<T: Copy>(items: &[T], longest: usize) -> Vec<Vec<T>> {
    let mut all: Vec<Vec<T>> = vec![vec![]];
    let mut from = 0;
    for _ in 0..longest {
        let until = all.len();
        for at in from..until {
            for item in items {
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

struct Run<'a> {
    harness: &'a Harness,
    checkout: CheckoutId,
    good_card: bool,
    model: Model,
    /// The call that created the payment, as far as a caller can tell.
    first_call: Option<Call>,
    first_answer: Option<Outcome>,
    /// The service knows of the charge and of no refund. The next refund completes one whose answer was lost.
    knows_charge: bool,
}

impl Run<'_> {
    /// Makes a call; `None` if it is not possible yet.
    async fn call(&self, call: Call) -> Option<Outcome> {
        let method = if self.good_card {
            "pm_card_ok"
        } else {
            "pm_card_declined"
        };
        Some(match call {
            Call::Charge => self.harness.charge(self.checkout, &terms(4200, method)).await,
            Call::ChargeOtherAmount if self.first_call.is_some() => {
                self.harness.charge(self.checkout, &terms(4201, method)).await
            }
            // As the first call it could not differ from anything.
            Call::ChargeOtherAmount => return None,
            Call::Refund => self.harness.refund(self.checkout).await,
            Call::Get => self.harness.get(self.checkout).await,
        })
    }

    /// Makes a call, then checks its answer and the provider's ledger.
    async fn step(&mut self, call: Call) {
        let Some(answer) = self.call(call).await else { return };
        let faults = self.harness.provider.calls();
        assert!(faults.len() <= 1, "at most one call to the provider");
        let fault = faults.first().copied();
        if call == Call::Charge {
            self.first_call.get_or_insert(call);
        }
        if fault.is_some_and(|fault| fault != Fault::Down) {
            self.model = match call {
                Call::Charge => self.model.after_charge(self.good_card),
                Call::Refund => self.model.after_refund(),
                Call::ChargeOtherAmount | Call::Get => self.model,
            };
        }
        assert_eq!(
            self.harness.audit.row_counts(self.checkout).await,
            self.model.row_counts(),
            "the provider's ledger"
        );
        if fault.is_some_and(|fault| fault != Fault::None) {
            assert_eq!(answer, Outcome::Unknown);
            return;
        }
        if call == Call::Refund {
            self.first_call.get_or_insert(call);
        }
        let known = if self.knows_charge && call != Call::Refund {
            Model::Charged
        } else {
            self.model
        };
        assert!(
            is_expected(call, answer, known, self.first_call),
            "{call:?} was answered {answer:?}, and the model is {:?}",
            self.model
        );
        self.knows_charge = match call {
            Call::Charge | Call::Get => known == Model::Charged,
            Call::Refund => false,
            Call::ChargeOtherAmount => self.knows_charge,
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

/// Runs a sequence of calls, then calls without faults that settle and show the payment.
async fn run(harness: &Harness, calls: &[Call], faults: &[Fault], good_card: bool) {
    harness.provider.plan(faults.iter().copied());
    let mut run = Run {
        harness,
        checkout: checkout(),
        good_card,
        model: Model::Nothing,
        first_call: None,
        first_answer: None,
        knows_charge: false,
    };
    for call in calls {
        run.step(*call).await;
    }
    harness.provider.plan([]);
    run.step(Call::Get).await;
    run.step(Call::Refund).await;
    run.step(Call::Charge).await;
    run.step(Call::Get).await;
    assert_eq!(
        harness.audit.net_charged(run.checkout).await,
        0,
        "everything is refunded in the end"
    );
}

/// Runs all cases on 8 workers with a harness each, so that plans do not mix.
async fn run_all(cases: Vec<(Vec<Call>, Vec<Fault>, bool)>) {
    let workers = cases.chunks(cases.len().div_ceil(8)).map(|share| async move {
        let harness = Harness::new().await;
        for (calls, faults, good_card) in share {
            let context = format!("{calls:?} {faults:?} good card: {good_card}");
            let run = std::panic::AssertUnwindSafe(run(&harness, calls, faults, *good_card));
            let result = futures::FutureExt::catch_unwind(run).await;
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
    run_all(cases).await;
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
    run_all(cases).await;
}

#[tokio::test]
async fn a_late_charge_after_its_refund_is_refused_here_and_at_the_provider() {
    let (harness, checkout, terms) = (Harness::new().await, checkout(), terms(100, "pm_card_ok"));
    assert_eq!(harness.refund(checkout).await, Outcome::Payment(State::Cancelled));
    assert_eq!(harness.charge(checkout, &terms).await, Outcome::Cancelled);
    // Also without the payment store.
    let late = payment::ports::PaymentProvider::charge(&*harness.provider, checkout, &terms).await;
    assert_eq!(late.unwrap(), payment::domain::ChargeStatus::Cancelled);
    assert_eq!(harness.audit.row_counts(checkout).await, [0, 0, 0, 1]);
}
