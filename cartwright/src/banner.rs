//! The banner of `serve`: addresses, engines, who may connect, and commands of a purchase.

use std::{
    fmt::{self, Write},
    io::IsTerminal,
};

use runtime::{Clock, Ids};

use crate::{
    Config, ServiceName, Shop, secret,
    services::Store,
    settings::{PaymentProvider, is_loopback},
};

/// How long the printed token is valid.
const TOKEN_TTL: std::time::Duration = std::time::Duration::from_hours(24);

pub(crate) fn banner(config: &Config, shop: &Shop, clock: &Clock, ids: &Ids) -> anyhow::Result<String> {
    let mut text = String::new();
    write_addresses(&mut text, config, shop)?;
    write_access(&mut text, config, shop)?;
    if let Some(gateway) = shop.address(ServiceName::Gateway) {
        let token = token(config, clock)?;
        write_purchase(&mut text, &format!("http://{gateway}"), &token, &ids.next().to_string())?;
    }
    Ok(text)
}

/// A token of user 1, only on a terminal and only for a generated key. Otherwise the command that makes a token: others
/// may read logs and files, and a configured key belongs to a real shop.
fn token(config: &Config, clock: &Clock) -> anyhow::Result<String> {
    if config.settings.tokens.jwt_secret.is_some() || !std::io::stdout().is_terminal() {
        return Ok("$(cartwright token --user 1)".to_owned());
    }
    let (keys, expected_claims) = (
        secret::token_keys(&config.settings)?,
        config.settings.tokens.expected_claims(),
    );
    let token = gateway::token::sign_for(&expected_claims, &keys.current, ("1", None), TOKEN_TTL, clock.now())?;
    Ok(token)
}

/// Who may connect to which listener.
fn write_access(text: &mut String, config: &Config, shop: &Shop) -> fmt::Result {
    let listen = &config.settings.listen;
    let clients = |host| {
        if is_loopback(host) {
            "this machine only".to_owned()
        } else {
            format!("everybody who reaches {host}")
        }
    };
    writeln!(text, "\nOpen to:\n")?;
    if shop.address(ServiceName::Gateway).is_some() {
        let clients = clients(listen.host);
        writeln!(
            text,
            "  {:<13} {clients}; customers have tokens; without encryption",
            "gateway"
        )?;
    }
    if config
        .services
        .iter()
        .any(|service| listen.ports.of(*service).is_some())
    {
        let clients = clients(listen.grpc_host);
        writeln!(
            text,
            "  {:<13} {clients}, without credentials; without encryption",
            "services"
        )?;
    }
    let clients = clients(listen.admin_host);
    writeln!(
        text,
        "  {:<13} {clients}, without credentials; without encryption",
        "health"
    )
}

fn write_addresses(text: &mut String, config: &Config, shop: &Shop) -> fmt::Result {
    writeln!(text, "Cartwright is open.\n")?;
    if let Some(address) = shop.address(ServiceName::Gateway) {
        writeln!(text, "  {:<13} http://{address}", "gateway")?;
    }
    for service in &config.services {
        if let Some(address) = shop.address(*service)
            && *service != ServiceName::Gateway
        {
            writeln!(
                text,
                "  {:<13} {address:<22} {}",
                service.as_str(),
                engine(config, *service)
            )?;
        }
    }
    if config.services.iter().any(|service| service.uses_events()) {
        let bus = match config.settings.engines.kafka() {
            Some((_, brokers)) => format!("Kafka {brokers}"),
            None => "SQLite".to_owned(),
        };
        writeln!(text, "  {:<13} {:<22} {bus}", "events", "-")?;
    }
    if config.runs(ServiceName::Payment) {
        let provider = match config.settings.payment_provider {
            PaymentProvider::Simulated => "simulated: no money moves",
        };
        writeln!(text, "  {:<13} {:<22} {provider}", "provider", "-")?;
    }
    writeln!(text, "  {:<13} http://{}/health/ready", "health", shop.admin())?;
    let folder = config
        .settings
        .data_dir
        .canonicalize()
        .unwrap_or_else(|_| config.settings.data_dir.clone());
    writeln!(text, "  {:<13} {}", "data", folder.display())
}

/// The engine of a service and its address, without a login.
fn engine(config: &Config, service: ServiceName) -> String {
    let engines = &config.settings.engines;
    match service.definition().store {
        Store::Carts => {
            let store = match engines.mongo() {
                Some(uri) => format!("MongoDB {}", hosts(uri)),
                None => "SQLite".to_owned(),
            };
            match engines.redis() {
                Some(address) => format!("{store}, cache in Redis {address}"),
                None => format!("{store}, cache in memory"),
            }
        }
        Store::Relational { .. } | Store::None => match engines.postgres(service) {
            Ok(Some(address)) => format!("PostgreSQL {address}"),
            Ok(None) | Err(_) => "SQLite".to_owned(),
        },
    }
}

/// The hosts of a URI.
fn hosts(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let hosts = rest.split(['/', '?']).next().unwrap_or_default();
    hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts)
}

fn write_purchase(text: &mut String, base: &str, token: &str, key: &str) -> fmt::Result {
    writeln!(text, "\nBuy something, as user 1:\n\nTOKEN={token}")?;
    writeln!(text, "curl -s {base}/api/v1/products")?;
    writeln!(
        text,
        "curl -s -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \
         -d '{{\"product_id\":2,\"quantity\":1}}' {base}/api/v1/cart/items"
    )?;
    writeln!(
        text,
        "curl -s -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \
         -d '{{\"idempotency_key\":\"{key}\"}}' {base}/api/v1/checkout"
    )?;
    writeln!(text, "curl -s -H \"Authorization: Bearer $TOKEN\" {base}/api/v1/orders")
}
