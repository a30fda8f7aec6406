use jiff::Timestamp;
use money::Currency;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::{CartRefusal, Offer, UserId};

const CART: CartId = CartId(Uuid::from_u128(1));

fn product(id: i64) -> ProductId {
    ProductId::new(id).unwrap()
}

fn pieces_of(n: i64) -> Quantity {
    Quantity::new(n).unwrap()
}

fn offer(id: i64, price: i64) -> Offer {
    Offer {
        product: product(id),
        name: format!("product {id} at {price}"),
        price: Money::usd(price),
    }
}

/// Changes a cart and raises its version.
fn stored<T>(cart: &mut Cart, change: impl FnOnce(&mut Cart) -> T) -> T {
    let result = change(cart);
    cart.bump_version(CART, Timestamp::UNIX_EPOCH);
    result
}

fn add(cart: &mut Cart, id: i64, n: i64, price: i64) {
    stored(cart, |cart| {
        cart.add(offer(id, price), pieces_of(n), Timestamp::UNIX_EPOCH)
    })
    .unwrap();
}

fn cart(lines: &[(i64, i64)]) -> Cart {
    let mut cart = Cart::new(UserId::new("u").unwrap());
    for (id, n) in lines {
        add(&mut cart, *id, *n, 100);
    }
    cart
}

fn hold_request(checkout: u128, cart_version: Version, of: &[(i64, i64)]) -> HoldRequest {
    let quantity = |(id, n): &(i64, i64)| ProductQuantity {
        product: product(*id),
        quantity: pieces_of(*n),
    };
    HoldRequest {
        checkout: CheckoutId(Uuid::from_u128(checkout)),
        cart: Some(CART),
        cart_version,
        pieces: of.iter().map(quantity).collect(),
    }
}

fn hold(cart: &mut Cart, request: &HoldRequest) -> HoldOutcome {
    stored(cart, |cart| cart.hold(request))
}

fn give_back(cart: &mut Cart, checkout: u128) {
    stored(cart, |cart| cart.give_back(CheckoutId(Uuid::from_u128(checkout)))).unwrap();
}

fn quantities(lines: &[Line]) -> Vec<(i64, i64)> {
    lines
        .iter()
        .map(|line| (line.product.get(), line.quantity.get()))
        .collect()
}

fn held(cart: &Cart, checkout: u128) -> Vec<(i64, i64)> {
    let hold = cart.hold_of(CheckoutId(Uuid::from_u128(checkout)));
    hold.map(|hold| quantities(&hold.lines)).unwrap_or_default()
}

#[test]
fn what_a_checkout_holds_is_free_for_no_other() {
    let mut cart = cart(&[(1, 3), (2, 1)]);
    let frozen = cart.version;
    assert_eq!(
        hold(&mut cart, &hold_request(7, frozen, &[(1, 2), (2, 1)])),
        HoldOutcome::Held
    );
    assert_eq!(
        (quantities(&cart.lines), held(&cart, 7)),
        (vec![(1, 1)], vec![(1, 2), (2, 1)])
    );
    let other = hold_request(8, cart.version, &[(1, 2)]);
    assert_eq!(hold(&mut cart, &other), HoldOutcome::Refused);
    let rest = hold_request(8, cart.version, &[(1, 1)]);
    assert_eq!(hold(&mut cart, &rest), HoldOutcome::Held);
    assert_eq!((quantities(&cart.lines), held(&cart, 8)), (Vec::new(), vec![(1, 1)]));
    cart.remove(product(1));
    cart.clear();
    assert_eq!(held(&cart, 7), [(1, 2), (2, 1)], "customers change free pieces only");
}

#[test]
fn of_two_checkouts_of_one_version_one_holds() {
    let mut cart = cart(&[(1, 3)]);
    let frozen = cart.version;
    assert_eq!(hold(&mut cart, &hold_request(7, frozen, &[(1, 1)])), HoldOutcome::Held);
    let second = hold_request(8, frozen, &[(1, 1)]);
    assert_eq!(
        hold(&mut cart, &second),
        HoldOutcome::Refused,
        "although there is enough for both"
    );
    assert_eq!(hold(&mut cart, &second), HoldOutcome::Refused);
}

