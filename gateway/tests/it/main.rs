//! The gateway's routes over peers that do as they are told.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what helpers of tests cannot do fails the test"
)]

mod cart;
mod checkout;
mod errors;
mod facts;
mod fakes;
mod hostile;
mod limits;
mod orders;
mod products;
mod requests;
mod serving;
mod shop;
mod terms;
mod tokens;
