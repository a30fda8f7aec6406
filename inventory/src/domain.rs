//! Stock and reservations: values and rules.

mod reservation;
mod stock;

pub use proto::ids::{CheckoutId, IdempotencyKey, ProductId};
pub use reservation::{
    Refusal, Reservation, ReserveDecision, SettleCommand, SettleDecision, Shortage, State, decide_reserve,
    decide_settle,
};
pub use stock::{Delivery, KeyReused, Lines, Movement, Stock};