#[test]
fn holding_again_gives_the_same_answer() {
    let mut cart = cart(&[(1, 3)]);
    let request = hold_request(7, cart.version, &[(1, 1), (1, 1)]);
    assert_eq!(hold(&mut cart, &request), HoldOutcome::Held);
    let before = cart.clone();
    assert_eq!(cart.hold(&request), HoldOutcome::Held);
    assert_eq!(
        cart.hold(&hold_request(7, cart.version, &[(1, 1)])),
        HoldOutcome::Refused,
        "other pieces"
    );
    assert_eq!(cart, before);
}

#[test]
fn no_piece_is_lost_when_a_quantity_would_overflow() {
    let mut cart = cart(&[(1, 1)]);
    let frozen = cart.version;
    assert_eq!(hold(&mut cart, &hold_request(7, frozen, &[(1, 1)])), HoldOutcome::Held);
    // No addition leads here, but a document may.
    cart.holds[0].lines[0].quantity = pieces_of(Quantity::MAX);
    let more = cart.add(offer(1, 100), pieces_of(1), Timestamp::UNIX_EPOCH);
    assert_eq!(
        more,
        Err(CartRefusal::Total(MoneyError::Overflow)),
        "the hold could not be given back"
    );
    let line = cart.holds[0].lines[0].clone();
    cart.lines.push(Line {
        quantity: pieces_of(1),
        ..line
    });
    assert_eq!(
        cart.give_back(CheckoutId(Uuid::from_u128(7))),
        Err(MoneyError::Overflow)
    );
}

#[test]
fn a_late_hold_takes_nothing_that_was_added_since() {
    let mut cart = cart(&[(1, 2)]);
    let request = hold_request(7, cart.version, &[(1, 2)]);
    assert_eq!(hold(&mut cart, &request), HoldOutcome::Held);
    give_back(&mut cart, 7);
    add(&mut cart, 1, 1, 100);
    assert_eq!(cart.hold(&request), HoldOutcome::Refused, "given back");
    let request = hold_request(8, cart.version, &[(1, 3)]);
    assert_eq!(hold(&mut cart, &request), HoldOutcome::Held);
    assert!(stored(&mut cart, |cart| cart.drop_hold(request.checkout)));
    add(&mut cart, 1, 3, 100);
    assert_eq!(cart.hold(&request), HoldOutcome::Refused, "completed");
    let request = hold_request(9, cart.version, &[(1, 4)]);
    assert_eq!(hold(&mut cart, &request), HoldOutcome::Refused, "not there");
    add(&mut cart, 1, 1, 100);
    assert_eq!(cart.hold(&request), HoldOutcome::Refused, "refused before");
    assert_eq!((quantities(&cart.lines), cart.holds.len()), (vec![(1, 4)], 0));
}

#[test]
fn a_hold_on_another_cart_is_refused_and_one_without_a_cart_id_is_not() {
    let mut cart = cart(&[(1, 2)]);
    let unnamed = HoldRequest {
        cart: None,
        ..hold_request(7, cart.version, &[(1, 1)])
    };
    let other = HoldRequest {
        cart: Some(CartId(Uuid::from_u128(2))),
        ..unnamed.clone()
    };
    let before = cart.clone();
    assert_eq!(cart.hold(&other), HoldOutcome::Refused);
    assert_eq!(cart, before);
    assert_eq!(cart.hold(&unnamed), HoldOutcome::Held);
    let mut never = Cart::new(UserId::new("u").unwrap());
    assert_eq!(never.hold(&unnamed), HoldOutcome::Refused);
    assert_eq!(never, Cart::new(UserId::new("u").unwrap()));
}

