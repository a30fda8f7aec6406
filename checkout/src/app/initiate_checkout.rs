//! Buys what is in a cart, once per user and key.

use std::time::Duration;

use ::saga::{BeginError, RequestKey};
use storage::StoreError;
use tokio::time::Instant;

use super::Checkouts;
use crate::{
    domain::{CartRefusal, Checkout, CheckoutId, CheckoutRequest},
    ports::PeerError,
    saga::{Data, State},
};

/// Why no checkout can be returned. After `Store` or `Stopping` the checkout may exist: repeat the request with the
/// same key. After `KeyReused` the key is taken. After the other errors no checkout of this key is known.
#[derive(Debug)]
pub enum InitiateError {
    /// The key was used with another request.
    KeyReused,
    Refused(CartRefusal),
    /// This unfinished checkout holds everything that is in the cart.
    InProgress(CheckoutId),
    /// The cart has as many holds as it takes.
    TooManyHolds,
    /// Cart or product did not answer.
    Peer(PeerError),
    Store(StoreError),
    /// No permit to drive a saga became free within the caller's timeout.
    Busy,
    /// The process is stopping.
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

/// A final checkout, or its last known state at the caller's timeout.
#[derive(Debug)]
pub struct Initiated {
    pub checkout: Checkout,
    /// The key was known before.
    pub replayed: bool,
}

impl Checkouts {
    /// Begins the saga of this key, or finds it, and waits up to `timeout` for its end.
    pub async fn initiate(&self, request: CheckoutRequest, timeout: Duration) -> Result<Initiated, InitiateError> {
        let request_key = RequestKey {
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
        let deadline = Instant::now() + timeout;
        let answered = self
            .engine
            .begin_or_join(request_key, State::Initiated, deadline, data)
            .await?;
        Ok(Initiated {
            checkout: answered.saga.into(),
            replayed: answered.replayed,
        })
    }
}
