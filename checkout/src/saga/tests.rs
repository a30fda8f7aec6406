//! The table of the saga, and what holds for every path through it.

use proptest::prelude::*;
use proto::Reason;

use super::*;

fn failure(reason: Reason) -> Failure {
    Failure {
        reason,
        message: "m".to_owned(),
        shortages: Vec::new(),
    }
}

fn declined() -> Failure {
    failure(Reason::CardDeclined)
}

fn states() -> Vec<State> {
    let f = declined;
    vec![
        State::Initiated,
        State::InventoryReserved,
        State::PaymentPending,
        State::PaymentCompleted,
        State::Releasing(f()),
        State::Refunding(f()),
        State::Completed,
        State::Failed(f()),
    ]
}

#[test]
fn the_table_is_the_one_on_paper() {
    let (f, g) = (declined(), failure(Reason::OutOfStock));
    let refused = || Outcome::Refused(failure(Reason::OutOfStock));
    let rows = [
        (State::Initiated, State::InventoryReserved, State::Failed(g.clone())),
        (
            State::InventoryReserved,
            State::InventoryReserved,
            State::InventoryReserved,
        ),
        (
            State::PaymentPending,
            State::PaymentCompleted,
            State::Releasing(g.clone()),
        ),
        (State::PaymentCompleted, State::Completed, State::Refunding(g)),
        (
            State::Releasing(f.clone()),
            State::Failed(f.clone()),
            State::Releasing(f.clone()),
        ),
        (
            State::Refunding(f.clone()),
            State::Releasing(f.clone()),
            State::Refunding(f.clone()),
        ),
        (State::Completed, State::Completed, State::Completed),
        (State::Failed(f.clone()), State::Failed(f.clone()), State::Failed(f)),
    ];
    assert_eq!(rows.len(), states().len());
    for (state, done, refusal) in rows {
        assert_eq!(apply(state.clone(), Outcome::Done), done, "{state:?} done");
        assert_eq!(apply(state.clone(), refused()), refusal, "{state:?} refused");
        assert_eq!(apply(state.clone(), Outcome::Unknown), state, "{state:?} unknown");
    }
}

#[test]
fn every_state_survives_storage() {
    for state in states() {
        assert_eq!(State::from_parts(state.name(), state.failure().cloned()), Some(state));
    }
    assert_eq!(State::from_parts("FAILED", None), None);
    assert_eq!(State::from_parts("COMPLETED", Some(declined())), None);
    assert_eq!(State::from_parts("SHIPPED", None), None);
}

#[test]
fn only_terminal_states_have_nothing_to_do() {
    for state in states() {
        assert_eq!(next(&state) == Next::Nothing, state.is_terminal(), "{state:?}");
    }
}

#[test]
fn only_what_the_participants_remember_may_be_written_down_later() {
    let sharing = states().into_iter().filter(State::shares_its_commit);
    assert_eq!(
        sharing.collect::<Vec<_>>(),
        [State::PaymentCompleted, State::Releasing(declined())]
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    None,
    Held,
    Lost,
    Sold,
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payment {
    None,
    Charged,
    Declined,
    Refunded,
}

/// What the participants have after the calls that a saga made, and remember.
struct World {
    hold: Hold,
    payment: Payment,
}

impl World {
    /// What a call is answered with when it arrives. The first answer is given again.
    fn answer(&mut self, call: Call, refuses: bool) -> Outcome {
        let is_done = match call {
            Call::Reserve => {
                if self.hold == Hold::None && !refuses {
                    self.hold = Hold::Held;
                }
                !matches!(self.hold, Hold::None | Hold::Released)
            }
            Call::Charge => {
                if self.payment == Payment::None {
                    self.payment = if refuses { Payment::Declined } else { Payment::Charged };
                }
                self.payment == Payment::Charged
            }
            Call::Confirm => {
                if self.hold == Hold::Held {
                    self.hold = if refuses { Hold::Lost } else { Hold::Sold };
                }
                self.hold == Hold::Sold
            }
            Call::Release => {
                self.hold = Hold::Released;
                true
            }
            Call::Refund => {
                self.payment = Payment::Refunded;
                true
            }
        };
        if is_done {
            Outcome::Done
        } else {
            Outcome::Refused(declined())
        }
    }
}

/// A driver: the state that is on disk, and the one that it knows of.
struct Driver {
    recorded: State,
    known: State,
}

impl Driver {
    fn write_down(&mut self) {
        self.recorded = self.known.clone();
    }

    /// Makes the next call, if any. Returns what it made.
    fn step(&mut self, world: &mut World, luck: Luck) -> Option<Call> {
        if !self.known.shares_its_commit() {
            self.write_down();
        }
        let call = match next(&self.known) {
            Next::Nothing => return None,
            Next::Record(intent) => {
                self.known = intent;
                self.write_down();
                return None;
            }
            Next::Call(call) => call,
        };
        let answer = match luck {
            Luck::NeverArrives => Outcome::Unknown,
            Luck::Good | Luck::AnswerLost | Luck::Refused | Luck::Crash => world.answer(call, luck == Luck::Refused),
        };
        match luck {
            Luck::Good | Luck::Refused => self.known = apply(self.known.clone(), answer),
            // An unknown outcome is written down, with the step before it.
            Luck::AnswerLost | Luck::NeverArrives => self.write_down(),
            Luck::Crash => self.known = self.recorded.clone(),
        }
        Some(call)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Good,
    /// If it is the first time, and a call that can be.
    Refused,
    AnswerLost,
    NeverArrives,
    /// It was answered, and the driver died of it: the next one knows what is on disk.
    Crash,
}

fn luck() -> impl Strategy<Value = Luck> {
    proptest::sample::select(vec![
        Luck::Good,
        Luck::Refused,
        Luck::AnswerLost,
        Luck::NeverArrives,
        Luck::Crash,
    ])
}

proptest! {
    /// Any luck in any order, then only good: it ends, and the world agrees with the verdict.
    #[test]
    fn every_path_ends_with_books_that_agree(luck in proptest::collection::vec(luck(), 0..40)) {
        let mut driver = Driver { recorded: State::Initiated, known: State::Initiated };
        let mut world = World { hold: Hold::None, payment: Payment::None };
        for luck in luck.into_iter().chain(std::iter::repeat_n(Luck::Good, 12)) {
            let call = driver.step(&mut world, luck);
            // What may move money is on disk before it does.
            if call == Some(Call::Charge) {
                prop_assert!(!matches!(driver.recorded, State::Initiated | State::InventoryReserved));
            }
            if call == Some(Call::Refund) {
                prop_assert!(!matches!(driver.recorded, State::PaymentPending | State::PaymentCompleted));
            }
        }
        let state = driver.known;
        prop_assert!(state.is_terminal(), "{:?}", state);
        let completed = state == State::Completed;
        prop_assert_eq!(world.payment == Payment::Charged, completed);
        prop_assert_eq!(world.hold == Hold::Sold, completed);
        prop_assert!(!matches!(world.hold, Hold::Held | Hold::Lost), "{:?}", world.hold);
    }
}
