//! Stock and reservations: values and rules.

mod reservation;
mod stock;

pub use reservation::{
    CheckoutId, OnReserve, Refusal, Reservation, Settlement, Shortage, State, Step, on_reserve, on_settlement,
};
pub use stock::{Delivery, IdempotencyKey, KeyReused, Lines, Movement, ProductId, Stock};
