//! The points that the source names, against those that were passed: none can be forgotten.

use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};

use system_tests::home::Profile;

use crate::tidy::source::{File, files};

/// Where the labels of each kind come from, if they are not written where the point is passed.
const MECHANISMS: [(&str, &str); 4] = [
    ("commit", "platform/storage/src/"),
    ("call", "platform/runtime/src/channel.rs"),
    ("publish", "platform/events/src/relay.rs"),
    ("offset", "platform/events/src/consumer.rs"),
];

/// Fails unless every point that the source names for this profile was passed, before and after, by at least one scenario.
pub(super) fn check(profile: Profile, passed: &BTreeSet<String>) -> anyhow::Result<()> {
    let wrong = differences(&named(&product(profile), &files(&[".proto"]))?, passed);
    ensure!(wrong.is_empty(), "points and source differ:\n{}", wrong.join("\n"));
    Ok(())
}

fn differences(named: &BTreeSet<String>, passed: &BTreeSet<String>) -> Vec<String> {
    let both = named
        .iter()
        .flat_map(|point| ["before", "after"].map(|when| format!("{point}:{when}")));
    let forgotten = both.filter(|point| !passed.contains(point));
    let unknown = passed.iter().filter(|point| {
        let name = point.rsplit_once(':').map_or("", |(name, _)| name);
        !named.contains(name)
    });
    forgotten
        .map(|point| format!("{point}: no scenario passes it; it wants one that does"))
        .chain(unknown.map(|point| format!("{point}: is passed, and was not found in the source")))
        .collect()
}

/// The source of the shop, without tests and without the adapters of the other profile.
fn product(profile: Profile) -> Vec<File> {
    let others: &[&str] = match profile {
        Profile::Embedded => &["postgres", "mongo", "redis", "kafka"],
        Profile::Engines => &["sqlite"],
    };
    let is_theirs = |path: &str| path.split(['/', '.']).any(|part| others.contains(&part));
    let mut files = files(&[".rs"]);
    files.retain(|file| file.path.contains("/src/") && !file.is_test() && !file.path.starts_with("platform/testing/"));
    // A command beside the shop passes none: whatever the shop survives, the command can be made again.
    files.retain(|file| !is_theirs(&file.path) && !file.path.starts_with("cartwright/src/commands/"));
    for file in &mut files {
        let lines = file.text.lines().take(file.tests_begin() - 1);
        file.text = lines.flat_map(|line| [line, "\n"]).collect();
    }
    files
}

/// All points that a source names, as `kind:label`. Where two adapters give the same name to a commit, it is one point.
fn named(source: &[File], interfaces: &[File]) -> anyhow::Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    for file in source {
        named.extend(commits(file, source)?);
        named.extend(passes(file)?);
        named.extend(events(file));
    }
    for interface in interfaces {
        named.extend(calls(interface, source).with_context(|| interface.path.clone())?);
    }
    Ok(named)
}

/// What is written: `.write("label", …)`, or `.write(label, …)` with labels elsewhere in the same service.
fn commits(file: &File, source: &[File]) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for argument in file.text.split(".write(").skip(1).map(str::trim_start) {
        if let Some(label) = literal(argument) {
            found.insert(format!("commit:{label}"));
        } else if argument.starts_with("label") && !file.path.starts_with(MECHANISMS[0].1) {
            let service = file.path.split_once('/').map_or("", |(service, _)| service);
            let theirs = source
                .iter()
                .filter(|other| other.path.starts_with(&format!("{service}/")));
            let labels: BTreeSet<_> = theirs.flat_map(|other| labels_of(service, &other.text)).collect();
            ensure!(
                !labels.is_empty(),
                "{}: what names this commit? {argument:.40}",
                file.path
            );
            found.extend(labels);
        }
    }
    Ok(found)
}

/// The commits of a service that stand in its source as strings: `"checkout.paid"`.
fn labels_of(service: &str, text: &str) -> BTreeSet<String> {
    let begin = format!("\"{service}.");
    let strings = text.split(begin.as_str()).skip(1);
    let names = strings.filter_map(|rest| rest.split_once('"')).map(|(name, _)| name);
    names
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(|name| format!("commit:{service}.{name}"))
        .collect()
}

/// Points that are passed by name: `crash.before("kind", …)`.
fn passes(file: &File) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let places = file
        .text
        .split(".before(")
        .skip(1)
        .chain(file.text.split(".after(").skip(1));
    for arguments in places {
        let Some(kind) = literal(arguments) else { continue };
        let label = arguments.split_once(',').map_or("", |(_, label)| label.trim_start());
        if let Some(label) = literal(label) {
            found.insert(format!("{kind}:{label}"));
        } else if !MECHANISMS
            .iter()
            .any(|(of, place)| *of == kind && file.path.starts_with(place))
        {
            bail!("{}: where do the labels of {kind} come from?", file.path);
        }
    }
    Ok(found)
}

