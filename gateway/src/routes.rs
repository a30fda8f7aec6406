//! The routes, one file per group.

pub(crate) mod cart;
pub(crate) mod checkout;
pub(crate) mod health;
pub(crate) mod orders;
pub(crate) mod products;
