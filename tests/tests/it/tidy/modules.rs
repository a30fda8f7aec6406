//! The modules that every service has: what may be named in which of them.

use super::{
    assert_none,
    source::{File, files},
};

const SERVICES: [&str; 7] = [
    "product",
    "cart",
    "inventory",
    "payment",
    "checkout",
    "orders",
    "notification",
];

/// What belongs into adapters: stores, caches, buses, transports.
const TECHNOLOGIES: [&str; 14] = [
    "sqlx", "sqlite", "postgres", "mongo", "moka", "redis", "kafka", "tonic", "grpc", "prost", "axum", "hyper",
    "tower::", "reqwest",
];

/// What pure code has no use for: waiting, input and output, a clock or chance of its own.
const IMPURE_WORDS: [&str; 14] = [
    "async",
    "await",
    "tokio",
    "fs",
    "io",
    "Instant",
    "SystemTime",
    "Clock",
    "Ids",
    "fastrand",
    "getrandom",
    "tracing",
    "println",
    "eprintln",
];
const IMPURE_PATHS: [&str; 7] = [
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "::now(",
    "now_v7(",
    "new_v4(",
];

/// The files of a module of every service: `src/<module>.rs` and what is in `src/<module>/`.
fn module_files(name: &str) -> Vec<File> {
    let in_module = |path: &str| {
        SERVICES.iter().any(|service| {
            let module = format!("{service}/src/{name}");
            path == format!("{module}.rs") || path.starts_with(&format!("{module}/"))
        })
    };
    files(&[".rs"])
        .into_iter()
        .filter(|file| in_module(&file.path) && !file.is_test())
        .collect()
}

fn technologies_named_in(name: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for file in module_files(name) {
        for (number, line) in file.code_without_tests() {
            let line = line.to_lowercase();
            for technology in TECHNOLOGIES.iter().filter(|technology| line.contains(*technology)) {
                findings.push(format!("{}:{number}: names {technology}", file.path));
            }
        }
    }
    findings
}

/// The demonstration is a customer of the simulated provider.
const KNOW_TEST_METHODS: [&str; 2] = ["payment/src/provider/simulated", "cartwright/src/commands/demo.rs"];

#[test]
fn test_methods_belong_to_the_simulated_provider_alone() {
    let mut findings = Vec::new();
    for file in files(&[".rs"]).into_iter().filter(|file| !file.is_test()) {
        let may = KNOW_TEST_METHODS.iter().any(|path| file.path.starts_with(path));
        if may || file.path.starts_with("tests/") {
            continue;
        }
        for (number, line) in file.lines().take_while(|(number, _)| *number < file.tests_begin()) {
            if line.contains("\"pm_") {
                findings.push(format!("{}:{number}: names a test method", file.path));
            }
        }
    }
    assert_none(
        &findings,
        "another provider would not know the test methods of the simulated one",
    );
}

#[test]
fn every_service_has_a_domain_and_ports() {
    let there: Vec<String> = ["domain", "ports"]
        .iter()
        .flat_map(|name| module_files(name))
        .map(|file| file.path)
        .collect();
    let wanted = SERVICES
        .iter()
        .flat_map(|service| ["domain", "ports"].map(|name| format!("{service}/src/{name}.rs")));
    let missing: Vec<_> = wanted
        .filter(|path| !there.contains(path))
        .map(|path| format!("{path}: is not there"))
        .collect();
    assert_none(
        &missing,
        "every service has the same modules, so that a reader of one knows all; `app` is where there are rules",
    );
}

#[test]
fn the_domain_names_no_technology() {
    let findings = [technologies_named_in("domain"), technologies_named_in("saga")].concat();
    assert_none(
        &findings,
        "rules outlive the technology that they run on; it is named in adapters only",
    );
}

#[test]
fn use_cases_name_no_technology() {
    assert_none(
        &technologies_named_in("app"),
        "use cases speak to ports; a technology is named in adapters only",
    );
}

#[test]
fn ports_name_no_technology() {
    assert_none(
        &technologies_named_in("ports"),
        "a port is a role; one that names a technology fits one adapter only",
    );
}

/// The files of a saga that are not pure: its calls of the participants, its events, its columns.
const IMPURE_SAGA_FILES: [&str; 3] = ["/src/saga/calls.rs", "/src/saga/event.rs", "/src/saga/machine.rs"];

#[test]
fn the_domain_is_pure() {
    let mut findings = Vec::new();
    let tables = module_files("saga")
        .into_iter()
        .filter(|file| !IMPURE_SAGA_FILES.iter().any(|impure| file.path.ends_with(impure)));
    for file in module_files("domain").into_iter().chain(tables) {
        for (number, line) in file.code_without_tests() {
            let words: Vec<_> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let named = IMPURE_WORDS.iter().filter(|word| words.contains(word));
            let called = IMPURE_PATHS.iter().filter(|path| line.contains(*path));
            findings.extend(
                named
                    .chain(called)
                    .map(|what| format!("{}:{number}: {what}", file.path)),
            );
        }
    }
    assert_none(
        &findings,
        "a rule is a function of what it is given: no waiting, no I/O, no clock or chance of its own",
    );
}
