//! What goes on while the process crashes, and how it must end.

use std::path::Path;

use system_tests::home::Home;
use tokio::process::Command;

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_shop");

/// What every shop commits when it opens.
const OPENING: [&str; 3] = ["commit:bus.topic:", "commit:checkout.disown:", "commit:outbox.prune:"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scenario {
    Success,
    OutOfStock,
    Declined,
    ReplyLost,
    Duplicate,
    ProviderDown,
    /// Alice's hold runs out while she cannot be charged, and bob buys what she held: she is charged after all, and
    /// gets her money back.
    HoldLost,
    /// The same, in a process that finds alice's saga without an owner.
    TakenUp,
    /// Nothing can be sold or given back for a while, when alice has paid and bob's card was declined.
    StockAway,
    /// Alice's card is declined while her cart cannot be read.
    CartAway,
    /// Alice looks at everything, and fills and empties her cart.
    Browsing,
    /// A new product, and the first pieces of it.
    Delivery,
    /// A purchase of long ago, whose event is not kept any longer, and a cart that was left for as long.
    LongAgo,
    /// Alice, who has bought and was declined, is erased.
    Erasure,
}

impl Scenario {
    pub(super) const ALL: [Self; 14] = [
        Self::Success,
        Self::OutOfStock,
        Self::Declined,
        Self::ReplyLost,
        Self::Duplicate,
        Self::ProviderDown,
        Self::HoldLost,
        Self::TakenUp,
        Self::StockAway,
        Self::CartAway,
        Self::Browsing,
        Self::Delivery,
        Self::LongAgo,
        Self::Erasure,
    ];

    /// With what alice pays.
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Success
            | Self::OutOfStock
            | Self::Duplicate
            | Self::HoldLost
            | Self::TakenUp
            | Self::StockAway
            | Self::Browsing
            | Self::Delivery
            | Self::LongAgo
            | Self::Erasure => "pm_card_ok",
            Self::Declined | Self::CartAway => "pm_card_declined",
            Self::ReplyLost => "pm_card_charged_reply_lost",
            Self::ProviderDown => "pm_card_unavailable",
        }
    }

    /// How the purchases end that are made: whose it is, and the reason for which it fails; `None`: it completes.
    pub(super) const fn endings(self) -> &'static [(&'static str, Option<&'static str>)] {
        match self {
            Self::Success | Self::ReplyLost | Self::Duplicate | Self::ProviderDown | Self::LongAgo => {
                &[("alice", None)]
            }
            Self::OutOfStock => &[("alice", Some("OUT_OF_STOCK"))],
            Self::Declined | Self::CartAway => &[("alice", Some("CARD_DECLINED"))],
            Self::HoldLost | Self::TakenUp => &[("alice", Some("RESERVATION_EXPIRED")), ("bob", None)],
            Self::StockAway => &[("alice", None), ("bob", Some("CARD_DECLINED"))],
            Self::Browsing | Self::Delivery | Self::Erasure => &[],
        }
    }

    /// What is asked, and is answered the same however often it is asked again.
    pub(super) fn questions(self) -> Vec<&'static str> {
        let others: &[_] = match self {
            Self::Browsing => &["products", "product", "cart", "orders", "order", "checkout", "emptied"],
            Self::Delivery => &["product", "stock"],
            Self::Erasure => &["erasure"],
            Self::Success
            | Self::OutOfStock
            | Self::Declined
            | Self::ReplyLost
            | Self::Duplicate
            | Self::ProviderDown
            | Self::HoldLost
            | Self::TakenUp
            | Self::StockAway
            | Self::CartAway
            | Self::LongAgo => &[],
        };
        self.endings()
            .iter()
            .map(|(who, _)| *who)
            .chain(others.iter().copied())
            .collect()
    }

    /// Whether a crash at this point would be like one in another scenario: when its shop opens, there is nothing to do.
    pub(super) fn has_seen(self, point: &str) -> bool {
        let is_idle = !matches!(self, Self::Success | Self::TakenUp | Self::LongAgo);
        is_idle && OPENING.iter().any(|commit| point.starts_with(commit))
    }

    /// How often it is asked at once.
    pub(super) fn times(self, question: &str) -> usize {
        if self == Self::Duplicate && question == "alice" {
            2
        } else {
            1
        }
    }

    /// The lines that are in alice's cart in the end. What was not bought stays in it.
    pub(super) const fn lines_left(self) -> usize {
        match self {
            Self::OutOfStock | Self::Declined => 2,
            Self::HoldLost | Self::TakenUp | Self::CartAway => 1,
            Self::Success
            | Self::ReplyLost
            | Self::Duplicate
            | Self::ProviderDown
            | Self::StockAway
            | Self::Browsing
            | Self::Delivery
            | Self::LongAgo
            | Self::Erasure => 0,
        }
    }

    /// Starts its shop.
    pub(super) fn command(self, home: &Home) -> Command {
        let mut command = home.command(Path::new(BINARY));
        if self == Self::HoldLost {
            command.env("RESERVATION_TTL", "50ms");
        }
        command
    }
}