#[test]
fn lines_may_exceed_the_limits_after_giving_back() {
    let mut cart = cart(&(1..=50).map(|id| (id, 99)).collect::<Vec<_>>());
    let all: Vec<_> = (1..=50).map(|id| (id, 99)).collect();
    let request = hold_request(7, cart.version, &all);
    assert_eq!(hold(&mut cart, &request), HoldOutcome::Held);
    for id in (1..=1).chain(51..=99) {
        add(&mut cart, id, 99, 100);
    }
    give_back(&mut cart, 7);
    assert_eq!(cart.lines.len(), 99);
    assert_eq!(cart.lines[0].quantity.get(), 198);
    let too_many = cart.clone().add(offer(1, 100), pieces_of(1), Timestamp::UNIX_EPOCH);
    assert_eq!(too_many, Err(CartRefusal::QuantityOutOfRange { max: 99 }));
    let too_long = cart.clone().add(offer(100, 100), pieces_of(1), Timestamp::UNIX_EPOCH);
    assert_eq!(too_long, Err(CartRefusal::Full { max: 50 }));
    assert_eq!(
        cart.set_quantity(product(1), pieces_of(99)),
        Ok(()),
        "the customer can reduce the line"
    );
    let request = hold_request(8, cart.version, &[(2, 99)]);
    assert_eq!(hold(&mut cart, &request), HoldOutcome::Held, "and bought");
}

#[test]
fn of_two_prices_the_later_one_stays() {
    let mut cart = cart(&[(1, 1)]);
    let (first, dear, late) = (cart.version, 300, 200);
    assert_eq!(hold(&mut cart, &hold_request(7, first, &[(1, 1)])), HoldOutcome::Held);
    add(&mut cart, 1, 1, dear);
    let second = hold_request(8, cart.version, &[(1, 1)]);
    assert_eq!(hold(&mut cart, &second), HoldOutcome::Held);
    give_back(&mut cart, 7);
    assert_eq!(cart.lines[0].price, Money::usd(100));
    give_back(&mut cart, 8);
    assert_eq!(
        cart.lines[0].price,
        Money::usd(dear),
        "the later price is given back last"
    );
    let third = hold_request(9, cart.version, &[(1, 1)]);
    assert_eq!(hold(&mut cart, &third), HoldOutcome::Held);
    add(&mut cart, 1, 1, late);
    give_back(&mut cart, 9);
    let line = &cart.lines[0];
    assert_eq!(
        (line.price, line.name.as_str(), line.quantity.get()),
        (Money::usd(late), "product 1 at 200", 3)
    );
}

#[test]
fn an_addition_that_would_prevent_giving_back_is_refused() {
    let mut cart = cart(&[(1, 99)]);
    let request = hold_request(7, cart.version, &[(1, 99)]);
    assert_eq!(hold(&mut cart, &request), HoldOutcome::Held);
    let add = |offer| cart.clone().add(offer, pieces_of(1), Timestamp::UNIX_EPOCH);
    let dear = offer(1, i64::MAX / 50);
    assert_eq!(add(dear), Err(CartRefusal::Total(MoneyError::Overflow)));
    let euro: Currency = "EUR".parse().unwrap();
    let foreign = Offer {
        price: Money::new(1, euro),
        ..offer(2, 1)
    };
    assert!(matches!(
        add(foreign),
        Err(CartRefusal::Total(MoneyError::CurrencyMismatch(..)))
    ));
}

#[test]
fn the_51st_hold_is_refused() {
    let mut cart = cart(&[(1, 60)]);
    for checkout in 1..=50 {
        let request = hold_request(checkout, cart.version, &[(1, 1)]);
        assert_eq!(hold(&mut cart, &request), HoldOutcome::Held);
    }
    let request = hold_request(51, cart.version, &[(1, 1)]);
    assert_eq!(hold(&mut cart, &request), HoldOutcome::Refused);
    give_back(&mut cart, 1);
    assert_eq!(cart.hold(&request), HoldOutcome::Refused, "for good");
}

