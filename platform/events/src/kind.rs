//! Kinds of events: a name with a version at its end, `cartwright.checkout.completed.v1`.

/// What a group knows of a kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// This kind, in this version.
    Exact,
    /// The name, but in these versions only. What the event says may be of importance to the group, and cannot be understood.
    OtherVersions(Vec<&'static str>),
    /// Nothing: the group does not want it.
    Unknown,
}

/// Looks a kind up among those that a group knows.
pub(crate) fn look_up(kind: &str, known: &'static [&'static str]) -> Knowledge {
    if known.contains(&kind) {
        return Knowledge::Exact;
    }
    let same_name = known.iter().filter(|other| name(other) == name(kind));
    let versions: Vec<_> = same_name.copied().collect();
    if versions.is_empty() {
        Knowledge::Unknown
    } else {
        Knowledge::OtherVersions(versions)
    }
}

/// A kind without its version: without the last `.v` that a digit follows, and what comes after it.
fn name(kind: &str) -> &str {
    let is_version = |(at, _): &(usize, &str)| kind[at + 2..].starts_with(|c: char| c.is_ascii_digit());
    kind.rmatch_indices(".v")
        .find(is_version)
        .map_or(kind, |(at, _)| &kind[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["shop.order.placed.v1", "shop.order.placed.v2", "shop.vip.v1"];

    #[test]
    fn a_kind_is_known_by_its_name_and_its_version() {
        assert_eq!(look_up("shop.order.placed.v1", KNOWN), Knowledge::Exact);
        assert_eq!(look_up("shop.vip.v1", KNOWN), Knowledge::Exact);
    }

    #[test]
    fn any_other_version_of_a_known_name_is_told_from_what_is_not_known() {
        let placed = Knowledge::OtherVersions(vec!["shop.order.placed.v1", "shop.order.placed.v2"]);
        for other in ["v3", "v10", "v0", "v2.1", "v2-beta", "v1x"] {
            assert_eq!(look_up(&format!("shop.order.placed.{other}"), KNOWN), placed, "{other}");
        }
        assert_eq!(look_up("shop.order.placed", KNOWN), placed);
        assert_eq!(
            look_up("shop.vip.v2", KNOWN),
            Knowledge::OtherVersions(vec!["shop.vip.v1"])
        );
    }

    #[test]
    fn another_name_is_not_known() {
        for other in [
            "",
            ".v1",
            "shop.order.placed.view",
            "shop.order.placed.vip.v1",
            "shop.order.v1",
            "order.placed.v1",
            "Shop.order.placed.v1",
            "é.v",
        ] {
            assert_eq!(look_up(other, KNOWN), Knowledge::Unknown, "{other}");
        }
    }
}
