//! The calls and idempotency keys that a cart has applied, so that repetitions change nothing more.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use money::Quantity;
use uuid::Uuid;

use super::{Added, Cart, CartRefusal, IdempotencyKey, ProductId, Version};

/// A call is repeated within seconds, so few are kept. There is no floor as for events: many machines make call ids,
/// and a new call must not count as applied because its id is small.
const MAX_CALLS: usize = 32;
/// Customers may repeat a request much later.
const MAX_KEYS: usize = 100;
const KEY_RETENTION: SignedDuration = SignedDuration::from_hours(24);

/// The id of a call between services. A repeated call has the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub Uuid);

/// A change that customers make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Add(ProductId, Quantity),
    Set(ProductId, Quantity),
    Remove(ProductId),
    Clear,
}

impl Change {
    /// Tells whether a repeated id or key asks for the same change. Stored with the cart.
    pub fn fingerprint(self) -> String {
        match self {
            Self::Add(product, quantity) => format!("add {} {}", product.get(), quantity.get()),
            Self::Set(product, quantity) => format!("set {} {}", product.get(), quantity.get()),
            Self::Remove(product) => format!("remove {}", product.get()),
            Self::Clear => "clear".to_owned(),
        }
    }
}

/// The optional parts of a request to change a cart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeOptions {
    /// Refuses the change if the cart has another version.
    pub expected_version: Option<Version>,
    /// A repetition of a call that changed the cart changes nothing and gets the current cart.
    pub call_id: Option<CallId>,
    /// The same for a customer's idempotency key. Only additions have keys.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// A customer's request to change a cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRequest {
    pub change: Change,
    pub options: ChangeOptions,
}

/// A call that changed a cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedCall {
    pub id: CallId,
    /// [`Change::fingerprint`]; `None` in documents without this field.
    pub fingerprint: Option<String>,
    /// The answer to an addition.
    pub added: Option<Added>,
}

/// The idempotency key of an addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedKey {
    pub key: IdempotencyKey,
    /// [`Change::fingerprint`].
    pub fingerprint: String,
    pub at: Timestamp,
}

/// The latest calls and keys that changed a cart, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedCalls {
    calls: VecDeque<AppliedCall>,
    keys: VecDeque<UsedKey>,
}

impl AppliedCalls {
    pub fn restore(calls: impl IntoIterator<Item = AppliedCall>, keys: impl IntoIterator<Item = UsedKey>) -> Self {
        Self {
            calls: calls.into_iter().collect(),
            keys: keys.into_iter().collect(),
        }
    }

    pub fn calls(&self) -> impl Iterator<Item = &AppliedCall> + '_ {
        self.calls.iter()
    }

    pub fn keys(&self) -> impl Iterator<Item = &UsedKey> + '_ {
        self.keys.iter()
    }

    /// The answer to a repeated request. Refuses another request with the same call id or key.
    fn find(&self, ChangeRequest { change, options }: &ChangeRequest) -> Option<Result<Option<Added>, CartRefusal>> {
        let fingerprint = change.fingerprint();
        let answer = |is_same, added| {
            if is_same {
                Ok(added)
            } else {
                Err(CartRefusal::KeyReused)
            }
        };
        // A repeated call gets the first answer. A repeated key is a new call, which added no line.
        let call = self.calls.iter().find(|call| Some(call.id) == options.call_id);
        let key = self
            .keys
            .iter()
            .find(|used| Some(&used.key) == options.idempotency_key.as_ref());
        call.map(|call| {
            answer(
                call.fingerprint.as_ref().is_none_or(|first| *first == fingerprint),
                call.added,
            )
        })
        .or_else(|| key.map(|used| answer(used.fingerprint == fingerprint, Some(Added::ExistingLine))))
    }

    fn record(&mut self, ChangeRequest { change, options }: &ChangeRequest, added: Option<Added>, at: Timestamp) {
        let fingerprint = change.fingerprint();
        if let Some(id) = options.call_id {
            self.calls.push_back(AppliedCall {
                id,
                fingerprint: Some(fingerprint.clone()),
                added,
            });
            if self.calls.len() > MAX_CALLS {
                self.calls.pop_front();
            }
        }
        if let Some(key) = options.idempotency_key.clone() {
            self.keys.retain(|used| at.duration_since(used.at) < KEY_RETENTION);
            self.keys.push_back(UsedKey { key, fingerprint, at });
            if self.keys.len() > MAX_KEYS {
                self.keys.pop_front();
            }
        }
    }
}