#[derive(Debug, Clone)]
enum Step {
    Add(i64, i64),
    Set(i64, i64),
    Hold(u128, Vec<(i64, i64)>),
    /// Repeats a request of an earlier step.
    Repeat(usize),
    GiveBack(u128),
    Drop(u128),
}

fn step() -> impl Strategy<Value = Step> {
    let line = || (1_i64..6, 1_i64..60);
    prop_oneof![
        6 => line().prop_map(|(id, n)| Step::Add(id, n)),
        2 => line().prop_map(|(id, n)| Step::Set(id, n)),
        4 => (0_u128..30, proptest::collection::vec(line(), 1..4)).prop_map(|(id, of)| Step::Hold(id, of)),
        3 => (0_usize..20).prop_map(Step::Repeat),
        2 => (0_u128..30).prop_map(Step::GiveBack),
        2 => (0_u128..30).prop_map(Step::Drop),
    ]
}

/// The pieces of each product, free and held.
fn all_pieces(cart: &Cart) -> BTreeMap<i64, i64> {
    let mut sums = BTreeMap::new();
    for line in cart.lines.iter().chain(cart.holds.iter().flat_map(|hold| &hold.lines)) {
        *sums.entry(line.product.get()).or_default() += line.quantity.get();
    }
    sums
}

proptest! {
    #[test]
    fn pieces_are_neither_made_nor_lost(steps in proptest::collection::vec(step(), 0..120)) {
        let mut cart = cart(&[(1, 5)]);
        let mut held_requests: Vec<HoldRequest> = Vec::new();
        for step in steps {
            let before = cart.clone();
            match &step {
                Step::Add(id, n) => {
                    let _ = cart.add(offer(*id, 100), pieces_of(*n), Timestamp::UNIX_EPOCH);
                }
                Step::Set(id, n) => {
                    let _ = cart.set_quantity(product(*id), pieces_of(*n));
                    let mut sums = all_pieces(&before);
                    if let Some(sum) = sums.get_mut(id) {
                        let free = before.lines.iter().find(|line| line.product.get() == *id);
                        *sum += free.map_or(0, |line| n - line.quantity.get());
                    }
                    prop_assert_eq!(all_pieces(&cart), sums);
                }
                Step::Hold(id, of) => {
                    let request = hold_request(*id, cart.version, of);
                    let had = held(&cart, *id);
                    let done = cart.hold(&request);
                    prop_assert_eq!(all_pieces(&cart), all_pieces(&before));
                    prop_assert!(had.is_empty() || held(&cart, *id) == had);
                    if done == HoldOutcome::Held {
                        prop_assert!(!held(&cart, *id).is_empty());
                        held_requests.push(request);
                    }
                }
                Step::Repeat(nth) => if let Some(request) = held_requests.get(*nth) {
                    let is_live = !held(&cart, request.checkout.0.as_u128()).is_empty();
                    let done = cart.hold(request);
                    prop_assert!(is_live || done == HoldOutcome::Refused, "it held a second time");
                    prop_assert_eq!((&cart.lines, &cart.holds), (&before.lines, &before.holds));
                }
                Step::GiveBack(id) => {
                    prop_assert!(cart.give_back(CheckoutId(Uuid::from_u128(*id))).is_ok());
                    prop_assert_eq!(all_pieces(&cart), all_pieces(&before));
                    prop_assert!(held(&cart, *id).is_empty());
                }
                Step::Drop(id) => {
                    cart.drop_hold(CheckoutId(Uuid::from_u128(*id)));
                    prop_assert_eq!(&cart.lines, &before.lines);
                    prop_assert!(held(&cart, *id).is_empty());
                }
            }
            prop_assert!(cart.total().is_ok());
            if cart != before {
                cart.bump_version(CART, Timestamp::UNIX_EPOCH);
            }
        }
    }
}
