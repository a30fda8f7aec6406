//! Kinds of events: a name with a version at its end, `cartwright.checkout.completed.v1`.

/// Whether a group supports a kind of event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Support {
    Supported,
    /// The group knows the name in these other versions only. The event may matter to the group, but cannot be decoded.
    OtherVersions(Vec<&'static str>),
    /// The group does not know the name: it skips the event.
    Unknown,
}

/// Compares a kind with the kinds that a group knows.
pub(crate) fn support_for(kind: &str, known: &'static [&'static str]) -> Support {
    if known.contains(&kind) {
        return Support::Supported;
    }
    let same_name = known.iter().filter(|other| name(other) == name(kind));
    let versions: Vec<_> = same_name.copied().collect();
    if versions.is_empty() {
        Support::Unknown
    } else {
        Support::OtherVersions(versions)
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
    fn a_kind_with_a_known_name_and_version_is_supported() {
        assert_eq!(support_for("shop.order.placed.v1", KNOWN), Support::Supported);
        assert_eq!(support_for("shop.vip.v1", KNOWN), Support::Supported);
    }

    #[test]
    fn another_version_of_a_known_name_is_not_unknown() {
        let placed = Support::OtherVersions(vec!["shop.order.placed.v1", "shop.order.placed.v2"]);
        for other in ["v3", "v10", "v0", "v2.1", "v2-beta", "v1x"] {
            assert_eq!(
                support_for(&format!("shop.order.placed.{other}"), KNOWN),
                placed,
                "{other}"
            );
        }
        assert_eq!(support_for("shop.order.placed", KNOWN), placed);
        assert_eq!(
            support_for("shop.vip.v2", KNOWN),
            Support::OtherVersions(vec!["shop.vip.v1"])
        );
    }

    #[test]
    fn another_name_is_unknown() {
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
            assert_eq!(support_for(other, KNOWN), Support::Unknown, "{other}");
        }
    }
}
