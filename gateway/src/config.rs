//! What the gateway needs to know, and whom it calls.

use std::{fmt, time::Duration};

use runtime::channel::Peer;

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

/// An HS256 key of at least [`Secret::MIN_LEN`] bytes. It never shows in logs.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// A key that can be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    #[error("must have at least {} bytes", Secret::MIN_LEN)]
    TooShort,
    #[error("must not be one byte again and again, or only blanks")]
    Monotonous,
}

impl Secret {
    /// RFC 7518 asks for a key as long as the hash.
    pub const MIN_LEN: usize = 32;

    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, WeakSecret> {
        let bytes = bytes.into();
        let is_blank = || str::from_utf8(&bytes).is_ok_and(|text| text.chars().all(is_blank));
        let is_one_byte = || bytes.iter().all(|byte| Some(byte) == bytes.first());
        if bytes.len() < Self::MIN_LEN {
            Err(WeakSecret::TooShort)
        } else if is_blank() || is_one_byte() {
            Err(WeakSecret::Monotonous)
        } else {
            Ok(Self(bytes))
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What nobody sees who looks at a key.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}
