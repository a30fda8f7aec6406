//! The saga for the engine: its kind, its tables, its columns.

use ::saga::{Commits, Machine, Saga, Step, Table};
use events::Event;
use jiff::Timestamp;
use money::{Currency, Money, Quantity};
use runtime::Ids;
use serde::{Deserialize, Serialize};
use storage::{Row, StoreError, Value};

use super::{Call, Next, STEPS, State, VERSION_1_ONLY_STEPS, event};
use crate::{
    commits,
    domain::{CartRef, Checkout, CheckoutId, Failure, Line, PaymentMethod, ProductId, Purchase, Status, UserId},
};

/// The kind of saga that a purchase is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckoutMachine {}

/// What a purchase begins with, and what its calls learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    pub method: PaymentMethod,
    pub purchase: Purchase,
    /// Whether the cart holds the pieces. False for sagas of version 1 that were past this step before carts had holds.
    pub held: bool,
    /// Set from the charge on.
    pub payment_id: Option<String>,
}

impl Machine for CheckoutMachine {
    type State = State;
    type Data = Data;
    type Call = Call;

    const KIND: &'static str = "checkout";
    const COMMITS: Commits = Commits {
        retry: commits::RETRY,
        claim: commits::CLAIM,
        release_leases: commits::RELEASE_LEASES,
        signal: commits::SIGNAL,
    };
    const VERSION: u32 = 2;
    const TABLE: Table = Table {
        name: "checkouts",
        scope: "user_id",
        key: "idempotency_key",
        frozen: &[
            "lines",
            "total_minor",
            "currency",
            "payment_method",
            "cart_id",
            "cart_version",
        ],
        learned: &["held", "payment_id"],
        history: "history",
        history_id: "checkout_id",
        final_states: &["COMPLETED", "FAILED"],
    };
    const STEPS: &'static [(u32, &'static [Step])] = &[(1, &STEPS), (1, &VERSION_1_ONLY_STEPS), (2, &STEPS)];

    fn next(state: &State, _data: &Data) -> Next {
        super::next(state)
    }

    fn apply(state: State, outcome: ::saga::Outcome<Failure>) -> State {
        super::apply(state, outcome)
    }

    fn may_call_before_persisting(state: &State) -> bool {
        state.may_call_before_persisting()
    }

    fn status(state: &State, data: &Data) -> &'static str {
        Status::of(state, data.payment_id.is_some()).name()
    }

    fn detail(state: &State, before: Option<&State>) -> String {
        state.detail(before)
    }

    fn event(saga: &Saga<Self>, now: Timestamp, ids: &Ids) -> Result<Option<(&'static str, Event)>, StoreError> {
        event::of(saga, now, ids)
    }

    fn frozen(data: &Data) -> Result<Vec<Value>, StoreError> {
        let Data { method, purchase, .. } = data;
        let lines: Vec<_> = purchase.lines.iter().map(StoredLine::of).collect();
        Ok(vec![
            Value::json(&lines)?,
            Value::Integer(purchase.total.minor_units()),
            Value::text(purchase.total.currency().as_str()),
            Value::text(method.as_str()),
            Value::Uuid(purchase.cart.id),
            Value::Integer(purchase.cart.version),
        ])
    }

    fn learned(data: &Data) -> Result<Vec<Value>, StoreError> {
        Ok(vec![Value::Flag(data.held), Value::Text(data.payment_id.clone())])
    }

    fn read(row: Row<'_>) -> Result<Data, StoreError> {
        let currency: Currency = row.text("currency")?.parse().map_err(StoreError::corrupt)?;
        let lines: Vec<StoredLine> = row.json("lines")?;
        let lines = lines.into_iter().map(|line| line.line(currency));
        let method = row.text("payment_method")?;
        let method = PaymentMethod::new(method.as_str())
            .ok_or_else(|| StoreError::corrupt(format!("column payment_method holds {method:?}")))?;
        Ok(Data {
            method,
            purchase: Purchase {
                lines: lines.collect::<Result<_, _>>()?,
                total: Money::new(row.integer("total_minor")?, currency),
                cart: CartRef {
                    id: row.uuid_or_null("cart_id")?,
                    version: row.integer("cart_version")?,
                },
            },
            held: row.flag("held")?,
            payment_id: row.text_or_null("payment_id")?,
        })
    }
}

/// A frozen line, as JSON. Prices are in minor units of the checkout's currency.
#[derive(Debug, Serialize, Deserialize)]
struct StoredLine {
    product_id: i64,
    name: String,
    quantity: i64,
    unit_price: i64,
}

impl StoredLine {
    fn of(line: &Line) -> Self {
        Self {
            product_id: line.product.get(),
            name: line.name.clone(),
            quantity: line.quantity.get(),
            unit_price: line.unit_price.minor_units(),
        }
    }

    fn line(self, currency: Currency) -> Result<Line, StoreError> {
        Ok(Line {
            product: ProductId::new(self.product_id).ok_or_else(|| StoreError::corrupt("product id"))?,
            name: self.name,
            quantity: Quantity::new(self.quantity).map_err(StoreError::corrupt)?,
            unit_price: Money::new(self.unit_price, currency),
        })
    }
}

impl From<Saga<CheckoutMachine>> for Checkout {
    fn from(saga: Saga<CheckoutMachine>) -> Self {
        let Data {
            method,
            purchase,
            held,
            payment_id,
        } = saga.data;
        Self {
            id: CheckoutId(saga.id.0),
            user: UserId::stored(saga.scope),
            fingerprint: saga.fingerprint,
            method,
            purchase,
            state: saga.state,
            held,
            payment_id,
            created_at: saga.created_at,
            updated_at: saga.updated_at,
            attempts: saga.attempts,
            needs_attention: saga.needs_attention,
            version: saga.version,
        }
    }
}