impl Cart {
    /// The answer to a request that was applied before.
    pub fn first_answer(&self, request: &ChangeRequest) -> Option<Result<Option<Added>, CartRefusal>> {
        self.calls.find(request)
    }

    /// Changes the cart by a rule, once for each request.
    pub fn apply_once(
        &mut self,
        request: &ChangeRequest,
        at: Timestamp,
        rule: impl FnOnce(&mut Self) -> Result<Option<Added>, CartRefusal>,
    ) -> Result<Option<Added>, CartRefusal> {
        if let Some(answer) = self.first_answer(request) {
            return answer;
        }
        self.check_version(request.options.expected_version)?;
        let before = self.lines.clone();
        let added = rule(self)?;
        // While there are holds, a call that changes nothing is recorded, too. Repeated after a hold was given back,
        // the call would change those pieces.
        if self.lines != before || !self.holds.is_empty() {
            self.calls.record(request, added, at);
        }
        Ok(added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(product: i64) -> Change {
        Change::Remove(ProductId::new(product).unwrap())
    }

    fn request(call: Option<u32>, key: Option<u32>) -> ChangeRequest {
        ChangeRequest {
            change: removal(1),
            options: ChangeOptions {
                expected_version: None,
                call_id: call.map(|n| CallId(Uuid::from_u128(u128::from(n)))),
                idempotency_key: key.and_then(|n| IdempotencyKey::new(format!("key {n}"))),
            },
        }
    }

    fn by_call(n: u32) -> ChangeRequest {
        request(Some(n), None)
    }

    fn by_key(n: u32) -> ChangeRequest {
        request(None, Some(n))
    }

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn the_latest_calls_and_keys_are_kept_with_their_answers() {
        let mut calls = AppliedCalls::default();
        // A permutation, as the order of ids does not matter.
        let ids: Vec<_> = (0..200_u32).map(|n| (n * 37) % 200).collect();
        for (n, id) in ids.iter().enumerate() {
            calls.record(&request(Some(*id), Some(*id)), Some(Added::NewLine), AT);
            let kept = |size: usize| &ids[(n + 1).saturating_sub(size)..=n];
            let is_known = |request: &ChangeRequest, added| calls.find(request) == Some(Ok(Some(added)));
            assert!(kept(MAX_CALLS).iter().all(|id| is_known(&by_call(*id), Added::NewLine)));
            assert!(
                kept(MAX_KEYS)
                    .iter()
                    .all(|id| is_known(&by_key(*id), Added::ExistingLine))
            );
        }
        assert_eq!((calls.calls().count(), calls.keys().count()), (MAX_CALLS, MAX_KEYS));
        assert_eq!(
            (calls.find(&by_call(ids[0])), calls.find(&by_key(ids[0]))),
            (None, None)
        );
    }

    #[test]
    fn another_request_with_the_same_call_id_or_key_is_refused() {
        let mut calls = AppliedCalls::default();
        calls.record(&request(Some(1), Some(1)), None, AT);
        for first in [by_call(1), by_key(1)] {
            let other = ChangeRequest {
                change: removal(2),
                ..first
            };
            assert_eq!(calls.find(&other), Some(Err(CartRefusal::KeyReused)));
        }
        let without_fingerprint = AppliedCall {
            id: CallId(Uuid::from_u128(1)),
            fingerprint: None,
            added: None,
        };
        let calls = AppliedCalls::restore([without_fingerprint], []);
        assert_eq!(calls.find(&by_call(1)), Some(Ok(None)));
    }

    #[test]
    fn a_key_is_forgotten_after_a_day() {
        let mut calls = AppliedCalls::default();
        calls.record(&by_key(1), None, AT);
        calls.record(&by_key(2), None, AT + SignedDuration::from_hours(23));
        assert!(calls.find(&by_key(1)).is_some());
        calls.record(&by_key(3), None, AT + SignedDuration::from_hours(24));
        assert!(calls.find(&by_key(1)).is_none());
        assert!(calls.find(&by_key(2)).is_some());
    }
}
