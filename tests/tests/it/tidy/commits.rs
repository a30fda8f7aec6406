//! The labels of commits: constants, all of them in the lists that the crash suite reads.

use super::{
    assert_none,
    source::{File, files},
};

#[test]
fn every_label_of_a_commit_is_in_a_list() {
    let mut findings = Vec::new();
    for File { path, text } in files(&["src/commits.rs"]) {
        let lists = text
            .split("&[&str] = &[")
            .skip(1)
            .filter_map(|list| list.split(']').next());
        let listed: Vec<_> = lists.flat_map(|list| list.split(',').map(str::trim)).collect();
        let constants = text.lines().filter_map(|line| line.strip_prefix("pub const "));
        let labels = constants.filter_map(|constant| constant.split_once(": &str = "));
        let forgotten = labels.filter(|(name, _)| !listed.contains(name));
        findings.extend(forgotten.map(|(name, _)| format!("{path}: {name} is in no list")));
    }
    assert_none(&findings, "the crash suite asks for the commits that are in a list");
}

#[test]
fn no_commit_is_named_where_it_is_made() {
    let is_suite = |file: &File| file.is_test() || file.path.contains("/src/testing/");
    let is_product = |file: &File| file.path.contains("/src/") && !is_suite(file);
    let in_place = [".write(\"", "PointKind::Commit, \""];
    let mut findings = Vec::new();
    for file in files(&[".rs"]).into_iter().filter(is_product) {
        let lines = file.text.lines().take(file.tests_begin() - 1);
        let joined: String = lines.map(str::trim).collect();
        if in_place.iter().any(|label| joined.contains(label)) {
            findings.push(format!("{}: names a commit", file.path));
        }
    }
    assert_none(
        &findings,
        "a label that is written in place is in no list, and no scenario is asked for: make it a constant of commits.rs",
    );
}
