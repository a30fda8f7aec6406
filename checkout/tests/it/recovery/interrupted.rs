//! All states in which a dying driver can leave a saga: the state on disk, and the calls that were executed.

use checkout::{
    domain::{Checkout, CheckoutId},
    saga::{Data, State},
};
use proto::Reason;
use saga::{Begun, Claimed, Journal, Lease, Record, Saga, State as _};

use crate::{
    fake_peers::ledger::{PeerLedger, failure, payment_id},
    harness::{Harness, paid_with, reason},
    sagas::{data, new_saga},
};

/// What happened at the peers before the driver died, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Reserve,
    /// The customer cleared the cart: a later Hold is refused.
    ClearCart,
    Hold,
    Charge,
    /// The reservation expired and its stock was sold: a later Confirm is refused.
    SellOut,
    Confirm,
    Refund,
    GiveBack,
    Release,
}

use Done::{Charge, ClearCart, Confirm, GiveBack, Hold, Refund, Release, Reserve, SellOut};

impl Done {
    /// Executes it. A refusal is one of the answers.
    fn execute(self, ledger: &mut PeerLedger, checkout: &Checkout) {
        let Checkout {
            id,
            user,
            purchase,
            method,
            ..
        } = checkout;
        match self {
            Self::Reserve => drop(ledger.reserve(*id, &purchase.lines)),
            Self::ClearCart => ledger.carts.clear(user),
            Self::Hold => drop(ledger.carts.hold(*id, user, purchase)),
            Self::Charge => drop(ledger.charge(*id, purchase.total, method)),
            Self::SellOut => {
                ledger.expire(*id);
                ledger.sell_out();
            }
            Self::Confirm => drop(ledger.confirm(*id)),
            Self::Refund => ledger.refund(*id),
            Self::GiveBack => ledger.carts.give_back(*id, user),
            Self::Release => drop(ledger.release(*id)),
        }
    }
}

/// What was done in a state. A decline is the answer to Charge.
type Calls = &'static [Done];

const NOTHING: Calls = &[];
const RESERVED: Calls = &[Reserve];
const CART_CLEARED: Calls = &[Reserve, ClearCart];
const HOLD_REFUSED: Calls = &[Reserve, ClearCart, Hold];
const HOLD_REFUSED_RELEASED: Calls = &[Reserve, ClearCart, Hold, Release];
const HELD: Calls = &[Reserve, Hold];
const CHARGED: Calls = &[Reserve, Hold, Charge];
const SOLD: Calls = &[Reserve, Hold, Charge, Confirm];
const GIVEN_BACK: Calls = &[Reserve, Hold, Charge, GiveBack];
const RELEASED: Calls = &[Reserve, Hold, Charge, GiveBack, Release];
const LOST: Calls = &[Reserve, Hold, Charge, SellOut, Confirm];
const REFUNDED: Calls = &[Reserve, Hold, Charge, SellOut, Confirm, Refund];
const REFUNDED_GIVEN_BACK: Calls = &[Reserve, Hold, Charge, SellOut, Confirm, Refund, GiveBack];
const REFUNDED_RELEASED: Calls = &[Reserve, Hold, Charge, SellOut, Confirm, Refund, GiveBack, Release];
// Version 1 had no holds.
const V1_CHARGED: Calls = &[Reserve, Charge];
const V1_SOLD: Calls = &[Reserve, Charge, Confirm];
const V1_LOST: Calls = &[Reserve, Charge, SellOut, Confirm];
const V1_RELEASED: Calls = &[Reserve, Charge, Release];

pub(super) const GOOD_CARD: &str = "pm_card_ok";
pub(super) const DECLINED_CARD: &str = "pm_card_declined";

/// The payment method, and the reason of the failure; `None` if the purchase completes.
pub(super) type Ending = (&'static str, Option<&'static str>);

pub(super) const COMPLETES: Ending = (GOOD_CARD, None);
pub(super) const DECLINED: Ending = (DECLINED_CARD, Some("CARD_DECLINED"));
pub(super) const CHANGED: Ending = (GOOD_CARD, Some("CART_CHANGED"));
const EXPIRED: Ending = (GOOD_CARD, Some("RESERVATION_EXPIRED"));

