//! The connection to Kafka: TLS and login.

use clap::{Args, ValueEnum};
use events::{KAFKA_TLS, KafkaLink, KafkaLogin, KafkaMechanism, KafkaTls};
use runtime::config::{ConfigError, check_ca_file};

use super::non_empty;

const PROTOCOL: &str = "KAFKA_SECURITY_PROTOCOL";
const MECHANISM: &str = "KAFKA_SASL_MECHANISM";
const BUILD: &str = "needs OpenSSL, which is not in this build: cargo build --release --features kafka-tls";

/// Kafka's names for TLS and login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    const fn has_login(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How a client proves that it knows the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaslMechanism {
    #[value(name = "PLAIN")]
    Plain,
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
}

impl From<SaslMechanism> for KafkaMechanism {
    fn from(mechanism: SaslMechanism) -> Self {
        match mechanism {
            SaslMechanism::Plain => Self::Plain,
            SaslMechanism::ScramSha256 => Self::ScramSha256,
            SaslMechanism::ScramSha512 => Self::ScramSha512,
        }
    }
}

#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_field_names, reason = "the names are those of the variables")]
pub struct KafkaSecurity {
    /// The protocol to Kafka: plaintext, ssl, `sasl_plaintext` or `sasl_ssl`, which is TLS with a login.
    #[arg(
        long,
        env,
        global = true,
        value_enum,
        default_value = "plaintext",
        ignore_case = true,
        hide_short_help = true
    )]
    pub kafka_security_protocol: SecurityProtocol,
    /// How the shop logs in to Kafka, with a protocol that has a login.
    #[arg(long, env, global = true, value_enum, ignore_case = true, hide_short_help = true)]
    pub kafka_sasl_mechanism: Option<SaslMechanism>,
    /// The shop's user in Kafka.
    #[arg(long, env, global = true, hide_short_help = true)]
    pub kafka_sasl_username: Option<String>,
    /// The password of `KAFKA_SASL_USERNAME`.
    #[arg(long, env, global = true, hide_short_help = true)]
    pub kafka_sasl_password: Option<String>,
    /// The CA certificates (PEM) that verify the brokers [default: those of the system].
    #[arg(long, env, global = true, hide_short_help = true)]
    pub kafka_ca_file: Option<String>,
}

impl KafkaSecurity {
    /// The options of the Kafka client. An error names the setting that does not fit the others.
    pub(crate) fn link(&self) -> Result<KafkaLink, ConfigError> {
        let protocol = self.kafka_security_protocol;
        if protocol.has_tls() && !KAFKA_TLS {
            return Err(ConfigError::new(PROTOCOL, format!("{} {BUILD}", protocol.as_str())));
        }
        let ca_file = non_empty(self.kafka_ca_file.as_ref());
        if ca_file.is_some() && !protocol.has_tls() {
            let wants = format!(
                "is set, but {PROTOCOL}={} has no TLS; set sasl_ssl or ssl",
                protocol.as_str()
            );
            return Err(ConfigError::new("KAFKA_CA_FILE", wants));
        }
        if let Some(file) = ca_file {
            check_ca_file("KAFKA_CA_FILE", file)?;
        }
        Ok(KafkaLink {
            tls: protocol.has_tls().then(|| KafkaTls {
                ca_file: ca_file.map(Into::into),
            }),
            login: self.login()?,
        })
    }

