//! The connection to the brokers: TLS, a login, both, or neither.

use std::{fmt, path::PathBuf};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
};
use storage::OpenError;

/// Whether this was built with OpenSSL (the feature `kafka-tls`), which TLS and SCRAM need.
pub const KAFKA_TLS: bool = cfg!(feature = "kafka-tls");

/// How to connect to brokers. The default has neither encryption nor a login.
#[derive(Debug, Clone, Default)]
pub struct KafkaLink {
    pub tls: Option<KafkaTls>,
    pub login: Option<KafkaLogin>,
}

/// TLS. The certificate of a broker must contain the host name in its address.
#[derive(Debug, Clone, Default)]
pub struct KafkaTls {
    /// The certificate authorities (PEM); `None`: those of the system.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone)]
pub struct KafkaLogin {
    pub mechanism: KafkaMechanism,
    pub user: String,
    pub password: String,
}

/// The SASL mechanism. PLAIN sends the password; SCRAM only proves that the client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl KafkaMechanism {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Hides the password.
impl fmt::Debug for KafkaLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaLogin({} {})", self.mechanism.as_str(), self.user)
    }
}

impl KafkaLink {
    /// Adds these settings to the configuration of a client.
    pub(super) fn set(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.login) {
            (None, None) => return,
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            config.set("ssl.endpoint.identification.algorithm", "https");
            if let Some(file) = &tls.ca_file {
                config.set("ssl.ca.location", file.to_string_lossy());
            }
        }
        if let Some(login) = &self.login {
            config
                .set("sasl.mechanism", login.mechanism.as_str())
                .set("sasl.username", &login.user)
                .set("sasl.password", &login.password);
        }
    }
}

/// Why a broker that is reachable refuses this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Login,
    Certificate,
    Tls,
}

impl Refusal {
    /// The refusal in an error of librdkafka, if it is one.
    pub(super) fn from_error(error: &KafkaError, reason: &str) -> Option<Self> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication) => Some(Self::Login),
            Some(RDKafkaErrorCode::SSL) if reason.contains("certificate") => Some(Self::Certificate),
            Some(RDKafkaErrorCode::SSL) => Some(Self::Tls),
            _ => None,
        }
    }

    /// An error that names the setting to change.
    pub(super) fn open_error(self, brokers: &str, why: &str) -> OpenError {
        let (variable, problem) = match self {
            Self::Login => (
                "KAFKA_SASL_PASSWORD",
                "does not let this user in; check the user, the password and KAFKA_SASL_MECHANISM",
            ),
            Self::Certificate => (
                "KAFKA_CA_FILE",
                "has no certificate that is believed; name the file of who vouches for it, and call it by the name that is in it",
            ),
            Self::Tls => ("KAFKA_SECURITY_PROTOCOL", "cannot be reached by TLS"),
        };
        OpenError::Engine {
            variable,
            problem: format!("Kafka at {brokers} {problem}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_shows_no_password() {
        let login = KafkaLogin {
            mechanism: KafkaMechanism::Plain,
            user: "me".to_owned(),
            password: "secret".to_owned(),
        };
        assert!(!format!("{login:?}").contains("secret"));
    }
}
