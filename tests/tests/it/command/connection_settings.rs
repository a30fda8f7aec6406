//! The settings of connections to engines: contradictory ones are refused.

use super::{assert_refused, run, stderr};

#[tokio::test]
async fn contradictory_connection_settings_are_refused_before_anything_is_opened() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let login = [
        ("KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"),
        ("KAFKA_SASL_USERNAME", "u"),
    ];
    let mut wrong = vec![
        (
            vec![("KAFKA_SECURITY_PROTOCOL", "tls")],
            "KAFKA_SECURITY_PROTOCOL",
            "plaintext or ssl",
        ),
        (
            vec![("KAFKA_SASL_PASSWORD", "s3cr3t")],
            "KAFKA_SASL_PASSWORD",
            "no login",
        ),
        (
            vec![("KAFKA_SASL_MECHANISM", "PLAIN")],
            "KAFKA_SASL_MECHANISM",
            "no login",
        ),
        (login.to_vec(), "KAFKA_SASL_PASSWORD", "must be set"),
        (vec![("KAFKA_CA_FILE", "/ca.pem")], "KAFKA_CA_FILE", "no TLS"),
        (
            vec![("KAFKA_BROKERS", "SASL_SSL://h:1")],
            "KAFKA_BROKERS",
            "names a protocol",
        ),
        (vec![("REDIS_USER", "u")], "REDIS_USER", "REDIS_PASSWORD"),
        (vec![("REDIS_CA_FILE", "/ca.pem")], "REDIS_CA_FILE", "REDIS_TLS=true"),
        (
            vec![("REDIS_TLS", "true"), ("REDIS_CA_FILE", "/nowhere")],
            "REDIS_CA_FILE",
            "cannot be read",
        ),
        (vec![("DB_SSLMODE", "safe")], "DB_SSLMODE", "verify-full"),
        (vec![("DB_CA_FILE", "/ca.pem")], "DB_CA_FILE", "DB_SSLMODE=verify-full"),
        (
            vec![("DB_SSLMODE", "verify-full"), ("DB_CA_FILE", "/nowhere")],
            "DB_CA_FILE",
            "cannot be read",
        ),
        (
            vec![("DATABASE_URL", "postgres://h/d?sslrootcert=/ca.pem")],
            "DATABASE_URL",
            "sslmode=verify-full",
        ),
        (
            vec![(
                "DATABASE_URL",
                "postgres://h/d?sslmode=verify-full&sslrootcert=/nowhere",
            )],
            "DATABASE_URL",
            "cannot be read",
        ),
        (vec![("DB_HOST", "u:s3cr3t@h")], "DB_HOST", "a host alone"),
        (
            vec![("DB_HOST", "h"), ("DB_NAME", "postgres://u:s3cr3t@h/d")],
            "DB_NAME",
            "the name of a database",
        ),
    ];
    if !events::KAFKA_TLS {
        let scram = [
            login[0],
            login[1],
            ("KAFKA_SASL_PASSWORD", "s3cr3t"),
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        ];
        wrong.push((scram.to_vec(), "KAFKA_SASL_MECHANISM", "--features kafka-tls"));
        for protocol in ["ssl", "SASL_SSL"] {
            let setting = vec![("KAFKA_SECURITY_PROTOCOL", protocol)];
            wrong.push((setting, "KAFKA_SECURITY_PROTOCOL", "--features kafka-tls"));
        }
    }
    for (variables, named, word) in wrong {
        let output = run(&data, &["serve"], &variables).await?;
        assert_refused(&output, 64, &[&format!("cartwright: {named}: "), word]);
        assert!(!stderr(&output).contains("s3cr3t"), "{}", stderr(&output));
    }
    assert!(!data.exists(), "something was opened");
    Ok(())
}
