//! The connection to Redis: TLS and login.

use cart::{RedisEndpoint, RedisTls};
use clap::{ArgAction, Args};
use runtime::config::{ConfigError, check_ca_file};

use super::non_empty;

#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct RedisSecurity {
    /// The shop's user in the ACL of Redis [default: the unnamed user].
    #[arg(long, env, global = true, hide_short_help = true)]
    pub redis_user: Option<String>,
    /// The password of Redis, or of `REDIS_USER`.
    #[arg(long, env, global = true, hide_short_help = true)]
    pub redis_password: Option<String>,
    /// Whether the connection to Redis uses TLS.
    #[arg(long, env, global = true, default_value_t = false, action = ArgAction::Set, hide_short_help = true)]
    pub redis_tls: bool,
    /// The CA certificates (PEM) that verify Redis [default: those of the system].
    #[arg(long, env, global = true, hide_short_help = true)]
    pub redis_ca_file: Option<String>,
}

impl RedisSecurity {
    /// Checks that the settings fit together.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if non_empty(self.redis_user.as_ref()).is_some() && non_empty(self.redis_password.as_ref()).is_none() {
            return Err(ConfigError::new(
                "REDIS_USER",
                "is set without REDIS_PASSWORD; set both",
            ));
        }
        match non_empty(self.redis_ca_file.as_ref()) {
            Some(_) if !self.redis_tls => Err(ConfigError::new(
                "REDIS_CA_FILE",
                "is set, but there is no TLS; set REDIS_TLS=true, or unset this",
            )),
            Some(file) => check_ca_file("REDIS_CA_FILE", file),
            None => Ok(()),
        }
    }

    pub(super) fn endpoint(&self, address: &str) -> RedisEndpoint {
        RedisEndpoint {
            address: address.to_owned(),
            user: non_empty(self.redis_user.as_ref()).map(str::to_owned),
            password: non_empty(self.redis_password.as_ref()).map(cart::Secret::new),
            tls: if self.redis_tls {
                RedisTls::On {
                    ca_file: non_empty(self.redis_ca_file.as_ref()).map(Into::into),
                }
            } else {
                RedisTls::Off
            },
        }
    }

    /// A warning about a password without TLS.
    pub(super) fn warning(&self) -> Option<String> {
        let is_open = !self.redis_tls && non_empty(self.redis_password.as_ref()).is_some();
        is_open.then(|| {
            "REDIS_TLS=false: others in the network can read the password of Redis and the carts; set REDIS_TLS=true"
                .to_owned()
        })
    }
}
