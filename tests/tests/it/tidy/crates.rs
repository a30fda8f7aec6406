//! The crates: which may know which, and what each of them has.

use std::process::Command;

use serde_json::Value;

use super::{
    assert_none,
    source::{read, root},
};

const PLATFORM: [&str; 6] = ["money", "storage", "events", "saga", "runtime", "testing"];

/// A member of the workspace.
struct Member {
    name: String,
    /// From the root of the repository.
    folder: String,
    /// The members that it depends on, for tests and build scripts too.
    knows: Vec<String>,
}

/// The members as cargo sees them.
fn members() -> Vec<Member> {
    let mut cargo = Command::new(env!("CARGO"));
    let manifest = root().join("Cargo.toml");
    cargo
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(manifest);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let member = |package: &Value| {
        let manifest = std::path::Path::new(package["manifest_path"].as_str().unwrap())
            .canonicalize()
            .unwrap();
        let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap();
        let ours = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["path"].is_string());
        Member {
            name: package["name"].as_str().unwrap().to_owned(),
            folder: folder.to_str().unwrap().replace('\\', "/"),
            knows: ours
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect(),
        }
    };
    metadata["packages"].as_array().unwrap().iter().map(member).collect()
}

/// Whether a crate may know another one. Nobody knows the tests, and only they know the command.
fn may_know(knower: &str, known: &str) -> bool {
    let platform = PLATFORM.contains(&known);
    match knower {
        "system-tests" => known != "system-tests",
        "cartwright" => !["cartwright", "system-tests"].contains(&known),
        knower if PLATFORM.contains(&knower) || knower == "proto" => platform,
        _service_or_gateway => platform || known == "proto",
    }
}

#[test]
fn crates_know_only_those_that_they_may() {
    let mut findings = Vec::new();
    for member in members() {
        let wrong = member.knows.iter().filter(|known| !may_know(&member.name, known));
        findings
            .extend(wrong.map(|known| format!("{}/Cargo.toml: {} must not know {known}", member.folder, member.name)));
    }
    let rule = "services meet in proto/ and never depend on one another; platform/ knows no business word; only cartwright/ \
                and tests/ see everything";
    assert_none(&findings, rule);
}

#[test]
fn the_tests_can_see_every_crate() {
    let members = members();
    let tests = members.iter().find(|member| member.name == "system-tests").unwrap();
    assert_eq!(tests.folder, "tests");
    let others = members.iter().filter(|member| member.name != tests.name);
    let unseen = others.filter(|member| !tests.knows.contains(&member.name));
    let findings: Vec<_> = unseen
        .map(|member| format!("tests/Cargo.toml: does not see {}", member.name))
        .collect();
    assert_none(&findings, "`cargo test -p system-tests` builds all there is");
}

#[test]
fn a_crate_has_the_name_of_its_folder() {
    let named = |member: &Member| member.folder.rsplit('/').next() == Some(member.name.as_str());
    let members = members();
    let wrong = members
        .iter()
        .filter(|member| !named(member) && member.name != "system-tests");
    let findings: Vec<_> = wrong
        .map(|member| format!("{}: is named {}", member.folder, member.name))
        .collect();
    assert_none(&findings, "who reads `use cart` knows where to look");
}

#[test]
fn every_crate_is_a_member_and_inherits_the_lints() {
    let members = members();
    let known: Vec<_> = members
        .iter()
        .map(|member| format!("{}/Cargo.toml", member.folder))
        .collect();
    let mut findings = Vec::new();
    for manifest in super::source::files(&["Cargo.toml"])
        .into_iter()
        .filter(|file| file.path != "Cargo.toml")
    {
        if !known.contains(&manifest.path) {
            findings.push(format!("{}: is no member of the workspace", manifest.path));
        }
        let lines: Vec<_> = manifest.text.lines().map(str::trim).collect();
        if !lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]) {
            findings.push(format!("{}: has no [lints] workspace = true", manifest.path));
        }
        for (number, line) in manifest.lines().filter(|(_, line)| line.trim().starts_with("[lints.")) {
            findings.push(format!(
                "{}:{number}: {line}: lints are set in the workspace",
                manifest.path
            ));
        }
    }
    assert_none(&findings, "one set of lints holds for all");
}

#[test]
fn every_crate_says_what_it_is() {
    let mut findings = Vec::new();
    for Member { folder, .. } in members() {
        let path = format!("{folder}/README.md");
        if !root().join(&path).exists() {
            findings.push(format!("{path}: is not there"));
            continue;
        }
        let text = read(&path).text;
        let length: usize = text.lines().skip(1).map(|line| line.trim().len()).sum();
        if !text.starts_with("# ") || length < 200 {
            findings.push(format!("{path}:1: says nothing"));
        }
    }
    assert_none(
        &findings,
        "a README says what the crate owns, its interface, its data, and what happens when something fails",
    );
}

#[test]
fn every_crate_inherits_what_all_have_in_common() {
    let mut findings = Vec::new();
    for Member { folder, .. } in members() {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !manifest.text.contains(&format!("\n{key}.workspace = true")) {
                findings.push(format!("{}: {key} is not that of the workspace", manifest.path));
            }
        }
        let own = manifest
            .lines()
            .filter(|(_, line)| line.contains("version = \"") || line.contains("path = \"../"));
        findings.extend(own.map(|(number, line)| format!("{}:{number}: {line}: belongs into the root", manifest.path)));
    }
    assert_none(
        &findings,
        "versions and features are named in the root's Cargo.toml only, so that all build the same libraries",
    );
}
