//! `deployments/compose.yaml` against the shop: what runs in it, and what each may.

use cartwright::ServiceName;
use serde_yaml_ng::{Mapping, Value};

use super::{assert_none, settings::settings, source::read};

const COMPOSE: &str = "deployments/compose.yaml";

/// The engines under their names in compose, each with the variable by which a process finds it there, and on this machine.
pub(super) const ENGINES: [(&str, &str, &str); 4] = [
    ("postgresql", "DB_HOST", "DATABASE_URL"),
    ("mongodb", "MONGO_URI_FILE", "MONGO_URI"),
    ("redis", "REDIS_ADDR", "REDIS_ADDR"),
    ("kafka", "KAFKA_BROKERS", "KAFKA_BROKERS"),
];

fn needs(service: ServiceName, engine: &str) -> bool {
    match engine {
        "kafka" => service.uses_events(),
        "mongodb" | "redis" => service == ServiceName::Cart,
        _ => !matches!(service, ServiceName::Cart | ServiceName::Gateway),
    }
}

/// The compose file, its merge keys applied, and those of what was merged.
pub(super) fn compose() -> Value {
    let mut compose: Value = serde_yaml_ng::from_str(&read(COMPOSE).text).unwrap();
    compose.apply_merge().unwrap();
    compose.apply_merge().unwrap();
    compose
}

/// The names of all secrets.
pub(super) fn secrets(compose: &Value) -> Vec<String> {
    entries(&compose["secrets"]).into_iter().map(|(name, _)| name).collect()
}

/// The services of compose, by name.
fn services(compose: &Value) -> Vec<(&str, &Value)> {
    let services = compose["services"].as_mapping().unwrap();
    services.iter().map(|(name, is)| (name.as_str().unwrap(), is)).collect()
}

/// The process that runs one of ours, if it is one.
fn service_named(name: &str) -> Option<ServiceName> {
    ServiceName::ALL.into_iter().find(|service| service.as_str() == name)
}

/// A mapping's keys with its values as text; nothing if there is none.
fn entries(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => serde_yaml_ng::to_string(value).unwrap().trim().to_owned(),
    };
    let entries = value.as_mapping().into_iter().flat_map(Mapping::iter);
    entries.map(|(key, value)| (text(key), text(value))).collect()
}

