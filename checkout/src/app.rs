//! The use cases.

pub mod erasure;
mod freeze_cart;
pub mod initiate_checkout;

use std::sync::Arc;

use ::saga::Engine;

use crate::{
    ports::{Carts, Catalogue, CustomerRecords},
    saga::CheckoutMachine,
};

/// What the use cases need. Clones share everything.
#[derive(Clone)]
pub struct Checkouts {
    pub engine: Engine<CheckoutMachine>,
    pub records: Arc<dyn CustomerRecords>,
    pub carts: Arc<dyn Carts>,
    pub catalogue: Arc<dyn Catalogue>,
}
