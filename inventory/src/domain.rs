//! Stock and reservations: values and rules.

mod reservation;
mod stock;

pub use proto::ids::{CheckoutId, IdempotencyKey, ProductId};
pub use reservation::{OnReserve, Refusal, Reservation, Settlement, Shortage, State, Step, on_reserve, on_settlement};
pub use stock::{Delivery, KeyReused, Lines, Movement, Stock};
