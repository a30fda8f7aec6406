//! The documents: what they promise is there.

use super::{
    assert_none,
    source::{File, files, read, root},
};

/// The lines of the fenced blocks in front of a document's first section.
fn commands_up_front(text: &str) -> Vec<&str> {
    let front = text.lines().take_while(|line| !line.starts_with("## "));
    let mut inside = false;
    front
        .filter(|line| {
            let fence = line.starts_with("```");
            inside ^= fence;
            inside && !fence && !line.is_empty()
        })
        .collect()
}

#[test]
fn the_readme_begins_with_one_command_to_run_and_one_to_test() {
    let readme = read("README.md").text;
    assert_eq!(
        commands_up_front(&readme),
        ["cargo run --release", "cargo test --workspace"]
    );
}

#[test]
fn the_tests_of_ci_are_those_of_the_readme() {
    let script = read(".ci/run");
    let named: Vec<_> = script.lines().filter(|(_, line)| line.contains("cargo test")).collect();
    assert!(!named.is_empty(), ".ci/run: does not read the README's command");
    let own = named.into_iter().filter(|(_, line)| !line.contains("README.md"));
    let findings: Vec<_> = own
        .map(|(number, line)| format!(".ci/run:{number}: {}", line.trim()))
        .collect();
    assert_none(
        &findings,
        "CI reads its test command from the README, so that they cannot differ",
    );
}

/// What stands in backticks in a text, fenced blocks aside, with the numbers of the lines.
pub(super) fn quoted(file: &File) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(|quote| (number, quote)));
        }
    }
    found
}

/// Where the links of a line lead.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn links_lead_somewhere() {
    let mut findings = Vec::new();
    for document in files(&[".md"]) {
        let folder = root().join(&document.path).parent().unwrap().to_owned();
        for (number, line) in document.lines() {
            for link in links(line).filter(|link| !link.contains("://")) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = if file.is_empty() {
                    root().join(&document.path)
                } else {
                    folder.join(file)
                };
                let there = match std::fs::read_to_string(&target) {
                    Ok(text) => anchor.is_empty() || text.lines().any(|line| is_heading(line, anchor)),
                    Err(_) => target.is_dir() && anchor.is_empty(),
                };
                if !there {
                    findings.push(format!("{}:{number}: {link} leads nowhere", document.path));
                }
            }
        }
    }
    assert_none(&findings, "links lead to what is there");
}

/// Whether a line is the heading that an anchor is made of.
fn is_heading(line: &str, anchor: &str) -> bool {
    let Some(title) = line.strip_prefix('#') else {
        return false;
    };
    let title = title.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c })
        .eq(anchor.to_lowercase().chars())
}

#[test]
fn files_that_documents_name_are_there() {
    let endings = [".rs", ".proto", ".sql", ".toml", ".md", ".py", ".sh", ".yaml", ".js"];
    let pattern = |path: &str| path.contains(['{', '}', '*', '<', '…', ' ']) || path.contains("foo");
    let manifests = files(&["/Cargo.toml"]);
    let crates: Vec<_> = manifests
        .iter()
        .map(|file| file.path.trim_end_matches("/Cargo.toml"))
        .collect();
    let mut findings = Vec::new();
    for document in files(&[".md"]) {
        let folder = document.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, quote) in quoted(&document) {
            let is_path = (quote.contains('/') || quote.rsplit('.').next() == Some("rs"))
                && endings.iter().any(|ending| quote.ends_with(ending));
            let mut places = vec![String::new(), format!("{folder}/"), format!("{folder}/src/")];
            if folder.is_empty() && quote.starts_with("src/") {
                // Said of every crate that has the module.
                places.extend(crates.iter().map(|folder| format!("{folder}/")));
            }
            let there = || {
                places
                    .iter()
                    .any(|place| root().join(format!("{place}{quote}")).exists())
            };
            if is_path && !pattern(quote) && !there() {
                findings.push(format!("{}:{number}: {quote} is not there", document.path));
            }
        }
    }
    assert_none(&findings, "a document that names a file names one that is there");
}

#[test]
fn tests_that_documents_name_are_there() {
    let rust = files(&[".rs"]);
    let named_like_a_test = |word: &str| {
        let plain = word
            .chars()
            .all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit());
        plain && word.matches('_').count() >= 3 && !word.starts_with("pm_card_")
    };
    let mut findings = Vec::new();
    let is_there = |name: &str| {
        let begins = [format!("fn {name}("), format!("fn {name}<")];
        rust.iter()
            .any(|file| begins.iter().any(|begin| file.text.contains(begin)))
    };
    for document in files(&[".md"]).iter().filter(|file| file.path != "CHANGELOG.md") {
        let named = quoted(document).into_iter().filter(|(_, word)| named_like_a_test(word));
        let missing = named.filter(|(_, name)| !is_there(name));
        findings.extend(missing.map(|(number, name)| format!("{}:{number}: there is no test {name}", document.path)));
    }
    assert_none(&findings, "no promise without a test that holds it");
}

#[test]
fn the_architecture_stays_short() {
    for (path, most) in [("README.md", 200), ("ARCHITECTURE.md", 150)] {
        let lines = read(path).text.lines().count();
        assert!(lines <= most, "{path}: has {lines} lines; at most {most} are read");
    }
}
