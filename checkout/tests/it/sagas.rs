//! Sample sagas and leases, for the journals.

use std::time::Duration;

use checkout::{
    domain::{CartRef, Line, PaymentMethod, ProductId, Purchase},
    saga::{CheckoutMachine, Data, State},
};
use jiff::Timestamp;
use money::{Money, Quantity};
use runtime::Ids;
use saga::{Lease, Saga, SagaId};
use uuid::Uuid;

pub(crate) const HOUR: Duration = Duration::from_hours(1);

pub(crate) fn lease(owner: &str, ttl: Duration) -> Lease {
    Lease {
        owner: owner.to_owned(),
        ttl,
    }
}

/// The data of a new saga, made from a cart of this version.
pub(crate) fn data(cart_version: i64) -> Data {
    let line = |product, quantity, price| Line {
        product: ProductId::new(product).unwrap(),
        name: format!("Ware {product}"),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: Money::usd(price),
    };
    let cart = CartRef {
        id: Some(Uuid::NAMESPACE_OID),
        version: cart_version,
    };
    Data {
        method: PaymentMethod::new("pm_card_ok").unwrap(),
        purchase: Purchase::new(vec![line(1, 2, 1000), line(2, 1, 250)], cart).unwrap(),
        held: false,
        payment_id: None,
    }
}

/// A new saga of this user.
pub(crate) fn new_saga(user: &str) -> Saga<CheckoutMachine> {
    let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    Saga {
        id: SagaId(Ids::random().next()),
        scope: user.to_owned(),
        fingerprint: "pm_card_ok:false".to_owned(),
        state: State::Initiated,
        data: data(7),
        created_at: now,
        updated_at: now,
        attempts: 0,
        needs_attention: false,
        version: 1,
        context: None,
    }
}
