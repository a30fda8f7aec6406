//! The gateway's settings, and the services that it calls.

use std::{fmt, time::Duration};

use runtime::{
    channel::Peer,
    config::{WeakKey, strong_key},
};

use crate::{
    ForwardedFor,
    token::{ExpectedClaims, Keys},
};

/// The gateway's settings.
#[derive(Debug, Clone)]
pub struct Config {
    pub keys: Keys,
    pub expected_claims: ExpectedClaims,
    /// How long `POST /checkout` waits before it answers 202; the checkout service applies it.
    pub checkout_timeout: Duration,
    /// The timeout of a request. A purchase gets more if `checkout_timeout` needs it. Receiving the body has its own limit.
    pub request_timeout: Duration,
    /// The most requests that are processed at once, and the most bodies that are received at once. More are refused.
    pub max_in_flight: usize,
    /// The most of these for one user, or for one address if there is no user.
    pub max_per_caller: usize,
    pub forwarded_for: ForwardedFor,
}

/// Channels to the services behind the routes.
#[derive(Debug, Clone)]
pub struct Peers {
    pub product: Peer,
    pub cart: Peer,
    pub checkout: Peer,
    pub orders: Peer,
}

/// A strong HS256 key. `Debug` redacts it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Blanks at the ends do not count towards the length, but are part of the key: other issuers sign with all bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, WeakKey> {
        let bytes = bytes.into();
        strong_key(&bytes)?;
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}
