//! What a driver can have left behind when it died: a state on disk, and what the participants had done by then.

use std::time::Duration;

use checkout::{
    domain::{CartRef, Checkout, CheckoutId, Line, Purchase},
    saga::{CheckoutMachine, Data, State},
};
use jiff::Timestamp;
use proto::Reason;
use runtime::Ids;
use saga::{Begun, Claimed, Journal, Lease, Record, Saga, SagaId, State as _};

use crate::{
    harness::{Harness, paid_with, reason},
    ledger::{Ledger, failure, payment_id},
};

/// What had happened to the participants when the driver died.
type Before = fn(&mut Ledger, &Checkout);

pub(super) fn reserved(ledger: &mut Ledger, checkout: &Checkout) {
    ledger.reserve(checkout.id, &checkout.purchase.lines).unwrap();
}

/// The customer has changed the cart: its pieces cannot be held any more.
pub(super) fn gone(ledger: &mut Ledger, checkout: &Checkout) {
    reserved(ledger, checkout);
    ledger.carts.clear(&checkout.user);
}

pub(super) fn refused(ledger: &mut Ledger, checkout: &Checkout) {
    gone(ledger, checkout);
    let hold = ledger.carts.hold(checkout.id, &checkout.user, &checkout.purchase);
    hold.unwrap_err();
}

pub(super) fn refused_and_released(ledger: &mut Ledger, checkout: &Checkout) {
    refused(ledger, checkout);
    ledger.release(checkout.id).unwrap();
}

pub(super) fn held(ledger: &mut Ledger, checkout: &Checkout) {
    reserved(ledger, checkout);
    let hold = ledger.carts.hold(checkout.id, &checkout.user, &checkout.purchase);
    hold.unwrap();
}

pub(super) fn pay(ledger: &mut Ledger, checkout: &Checkout) {
    // A decline is one of the answers.
    let _ = ledger.charge(checkout.id, checkout.purchase.total, &checkout.method);
}

pub(super) fn lose(ledger: &mut Ledger, checkout: &Checkout) {
    ledger.expire(checkout.id);
    ledger.sell_out();
    ledger.confirm(checkout.id).unwrap_err();
}

pub(super) fn called_to_pay(ledger: &mut Ledger, checkout: &Checkout) {
    held(ledger, checkout);
    pay(ledger, checkout);
}

pub(super) fn sold(ledger: &mut Ledger, checkout: &Checkout) {
    called_to_pay(ledger, checkout);
    ledger.confirm(checkout.id).unwrap();
}

pub(super) fn lost(ledger: &mut Ledger, checkout: &Checkout) {
    called_to_pay(ledger, checkout);
    lose(ledger, checkout);
}

pub(super) fn given_back(ledger: &mut Ledger, checkout: &Checkout) {
    called_to_pay(ledger, checkout);
    ledger.carts.give_back(checkout.id, &checkout.user);
}

pub(super) fn released(ledger: &mut Ledger, checkout: &Checkout) {
    given_back(ledger, checkout);
    ledger.release(checkout.id).unwrap();
}

pub(super) fn refunded(ledger: &mut Ledger, checkout: &Checkout) {
    lost(ledger, checkout);
    ledger.refund(checkout.id);
}

pub(super) fn refunded_and_given_back(ledger: &mut Ledger, checkout: &Checkout) {
    refunded(ledger, checkout);
    ledger.carts.give_back(checkout.id, &checkout.user);
}

pub(super) fn refunded_and_released(ledger: &mut Ledger, checkout: &Checkout) {
    refunded_and_given_back(ledger, checkout);
    ledger.release(checkout.id).unwrap();
}

pub(super) fn nothing(_: &mut Ledger, _: &Checkout) {}

/// A saga that was left in a state, and how it ends: the reason of its failure, or none.
pub(super) struct Left {
    pub(super) state: State,
    pub(super) before: Before,
    pub(super) method: &'static str,
    pub(super) end: Option<&'static str>,
    /// Whether it was begun before carts had holds.
    pub(super) is_old: bool,
}

type Row = (State, Before, &'static str, Option<&'static str>);

pub(super) const OK: &str = "pm_card_ok";
pub(super) const BAD: &str = "pm_card_declined";
pub(super) const CARD: Option<&str> = Some("CARD_DECLINED");
pub(super) const CART: Option<&str> = Some("CART_CHANGED");
pub(super) const HOLD: Option<&str> = Some("RESERVATION_EXPIRED");

pub(super) fn left(rows: Vec<Row>, is_old: bool) -> Vec<Left> {
    let left = |(state, before, method, end)| Left {
        state,
        before,
        method,
        end,
        is_old,
    };
    rows.into_iter().map(left).collect()
}