/// Topics are published to, and groups commit their offsets.
fn events(file: &File) -> BTreeSet<String> {
    let constants = file
        .text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const "));
    let named = constants.filter_map(|constant| constant.split_once(": &str = "));
    named
        .filter_map(|(name, value)| match (name.rsplit('_').next(), literal(value)?) {
            (Some("TOPIC"), topic) => Some(format!("publish:{topic}")),
            (Some("GROUP"), group) => Some(format!("offset:{group}")),
            (Some(_) | None, _) => None,
        })
        .collect()
}

/// The methods of a service that a crate calls which has a client of it.
fn calls(interface: &File, source: &[File]) -> anyhow::Result<BTreeSet<String>> {
    let after = |word: &'static str| {
        let lines = interface
            .text
            .lines()
            .filter_map(move |line| line.trim().strip_prefix(word));
        lines.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
    };
    let package = after("package ").next().context("no package")?;
    let Some(service) = after("service ").next() else {
        return Ok(BTreeSet::new());
    };
    let client = format!("{service}Client<Peer>");
    let users: BTreeSet<_> = source
        .iter()
        .filter(|file| file.text.contains(&client))
        .filter_map(|file| file.path.split_once("/src/").map(|(part, _)| part))
        .collect();
    let is_called = |method: &str| {
        let call = format!(".{}(", snake_case(method));
        let mut theirs = source
            .iter()
            .filter(|file| users.iter().any(|user| file.path.starts_with(&format!("{user}/"))));
        theirs.any(|file| file.text.contains(&call))
    };
    let methods = after("rpc ").filter(|method| is_called(method));
    Ok(methods.map(|method| format!("call:{package}.{method}")).collect())
}

/// The string at the beginning of some code.
fn literal(code: &str) -> Option<&str> {
    Some(code.strip_prefix('"')?.split_once('"')?.0)
}

/// `AddItem` → `add_item`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[test]
fn a_point_is_found_wherever_it_is_named() {
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let interface = file(
        "proto/a/v1/a.proto",
        "package a.v1;\nservice AService {\n  rpc AddOne(R) returns (R);\n  rpc AddTwo(R) returns (R);\n}",
    );
    let store =
        "db.write(\n  \"a.one\", f); db.write(label, f); match x { A => \"a.two\", B => \"a.three\", C => \"b.four\" }";
    let source = [
        file("a/src/store/sqlite.rs", store),
        file("a/src/store/postgres.rs", "db.write(\"a.one\", f)"),
        file(
            "b/src/peers.rs",
            "struct P(AServiceClient<Peer>); p.clone().add_one(r); options.write(true)",
        ),
        file("c/src/lib.rs", "p.add_two(r)"),
        file(
            "platform/events/src/relay.rs",
            "self.crash.before(\"publish\", &topic);",
        ),
        file("b/src/cache.rs", "crash.before(\"fill\", \"b.cache\");"),
        file(
            "proto/src/events.rs",
            "pub const A_TOPIC: &str = \"a-outbox\";\npub const B_GROUP: &str = \"b\";",
        ),
    ];
    let found = named(&source, std::slice::from_ref(&interface)).unwrap();
    let expected = [
        "call:a.AddOne",
        "commit:a.one",
        "commit:a.three",
        "commit:a.two",
        "fill:b.cache",
        "offset:b",
        "publish:a-outbox",
    ];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    for unclear in [
        "db.write(label, f)",
        "crash.before(\"fill\", &name)",
        "crash.after(\"commit\", name)",
    ] {
        let source = [file("b/src/store.rs", unclear)];
        assert!(named(&source, &[]).is_err(), "{unclear}");
    }
}

#[test]
fn a_point_that_nobody_passes_is_told() {
    let set = |points: &[&str]| points.iter().map(|point| (*point).to_owned()).collect();
    let passed = set(&[
        "commit:a.one:before",
        "commit:a.one:after",
        "call:a.B:before",
        "call:c.D:after",
    ]);
    let found = differences(&set(&["commit:a.one", "call:a.B", "offset:e"]), &passed);
    let told: Vec<_> = found.iter().filter_map(|line| line.split_once(": ")).collect();
    let forgotten = "no scenario passes it; it wants one that does";
    let expected = [
        ("call:a.B:after", forgotten),
        ("offset:e:before", forgotten),
        ("offset:e:after", forgotten),
        ("call:c.D:after", "is passed, and was not found in the source"),
    ];
    assert_eq!(told, expected);
}
