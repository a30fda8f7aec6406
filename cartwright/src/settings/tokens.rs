//! The keys and the expected claims of tokens.

use clap::Args;
use gateway::Secret;
use runtime::config::ConfigError;

#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct TokenSettings {
    /// The HS256 key of tokens, at least 32 bytes [default: generated once and kept in `DATA_DIR`].
    #[arg(long, env, global = true, hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// The previous key: its tokens are accepted as long as it is set.
    #[arg(long, env, global = true, hide_env_values = true)]
    pub jwt_secret_previous: Option<String>,
    /// This shop's name, which tokens must have in `aud`. While it is unset, tokens with an `aud` are refused.
    #[arg(long, env, global = true)]
    pub jwt_audience: Option<String>,
    /// The `iss` that tokens must have.
    #[arg(long, env, global = true)]
    pub jwt_issuer: Option<String>,
}

impl TokenSettings {
    /// The configured key. `None`: the key of the data directory applies.
    pub(crate) fn secret(&self) -> Result<Option<Secret>, ConfigError> {
        let secret = self.jwt_secret.as_deref().map(Secret::new).transpose();
        secret.map_err(|weak| ConfigError::new("JWT_SECRET", format!("{weak}; unset it to have one made")))
    }

    /// The previous key. An empty variable counts as unset.
    pub(crate) fn previous_secret(&self) -> Result<Option<Secret>, ConfigError> {
        let secret = self.jwt_secret_previous.as_deref().filter(|secret| !secret.is_empty());
        let secret = secret.map(Secret::new).transpose();
        secret.map_err(|weak| ConfigError::new("JWT_SECRET_PREVIOUS", format!("{weak}; unset it if there is none")))
    }

    /// The claims that tokens must have. An empty variable counts as unset.
    pub fn expected_claims(&self) -> gateway::token::ExpectedClaims {
        let set = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        gateway::token::ExpectedClaims {
            audience: set(&self.jwt_audience),
            issuer: set(&self.jwt_issuer),
        }
    }

    /// Checks without opening anything.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.secret()?;
        self.previous_secret()?;
        self.check_claims()
    }

    /// Claims are compared byte by byte, so an invisible blank at an end would refuse every token.
    fn check_claims(&self) -> Result<(), ConfigError> {
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
