//! `cartwright token`: a signed token for development.

use std::time::Duration;

use anyhow::Context;
use gateway::token;
use runtime::Clock;

use super::{Failure, say};
use crate::{secret, settings::Settings};

pub(super) fn run(settings: &Settings, user: &str, role: Option<&str>, expires_in: Duration) -> Result<(), Failure> {
    settings.tokens.check()?;
    let (secret, parties) = (secret::existing(settings)?, settings.tokens.parties());
    let now = Clock::system().now();
    let token = token::sign_for(&parties, &secret, (user, role), expires_in, now).context("no token was made")?;
    Ok(say(&token)?)
}