    fn login(&self) -> Result<Option<KafkaLogin>, ConfigError> {
        let protocol = self.kafka_security_protocol;
        let user = non_empty(self.kafka_sasl_username.as_ref());
        let password = non_empty(self.kafka_sasl_password.as_ref());
        match (protocol.has_login(), self.kafka_sasl_mechanism, user, password) {
            (false, None, None, None) => Ok(None),
            (true, Some(mechanism), Some(user), Some(password)) => {
                if mechanism != SaslMechanism::Plain && !KAFKA_TLS {
                    return Err(ConfigError::new(MECHANISM, format!("SCRAM {BUILD}")));
                }
                Ok(Some(KafkaLogin {
                    mechanism: mechanism.into(),
                    user: user.to_owned(),
                    password: password.to_owned(),
                }))
            }
            (is_wanted, mechanism, user, password) => {
                let given = [
                    (MECHANISM, mechanism.is_some()),
                    ("KAFKA_SASL_USERNAME", user.is_some()),
                    ("KAFKA_SASL_PASSWORD", password.is_some()),
                ];
                let odd = given.into_iter().rfind(|(_, is_given)| *is_given != is_wanted);
                let (variable, _) = odd.unwrap_or(given[0]);
                let wants = if is_wanted {
                    format!("must be set, because {PROTOCOL}={} has a login", protocol.as_str())
                } else {
                    let name = protocol.as_str();
                    format!("is set, but {PROTOCOL}={name} has no login; set sasl_ssl, or unset this")
                };
                Err(ConfigError::new(variable, wants))
            }
        }
    }

    /// Refuses brokers that name another protocol.
    pub(super) fn check_brokers(&self, variable: &'static str, brokers: &str) -> Result<(), ConfigError> {
        let protocol = self.kafka_security_protocol.as_str();
        let named = brokers.split(',').filter_map(|broker| broker.trim().split_once("://"));
        for (scheme, _) in named {
            if !scheme.eq_ignore_ascii_case(protocol) {
                let wants = format!("names a protocol that is not {PROTOCOL}, which is {protocol}; write host:9092");
                return Err(ConfigError::new(variable, wants));
            }
        }
        Ok(())
    }

    /// A warning about a valid but unsafe protocol.
    pub(super) fn warning(&self) -> Option<String> {
        (self.kafka_security_protocol == SecurityProtocol::SaslPlaintext).then(|| {
            format!(
                "{PROTOCOL}=sasl_plaintext: others in the network can read and change the events, and with PLAIN read the \
                 password; set sasl_ssl"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn security(tweak: impl FnOnce(&mut KafkaSecurity)) -> KafkaSecurity {
        let mut security = Settings::defaults().engines.kafka_security;
        tweak(&mut security);
        security
    }

    #[test]
    fn an_incomplete_login_is_refused() {
        let refused = |tweak: fn(&mut KafkaSecurity)| security(tweak).link().unwrap_err().variable;
        assert_eq!(
            refused(|it| it.kafka_sasl_mechanism = Some(SaslMechanism::Plain)),
            MECHANISM
        );
        assert_eq!(
            refused(|it| it.kafka_sasl_username = Some("u".to_owned())),
            "KAFKA_SASL_USERNAME"
        );
        assert_eq!(
            refused(|it| it.kafka_sasl_password = Some("p".to_owned())),
            "KAFKA_SASL_PASSWORD"
        );
        for missing in [MECHANISM, "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"] {
            let part = |name: &str| (missing != name).then(|| name.to_owned());
            let security = security(|it| {
                it.kafka_security_protocol = SecurityProtocol::SaslPlaintext;
                it.kafka_sasl_mechanism = part(MECHANISM).map(|_| SaslMechanism::Plain);
                it.kafka_sasl_username = part("KAFKA_SASL_USERNAME");
                it.kafka_sasl_password = part("KAFKA_SASL_PASSWORD");
            });
            assert_eq!(security.link().unwrap_err().variable, missing);
        }
    }

    #[test]
    fn a_ca_file_without_tls_is_refused() {
        let security = security(|it| it.kafka_ca_file = Some("/ca.pem".to_owned()));
        assert_eq!(security.link().unwrap_err().variable, "KAFKA_CA_FILE");
    }

    #[test]
    fn a_broker_with_another_protocol_is_refused() {
        let security = security(|_| {});
        for brokers in ["h:1", "PLAINTEXT://h:1, h:2", "plaintext://h:1"] {
            assert_eq!(security.check_brokers("KAFKA_BROKERS", brokers), Ok(()));
        }
        assert!(security.check_brokers("KAFKA_BROKERS", "h:1,SASL_SSL://h:2").is_err());
    }
}
