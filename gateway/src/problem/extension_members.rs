//! The facts of a refusal as extension members (RFC 9457, 3.2) and headers of its problem.

use axum::http::{
    HeaderMap, HeaderValue,
    header::{ETAG, LOCATION},
};
use money::Amount;
use proto::{Fact, Reason};
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::{encode::checkout_path, etag};

/// The members that only some problems have.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct ExtensionMembers {
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<PriceChange>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_ids: Option<Vec<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<Shortage>>,
    /// Shown as `ETag` only.
    #[serde(skip)]
    version: Option<i64>,
}

#[derive(Debug, Clone, Serialize)]
struct PriceChange {
    product_id: i64,
    old_price: Amount,
    new_price: Amount,
}

/// A price change as the checkout service writes it.
#[derive(Deserialize)]
struct WireChange {
    product_id: i64,
    old_minor: i64,
    new_minor: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shortage {
    product_id: i64,
    requested: i64,
    available: i64,
}

impl ExtensionMembers {
    /// The facts of a status; `None` if the reason has none. A fact that cannot be parsed is omitted.
    pub(super) fn of(reason: Reason, status: &Status) -> Option<Self> {
        if reason.facts().is_empty() {
            return None;
        }
        let mut members = Self {
            // Empty if no price has changed but the total differs from the expected one.
            changes: (reason == Reason::PriceChanged).then(Vec::new),
            ..Self::default()
        };
        for (fact, text) in proto::status::facts(status) {
            if let Err(error) = members.read(fact, text) {
                tracing::error!(?fact, %error, "a fact in a status cannot be parsed");
            }
        }
        Some(members)
    }

    fn read(&mut self, fact: Fact, text: String) -> Result<(), serde_json::Error> {
        match fact {
            Fact::Max => self.max = Some(serde_json::from_str(&text)?),
            Fact::Version => self.version = Some(serde_json::from_str(&text)?),
            Fact::CheckoutId => self.checkout_id = Some(text),
            Fact::Changes => {
                let wire: Vec<WireChange> = serde_json::from_str(&text)?;
                self.changes = Some(wire.into_iter().map(PriceChange::from).collect());
            }
            Fact::Total => self.total = Some(Amount(serde_json::from_str(&text)?)),
            Fact::ProductIds => self.product_ids = Some(serde_json::from_str(&text)?),
            Fact::Shortages => self.items = Some(serde_json::from_str(&text)?),
        }
        Ok(())
    }

    pub(super) fn write_headers(&self, headers: &mut HeaderMap) {
        let location = self.checkout_id.as_deref().map(checkout_path);
        for (name, value) in [(LOCATION, location), (ETAG, self.version.map(etag::tag))] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

impl From<WireChange> for PriceChange {
    fn from(wire: WireChange) -> Self {
        Self {
            product_id: wire.product_id,
            old_price: Amount(wire.old_minor),
            new_price: Amount(wire.new_minor),
        }
    }
}
