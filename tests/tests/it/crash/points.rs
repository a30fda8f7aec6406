//! Compares the points of a shop with those that scenarios passed, so that no point is forgotten.

use std::collections::BTreeSet;

use anyhow::ensure;
use proto::events::TOPICS;
use runtime::PointKind;
use system_tests::home::Profile;

use crate::tidy::interfaces;

/// Methods that no part of the shop calls: they are for operators, other programs and the command `erase`. A command passes
/// no points: it can be repeated.
const EXTERNAL_METHODS: [&str; 10] = [
    "cart.EraseUser",
    "checkout.EraseUser",
    "checkout.ListCheckouts",
    "checkout.PrepareErasure",
    "inventory.AddStock",
    "inventory.GetStock",
    "notification.EraseUser",
    "notification.ListNotifications",
    "orders.EraseUser",
    "product.UpsertProduct",
];

/// Fails unless the passed points are exactly the points of a shop on this profile.
pub(super) fn check(profile: Profile, passed: &BTreeSet<String>) -> anyhow::Result<()> {
    let wrong = differences(&points(profile)?, passed);
    ensure!(wrong.is_empty(), "points differ:\n{}", wrong.join("\n"));
    Ok(())
}

fn differences(all: &BTreeSet<String>, passed: &BTreeSet<String>) -> Vec<String> {
    let forgotten = all.difference(passed);
    let unknown = passed.difference(all);
    forgotten
        .map(|point| format!("{point}: no scenario passes it; add one that does"))
        .chain(unknown.map(|point| format!("{point}: is passed, but its label is in no list")))
        .collect()
}

/// All points, in the form `kind:label:side`.
fn points(profile: Profile) -> anyhow::Result<BTreeSet<String>> {
    let labels = [
        (PointKind::Commit, commits(profile)),
        (PointKind::Call, calls()?),
        (
            PointKind::Publish,
            TOPICS.iter().map(|topic| topic.name.to_owned()).collect(),
        ),
        (PointKind::Offset, groups()),
    ];
    let of_kind = |(kind, labels): (PointKind, Vec<String>)| {
        let sides = |label| ["before", "after"].map(|side| format!("{}:{label}:{side}", kind.name()));
        labels.into_iter().flat_map(sides).collect::<Vec<_>>()
    };
    Ok(labels.into_iter().flat_map(of_kind).collect())
}

/// Each consumer group once, even if it reads several topics.
fn groups() -> Vec<String> {
    let groups: BTreeSet<&str> = TOPICS.iter().flat_map(|topic| topic.groups).copied().collect();
    groups.into_iter().map(str::to_owned).collect()
}

fn commits(profile: Profile) -> Vec<String> {
    let of_all = [
        product::commits::ALL,
        cart::commits::ALL,
        inventory::commits::ALL,
        payment::commits::ALL,
        checkout::commits::ALL,
        orders::commits::ALL,
        notification::commits::ALL,
        events::commits::ALL,
    ];
    let of_profile = match profile {
        Profile::Embedded => [cart::commits::SQLITE, events::commits::SQLITE].concat(),
        Profile::Engines => Vec::new(),
    };
    let labels = [of_all.concat(), of_profile].concat();
    labels.into_iter().map(str::to_owned).collect()
}

/// The calls within a shop: every method that is not external, so that a new method needs a scenario.
fn calls() -> anyhow::Result<Vec<String>> {
    let short = |(service, method): (String, _)| format!("{}.{method}", service.split('.').next().unwrap_or_default());
    let mut calls: Vec<String> = interfaces::calls().into_iter().map(short).collect();
    for other in EXTERNAL_METHODS {
        ensure!(
            calls.iter().any(|call| call == other),
            "{other}: there is no such method"
        );
    }
    calls.retain(|call| !EXTERNAL_METHODS.contains(&call.as_str()));
    Ok(calls)
}

#[test]
fn points_that_no_scenario_passes_and_points_in_no_list_are_reported() {
    let set = |points: &[&str]| points.iter().map(|point| (*point).to_owned()).collect();
    let all = set(&["commit:a.one:before", "commit:a.one:after", "offset:e:before"]);
    let passed = set(&["commit:a.one:before", "commit:a.one:after", "call:c.D:after"]);
    let expected = [
        "offset:e:before: no scenario passes it; add one that does",
        "call:c.D:after: is passed, but its label is in no list",
    ];
    assert_eq!(differences(&all, &passed), expected);
}
