//! The keys of tokens, and whom tokens must name.

use clap::Args;
use gateway::Secret;
use runtime::config::ConfigError;

/// What a token is signed with, and what it must say.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct TokenSettings {
    /// The HS256 key of tokens, at least 32 bytes [default: made once, kept in `DATA_DIR`].
    #[arg(long, env, global = true, hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// The key before that one: tokens that it signed are taken as well, for as long as it is set.
    #[arg(long, env, global = true, hide_env_values = true)]
    pub jwt_secret_previous: Option<String>,
    /// This shop's name in the `aud` of tokens, which they must have then. While it is unset, tokens with an `aud` are refused.
    #[arg(long, env, global = true)]
    pub jwt_audience: Option<String>,
    /// The `iss` that tokens must have.
    #[arg(long, env, global = true)]
    pub jwt_issuer: Option<String>,
}

impl TokenSettings {
    /// The key that is set. `None`: one is made.
    pub(crate) fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        let secret = self.jwt_secret.as_deref().map(Secret::new).transpose();
        secret.map_err(|weak| ConfigError::new("JWT_SECRET", format!("{weak}; unset it to have one made")))
    }

    /// The key before that one. A variable that is set to nothing is not set.
    pub(crate) fn previous_secret(&self) -> Result<Option<Secret>, ConfigError> {
        let secret = self.jwt_secret_previous.as_deref().filter(|secret| !secret.is_empty());
        let secret = secret.map(Secret::new).transpose();
        secret.map_err(|weak| ConfigError::new("JWT_SECRET_PREVIOUS", format!("{weak}; unset it if there is none")))
    }

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
        self.secret()?;
        self.previous_secret()?;
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
