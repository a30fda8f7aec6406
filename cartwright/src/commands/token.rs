//! `cartwright token`: a signed token for development.

use std::time::Duration;

use anyhow::Context;
use gateway::token;
use runtime::Clock;

use super::{CommandResult, print_line};
use crate::{secret, settings::Settings};

pub(super) fn run(settings: &Settings, user: &str, role: Option<&str>, expires_in: Duration) -> CommandResult {
    settings.tokens.check()?;
    let (secret, expected_claims) = (secret::existing_key(settings)?, settings.tokens.expected_claims());
    let now = Clock::system().now();
    let token =
        token::sign_for(&expected_claims, &secret, (user, role), expires_in, now).context("no token was made")?;
    Ok(print_line(&token)?)
}
