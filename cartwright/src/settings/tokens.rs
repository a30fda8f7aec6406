//! The keys of tokens, and whom tokens must name.

use clap::Args;
use runtime::config::ConfigError;

/// What a token is signed with, and what it must say.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct TokenSettings {
    /// The HS256 key of tokens, at least 32 bytes [default: made once, kept in `DATA_DIR`].
    #[arg(long, env, global = true, hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// This shop's name in the `aud` of tokens, which they must have then. While it is unset, tokens with an `aud` are refused.
    #[arg(long, env, global = true)]
    pub jwt_audience: Option<String>,
    /// The `iss` that tokens must have.
    #[arg(long, env, global = true)]
    pub jwt_issuer: Option<String>,
}

impl TokenSettings {
    /// Whom tokens must name. A variable that is set to nothing is not set.
    pub fn parties(&self) -> gateway::token::Parties {
        let set = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        gateway::token::Parties {
            audience: set(&self.jwt_audience),
            issuer: set(&self.jwt_issuer),
        }
    }

    /// Finds what is wrong without opening anything.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let least = gateway::Secret::MIN_LEN;
        if self.jwt_secret.as_ref().is_some_and(|secret| secret.len() < least) {
            return Err(ConfigError::new(
                "JWT_SECRET",
                format!("must have at least {least} bytes; unset it to have one made"),
            ));
        }
        self.check_parties()
    }

    /// Both are compared with claims as they are: a blank at an end would be one that nobody sees.
    fn check_parties(&self) -> Result<(), ConfigError> {
        let names = [("JWT_AUDIENCE", &self.jwt_audience), ("JWT_ISSUER", &self.jwt_issuer)];
        for (variable, name) in names {
            let name = name.as_deref().unwrap_or_default();
            if name.trim() != name || name.contains(char::is_control) {
                return Err(ConfigError::new(
                    variable,
                    "must have no blanks at its ends and no control characters",
                ));
            }
        }
        Ok(())
    }
}
