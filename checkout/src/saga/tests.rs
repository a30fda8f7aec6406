//! The table of the saga, and a property test of every path through it.

use ::saga::{State as _, testing::Sample};
use money::{Money, Quantity};
use proptest::prelude::*;
use proto::Reason;
use storage::Migrations;
use uuid::Uuid;

use super::*;
use crate::{
    domain::{CartRef, Line, PaymentMethod, ProductId, Purchase, Shortage},
    store,
};

/// A failure with everything that a store has to keep of it.
fn failure(reason: Reason) -> Failure {
    let shortage = |product_id, requested| Shortage {
        product_id,
        requested,
        available: 0,
    };
    Failure {
        reason,
        message: "out of \"stock\": ü".to_owned(),
        shortages: vec![shortage(1, 2), shortage(i64::MAX, i64::MAX)],
    }
}

fn declined() -> Failure {
    failure(Reason::CardDeclined)
}

fn changed() -> Failure {
    failure(Reason::CartChanged)
}

fn states() -> Vec<State> {
    [CheckoutMachine::happy_path(), CheckoutMachine::other_states()].concat()
}

impl Sample for CheckoutMachine {
    const SQLITE: Migrations = store::sqlite::MIGRATIONS;
    const POSTGRES: Migrations = store::postgres::MIGRATIONS;

    fn data(number: u32) -> Data {
        let line = |product, quantity, price| Line {
            product: ProductId::new(product).unwrap(),
            name: format!("Ware \"{product}\" ü"),
            quantity: Quantity::new(quantity).unwrap(),
            unit_price: Money::usd(price),
        };
        let cart = CartRef {
            id: Some(Uuid::NAMESPACE_OID),
            version: number.into(),
        };
        Data {
            method: PaymentMethod::new("pm_card_ok").unwrap(),
            purchase: Purchase::new(vec![line(1, 2, 1000), line(2, 1, 250)], cart).unwrap(),
            held: false,
            payment_id: None,
        }
    }

    fn happy_path() -> Vec<State> {
        vec![
            State::Initiated,
            State::InventoryReserved,
            State::CartHeld,
            State::PaymentPending,
            State::PaymentCompleted,
            State::Completed,
        ]
    }

    fn other_states() -> Vec<State> {
        vec![
            State::Releasing(declined()),
            State::GivingBack(declined()),
            State::Refunding(declined()),
            State::Failed(declined()),
        ]
    }

    fn refusals() -> Vec<(Call, Failure)> {
        vec![
            (Call::Reserve, failure(Reason::OutOfStock)),
            (Call::Hold, changed()),
            (Call::Charge, declined()),
            (Call::Confirm, failure(Reason::ReservationExpired)),
        ]
    }

    fn data_in(data: Data, state: &State) -> Data {
        match state {
            State::CartHeld => Data { held: true, ..data },
            State::PaymentCompleted => Data {
                payment_id: Some("pay_1".to_owned()),
                ..data
            },
            State::Initiated
            | State::InventoryReserved
            | State::PaymentPending
            | State::Completed
            | State::Releasing(_)
            | State::GivingBack(_)
            | State::Refunding(_)
            | State::Failed(_) => data,
        }
    }
}

::saga::suites!(CheckoutMachine);

#[test]
fn apply_follows_the_table() {
    let (f, g) = (declined(), failure(Reason::OutOfStock));
    let refused = || Outcome::Refused(failure(Reason::OutOfStock));
    let stays = |state: State| (state.clone(), state.clone(), state);
    let rows = [
        (State::Initiated, State::InventoryReserved, State::Failed(g.clone())),
        (State::InventoryReserved, State::CartHeld, State::Releasing(g.clone())),
        stays(State::CartHeld),
        (
            State::PaymentPending,
            State::PaymentCompleted,
            State::GivingBack(g.clone()),
        ),
        (State::PaymentCompleted, State::Completed, State::Refunding(g)),
        (
            State::Releasing(f.clone()),
            State::Failed(f.clone()),
            State::Releasing(f.clone()),
        ),
        (
            State::GivingBack(f.clone()),
            State::Releasing(f.clone()),
            State::GivingBack(f.clone()),
        ),
        (
            State::Refunding(f.clone()),
            State::GivingBack(f.clone()),
            State::Refunding(f.clone()),
        ),
        stays(State::Completed),
        stays(State::Failed(f)),
    ];
    assert_eq!(rows.len(), states().len());
    for (state, done, refusal) in rows {
        assert_eq!(apply(state.clone(), Outcome::Done), done, "{state:?} done");
        assert_eq!(apply(state.clone(), refused()), refusal, "{state:?} refused");
        assert_eq!(apply(state.clone(), Outcome::Unknown), state, "{state:?} unknown");
    }
}

#[test]
fn next_gives_the_call_of_every_state() {
    let calls = states().iter().map(next).collect::<Vec<_>>();
    let expected = [
        Next::Call(Call::Reserve),
        Next::Call(Call::Hold),
        Next::Intent(State::PaymentPending),
        Next::Call(Call::Charge),
        Next::Call(Call::Confirm),
        Next::End,
        Next::Call(Call::Release),
        Next::Call(Call::GiveBack),
        Next::Call(Call::Refund),
        Next::End,
    ];
    assert_eq!(calls, expected);
}

