//! What the gateway needs to know, and whom it calls.

use std::{fmt, time::Duration};

use runtime::{
    channel::Peer,
    config::{WeakKey, strong_key},
};

use crate::{
    Proxied,
    token::{Keys, Parties},
};

/// The gateway's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Verify tokens.
    pub keys: Keys,
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

/// An HS256 key that cannot be guessed. It never shows in logs.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Blanks at its ends do not make it longer. They stay part of it: whoever else issues tokens signs with all of its bytes.
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