pub(super) fn all_that_can_be_left() -> Vec<Left> {
    let declined = || failure(Reason::CardDeclined);
    let changed = || failure(Reason::CartChanged);
    let expired = || failure(Reason::ReservationExpired);
    let rows: Vec<Row> = vec![
        (State::Initiated, nothing, OK, None),
        (State::Initiated, reserved, OK, None),
        (State::Initiated, reserved, BAD, CARD),
        // What came of the next call was not written down either.
        (State::Initiated, held, OK, None),
        (State::Initiated, refused, OK, CART),
        (State::InventoryReserved, reserved, OK, None),
        (State::InventoryReserved, reserved, BAD, CARD),
        (State::InventoryReserved, gone, OK, CART),
        (State::InventoryReserved, held, OK, None),
        (State::InventoryReserved, refused, OK, CART),
        (State::CartHeld, held, OK, None),
        (State::CartHeld, held, BAD, CARD),
        (State::PaymentPending, held, OK, None),
        (State::PaymentPending, called_to_pay, OK, None),
        (State::PaymentPending, called_to_pay, BAD, CARD),
        (State::PaymentPending, sold, OK, None),
        (State::PaymentPending, lost, OK, HOLD),
        (State::PaymentPending, given_back, BAD, CARD),
        (State::PaymentPending, released, BAD, CARD),
        (State::PaymentCompleted, called_to_pay, OK, None),
        (State::PaymentCompleted, sold, OK, None),
        (State::PaymentCompleted, lost, OK, HOLD),
        (State::GivingBack(declined()), called_to_pay, BAD, CARD),
        (State::GivingBack(declined()), given_back, BAD, CARD),
        (State::GivingBack(declined()), released, BAD, CARD),
        (State::GivingBack(expired()), refunded, OK, HOLD),
        (State::Releasing(declined()), given_back, BAD, CARD),
        (State::Releasing(declined()), released, BAD, CARD),
        (State::Releasing(changed()), refused, OK, CART),
        (State::Releasing(changed()), refused_and_released, OK, CART),
        (State::Refunding(expired()), lost, OK, HOLD),
        (State::Refunding(expired()), refunded, OK, HOLD),
        (State::Refunding(expired()), refunded_and_given_back, OK, HOLD),
        (State::Refunding(expired()), refunded_and_released, OK, HOLD),
    ];
    left(rows, false)
}

/// What a process can have left that knew nothing of holds on carts.
pub(super) fn all_that_was_left_before() -> Vec<Left> {
    let charged: Before = |ledger, checkout| {
        reserved(ledger, checkout);
        pay(ledger, checkout);
    };
    let sold: Before = |ledger, checkout| {
        reserved(ledger, checkout);
        pay(ledger, checkout);
        ledger.confirm(checkout.id).unwrap();
    };
    let lost: Before = |ledger, checkout| {
        reserved(ledger, checkout);
        pay(ledger, checkout);
        lose(ledger, checkout);
    };
    let released: Before = |ledger, checkout| {
        reserved(ledger, checkout);
        pay(ledger, checkout);
        ledger.release(checkout.id).unwrap();
    };
    let declined = || failure(Reason::CardDeclined);
    let expired = || failure(Reason::ReservationExpired);
    let rows: Vec<Row> = vec![
        (State::Initiated, nothing, OK, None),
        (State::Initiated, reserved, OK, None),
        (State::Initiated, reserved, BAD, CARD),
        (State::Initiated, gone, OK, CART),
        (State::InventoryReserved, reserved, OK, None),
        (State::InventoryReserved, reserved, BAD, CARD),
        (State::InventoryReserved, gone, OK, CART),
        (State::PaymentPending, reserved, OK, None),
        (State::PaymentPending, reserved, BAD, CARD),
        (State::PaymentPending, charged, OK, None),
        (State::PaymentPending, charged, BAD, CARD),
        (State::PaymentPending, sold, OK, None),
        (State::PaymentPending, lost, OK, HOLD),
        (State::PaymentPending, released, BAD, CARD),
        (State::PaymentCompleted, charged, OK, None),
        (State::PaymentCompleted, sold, OK, None),
        (State::PaymentCompleted, lost, OK, HOLD),
        (State::Releasing(declined()), charged, BAD, CARD),
        (State::Releasing(declined()), released, BAD, CARD),
        (State::Refunding(expired()), lost, OK, HOLD),
    ];
    left(rows, true)
}

/// The steps from the beginning to a state.
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
        State::Completed | State::Failed(_) => panic!("nothing is left of it"),
    }
}

/// Writes a saga down that its owner left in this state.
pub(super) async fn leave(harness: &Harness, key: &str, left: &Left, lease: &Lease) -> CheckoutId {
    let request = paid_with(key, left.method);
    let prices = harness.world.prices();
    let line = |line: &checkout::domain::CartLine| Line {
        product: line.product,
        name: prices[&line.product].name.clone(),
        quantity: line.quantity,
        unit_price: line.seen_price,
    };
    let view = harness.world.cart(&request.user);
    let cart = CartRef {
        id: view.cart.id.filter(|_| !left.is_old),
        ..view.cart
    };
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let saga: Saga<CheckoutMachine> = Saga {
        id: SagaId(Ids::random().next()),
        scope: request.user.as_str().to_owned(),
        fingerprint: request.fingerprint(),
        state: State::Initiated,
        data: Data {
            method: request.method.clone(),
            purchase: Purchase::new(view.lines.iter().map(line).collect(), cart).unwrap(),
            held: false,
            payment_id: None,
        },
        created_at: now,
        updated_at: now,
        attempts: 0,
        needs_attention: false,
        version: 1,
        context: None,
    };
    let checkout = Checkout::from(saga.clone());
    let id = checkout.id;
    (left.before)(&mut harness.world.ledger(), &checkout);
    let begun = harness.journal.begin(&saga, request.key.as_str(), lease).await.unwrap();
    let Begun::Created(fence) = begun else {
        panic!("the key is taken");
    };
    let mut path = path_to(&left.state);
    if left.is_old {
        path.retain(|state| !matches!(state, State::CartHeld) && (*state == left.state || state.failure().is_none()));
    }
    if !path.is_empty() {
        let paid = path.contains(&State::PaymentCompleted);
        let data = Data {
            held: path.contains(&State::CartHeld),
            payment_id: paid.then(|| payment_id(id)),
            ..saga.data.clone()
        };
        let record = Record {
            steps: path.into_iter().map(|state| (state, now, String::new())).collect(),
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

pub(super) fn lease(owner: &str, ttl: Duration) -> Lease {
    Lease {
        owner: owner.to_owned(),
        ttl,
    }
}
