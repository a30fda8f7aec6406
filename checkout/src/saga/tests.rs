//! The table of the saga, and what holds for every path through it.

use ::saga::{State as _, testing::Sample};
use money::{Money, Quantity};
use proptest::prelude::*;
use proto::Reason;
use storage::Migrations;
use uuid::Uuid;

use super::*;
use crate::{
    domain::{CartRef, Line, PaymentMethod, ProductId, Purchase},
    store,
};

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
fn the_table_is_the_one_on_paper() {
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
fn every_state_has_the_call_that_is_on_paper() {
    let calls = states().iter().map(next).collect::<Vec<_>>();
    let on_paper = [
        Next::Call(Call::Reserve),
        Next::Call(Call::Hold),
        Next::Record(State::PaymentPending),
        Next::Call(Call::Charge),
        Next::Call(Call::Confirm),
        Next::End,
        Next::Call(Call::Release),
        Next::Call(Call::GiveBack),
        Next::Call(Call::Refund),
        Next::End,
    ];
    assert_eq!(calls, on_paper);
}

#[test]
fn every_state_survives_storage() {
    for state in states() {
        assert_eq!(State::from_parts(state.name(), state.failure().cloned()), Some(state));
    }
    for wants_a_failure in ["FAILED", "RELEASING", "GIVING_BACK", "REFUNDING"] {
        assert_eq!(State::from_parts(wants_a_failure, None), None);
    }
    assert_eq!(State::from_parts("COMPLETED", Some(declined())), None);
    assert_eq!(State::from_parts("CART_HELD", Some(declined())), None);
    assert_eq!(State::from_parts("SHIPPED", None), None);
}

#[test]
fn only_terminal_states_have_nothing_to_do() {
    for state in states() {
        assert_eq!(next(&state) == Next::End, state.is_terminal(), "{state:?}");
    }
}

#[test]
fn only_what_the_participants_remember_may_be_written_down_later() {
    let sharing = states().into_iter().filter(State::shares_its_commit);
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
        !State::Releasing(changed()).shares_its_commit(),
        "a reservation that was released does not tell that a hold was refused"
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    None,
    Refused,
    Held,
    Lost,
    Sold,
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cart {
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

/// What the participants have after the calls that a saga made, and remember.
#[derive(Debug, Clone)]
struct World {
    hold: Hold,
    cart: Cart,
    payment: Payment,
    /// The first thing that was refused.
    refused: Option<Reason>,
}

impl World {
    const fn new(hold: Hold, cart: Cart, payment: Payment) -> Self {
        Self {
            hold,
            cart,
            payment,
            refused: None,
        }
    }

    /// What a call is answered with when it arrives. The first answer is given again; where it cannot be, because it was
    /// undone, the reason is that of the participant.
    fn answer(&mut self, call: Call, refuses: bool) -> Outcome<Failure> {
        let before = self.clone();
        let answer = match call {
            Call::Reserve => self.reserve(refuses),
            Call::Hold => self.hold(refuses),
            Call::Charge => self.charge(refuses),
            Call::Confirm => self.confirm(refuses),
            Call::Release => {
                assert!(!matches!(self.hold, Hold::Sold), "what is sold is not released");
                self.hold = Hold::Released;
                Ok(())
            }
            Call::GiveBack => {
                // Without a hold there is nothing to give back, and nothing is remembered.
                if self.cart == Cart::Held {
                    self.cart = Cart::GivenBack;
                }
                Ok(())
            }
            Call::Refund => {
                self.payment = Payment::Refunded;
                Ok(())
            }
        };
        let is_new = (before.hold, before.cart, before.payment) != (self.hold, self.cart, self.payment);
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
        if self.hold == Hold::None {
            self.hold = if refuses { Hold::Refused } else { Hold::Held };
        }
        match self.hold {
            Hold::None | Hold::Refused => Err(Reason::OutOfStock),
            Hold::Released => Err(Reason::ReservationReleased),
            Hold::Held | Hold::Lost | Hold::Sold => Ok(()),
        }
    }

    fn hold(&mut self, refuses: bool) -> Result<(), Reason> {
        if self.cart == Cart::Free {
            self.cart = if refuses { Cart::Refused } else { Cart::Held };
        }
        match self.cart {
            Cart::Held => Ok(()),
            Cart::Free | Cart::GivenBack | Cart::Refused => Err(Reason::CartChanged),
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
        if self.hold == Hold::Held {
            self.hold = if refuses { Hold::Lost } else { Hold::Sold };
        }
        if self.hold == Hold::Sold {
            Ok(())
        } else {
            Err(Reason::ReservationExpired)
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
            Next::Wait(until) => panic!("a purchase waits for nothing: {until:?}"),
            Next::End => return None,
            Next::Record(intent) => {
                self.known = intent;
                self.write_down();
                return None;
            }
            Next::Call(call) => call,
        };
        let answer = match luck.fate {
            Fate::NeverArrives => Outcome::Unknown,
            Fate::Good | Fate::AnswerLost | Fate::Crash => world.answer(call, luck.refuses),
        };
        match luck.fate {
            Fate::Good => self.known = apply(self.known.clone(), answer),
            // An unknown outcome is written down, with the step before it.
            Fate::AnswerLost | Fate::NeverArrives => self.write_down(),
            Fate::Crash => self.known = self.recorded.clone(),
        }
        Some(call)
    }
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Luck {
    /// If it is the first time, and a call that can be.
    refuses: bool,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    AnswerLost,
    NeverArrives,
    /// It was answered, and the driver died of it: the next one knows what is on disk.
    Crash,
}

const GOOD: Luck = Luck {
    refuses: false,
    fate: Fate::Good,
};

fn luck() -> impl Strategy<Value = Luck> {
    let fates = vec![
        Fate::Good,
        Fate::Good,
        Fate::AnswerLost,
        Fate::NeverArrives,
        Fate::Crash,
    ];
    let luck = |(often, fate): (u8, Fate)| Luck {
        refuses: often == 0,
        fate,
    };
    (0..3_u8, proptest::sample::select(fates)).prop_map(luck)
}

/// Where a saga begins; or where one was left that had passed that step before carts had holds.
fn beginnings() -> Vec<(State, World)> {
    let left = |state: State, hold, payment| {
        let refused = state.failure().map(|failure| failure.reason);
        let world = World::new(hold, Cart::Free, payment);
        (state, World { refused, ..world })
    };
    let expired = failure(Reason::ReservationExpired);
    vec![
        left(State::Initiated, Hold::None, Payment::None),
        left(State::InventoryReserved, Hold::Held, Payment::None),
        left(State::PaymentPending, Hold::Held, Payment::None),
        left(State::PaymentPending, Hold::Held, Payment::Charged),
        left(State::PaymentCompleted, Hold::Held, Payment::Charged),
        left(State::Releasing(declined()), Hold::Held, Payment::Declined),
        left(State::Refunding(expired), Hold::Lost, Payment::Charged),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any luck in any order, then only good: it ends, and the world agrees with the verdict and its reason.
    #[test]
    fn every_path_ends_with_books_that_agree(
        (beginning, mut world) in proptest::sample::select(beginnings()),
        luck in proptest::collection::vec(luck(), 0..40),
    ) {
        let mut driver = Driver { recorded: beginning.clone(), known: beginning };
        let mut was_held = false;
        for luck in luck.into_iter().chain(std::iter::repeat_n(GOOD, 12)) {
            let call = driver.step(&mut world, luck);
            was_held |= world.cart == Cart::Held;
            // What may move money is on disk before it does.
            if call == Some(Call::Charge) {
                let is_early = matches!(driver.recorded, State::Initiated | State::InventoryReserved | State::CartHeld);
                prop_assert!(!is_early);
            }
            if call == Some(Call::Refund) {
                prop_assert!(!matches!(driver.recorded, State::PaymentPending | State::PaymentCompleted));
            }
            // That the pieces are gone is on disk before the stock is, which would be the reason otherwise.
            if call == Some(Call::Release) && world.cart == Cart::Refused {
                prop_assert!(matches!(driver.recorded, State::Releasing(_) | State::Failed(_)));
            }
        }
        let state = driver.known;
        prop_assert!(state.is_terminal(), "{:?}", state);
        prop_assert_eq!(state.failure().map(|failure| failure.reason), world.refused);
        let completed = state == State::Completed;
        prop_assert_eq!(world.payment == Payment::Charged, completed);
        prop_assert_eq!(world.hold == Hold::Sold, completed);
        prop_assert!(!matches!(world.hold, Hold::Held | Hold::Lost), "{:?}", world.hold);
        // Those of before bought without a hold. What was held is held until the event of the end drops it.
        prop_assert_eq!(world.cart == Cart::Held, completed && was_held);
    }
}
