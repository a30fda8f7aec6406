//! Stock and reservations: values and rules.

mod reservation;
mod stock;

pub use proto::ids::{CheckoutId, IdempotencyKey, ProductId};
pub use reservation::{
    EndCommand, EndDecision, Refusal, Reservation, ReserveDecision, Shortage, State, decide_end, decide_reserve,
};
pub use stock::{Delivery, KeyReused, Lines, Movement, Stock};