/// The words of a list; none if there is no list.
fn words(value: &Value) -> Vec<&str> {
    value
        .as_sequence()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn compose_runs_every_service_as_a_process_of_its_own() {
    let compose = compose();
    let mut findings = Vec::new();
    for service in ServiceName::ALL {
        let name = service.as_str();
        let process = &compose["services"][name];
        if process.is_null() {
            findings.push(format!("{COMPOSE}: {name} is missing"));
            continue;
        }
        if words(&process["command"]) != ["serve", name] {
            findings.push(format!("{COMPOSE}: {name} does not serve {name}"));
        }
        if process["build"]["dockerfile"] != "deployments/Dockerfile" {
            findings.push(format!("{COMPOSE}: {name} is not built by deployments/Dockerfile"));
        }
        let environment = &process["environment"];
        let is_gateway = service == ServiceName::Gateway;
        if (environment["GRPC_HOST"] == "0.0.0.0") == is_gateway {
            findings.push(format!(
                "{COMPOSE}: {name} cannot be reached by the others, or has nothing that should be"
            ));
        }
        if environment["GRPC_PLAINTEXT"] != "trusted-network" && !is_gateway {
            findings.push(format!("{COMPOSE}: {name} does not say that its network is trusted"));
        }
        if (environment["HOST"] == "0.0.0.0") != is_gateway || !environment["ADMIN_HOST"].is_null() {
            findings.push(format!(
                "{COMPOSE}: {name} opens what nobody has to reach, or the gateway is closed"
            ));
        }
    }
    assert_none(&findings, "compose runs the services that there are");
}

#[test]
fn compose_sets_nothing_that_is_no_setting_and_sends_services_where_others_listen() {
    let (compose, settings) = (compose(), settings());
    let mut findings = Vec::new();
    for (name, process) in services(&compose) {
        if service_named(name).is_none() {
            continue;
        }
        for (variable, value) in entries(&process["environment"]) {
            if !settings.contains_key(&variable) {
                findings.push(format!("{COMPOSE}: {name}: {variable} is no setting"));
            }
            if let Some(peer) = variable.strip_suffix("_SERVICE_ADDR") {
                let port = settings[&format!("{peer}_PORT")].default.as_deref().unwrap();
                let listens = format!("{}:{port}", peer.to_lowercase());
                if value != listens {
                    findings.push(format!("{COMPOSE}: {name}: {variable} is {value}, not {listens}"));
                }
            }
        }
    }
    assert_none(&findings, "compose sets what the shop knows");
}

#[test]
fn compose_gives_every_service_the_engines_it_needs_and_waits_for_them() {
    let compose = compose();
    let mut findings = Vec::new();
    for service in ServiceName::ALL {
        let process = &compose["services"][service.as_str()];
        for (engine, variable, _) in ENGINES {
            let needed = needs(service, engine);
            if process["environment"][variable].is_string() != needed {
                let should = if needed { "lacks" } else { "sets without need" };
                findings.push(format!("{COMPOSE}: {} {should} {variable}", service.as_str()));
            }
            if (process["depends_on"][engine]["condition"] == "service_healthy") != needed {
                let should = if needed { "does not wait" } else { "waits without need" };
                findings.push(format!("{COMPOSE}: {} {should} for {engine}", service.as_str()));
            }
        }
    }
    for service in ServiceName::ALL {
        let waits = &compose["services"]["gateway"]["depends_on"][service.as_str()]["condition"];
        if service != ServiceName::Gateway && waits != "service_healthy" {
            findings.push(format!("{COMPOSE}: gateway does not wait for {}", service.as_str()));
        }
    }
    assert_none(
        &findings,
        "a service starts when what it needs is healthy, the gateway last",
    );
}

#[test]
fn everything_in_compose_has_a_health_check_and_may_run_more_than_once() {
    let compose = compose();
    let volumes = compose["volumes"].as_mapping().unwrap();
    let mut findings = Vec::new();
    for (name, is) in services(&compose) {
        let test = &is["healthcheck"]["test"];
        if !test.is_sequence() || words(test).len() < 2 {
            findings.push(format!("{COMPOSE}: {name} has no health check"));
        }
        if !is["container_name"].is_null() {
            findings.push(format!("{COMPOSE}: {name} has a container_name: there can be one only"));
        }
        if is["ports"].is_null() == (name == "gateway") {
            findings.push(format!("{COMPOSE}: {name}: the gateway's port is published, no other"));
        }
        let kept = |volume: &str| {
            volume
                .split_once(':')
                .is_some_and(|(from, _)| volumes.contains_key(from))
        };
        let is_engine = service_named(name).is_none();
        if is_engine && (is["volumes"].is_null() || !words(&is["volumes"]).into_iter().any(kept)) {
            findings.push(format!("{COMPOSE}: {name} does not store in a named volume"));
        }
    }
    assert_eq!(services(&compose).len(), ServiceName::ALL.len() + ENGINES.len());
    assert_none(
        &findings,
        "compose says of everything when it is healthy, and names none of it",
    );
}

#[test]
fn compose_gives_nobody_in_it_more_rights_than_needed() {
    let compose = compose();
    let mut findings = Vec::new();
    for (name, is) in services(&compose) {
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                findings.push(format!("{COMPOSE}: {name} {what}"));
            }
        };
        let user = is["user"].as_str().and_then(|user| user.split(':').next());
        expect(
            user.is_some_and(|user| user.parse::<u32>().is_ok_and(|user| user > 0)),
            "runs as root, or may",
        );
        expect(is["read_only"] == true, "can write to its image");
        expect(words(&is["cap_drop"]) == ["ALL"], "has capabilities");
        expect(
            is["cap_add"].is_null() && is["privileged"].is_null(),
            "gets more than it had",
        );
        let security = words(&is["security_opt"]);
        expect(security == ["no-new-privileges:true"], "can get new privileges");
        for limit in ["mem_limit", "pids_limit", "cpus"] {
            expect(!is[limit].is_null(), &format!("has no {limit}"));
        }
        for port in words(&is["ports"]) {
            expect(port.starts_with("127.0.0.1:"), "is published to everybody");
        }
        if service_named(name).is_none() {
            let pinned = is["image"].as_str().and_then(|image| image.split_once("@sha256:"));
            let digest = pinned.map(|(_, digest)| digest).unwrap_or_default();
            let is_digest = digest.len() == 64 && digest.chars().all(|digit| digit.is_ascii_hexdigit());
            expect(is_digest, "has an image that can change under its name");
        }
    }
    assert_none(&findings, "who gets into a container is confined to it");
}

