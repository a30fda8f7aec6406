//! Buys what is in a cart, once per user and key.

use std::time::Duration;

use ::saga::{BeginError, Identity};
use storage::StoreError;
use tokio::time::Instant;

use super::Checkouts;
use crate::{
    domain::{Checkout, CheckoutId, Refusal, Request},
    ports::PeerError,
    saga::{Data, State},
};

/// Why there is no checkout to answer with. The key is still free, except for `KeyReused`.
#[derive(Debug)]
pub enum InitiateError {
    /// The key was used with another request.
    KeyReused,
    Refused(Refusal),
    /// Everything in the cart is in this checkout, which has not ended.
    InProgress(CheckoutId),
    /// So many checkouts hold pieces of this cart that it takes no other one now.
    TooManyHolds,
    /// A peer that is needed before anything begins did not answer.
    Peer(PeerError),
    Store(StoreError),
    /// More is under way than can be worked on within the caller's time.
    Busy,
    /// The process is about to end.
    Stopping,
}

impl From<StoreError> for InitiateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BeginError<Self>> for InitiateError {
    fn from(error: BeginError<Self>) -> Self {
        match error {
            BeginError::KeyReused => Self::KeyReused,
            BeginError::Busy => Self::Busy,
            BeginError::Stopping => Self::Stopping,
            BeginError::Store(error) => Self::Store(error),
            BeginError::Data(error) => error,
            BeginError::Refused => Self::Store(StoreError::corrupt("no row of this service refuses a checkout")),
        }
    }
}

/// A checkout, ended or as it stood when the caller's time was over.
#[derive(Debug)]
pub struct Initiated {
    pub checkout: Checkout,
    /// The key was known before.
    pub replayed: bool,
}

impl Checkouts {
    /// `patience`: how long to wait for the saga to end.
    pub async fn initiate(&self, request: Request, patience: Duration) -> Result<Initiated, InitiateError> {
        let identity = Identity {
            scope: request.user.as_str().to_owned(),
            key: request.key.as_str().to_owned(),
            fingerprint: request.fingerprint(),
        };
        let data = async {
            Ok(Data {
                purchase: self.freeze_cart(&request).await?,
                method: request.method.clone(),
                held: false,
                payment_id: None,
            })
        };
        let until = Instant::now() + patience;
        let answered = self.engine.once(identity, State::Initiated, until, data).await?;
        Ok(Initiated {
            checkout: answered.saga.into(),
            replayed: answered.replayed,
        })
    }
}
