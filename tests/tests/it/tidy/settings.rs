//! The README's table of settings against the settings.

use std::{collections::BTreeMap, process::Command};

use super::{assert_none, source::read};

/// A setting as `cartwright config` shows it without an environment.
pub(super) struct Setting {
    /// `None` when it is not set.
    pub(super) default: Option<String>,
}

pub(super) fn settings() -> BTreeMap<String, Setting> {
    let output = Command::new(env!("CARGO_BIN_EXE_shop"))
        .arg("config")
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let setting = |line: &str| {
        let mut words = line.split_whitespace();
        let (variable, value) = (words.next()?.to_owned(), words.next()?.to_owned());
        let set = line.ends_with("default");
        assert!(set || line.ends_with("not set"), "this is no line of a setting: {line}");
        Some((
            variable,
            Setting {
                default: set.then_some(value),
            },
        ))
    };
    text.lines().filter_map(setting).collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of all tables whose first column is headed "variable": number, variables, the cell of the default.
fn rows(readme: &str) -> Vec<(usize, Vec<&str>, &str)> {
    let mut rows = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(readme.lines()) {
        let cells: Vec<_> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            ["variable", ..] => inside = true,
            [first, default, ..] if inside && line.starts_with('|') => {
                if !first.starts_with("---") {
                    rows.push((number, quoted(first), default));
                }
            }
            _ => inside = false,
        }
    }
    rows
}

#[test]
fn the_readme_lists_exactly_the_settings_that_there_are() {
    let readme = read("README.md").text;
    let settings = settings();
    assert!(!settings.is_empty());
    let mut findings = Vec::new();
    let mut listed = Vec::new();
    for (number, variables, _) in rows(&readme) {
        for variable in variables {
            if !settings.contains_key(variable) {
                findings.push(format!("README.md:{number}: {variable} is no setting"));
            }
            if listed.contains(&variable) {
                findings.push(format!("README.md:{number}: {variable} is listed twice"));
            }
            listed.push(variable);
        }
    }
    let missing = settings.keys().filter(|variable| !listed.contains(&variable.as_str()));
    findings.extend(missing.map(|variable| format!("README.md: {variable} is not in a table of variables")));
    assert_none(&findings, "what can be set is in the README, and nothing else");
}

#[test]
fn the_readme_has_the_defaults_that_there_are() {
    let readme = read("README.md").text;
    let settings = settings();
    let mut findings = Vec::new();
    for (number, variables, cell) in rows(&readme) {
        let defaults = quoted(cell);
        for (at, variable) in variables.iter().enumerate() {
            // One default for each variable of the row, or one for all of them.
            let documented = if defaults.len() == 1 {
                defaults.first()
            } else {
                defaults.get(at)
            };
            let is = settings.get(*variable).and_then(|setting| setting.default.as_deref());
            let agrees = match is {
                Some(default) => documented == Some(&default),
                None => cell.starts_with("unset"),
            };
            if !agrees {
                let is = is.unwrap_or("unset");
                findings.push(format!(
                    "README.md:{number}: the default of {variable} is {is}, not {cell}"
                ));
            }
        }
    }
    assert_none(&findings, "the defaults in the README are those of the program");
}
