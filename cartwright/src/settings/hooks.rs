//! Settings for tests only.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use runtime::{Points, config::ConfigError};

/// Crash points.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct TestHooks {
    /// For tests: confirms that the hooks may abort this process. Without it they are refused.
    #[arg(long, env, global = true, hide = true)]
    pub cartwright_test_hooks: Option<HooksConsent>,
    /// For tests: abort at this point.
    #[arg(long, env, global = true, hide = true)]
    pub cartwright_crash_at: Option<String>,
    /// For tests: write the passed points to this file.
    #[arg(long, env, global = true, hide = true)]
    pub cartwright_crash_trace: Option<PathBuf>,
}

/// Confirms that the hooks may abort this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HooksConsent {
    AbortThisProcess,
}

impl TestHooks {
    /// The warning at the start, if a hook is set.
    pub(crate) fn warning(&self) -> Option<String> {
        let hooks = self.set().join(" and ");
        (!hooks.is_empty()).then(|| format!("{hooks}: this process is under test and may abort at any time"))
    }

    /// The variables of the hooks that are set.
    fn set(&self) -> Vec<&'static str> {
        let hooks = [
            ("CARTWRIGHT_CRASH_AT", self.cartwright_crash_at.is_some()),
            ("CARTWRIGHT_CRASH_TRACE", self.cartwright_crash_trace.is_some()),
        ];
        hooks
            .into_iter()
            .filter(|(_, set)| *set)
            .map(|(name, _)| name)
            .collect()
    }

    pub(super) fn points(&self) -> Result<Points, ConfigError> {
        if let (Some(variable), None) = (self.set().first(), self.cartwright_test_hooks) {
            return Err(ConfigError::new(
                variable,
                "is for tests, which end this process with it; unset it, or set CARTWRIGHT_TEST_HOOKS=abort-this-process",
            ));
        }
        let (at, trace) = (self.cartwright_crash_at.clone(), self.cartwright_crash_trace.as_deref());
        Points::armed(at, trace)
            .map_err(|e| ConfigError::new("CARTWRIGHT_CRASH_TRACE", format!("cannot be written: {e}")))
    }
}
