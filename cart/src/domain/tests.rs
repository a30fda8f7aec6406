use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn product(id: i64) -> ProductId {
    ProductId::new(id).unwrap()
}

fn pieces(n: i64) -> Quantity {
    Quantity::new(n).unwrap()
}

fn offer(id: i64) -> Offer {
    Offer {
        product: product(id),
        name: format!("product {id}"),
        price: Money::usd(100 * id),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn quantity_of(id: i64, n: i64) -> ProductQuantity {
    ProductQuantity {
        product: product(id),
        quantity: pieces(n),
    }
}

fn event(n: u128) -> EventId {
    EventId(Uuid::from_u128(n))
}

/// A stored cart with these lines.
fn cart(lines: &[(i64, i64)]) -> Cart {
    let mut cart = Cart::new(UserId::new("u").unwrap());
    for (id, n) in lines {
        cart.add(offer(*id), pieces(*n), at(1)).unwrap();
    }
    cart.bump_version(CartId(Uuid::from_u128(1)), at(1));
    cart
}

fn quantities(cart: &Cart) -> Vec<(i64, i64)> {
    cart.lines
        .iter()
        .map(|line| (line.product.get(), line.quantity.get()))
        .collect()
}

#[test]
fn adding_again_adds_up_and_updates_name_and_price() {
    let mut cart = cart(&[(1, 2), (2, 1)]);
    let newer = Offer {
        name: "renamed".to_owned(),
        price: Money::usd(7),
        ..offer(1)
    };
    assert_eq!(cart.add(newer, pieces(3), at(9)), Ok(Added::ExistingLine));
    assert_eq!(quantities(&cart), [(1, 5), (2, 1)]);
    assert_eq!(
        (cart.lines[0].name.as_str(), cart.lines[0].price),
        ("renamed", Money::usd(7))
    );
    assert_eq!(cart.lines[0].added_at, at(1));
    assert_eq!(cart.total(), Ok(Money::usd(7 * 5 + 200)));
}

#[test]
fn a_line_never_has_more_than_99_pieces() {
    let mut cart = cart(&[(1, 60)]);
    let out_of_range = CartRefusal::QuantityOutOfRange { max: 99 };
    assert_eq!(cart.add(offer(1), pieces(40), at(2)), Err(out_of_range));
    assert_eq!(cart.add(offer(2), pieces(100), at(2)), Err(out_of_range));
    assert_eq!(cart.set_quantity(product(1), pieces(100)), Err(out_of_range));
    assert_eq!(quantities(&cart), [(1, 60)]);
    assert_eq!(cart.add(offer(1), pieces(39), at(2)), Ok(Added::ExistingLine));
    for wrong in [i64::MIN, -1, 0, 100, i64::MAX] {
        assert_eq!(line_quantity(wrong), Err(out_of_range));
    }
}

#[test]
fn the_51st_line_is_refused_but_the_others_can_grow() {
    let lines: Vec<_> = (1..=50).map(|id| (id, 1)).collect();
    let mut cart = cart(&lines);
    assert_eq!(
        cart.add(offer(51), pieces(1), at(2)),
        Err(CartRefusal::Full { max: 50 })
    );
    assert_eq!(cart.add(offer(50), pieces(1), at(2)), Ok(Added::ExistingLine));
    cart.remove(product(1));
    assert_eq!(cart.add(offer(51), pieces(1), at(2)), Ok(Added::NewLine));
}

#[test]
fn setting_needs_a_line() {
    let mut cart = cart(&[(1, 2)]);
    assert_eq!(cart.set_quantity(product(2), pieces(1)), Err(CartRefusal::ItemNotFound));
    assert_eq!(cart.set_quantity(product(1), pieces(9)), Ok(()));
    assert_eq!(quantities(&cart), [(1, 9)]);
}

#[test]
fn a_total_that_overflows_is_refused_and_changes_nothing() {
    let mut cart = cart(&[(1, 1)]);
    let before = cart.clone();
    let huge = Offer {
        price: Money::usd(i64::MAX / 2),
        ..offer(2)
    };
    assert_eq!(
        cart.add(huge, pieces(3), at(2)),
        Err(CartRefusal::Total(MoneyError::Overflow))
    );
    let euro = "EUR".parse().unwrap();
    let foreign = Offer {
        price: Money::new(1, euro),
        ..offer(2)
    };
    let mismatch = MoneyError::CurrencyMismatch(Currency::USD, euro);
    assert_eq!(cart.add(foreign, pieces(1), at(2)), Err(CartRefusal::Total(mismatch)));
    assert_eq!(cart, before);
}

#[test]
fn a_new_cart_is_empty() {
    let cart = Cart::new(UserId::new("u").unwrap());
    assert_eq!(cart.total(), Ok(Money::usd(0)));
    assert_eq!((cart.version, cart.id, cart.updated_at), (Version::ZERO, None, None));
}

#[test]
fn another_version_than_expected_is_refused() {
    let cart = cart(&[(1, 1)]);
    assert_eq!(cart.check_version(None), Ok(()));
    assert_eq!(cart.check_version(Some(Version(1))), Ok(()));
    assert_eq!(
        cart.check_version(Some(Version(0))),
        Err(CartRefusal::VersionMismatch { current: Version(1) })
    );
}

#[test]
fn a_cart_keeps_its_id() {
    let mut cart = cart(&[(1, 1)]);
    cart.bump_version(CartId(Uuid::from_u128(2)), at(5));
    assert_eq!(cart.id, Some(CartId(Uuid::from_u128(1))));
    assert_eq!((cart.version, cart.updated_at), (Version(2), Some(at(5))));
}

#[test]
fn events_from_before_a_cart_was_created_do_not_change_it() {
    let published =
        |second: u64| EventId(uuid::Builder::from_unix_timestamp_millis(second * 1000, &[7; 10]).into_uuid());
    let (day, made) = (86_400, 1_750_000_000);
    let mut cart = Cart::new(UserId::new("u").unwrap());
    cart.add(offer(1), pieces(5), at(made)).unwrap();
    cart.bump_version(CartId(Uuid::from_u128(1)), at(made));
    let made = u64::try_from(made).unwrap();
    for old in [1, made - 90 * day, made - day - 1] {
        cart.apply_purchase(published(old), &[quantity_of(1, 1)]);
    }
    assert_eq!(quantities(&cart), [(1, 5)]);
    for (applied, second) in [made - 60, made, made + 90 * day].into_iter().enumerate() {
        cart.apply_purchase(published(second), &[quantity_of(1, 1)]);
        assert_eq!(quantities(&cart), [(1, 4 - i64::try_from(applied).unwrap())]);
    }
}

#[test]
fn a_cart_without_holds_may_expire_after_90_days() {
    let cart = cart(&[(1, 1)]);
    let day = SignedDuration::from_hours(24);
    let now = |days: i64| at(1) + day * i32::try_from(days).unwrap();
    assert!(!cart.may_expire_within(day, now(88)));
    assert!(cart.may_expire_within(day, now(89)));
    assert!(cart.may_expire_within(SignedDuration::ZERO, now(90)));
    assert!(!cart.may_expire_within(day, now(-1_000)), "a clock that is behind");
    assert!(!Cart::new(UserId::new("u").unwrap()).may_expire_within(day, now(1_000)));
}

#[test]
fn a_purchase_takes_off_what_was_bought_and_leaves_what_was_added_since() {
    let mut cart = cart(&[(1, 3), (2, 1), (3, 4)]);
    cart.apply_purchase(event(1), &[quantity_of(1, 2), quantity_of(2, 1), quantity_of(9, 1)]);
    assert_eq!(quantities(&cart), [(1, 1), (3, 4)]);
    cart.apply_purchase(event(1), &[quantity_of(1, 1)]);
    assert_eq!(quantities(&cart), [(1, 1), (3, 4)], "the same event a second time");
    cart.apply_purchase(event(2), &[quantity_of(3, 3), quantity_of(3, 3)]);
    assert_eq!(quantities(&cart), [(1, 1)], "two entries of one product count together");
}

#[test]
fn a_purchase_of_products_that_are_not_in_the_cart_is_recorded() {
    let mut cart = cart(&[(1, 3)]);
    let before = cart.clone();
    cart.apply_purchase(event(1), &[quantity_of(2, 2)]);
    assert_eq!(cart.lines, before.lines);
    assert!(cart.applied.contains(event(1)));
}

#[test]
fn a_purchase_does_not_change_a_new_cart() {
    let mut cart = Cart::new(UserId::new("u").unwrap());
    cart.apply_purchase(event(1), &[quantity_of(1, 1)]);
    assert_eq!(cart, Cart::new(UserId::new("u").unwrap()));
}

#[derive(Debug, Clone)]
enum Step {
    Add(i64, i64),
    Set(i64, i64),
    Remove(i64),
    Clear,
    Purchase(u128, Vec<(i64, i64)>),
}

fn step() -> impl Strategy<Value = Step> {
    let line = || (1_i64..60, 1_i64..120);
    prop_oneof![
        8 => line().prop_map(|(id, n)| Step::Add(id, n)),
        3 => line().prop_map(|(id, n)| Step::Set(id, n)),
        2 => (1_i64..60).prop_map(Step::Remove),
        1 => Just(Step::Clear),
        3 => (0_u128..20, proptest::collection::vec(line(), 1..5)).prop_map(|(id, of)| Step::Purchase(id, of)),
    ]
}

/// The rules on a map of products to pieces.
fn model(lines: &mut BTreeMap<i64, i64>, seen: &mut Vec<u128>, step: &Step) -> bool {
    match step {
        Step::Add(id, n) => {
            let sum = lines.get(id).unwrap_or(&0) + n;
            let fits = sum <= 99 && (lines.contains_key(id) || lines.len() < 50);
            if fits {
                lines.insert(*id, sum);
            }
            fits
        }
        Step::Set(id, n) => {
            let fits = *n <= 99 && lines.contains_key(id);
            if fits {
                lines.insert(*id, *n);
            }
            fits
        }
        Step::Remove(id) => {
            lines.remove(id);
            true
        }
        Step::Clear => {
            lines.clear();
            true
        }
        Step::Purchase(id, of) => {
            if !seen.contains(id) {
                seen.push(*id);
                for (product, n) in of {
                    if let Some(left) = lines.get_mut(product) {
                        *left -= n;
                    }
                }
                lines.retain(|_, left| *left > 0);
            }
            true
        }
    }
}

fn apply(cart: &mut Cart, step: &Step) -> bool {
    match step {
        Step::Add(id, n) => cart.add(offer(*id), pieces(*n), at(2)).is_ok(),
        Step::Set(id, n) => cart.set_quantity(product(*id), pieces(*n)).is_ok(),
        Step::Remove(id) => {
            cart.remove(product(*id));
            true
        }
        Step::Clear => {
            cart.clear();
            true
        }
        Step::Purchase(id, of) => {
            let of: Vec<_> = of.iter().map(|(id, n)| quantity_of(*id, *n)).collect();
            cart.apply_purchase(event(*id), &of);
            true
        }
    }
}

proptest! {
    #[test]
    fn a_cart_is_a_map_from_products_to_pieces(steps in proptest::collection::vec(step(), 0..200)) {
        let mut cart = cart(&[]);
        let (mut lines, mut seen) = (BTreeMap::new(), Vec::new());
        for step in steps {
            let before = cart.clone();
            let done = apply(&mut cart, &step);
            prop_assert_eq!(done, model(&mut lines, &mut seen, &step), "{:?}", step);
            prop_assert!(done || cart == before, "a refusal changed the cart");
            let mut found = quantities(&cart);
            found.sort_unstable();
            prop_assert_eq!(found, lines.clone().into_iter().collect::<Vec<_>>());
            let total = lines.iter().map(|(id, n)| id * 100 * n).sum();
            prop_assert_eq!(cart.total(), Ok(Money::usd(total)));
        }
    }
}