#[test]
fn every_state_is_read_back_from_its_name_and_failure() {
    for state in states() {
        assert_eq!(State::from_parts(state.name(), state.failure().cloned()), Some(state));
    }
    for without_failure in ["FAILED", "RELEASING", "GIVING_BACK", "REFUNDING"] {
        assert_eq!(State::from_parts(without_failure, None), None);
    }
    assert_eq!(State::from_parts("COMPLETED", Some(declined())), None);
    assert_eq!(State::from_parts("CART_HELD", Some(declined())), None);
    assert_eq!(State::from_parts("SHIPPED", None), None);
}

#[test]
fn only_final_states_have_no_call() {
    for state in states() {
        assert_eq!(next(&state) == Next::End, state.is_final(), "{state:?}");
    }
}

#[test]
fn only_states_that_repeated_answers_lead_back_to_share_a_commit() {
    let sharing = states().into_iter().filter(State::may_call_before_persisting);
    assert_eq!(
        sharing.collect::<Vec<_>>(),
        [
            State::InventoryReserved,
            State::PaymentCompleted,
            State::Releasing(declined()),
            State::GivingBack(declined())
        ]
    );
    assert!(
        !State::Releasing(changed()).may_call_before_persisting(),
        "after Release, a repeated Reserve hides the refused hold"
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stock {
    None,
    Refused,
    Held,
    Lost,
    Sold,
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CartHold {
    Free,
    Held,
    GivenBack,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payment {
    None,
    Charged,
    Declined,
    Refunded,
}

/// A model of the participants: what they store of the calls that reached them.
#[derive(Debug, Clone)]
struct ParticipantModel {
    stock: Stock,
    cart: CartHold,
    payment: Payment,
    /// The reason of the first refusal.
    refused: Option<Reason>,
}

impl ParticipantModel {
    const fn new(stock: Stock, cart: CartHold, payment: Payment) -> Self {
        Self {
            stock,
            cart,
            payment,
            refused: None,
        }
    }

    /// The answer to a call that arrives: the first answer is repeated, unless a compensation has undone the call.
    fn answer(&mut self, call: Call, refuses: bool) -> Outcome<Failure> {
        let before = self.clone();
        let answer = match call {
            Call::Reserve => self.reserve(refuses),
            Call::Hold => self.hold(refuses),
            Call::Charge => self.charge(refuses),
            Call::Confirm => self.confirm(refuses),
            Call::Release => {
                assert_ne!(self.stock, Stock::Sold, "sold stock is never released");
                self.stock = Stock::Released;
                Ok(())
            }
            Call::GiveBack => {
                // Without a hold, GiveBack leaves no trace.
                if self.cart == CartHold::Held {
                    self.cart = CartHold::GivenBack;
                }
                Ok(())
            }
            Call::Refund => {
                self.payment = Payment::Refunded;
                Ok(())
            }
        };
        let is_new = (before.stock, before.cart, before.payment) != (self.stock, self.cart, self.payment);
        match answer {
            Ok(()) => Outcome::Done,
            Err(reason) => {
                if is_new {
                    self.refused.get_or_insert(reason);
                }
                Outcome::Refused(failure(reason))
            }
        }
    }

    fn reserve(&mut self, refuses: bool) -> Result<(), Reason> {
        if self.stock == Stock::None {
            self.stock = if refuses { Stock::Refused } else { Stock::Held };
        }
        match self.stock {
            Stock::None | Stock::Refused => Err(Reason::OutOfStock),
            Stock::Released => Err(Reason::ReservationReleased),
            Stock::Held | Stock::Lost | Stock::Sold => Ok(()),
        }
    }

    fn hold(&mut self, refuses: bool) -> Result<(), Reason> {
        if self.cart == CartHold::Free {
            self.cart = if refuses { CartHold::Refused } else { CartHold::Held };
        }
        match self.cart {
            CartHold::Held => Ok(()),
            CartHold::Free | CartHold::GivenBack | CartHold::Refused => Err(Reason::CartChanged),
        }
    }

    fn charge(&mut self, refuses: bool) -> Result<(), Reason> {
        if self.payment == Payment::None {
            self.payment = if refuses { Payment::Declined } else { Payment::Charged };
        }
        match self.payment {
            Payment::Charged => Ok(()),
            Payment::None | Payment::Declined => Err(Reason::CardDeclined),
            Payment::Refunded => Err(Reason::PaymentCancelled),
        }
    }

    fn confirm(&mut self, refuses: bool) -> Result<(), Reason> {
        if self.stock == Stock::Held {
            self.stock = if refuses { Stock::Lost } else { Stock::Sold };
        }
        if self.stock == Stock::Sold {
            Ok(())
        } else {
            Err(Reason::ReservationExpired)
        }
    }
}

/// A driver: the state that is on disk, and the state in memory.
struct Driver {
    recorded: State,
    known: State,
}

impl Driver {
    fn persist(&mut self) {
        self.recorded = self.known.clone();
    }

    /// Makes the next call, if any, and returns it.
    fn step(&mut self, participants: &mut ParticipantModel, plan: CallPlan) -> Option<Call> {
        if !self.known.may_call_before_persisting() {
            self.persist();
        }
        let call = match next(&self.known) {
            Next::Wait(until) => panic!("a checkout never waits: {until:?}"),
            Next::End => return None,
            Next::Intent(intent) => {
                self.known = intent;
                self.persist();
                return None;
            }
            Next::Call(call) => call,
        };
        let answer = match plan.delivery {
            Delivery::NeverArrives => Outcome::Unknown,
            Delivery::Answered | Delivery::AnswerLost | Delivery::Crash => participants.answer(call, plan.refuses),
        };
        match plan.delivery {
            Delivery::Answered => self.known = apply(self.known.clone(), answer),
            // The driver persists an attempt with an unknown outcome, together with the step before it.
            Delivery::AnswerLost | Delivery::NeverArrives => self.persist(),
            Delivery::Crash => self.known = self.recorded.clone(),
        }
        Some(call)
    }
}

/// How one call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CallPlan {
    /// Whether the participant refuses, if it has not answered this call before.
    refuses: bool,
    delivery: Delivery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Answered,
    AnswerLost,
    NeverArrives,
    /// The call is executed, and the driver dies: the next driver knows what is on disk.
    Crash,
}

const ANSWERED: CallPlan = CallPlan {
    refuses: false,
    delivery: Delivery::Answered,
};

fn plan() -> impl Strategy<Value = CallPlan> {
    let deliveries = vec![
        Delivery::Answered,
        Delivery::Answered,
        Delivery::AnswerLost,
        Delivery::NeverArrives,
        Delivery::Crash,
    ];
    let plan = |(often, delivery): (u8, Delivery)| CallPlan {
        refuses: often == 0,
        delivery,
    };
    (0..3_u8, proptest::sample::select(deliveries)).prop_map(plan)
}

/// The first state; and the states in which sagas of version 1 were left, which have no hold.
fn starts() -> Vec<(State, ParticipantModel)> {
    let start = |state: State, stock, payment| {
        let refused = state.failure().map(|failure| failure.reason);
        let participants = ParticipantModel::new(stock, CartHold::Free, payment);
        (
            state,
            ParticipantModel {
                refused,
                ..participants
            },
        )
    };
    let expired = failure(Reason::ReservationExpired);
    vec![
        start(State::Initiated, Stock::None, Payment::None),
        start(State::InventoryReserved, Stock::Held, Payment::None),
        start(State::PaymentPending, Stock::Held, Payment::None),
        start(State::PaymentPending, Stock::Held, Payment::Charged),
        start(State::PaymentCompleted, Stock::Held, Payment::Charged),
        start(State::Releasing(declined()), Stock::Held, Payment::Declined),
        start(State::Refunding(expired), Stock::Lost, Payment::Charged),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// After any sequence of plans, and then only answered calls, the saga is final and the participants agree.
    #[test]
    fn every_path_ends_in_a_state_that_the_participants_agree_with(
        (start, mut participants) in proptest::sample::select(starts()),
        plans in proptest::collection::vec(plan(), 0..40),
    ) {
        let mut driver = Driver { recorded: start.clone(), known: start };
        let mut was_held = false;
        for plan in plans.into_iter().chain(std::iter::repeat_n(ANSWERED, 12)) {
            let call = driver.step(&mut participants, plan);
            was_held |= participants.cart == CartHold::Held;
            // The state that moves money is on disk before the call.
            if call == Some(Call::Charge) {
                let is_early = matches!(driver.recorded, State::Initiated | State::InventoryReserved | State::CartHeld);
                prop_assert!(!is_early);
            }
            if call == Some(Call::Refund) {
                prop_assert!(!matches!(driver.recorded, State::PaymentPending | State::PaymentCompleted));
            }
            // The refused hold is on disk before Release: afterwards a repeated Reserve would give another reason.
            if call == Some(Call::Release) && participants.cart == CartHold::Refused {
                prop_assert!(matches!(driver.recorded, State::Releasing(_) | State::Failed(_)));
            }
        }
        let state = driver.known;
        prop_assert!(state.is_final(), "{:?}", state);
        prop_assert_eq!(state.failure().map(|failure| failure.reason), participants.refused);
        let completed = state == State::Completed;
        prop_assert_eq!(participants.payment == Payment::Charged, completed);
        prop_assert_eq!(participants.stock == Stock::Sold, completed);
        prop_assert!(!matches!(participants.stock, Stock::Held | Stock::Lost), "{:?}", participants.stock);
        // Sagas of version 1 buy without a hold. A hold stays until the cart reads the event of the completed checkout.
        prop_assert_eq!(participants.cart == CartHold::Held, completed && was_held);
    }
}
