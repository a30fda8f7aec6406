//! Budgets, and words that have no place in a finished tree.

use super::{
    assert_none,
    source::{File, files},
};

/// Lines of a file without its unit tests; more, and there is something in it that has no name yet.
const BUDGET: usize = 400;
/// Lines of any file, tests included.
const HARD_BUDGET: usize = 500;

/// Test code that may sleep, and why nothing can be awaited there. An entry that is not needed any more is a finding.
const MAY_SLEEP: [(&str, &str); 12] = [
    (
        "cart/src/cache/tests.rs",
        "the pause of the cache runs on the real clock; its end can only be looked for",
    ),
    (
        "cart/tests/it/support.rs",
        "the one poll of the crate: what an event did shows at the interface only",
    ),
    (
        "payment/tests/it/harness.rs",
        "stands for a provider that is slower than the timeout: being late is what it is for",
    ),
    (
        "platform/storage/src/postgres/tests.rs",
        "the one look at whether transactions whose callers went away have ended",
    ),
    (
        "tests/src/books.rs",
        "the one look at whether another process has come to rest",
    ),
    (
        "tests/src/shops.rs",
        "the one poll for what shows at the public interfaces only",
    ),
    (
        "tests/src/shops/buyer.rs",
        "a customer who tries again while the shop is busy or closed",
    ),
    (
        "tests/tests/it/expiry.rs",
        "aims calls at the very moment at which reservations expire",
    ),
    (
        "tests/tests/it/idempotency.rs",
        "a client that hangs up at a moment of its own",
    ),
    (
        "tests/tests/it/outage/load.rs",
        "a client that comes again when `Retry-After` says so",
    ),
    (
        "tests/src/bin/benchmark/hostile/attacks.rs",
        "an attacker who was thrown out comes again after a pause, on the real clock",
    ),
    (
        "tests/src/home/engines.rs",
        "Kafka tells nobody that the last member has left a group; that can only be tried",
    ),
];

/// Whether all tests in it run on paused time, where a sleep is a turn of a clock that nobody waits for.
fn time_is_paused(file: &File) -> bool {
    let mut tests = file
        .text
        .lines()
        .filter(|line| line.trim().starts_with("#[tokio::test"))
        .peekable();
    tests.peek().is_some() && tests.all(|test| test.contains("start_paused = true"))
}

fn sleeps(file: &File) -> Vec<usize> {
    let begin = if file.is_test() { 1 } else { file.tests_begin() };
    let code = file
        .code()
        .into_iter()
        .filter(|(number, line)| *number >= begin && line.contains("sleep("));
    code.map(|(number, _)| number).collect()
}

#[test]
fn tests_await_what_they_wait_for() {
    let mut findings = Vec::new();
    let rust = files(&[".rs"]);
    for file in &rust {
        if !time_is_paused(file) && !MAY_SLEEP.iter().any(|(path, _)| *path == file.path) {
            findings.extend(
                sleeps(file)
                    .iter()
                    .map(|number| format!("{}:{number}: sleeps", file.path)),
            );
        }
    }
    for (path, _) in MAY_SLEEP {
        if !rust.iter().any(|file| file.path == path && !sleeps(file).is_empty()) {
            findings.push(format!("{path}: may sleep and does not; take it off the list"));
        }
    }
    assert_none(
        &findings,
        "a sleep is too short on a slow machine and too long on all others: await the thing itself",
    );
}

#[test]
fn files_stay_within_their_budget() {
    let mut findings = Vec::new();
    for file in files(&[".rs"]) {
        let all = file.text.lines().count();
        let code = all.min(file.tests_begin() - 1);
        if !file.is_test() && code > BUDGET {
            findings.push(format!("{}:{BUDGET}: has {code} lines without its tests", file.path));
        } else if all > HARD_BUDGET {
            findings.push(format!("{}:{HARD_BUDGET}: has {all} lines", file.path));
        }
    }
    assert_none(
        &findings,
        &format!("{BUDGET} lines without tests, {HARD_BUDGET} with: find the thing that has no name yet"),
    );
}

#[test]
fn there_is_no_mod_rs() {
    let named_so = |file: &File| file.path.ends_with("/mod.rs");
    let findings: Vec<_> = files(&[".rs"])
        .into_iter()
        .filter(named_so)
        .map(|file| file.path)
        .collect();
    assert_none(&findings, "`foo.rs` and `foo/`: ten tabs named mod.rs tell nothing");
}

#[test]
fn no_module_is_a_drawer_for_everything() {
    let drawers = ["utils", "util", "common", "helpers", "types", "manager", "misc"];
    let of = |file: &File| {
        file.path
            .rsplit('/')
            .next()
            .is_some_and(|name| drawers.contains(&name.trim_end_matches(".rs")))
    };
    let findings: Vec<_> = files(&[".rs"]).into_iter().filter(of).map(|file| file.path).collect();
    assert_none(&findings, "a module is named for the thing that is in it");
}

#[test]
fn every_test_runs() {
    let ignored = concat!("#[", "ignore");
    let mut findings = Vec::new();
    for file in files(&[".rs"]) {
        let lines = file.code().into_iter().filter(|(_, line)| line.contains(ignored));
        findings.extend(lines.map(|(number, _)| format!("{}:{number}: is ignored", file.path)));
    }
    assert_none(&findings, "a test that does not run proves nothing");
}

#[test]
fn nothing_is_left_for_later() {
    let macros = [concat!("to", "do!"), concat!("unimpl", "emented!")];
    let notes = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("To be ", "written"),
    ];
    let mut findings = Vec::new();
    for file in files(&[".rs", ".proto", ".sql", ".toml", ".ci/run"]) {
        let found = file
            .lines()
            .filter(|(_, line)| macros.iter().chain(&notes).any(|word| line.contains(word)));
        findings.extend(found.map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim())));
    }
    assert_none(
        &findings,
        "what is in the tree is finished; what is not is in nobody's way",
    );
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |file: &File| !file.is_test() && !file.text.starts_with("//!");
    let findings: Vec<_> = files(&[".rs"])
        .into_iter()
        .filter(silent)
        .map(|file| format!("{}:1: has no `//!` line", file.path))
        .collect();
    assert_none(&findings, "a file reads from the top: first what it is");
}
