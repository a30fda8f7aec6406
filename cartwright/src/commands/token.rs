//! `cartwright token`: a signed token for development.

use std::time::Duration;

use anyhow::Context;
use runtime::Clock;

use super::{Failure, say};
use crate::{secret, settings::Settings};

pub(super) fn run(settings: &Settings, user: &str, role: Option<&str>, expires_in: Duration) -> Result<(), Failure> {
    let secret = secret::of(settings)?;
    let token =
        gateway::token::sign(&secret, user, role, expires_in, Clock::system().now()).context("no token was made")?;
    Ok(say(&token)?)
}
