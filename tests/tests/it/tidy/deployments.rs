//! What deploys the shop beside compose, against the shop: the image, the scripts for local engines, the secrets.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use super::{
    assert_none,
    compose::{ENGINES, compose, secrets},
    settings::settings,
    source::{files, read, root},
};

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
    assert!(dockerfile.contains("cargo build --release --locked --features kafka-tls"));

    let last_stage = dockerfile.rsplit("\nFROM ").next().unwrap();
    let user = last_stage.lines().rfind(|line| line.starts_with("USER "));
    let user = user.and_then(|line| line.split([' ', ':']).nth(1));
    assert!(user.is_some_and(|user| user != "root" && user != "0"), "USER {user:?}");
    for image in dockerfile.lines().filter(|line| line.starts_with("FROM ")) {
        assert!(image.contains("@sha256:"), "{image} can change under its name");
    }
    let entry = last_stage.lines().find_map(|line| line.strip_prefix("ENTRYPOINT "));
    assert_eq!(entry, Some(r#"["cartwright"]"#));
}

#[test]
fn local_engines_are_those_of_compose_under_variables_that_the_shop_knows() {
    let settings = settings();
    let mut findings = Vec::new();
    for (engine, _, variable) in ENGINES {
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
    let (version, _) = version.split_once('@').unwrap();
    let kafka = jars.split("<artifactId>kafka_2.13</artifactId>").nth(1).unwrap();
    assert!(
        kafka.trim_start().starts_with(&format!("<version>{version}</version>")),
        "{version}"
    );
}

/// Whether the file system lets its owner run it.
fn is_executable(path: &Path) -> bool {
    path.metadata().unwrap().permissions().mode() & 0o100 != 0
}

#[test]
fn the_scripts_that_deploy_can_be_run_and_parsed() {
    let local = root().join("deployments/local");
    let commands = [
        "local/up",
        "local/down",
        "local/env",
        "local/engine",
        "make-secrets",
        "check",
        "engines/kafka",
        "engines/postgresql",
        "image/check",
    ];
    let commands = commands.map(|name| format!("deployments/{name}"));
    let sourced = files(&[".sh"]);
    let sourced = sourced.iter().map(|file| file.path.clone());
    let sourced: Vec<_> = sourced.filter(|path| path.starts_with("deployments/local/")).collect();
    assert!(sourced.len() > ENGINES.len(), "{sourced:?} in {}", local.display());
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

/// The files that `make-secrets` makes, with what is in them.
fn made(directory: &Path) -> Vec<(String, String)> {
    let made = Command::new(directory.join("make-secrets")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut files: Vec<_> = fs::read_dir(directory.join("secrets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn secrets_are_made_once_for_everybody_who_is_given_one_and_others_cannot_get_at_them() {
    let directory = tempfile::tempdir().unwrap();
    let script = root().join("deployments/make-secrets");
    fs::copy(script, directory.path().join("make-secrets")).unwrap();
    let first = made(directory.path());
    assert_eq!(made(directory.path()), first, "what is there stays");

    let mut asked = secrets(&compose());
    asked.sort();
    let names: Vec<_> = first.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, asked);
    for (name, content) in &first {
        let others = first.iter().filter(|(other, same)| other != name && same == content);
        assert_eq!(others.count(), 0, "{name} is what another one is");
        assert!(content.len() >= 64, "{name} can be guessed");
    }
    let mode = fs::metadata(directory.path().join("secrets"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700, "the directory keeps others out");
    assert!(read("deployments/.gitignore").text.contains("/secrets/\n"));
    assert!(read(".dockerignore").text.contains("/deployments\n"));
}
