//! What deploys the shop, against the shop: compose, the image, the scripts for local engines.

use std::{path::Path, process::Command};

use cartwright::ServiceName;
use serde_yaml_ng::{Mapping, Value};

use super::{
    assert_none,
    settings::settings,
    source::{files, read, root},
};

const COMPOSE: &str = "deployments/compose.yaml";

/// The engines under their names in compose, each with the variable by which a process finds it.
const ENGINES: [(&str, &str); 4] = [
    ("postgresql", "DATABASE_URL"),
    ("mongodb", "MONGO_URI"),
    ("redis", "REDIS_ADDR"),
    ("kafka", "KAFKA_BROKERS"),
];

fn needs(service: ServiceName, engine: &str) -> bool {
    match engine {
        "kafka" => service.uses_events(),
        "mongodb" | "redis" => service == ServiceName::Cart,
        _ => !matches!(service, ServiceName::Cart | ServiceName::Gateway),
    }
}

/// The compose file, its merge keys applied.
fn compose() -> Value {
    let mut compose: Value = serde_yaml_ng::from_str(&read(COMPOSE).text).unwrap();
    compose.apply_merge().unwrap();
    compose
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

fn words(value: &Value) -> Vec<&str> {
    value.as_sequence().unwrap().iter().filter_map(Value::as_str).collect()
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
        if process["environment"]["HOST"] != "0.0.0.0" {
            findings.push(format!("{COMPOSE}: {name} cannot be reached by the others"));
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
        for (engine, variable) in ENGINES {
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
        if is_engine && (is["volumes"].is_null() || !words(&is["volumes"]).into_iter().all(kept)) {
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
fn compose_has_no_secret_of_its_own() {
    let example = read("deployments/.env.example").text;
    let asked: Vec<_> = example
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    let mut findings = Vec::new();
    for line in &asked {
        if !line.ends_with('=') {
            findings.push(format!("deployments/.env.example: {line}: has a value"));
        }
    }
    let compose = compose();
    for (name, is) in services(&compose) {
        for (variable, value) in entries(&is["environment"]) {
            let is_secret = ["SECRET", "PASSWORD"].iter().any(|word| variable.ends_with(word));
            let has_password = value.contains("://") && value.contains('@');
            if !is_secret && !has_password {
                continue;
            }
            // In an address the password stands between the second colon and the at sign.
            let secret = value.find("${").map_or("", |begin| &value[begin..]);
            let from = secret.trim_start_matches("${").split(":?").next().unwrap_or_default();
            if !secret.starts_with("${") || !secret.contains(":?") {
                findings.push(format!("{COMPOSE}: {name}: {variable} has a value, or a default"));
            } else if !asked.contains(&format!("{from}=").as_str()) {
                findings.push(format!("deployments/.env.example: {from} is missing"));
            }
        }
    }
    assert_none(&findings, "secrets come from the environment and have no defaults");
}

#[test]
fn the_image_is_built_by_the_toolchain_of_the_repository_and_does_not_run_as_root() {
    let dockerfile = read("deployments/Dockerfile").text;
    let toolchain = read("rust-toolchain.toml").text;
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap();
    let version = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("ARG RUST_VERSION="))
        .unwrap();
    assert_eq!(version, channel.trim_matches('"'));
    assert!(dockerfile.contains("FROM rust:${RUST_VERSION}-"), "the version is used");
    assert!(dockerfile.contains("cargo build --release --locked"));

    let last_stage = dockerfile.rsplit("\nFROM ").next().unwrap();
    let user = last_stage.lines().rfind(|line| line.starts_with("USER "));
    let user = user.and_then(|line| line.split([' ', ':']).nth(1));
    assert!(user.is_some_and(|user| user != "root" && user != "0"), "USER {user:?}");
    let entry = last_stage.lines().find_map(|line| line.strip_prefix("ENTRYPOINT "));
    assert_eq!(entry, Some(r#"["cartwright"]"#));
}

#[test]
fn local_engines_are_those_of_compose_under_variables_that_the_shop_knows() {
    let settings = settings();
    let mut findings = Vec::new();
    for (engine, variable) in ENGINES {
        let script = read(&format!("deployments/local/{engine}/engine.sh"));
        if !script.text.contains(&format!("echo \"{variable}=")) {
            findings.push(format!("{}: does not say {variable}", script.path));
        }
        if !settings.contains_key(variable) {
            findings.push(format!("{}: {variable} is no setting", script.path));
        }
    }
    assert_none(&findings, "the variables of local engines are those of the shop");

    let jars = read("deployments/local/kafka/pom.xml").text;
    let compose = compose();
    let image = compose["services"]["kafka"]["image"].as_str().unwrap();
    let version = image.strip_prefix("apache/kafka:").unwrap();
    let kafka = jars.split("<artifactId>kafka_2.13</artifactId>").nth(1).unwrap();
    assert!(
        kafka.trim_start().starts_with(&format!("<version>{version}</version>")),
        "{version}"
    );
}

/// Whether the file system lets its owner run it.
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o100 != 0
}

#[test]
fn the_scripts_for_local_engines_can_be_run_and_parsed() {
    let local = root().join("deployments/local");
    let commands = ["up", "down", "env", "engine"].map(|name| format!("deployments/local/{name}"));
    let sourced = files(&[".sh"]);
    let sourced = sourced.iter().map(|file| file.path.clone());
    let sourced: Vec<_> = sourced.filter(|path| path.starts_with("deployments/local/")).collect();
    assert_eq!(sourced.len(), 1 + ENGINES.len(), "{sourced:?} in {}", local.display());
    let mut findings = Vec::new();
    for script in &commands {
        if !is_executable(&root().join(script)) {
            findings.push(format!("{script}: cannot be executed"));
        }
        let text = read(script).text;
        if !text.starts_with("#!/usr/bin/env bash\n") || !text.contains("\nset -euo pipefail\n") {
            findings.push(format!("{script}: goes on after what failed"));
        }
    }
    for script in commands.iter().chain(&sourced) {
        let parsed = Command::new("bash")
            .arg("-n")
            .arg(root().join(script))
            .output()
            .unwrap();
        if !parsed.status.success() {
            findings.push(format!("{script}: {}", String::from_utf8_lossy(&parsed.stderr).trim()));
        }
    }
    assert_none(&findings, "the scripts run, and stop at what fails");
}