/// A saga without a driver, and how it must end.
pub(super) struct Interrupted {
    pub(super) state: State,
    pub(super) done: Calls,
    pub(super) ending: Ending,
    /// Whether it began before carts had holds.
    pub(super) is_version_1: bool,
}

fn interrupted(rows: Vec<(State, Calls, Ending)>, is_version_1: bool) -> Vec<Interrupted> {
    let interrupted = |(state, done, ending)| Interrupted {
        state,
        done,
        ending,
        is_version_1,
    };
    rows.into_iter().map(interrupted).collect()
}

pub(super) fn all_interrupted() -> Vec<Interrupted> {
    let declined = || failure(Reason::CardDeclined);
    let changed = || failure(Reason::CartChanged);
    let expired = || failure(Reason::ReservationExpired);
    let rows = vec![
        (State::Initiated, NOTHING, COMPLETES),
        (State::Initiated, RESERVED, COMPLETES),
        (State::Initiated, RESERVED, DECLINED),
        // INVENTORY_RESERVED shares a commit with the state after it.
        (State::Initiated, HELD, COMPLETES),
        (State::Initiated, HOLD_REFUSED, CHANGED),
        (State::InventoryReserved, RESERVED, COMPLETES),
        (State::InventoryReserved, RESERVED, DECLINED),
        (State::InventoryReserved, CART_CLEARED, CHANGED),
        (State::InventoryReserved, HELD, COMPLETES),
        (State::InventoryReserved, HOLD_REFUSED, CHANGED),
        (State::CartHeld, HELD, COMPLETES),
        (State::CartHeld, HELD, DECLINED),
        (State::PaymentPending, HELD, COMPLETES),
        (State::PaymentPending, CHARGED, COMPLETES),
        (State::PaymentPending, CHARGED, DECLINED),
        (State::PaymentPending, SOLD, COMPLETES),
        (State::PaymentPending, LOST, EXPIRED),
        (State::PaymentPending, GIVEN_BACK, DECLINED),
        (State::PaymentPending, RELEASED, DECLINED),
        (State::PaymentCompleted, CHARGED, COMPLETES),
        (State::PaymentCompleted, SOLD, COMPLETES),
        (State::PaymentCompleted, LOST, EXPIRED),
        (State::GivingBack(declined()), CHARGED, DECLINED),
        (State::GivingBack(declined()), GIVEN_BACK, DECLINED),
        (State::GivingBack(declined()), RELEASED, DECLINED),
        (State::GivingBack(expired()), REFUNDED, EXPIRED),
        (State::Releasing(declined()), GIVEN_BACK, DECLINED),
        (State::Releasing(declined()), RELEASED, DECLINED),
        (State::Releasing(changed()), HOLD_REFUSED, CHANGED),
        (State::Releasing(changed()), HOLD_REFUSED_RELEASED, CHANGED),
        (State::Refunding(expired()), LOST, EXPIRED),
        (State::Refunding(expired()), REFUNDED, EXPIRED),
        (State::Refunding(expired()), REFUNDED_GIVEN_BACK, EXPIRED),
        (State::Refunding(expired()), REFUNDED_RELEASED, EXPIRED),
    ];
    interrupted(rows, false)
}

