//! The labels of commits: constants of `commits.rs`, all of them in the lists that the crash suite reads.

use super::{
    assert_none,
    source::{File, files},
};

/// Labels that nothing passes yet. They are in no list.
const UNUSED: [&str; 1] = ["checkout.signal"];

/// What labels begin with: whose commits they are.
const OWNERS: [&str; 11] = [
    "product",
    "cart",
    "inventory",
    "payment",
    "provider",
    "checkout",
    "orders",
    "notification",
    "outbox",
    "inbox",
    "bus",
];

/// Folders with strings that look like labels, and what these strings are.
const OTHER_STRINGS: [(&str, &str); 1] = [("gateway/src/routes/", "fields of answers; the gateway makes no commits")];

/// The constants of this file that are texts: name and text.
fn labels(text: &str) -> Vec<(&str, &str)> {
    let constant = |statement| {
        let (declared, value): (&str, &str) = statement?;
        let (_, name) = declared.rsplit_once("const ")?;
        Some((name, value.split('"').nth(1)?))
    };
    let statements = text.split(';').map(|statement| statement.split_once(": &str ="));
    statements.filter_map(constant).collect()
}

/// The names in the lists of this file.
fn listed(text: &str) -> Vec<&str> {
    let lists = text.split("&[&str] = &[").skip(1);
    let lists = lists.filter_map(|list| list.split(']').next());
    lists.flat_map(|list| list.split(',').map(str::trim)).collect()
}

/// The strings of a line that read like the label of a commit, `owner.commit`.
fn like_labels(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    line.split('"').skip(1).step_by(2).filter(move |string| {
        let parts = string.split_once('.');
        parts
            .is_some_and(|(owner, commit)| OWNERS.contains(&owner) && !commit.is_empty() && commit.chars().all(is_name))
    })
}

#[test]
fn every_label_of_a_commit_is_in_a_list() {
    let (mut findings, mut unused) = (Vec::new(), Vec::new());
    for File { path, text } in files(&["src/commits.rs"]) {
        let (labels, listed) = (labels(&text), listed(&text));
        let owner_is_unknown = |label: &str| like_labels(&format!("\"{label}\"")).next().is_none();
        for (name, label) in labels {
            match (listed.contains(&name), UNUSED.contains(&label)) {
                (true, false) => {}
                (true, true) => findings.push(format!("{path}: {name} is in a list and in UNUSED")),
                (false, true) => unused.push(label.to_owned()),
                (false, false) => findings.push(format!("{path}: {name} is in no list")),
            }
            if owner_is_unknown(label) {
                findings.push(format!("{path}: {label} begins with no owner that this check knows"));
            }
        }
    }
    assert_eq!(unused, UNUSED, "labels in UNUSED exist, and are used nowhere");
    assert_none(&findings, "the crash suite asks for the commits that are in a list");
}

#[test]
fn no_commit_is_named_where_it_is_made() {
    let is_suite = |file: &File| file.is_test() || file.path.contains("/src/testing/");
    let is_product = |file: &File| file.path.contains("/src/") && !is_suite(file);
    let in_place = [".write(\"", "PointKind::Commit, \""];
    let mut findings = Vec::new();
    for file in files(&[".rs"]).into_iter().filter(is_product) {
        let lines: Vec<_> = file
            .lines()
            .take_while(|(number, _)| *number < file.tests_begin())
            .collect();
        let joined: String = lines.iter().map(|(_, line)| line.trim()).collect();
        if in_place.iter().any(|label| joined.contains(label)) {
            findings.push(format!("{}: names a commit", file.path));
        }
        let has_others = OTHER_STRINGS.iter().any(|(folder, _)| file.path.starts_with(folder));
        if has_others || file.path.ends_with("/commits.rs") {
            continue;
        }
        for (number, line) in lines {
            findings.extend(like_labels(line).map(|label| format!("{}:{number}: names the commit {label}", file.path)));
        }
    }
    assert_none(
        &findings,
        "a label that is written in place is in no list, and no scenario is asked for: make it a constant of commits.rs",
    );
}

#[test]
fn labels_are_found_at_any_visibility() {
    let text = "pub const A: &str = \"cart.a\";\npub(crate) const B: &str =\n    \"cart.b\";\nconst C: &str = \"cart.c\";\n\
                pub const ALL: &[&str] = &[A, B];";
    assert_eq!(labels(text), [("A", "cart.a"), ("B", "cart.b"), ("C", "cart.c")]);
    assert_eq!(listed(text), ["A", "B"]);
    let arm = "Self::Saved => \"cart.save\", // not \"cart.Save\" and not \"cart\"";
    assert_eq!(like_labels(arm).collect::<Vec<_>>(), ["cart.save"]);
}