#[test]
fn compose_has_a_network_for_each_tier_and_nobody_is_in_one_without_need() {
    let compose = compose();
    let mut findings = Vec::new();
    for (name, is) in services(&compose) {
        let expected: &[&str] = match service_named(name) {
            Some(ServiceName::Gateway) => &["edge", "services"],
            Some(_) => &["services", "data"],
            None => &["data"],
        };
        if words(&is["networks"]) != expected {
            findings.push(format!("{COMPOSE}: {name} is not in {expected:?}"));
        }
    }
    for inner in ["services", "data"] {
        if compose["networks"][inner]["internal"] != true {
            findings.push(format!("{COMPOSE}: the network {inner} leads out of the machine"));
        }
    }
    assert_none(&findings, "who can be reached from outside reaches no engine");
}

/// Whether a variable's value is a secret: by its name, or because it is an address with a password.
fn is_secret(variable: &str, value: &str) -> bool {
    let named = ["SECRET", "PASSWORD", "KEY"].iter().any(|word| variable.contains(word));
    named || value.contains("://") && value.contains('@') || variable.contains("MONGO_URI")
}

#[test]
fn compose_gives_secrets_as_files_and_to_each_only_its_own() {
    let compose = compose();
    let mut findings = Vec::new();
    for (name, file) in entries(&compose["secrets"]) {
        if file != format!("file: secrets/{name}") {
            findings.push(format!("{COMPOSE}: the secret {name} is no file of its name"));
        }
    }
    for (name, is) in services(&compose) {
        let given = words(&is["secrets"]);
        let mut used = Vec::new();
        for (variable, value) in entries(&is["environment"]) {
            match value.strip_prefix("/run/secrets/") {
                Some(secret) if variable.ends_with("_FILE") => used.push(secret.to_owned()),
                None if !is_secret(&variable, &value) => {}
                _ => findings.push(format!("{COMPOSE}: {name}: {variable} is a secret in the environment")),
            }
        }
        for secret in &used {
            if !given.contains(&secret.as_str()) {
                findings.push(format!("{COMPOSE}: {name} is not given {secret}"));
            }
        }
        // The engines read theirs by scripts of their own.
        let is_service = service_named(name).is_some();
        if is_service && used.len() != given.len() {
            findings.push(format!("{COMPOSE}: {name} is given secrets that it does not use"));
        }
        let another = |secret: &&String| {
            let owner = secret.split('_').nth(1).unwrap_or_default();
            is_service && service_named(owner).is_some_and(|_| owner != name)
        };
        if let Some(secret) = used.iter().find(another) {
            findings.push(format!("{COMPOSE}: {name} has {secret}, which is another's"));
        }
        for variable in ["DB_USER", "REDIS_USER", "KAFKA_SASL_USERNAME"] {
            let login = &is["environment"][variable];
            if !login.is_null() && login != name {
                findings.push(format!("{COMPOSE}: {name} logs in as somebody else"));
            }
        }
    }
    assert_none(&findings, "secrets are files, and whoever reads one has been given it");
}