/// The same for sagas of machine version 1.
pub(super) fn all_interrupted_of_version_1() -> Vec<Interrupted> {
    let declined = || failure(Reason::CardDeclined);
    let expired = || failure(Reason::ReservationExpired);
    let rows = vec![
        (State::Initiated, NOTHING, COMPLETES),
        (State::Initiated, RESERVED, COMPLETES),
        (State::Initiated, RESERVED, DECLINED),
        (State::Initiated, CART_CLEARED, CHANGED),
        (State::InventoryReserved, RESERVED, COMPLETES),
        (State::InventoryReserved, RESERVED, DECLINED),
        (State::InventoryReserved, CART_CLEARED, CHANGED),
        (State::PaymentPending, RESERVED, COMPLETES),
        (State::PaymentPending, RESERVED, DECLINED),
        (State::PaymentPending, V1_CHARGED, COMPLETES),
        (State::PaymentPending, V1_CHARGED, DECLINED),
        (State::PaymentPending, V1_SOLD, COMPLETES),
        (State::PaymentPending, V1_LOST, EXPIRED),
        (State::PaymentPending, V1_RELEASED, DECLINED),
        (State::PaymentCompleted, V1_CHARGED, COMPLETES),
        (State::PaymentCompleted, V1_SOLD, COMPLETES),
        (State::PaymentCompleted, V1_LOST, EXPIRED),
        (State::Releasing(declined()), V1_CHARGED, DECLINED),
        (State::Releasing(declined()), V1_RELEASED, DECLINED),
        (State::Refunding(expired()), V1_LOST, EXPIRED),
    ];
    interrupted(rows, true)
}

/// The states from the first one to this one.
fn path_to(state: &State) -> Vec<State> {
    let forward = [
        State::InventoryReserved,
        State::CartHeld,
        State::PaymentPending,
        State::PaymentCompleted,
    ];
    let then = |forward: &[State]| [forward, std::slice::from_ref(state)].concat();
    match state {
        State::Initiated => Vec::new(),
        State::InventoryReserved => forward[..1].to_vec(),
        State::CartHeld => forward[..2].to_vec(),
        State::PaymentPending => forward[..3].to_vec(),
        State::PaymentCompleted => forward.to_vec(),
        State::Releasing(failure) if failure.is_refused_hold() => then(&forward[..1]),
        State::Releasing(failure) => then(&path_to(&State::GivingBack(failure.clone()))),
        State::GivingBack(failure) if failure.reason == Reason::ReservationExpired => {
            then(&path_to(&State::Refunding(failure.clone())))
        }
        State::GivingBack(_) => then(&forward[..3]),
        State::Refunding(_) => then(&forward),
        State::Completed | State::Failed(_) => panic!("an ended saga is not interrupted"),
    }
}

/// Stores an interrupted saga under this lease, and executes what was done at the peers.
pub(super) async fn store(harness: &Harness, key: &str, interrupted: &Interrupted, lease: &Lease) -> CheckoutId {
    let request = paid_with(key, interrupted.ending.0);
    let cart = harness.peers.cart(&request.user);
    let mut purchase = cart.freeze(&harness.peers.prices(), &request).unwrap();
    if interrupted.is_version_1 {
        purchase.cart.id = None;
    }
    let saga = Saga {
        fingerprint: request.fingerprint(),
        data: Data {
            method: request.method.clone(),
            purchase,
            ..data(7)
        },
        ..new_saga(request.user.as_str())
    };
    let checkout = Checkout::from(saga.clone());
    let id = checkout.id;
    for done in interrupted.done {
        done.execute(&mut harness.peers.ledger(), &checkout);
    }
    let begun = harness.journal.begin(&saga, request.key.as_str(), lease).await.unwrap();
    let Begun::Created(fence) = begun else {
        panic!("the key is taken");
    };
    let mut path = path_to(&interrupted.state);
    if interrupted.is_version_1 {
        // No holds, and no compensating states before the last one.
        path.retain(|state| *state != State::CartHeld && (*state == interrupted.state || state.failure().is_none()));
    }
    if !path.is_empty() {
        let charged = path.contains(&State::PaymentCompleted);
        let data = Data {
            held: path.contains(&State::CartHeld),
            payment_id: charged.then(|| payment_id(id)),
            ..saga.data.clone()
        };
        let at = saga.created_at;
        let record = Record {
            steps: path.into_iter().map(|state| (state, at, String::new())).collect(),
            ..Record::new(data)
        };
        let claimed = Claimed { saga, fence };
        harness.journal.record(&claimed, &record, lease).await.unwrap();
    }
    id
}

pub(super) fn assert_end(checkout: &Checkout, (_, failure): Ending, what: &str) {
    match failure {
        None => assert_eq!(checkout.state, State::Completed, "{what}"),
        Some(expected) => assert_eq!(reason(checkout), expected, "{what}"),
    }
}
