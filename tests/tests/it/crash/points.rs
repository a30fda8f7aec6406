//! The points that a shop has, against those that were passed: none can be forgotten.

use std::collections::BTreeSet;

use anyhow::ensure;
use proto::events::TOPICS;
use runtime::Kind;
use system_tests::home::Profile;

use crate::tidy::interfaces;

/// Calls that no part of the shop makes: they are for those who run it, for other programs, and for the command that erases
/// a customer. A command passes no points: whatever the shop survives, the command can be made again.
const OF_OTHERS: [&str; 10] = [
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

/// Fails unless every point of a shop on this profile was passed, before and after, by at least one scenario, and no other.
pub(super) fn check(profile: Profile, passed: &BTreeSet<String>) -> anyhow::Result<()> {
    let wrong = differences(&points(profile)?, passed);
    ensure!(wrong.is_empty(), "points differ:\n{}", wrong.join("\n"));
    Ok(())
}

fn differences(all: &BTreeSet<String>, passed: &BTreeSet<String>) -> Vec<String> {
    let forgotten = all.difference(passed);
    let unknown = passed.difference(all);
    forgotten
        .map(|point| format!("{point}: no scenario passes it; it wants one that does"))
        .chain(unknown.map(|point| format!("{point}: is passed, and its label is in no list")))
        .collect()
}

/// All of them, as they are named: `kind:label:side`.
fn points(profile: Profile) -> anyhow::Result<BTreeSet<String>> {
    let labels = [
        (Kind::Commit, commits(profile)),
        (Kind::Call, calls()?),
        (
            Kind::Publish,
            TOPICS.iter().map(|topic| topic.name.to_owned()).collect(),
        ),
        (Kind::Offset, groups()),
    ];
    let of_kind = |(kind, labels): (Kind, Vec<String>)| {
        let sides = |label| ["before", "after"].map(|side| format!("{}:{label}:{side}", kind.name()));
        labels.into_iter().flat_map(sides).collect::<Vec<_>>()
    };
    Ok(labels.into_iter().flat_map(of_kind).collect())
}

/// Each once, also one that reads several topics.
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

/// What the parts of a shop call: every method that is not of others, so that a new one is asked for.
fn calls() -> anyhow::Result<Vec<String>> {
    let short = |(service, method): (String, _)| format!("{}.{method}", service.split('.').next().unwrap_or_default());
    let mut calls: Vec<String> = interfaces::calls().into_iter().map(short).collect();
    for other in OF_OTHERS {
        ensure!(
            calls.iter().any(|call| call == other),
            "{other}: there is no such method"
        );
    }
    calls.retain(|call| !OF_OTHERS.contains(&call.as_str()));
    Ok(calls)
}

#[test]
fn points_that_no_scenario_passes_and_points_in_no_list_are_reported() {
    let set = |points: &[&str]| points.iter().map(|point| (*point).to_owned()).collect();
    let all = set(&["commit:a.one:before", "commit:a.one:after", "offset:e:before"]);
    let passed = set(&["commit:a.one:before", "commit:a.one:after", "call:c.D:after"]);
    let expected = [
        "offset:e:before: no scenario passes it; it wants one that does",
        "call:c.D:after: is passed, and its label is in no list",
    ];
    assert_eq!(differences(&all, &passed), expected);
}
