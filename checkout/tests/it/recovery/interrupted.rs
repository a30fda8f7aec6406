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

/// A saga without a driver, and how it must end.
pub(super) struct Interrupted {
    pub(super) state: State,
    pub(super) done: &'static [Done],
    pub(super) method: &'static str,
    /// The reason of the failure; `None` if the purchase completes.
    pub(super) end: Option<&'static str>,
    /// Whether it began before carts had holds.
    pub(super) is_version_1: bool,
}

type Row = (State, &'static [Done], &'static str, Option<&'static str>);

pub(super) const GOOD: &str = "pm_card_ok";
pub(super) const DECLINED: &str = "pm_card_declined";
pub(super) const CARD_DECLINED: Option<&str> = Some("CARD_DECLINED");
pub(super) const CART_CHANGED: Option<&str> = Some("CART_CHANGED");
const EXPIRED: Option<&str> = Some("RESERVATION_EXPIRED");

fn interrupted(rows: Vec<Row>, is_version_1: bool) -> Vec<Interrupted> {
    let interrupted = |(state, done, method, end)| Interrupted {
        state,
        done,
        method,
        end,
        is_version_1,
    };
    rows.into_iter().map(interrupted).collect()
}

pub(super) fn all_interrupted() -> Vec<Interrupted> {
    use Done::{Charge, ClearCart, Confirm, GiveBack, Hold, Refund, Release, Reserve, SellOut};
    let declined = || failure(Reason::CardDeclined);
    let changed = || failure(Reason::CartChanged);
    let expired = || failure(Reason::ReservationExpired);
    let rows: Vec<Row> = vec![
        (State::Initiated, &[], GOOD, None),
        (State::Initiated, &[Reserve], GOOD, None),
        (State::Initiated, &[Reserve], DECLINED, CARD_DECLINED),
        // INVENTORY_RESERVED shares a commit with the state after it.
        (State::Initiated, &[Reserve, Hold], GOOD, None),
        (State::Initiated, &[Reserve, ClearCart, Hold], GOOD, CART_CHANGED),
        (State::InventoryReserved, &[Reserve], GOOD, None),
        (State::InventoryReserved, &[Reserve], DECLINED, CARD_DECLINED),
        (State::InventoryReserved, &[Reserve, ClearCart], GOOD, CART_CHANGED),
        (State::InventoryReserved, &[Reserve, Hold], GOOD, None),
        (
            State::InventoryReserved,
            &[Reserve, ClearCart, Hold],
            GOOD,
            CART_CHANGED,
        ),
        (State::CartHeld, &[Reserve, Hold], GOOD, None),
        (State::CartHeld, &[Reserve, Hold], DECLINED, CARD_DECLINED),
        (State::PaymentPending, &[Reserve, Hold], GOOD, None),
        (State::PaymentPending, &[Reserve, Hold, Charge], GOOD, None),
        (State::PaymentPending, &[Reserve, Hold, Charge], DECLINED, CARD_DECLINED),
        (State::PaymentPending, &[Reserve, Hold, Charge, Confirm], GOOD, None),
        (
            State::PaymentPending,
            &[Reserve, Hold, Charge, SellOut, Confirm],
            GOOD,
            EXPIRED,
        ),
        (
            State::PaymentPending,
            &[Reserve, Hold, Charge, GiveBack],
            DECLINED,
            CARD_DECLINED,
        ),
        (
            State::PaymentPending,
            &[Reserve, Hold, Charge, GiveBack, Release],
            DECLINED,
            CARD_DECLINED,
        ),
        (State::PaymentCompleted, &[Reserve, Hold, Charge], GOOD, None),
        (State::PaymentCompleted, &[Reserve, Hold, Charge, Confirm], GOOD, None),
        (
            State::PaymentCompleted,
            &[Reserve, Hold, Charge, SellOut, Confirm],
            GOOD,
            EXPIRED,
        ),
        (
            State::GivingBack(declined()),
            &[Reserve, Hold, Charge],
            DECLINED,
            CARD_DECLINED,
        ),
        (
            State::GivingBack(declined()),
            &[Reserve, Hold, Charge, GiveBack],
            DECLINED,
            CARD_DECLINED,
        ),
        (
            State::GivingBack(declined()),
            &[Reserve, Hold, Charge, GiveBack, Release],
            DECLINED,
            CARD_DECLINED,
        ),
        (
            State::GivingBack(expired()),
            &[Reserve, Hold, Charge, SellOut, Confirm, Refund],
            GOOD,
            EXPIRED,
        ),
        (
            State::Releasing(declined()),
            &[Reserve, Hold, Charge, GiveBack],
            DECLINED,
            CARD_DECLINED,
        ),
        (
            State::Releasing(declined()),
            &[Reserve, Hold, Charge, GiveBack, Release],
            DECLINED,
            CARD_DECLINED,
        ),
        (
            State::Releasing(changed()),
            &[Reserve, ClearCart, Hold],
            GOOD,
            CART_CHANGED,
        ),
        (
            State::Releasing(changed()),
            &[Reserve, ClearCart, Hold, Release],
            GOOD,
            CART_CHANGED,
        ),
        (
            State::Refunding(expired()),
            &[Reserve, Hold, Charge, SellOut, Confirm],
            GOOD,
            EXPIRED,
        ),
        (
            State::Refunding(expired()),
            &[Reserve, Hold, Charge, SellOut, Confirm, Refund],
            GOOD,
            EXPIRED,
        ),
        (
            State::Refunding(expired()),
            &[Reserve, Hold, Charge, SellOut, Confirm, Refund, GiveBack],
            GOOD,
            EXPIRED,
        ),
        (
            State::Refunding(expired()),
            &[Reserve, Hold, Charge, SellOut, Confirm, Refund, GiveBack, Release],
            GOOD,
            EXPIRED,
        ),
    ];
    interrupted(rows, false)
}

/// The same for sagas of machine version 1, which had no holds.
pub(super) fn all_interrupted_of_version_1() -> Vec<Interrupted> {
    use Done::{Charge, ClearCart, Confirm, Release, Reserve, SellOut};
    let declined = || failure(Reason::CardDeclined);
    let expired = || failure(Reason::ReservationExpired);
    let rows: Vec<Row> = vec![
        (State::Initiated, &[], GOOD, None),
        (State::Initiated, &[Reserve], GOOD, None),
        (State::Initiated, &[Reserve], DECLINED, CARD_DECLINED),
        (State::Initiated, &[Reserve, ClearCart], GOOD, CART_CHANGED),
        (State::InventoryReserved, &[Reserve], GOOD, None),
        (State::InventoryReserved, &[Reserve], DECLINED, CARD_DECLINED),
        (State::InventoryReserved, &[Reserve, ClearCart], GOOD, CART_CHANGED),
        (State::PaymentPending, &[Reserve], GOOD, None),
        (State::PaymentPending, &[Reserve], DECLINED, CARD_DECLINED),
        (State::PaymentPending, &[Reserve, Charge], GOOD, None),
        (State::PaymentPending, &[Reserve, Charge], DECLINED, CARD_DECLINED),
        (State::PaymentPending, &[Reserve, Charge, Confirm], GOOD, None),
        (
            State::PaymentPending,
            &[Reserve, Charge, SellOut, Confirm],
            GOOD,
            EXPIRED,
        ),
        (
            State::PaymentPending,
            &[Reserve, Charge, Release],
            DECLINED,
            CARD_DECLINED,
        ),
        (State::PaymentCompleted, &[Reserve, Charge], GOOD, None),
        (State::PaymentCompleted, &[Reserve, Charge, Confirm], GOOD, None),
        (
            State::PaymentCompleted,
            &[Reserve, Charge, SellOut, Confirm],
            GOOD,
            EXPIRED,
        ),
        (
            State::Releasing(declined()),
            &[Reserve, Charge],
            DECLINED,
            CARD_DECLINED,
        ),
        (
            State::Releasing(declined()),
            &[Reserve, Charge, Release],
            DECLINED,
            CARD_DECLINED,
        ),
        (
            State::Refunding(expired()),
            &[Reserve, Charge, SellOut, Confirm],
            GOOD,
            EXPIRED,
        ),
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
    let request = paid_with(key, interrupted.method);
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

pub(super) fn assert_end(checkout: &Checkout, end: Option<&str>, what: &str) {
    match end {
        None => assert_eq!(checkout.state, State::Completed, "{what}"),
        Some(expected) => assert_eq!(reason(checkout), expected, "{what}"),
    }
}
