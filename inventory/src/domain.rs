//! Stock and reservations: values and rules.

mod reservation;
mod stock;

pub use proto::ids::{CheckoutId, IdempotencyKey, ProductId};
pub use reservation::{
    Refusal, Reservation, ReserveDecision, SettleCommand, SettleDecision, Shortage, State, decide_confirm_or_release,
    decide_reserve,
};
pub use stock::{Delivery, KeyReused, Lines, Movement, Stock};
