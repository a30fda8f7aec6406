//! What only tests set.

use std::path::PathBuf;

use clap::Args;
use runtime::{CrashPoints, config::ConfigError};

/// Where the process is to die.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct TestHooks {
    /// For tests: abort when this crash point is passed.
    #[arg(long, env, global = true, hide = true)]
    pub cartwright_crash_at: Option<String>,
    /// For tests: write the crash points that are passed to this file.
    #[arg(long, env, global = true, hide = true)]
    pub cartwright_crash_trace: Option<PathBuf>,
}

impl TestHooks {
    pub(super) fn crash_points(&self) -> Result<CrashPoints, ConfigError> {
        let (at, trace) = (self.cartwright_crash_at.clone(), self.cartwright_crash_trace.as_deref());
        CrashPoints::armed(at, trace)
            .map_err(|e| ConfigError::new("CARTWRIGHT_CRASH_TRACE", format!("cannot be written: {e}")))
    }
}
