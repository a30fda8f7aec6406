//! What the gateway needs to know, and whom it calls.

use std::{fmt, time::Duration};

use runtime::channel::Peer;

use crate::{Proxied, token::Parties};

/// The gateway's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Signs and verifies tokens.
    pub secret: Secret,
    /// Whom tokens must name.
    pub parties: Parties,
    /// How long `POST /checkout` waits before it answers 202; the checkout service keeps it.
    pub checkout_timeout: Duration,
    /// The longest that any request may be worked on. Receiving its body has a limit of its own.
    pub request_timeout: Duration,
    /// Requests that are worked on at the same time, and bodies that are received at the same time; more are turned away at
    /// once.
    pub max_in_flight: usize,
    /// How many of these one user may have, or one address where there is no user.
    pub share: usize,
    /// Where the address of a request stands.
    pub proxied: Proxied,
}

/// Channels to the services behind the routes.
#[derive(Debug, Clone)]
pub struct Peers {
    pub product: Peer,
    pub cart: Peer,
    pub checkout: Peer,
    pub orders: Peer,
}

/// An HS256 key of at least [`Secret::MIN_LEN`] bytes. It never shows in logs.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// A key that is too short to be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret must have at least {} bytes", Secret::MIN_LEN)]
pub struct SecretTooShort;

impl Secret {
    /// RFC 7518 asks for a key as long as the hash.
    pub const MIN_LEN: usize = 32;

    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretTooShort> {
        let bytes = bytes.into();
        if bytes.len() < Self::MIN_LEN {
            Err(SecretTooShort)
        } else {
            Ok(Self(bytes))
        }
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
