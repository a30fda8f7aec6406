//! Which calls have changed a cart, for those that are delivered or made again.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use money::Quantity;
use uuid::Uuid;

use super::{Added, Cart, IdempotencyKey, ProductId, Refused, Version};

/// A call is delivered again within seconds, so the latest are enough. Unlike events, older ones do not count as applied:
/// ids of calls are made on many machines, and a call that is made is never to be dropped because its id is small.
const KEPT_CALLS: usize = 32;
/// Keys come from customers, who may send a request again much later.
const KEPT_KEYS: usize = 100;
const KEYS_KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// A call between services. It has the same id when it is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub Uuid);

/// What a call asks for. A name that comes back with something else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Add(ProductId, Quantity),
    Set(ProductId, Quantity),
    Remove(ProductId),
    Clear,
}

impl Ask {
    /// As it is kept with the cart.
    pub fn text(self) -> String {
        match self {
            Self::Add(product, quantity) => format!("add {} {}", product.get(), quantity.get()),
            Self::Set(product, quantity) => format!("set {} {}", product.get(), quantity.get()),
            Self::Remove(product) => format!("remove {}", product.get()),
            Self::Clear => "clear".to_owned(),
        }
    }
}

/// A change that a caller asks for, and what comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub ask: Ask,
    /// Refused for a cart of another version.
    pub expected: Option<Version>,
    pub call: Option<CallId>,
    /// The customer's name for an addition.
    pub key: Option<IdempotencyKey>,
}

/// A call that changed a cart, and what its caller was told besides the cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedCall {
    pub id: CallId,
    /// [`Ask::text`]; `None` where that was not noted.
    pub ask: Option<String>,
    /// For calls that add.
    pub added: Option<Added>,
}

/// A key under which something was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedKey {
    pub key: IdempotencyKey,
    /// [`Ask::text`].
    pub ask: String,
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

    /// What a request did that has changed the cart before. Another request under the same key or id is refused.
    fn find(&self, request: &Request) -> Option<Result<Option<Added>, Refused>> {
        let ask = request.ask.text();
        let answer = |is_same, added| if is_same { Ok(added) } else { Err(Refused::Reused) };
        // The call that was delivered again has the answer of the first; a request that was made again changed no line.
        let call = self.calls.iter().find(|call| Some(call.id) == request.call);
        let key = self.keys.iter().find(|used| Some(&used.key) == request.key.as_ref());
        call.map(|call| answer(call.ask.as_ref().is_none_or(|noted| *noted == ask), call.added))
            .or_else(|| key.map(|used| answer(used.ask == ask, Some(Added::ToLine))))
    }

    fn note(&mut self, request: &Request, added: Option<Added>, at: Timestamp) {
        if let Some(id) = request.call {
            let ask = Some(request.ask.text());
            self.calls.push_back(AppliedCall { id, ask, added });
            if self.calls.len() > KEPT_CALLS {
                self.calls.pop_front();
            }
        }
        if let Some(key) = request.key.clone() {
            self.keys.retain(|used| at.duration_since(used.at) < KEYS_KEPT_FOR);
            let ask = request.ask.text();
            self.keys.push_back(UsedKey { key, ask, at });
            if self.keys.len() > KEPT_KEYS {
                self.keys.pop_front();
            }
        }
    }
}

impl Cart {
    /// What became of a request that has changed this cart before.
    pub fn answered(&self, request: &Request) -> Option<Result<Option<Added>, Refused>> {
        self.calls.find(request)
    }

    /// Changes the cart by a rule as a request asks for it, once: one that comes again changes nothing more.
    pub fn change(
        &mut self,
        request: &Request,
        at: Timestamp,
        rule: impl FnOnce(&mut Self) -> Result<Option<Added>, Refused>,
    ) -> Result<Option<Added>, Refused> {
        if let Some(answer) = self.answered(request) {
            return answer;
        }
        self.check_version(request.expected)?;
        let before = self.lines.clone();
        let added = rule(self)?;
        // While there are holds, a call that changes nothing is noted, too. Delivered again after a hold came back, the call
        // would change those pieces.
        if self.lines != before || !self.holds.is_empty() {
            self.calls.note(request, added, at);
        }
        Ok(added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(n: i64) -> Ask {
        Ask::Remove(ProductId::new(n).unwrap())
    }

    fn request(n: u32) -> Request {
        Request {
            ask: ask(1),
            expected: None,
            call: Some(CallId(Uuid::from_u128(u128::from(n)))),
            key: IdempotencyKey::new(format!("key {n}")),
        }
    }

    fn by_call(n: u32) -> Request {
        Request {
            key: None,
            ..request(n)
        }
    }

    fn by_key(n: u32) -> Request {
        Request {
            call: None,
            ..request(n)
        }
    }

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn the_latest_calls_and_keys_are_known_with_what_they_did() {
        let mut calls = AppliedCalls::default();
        // Neither up nor down: the order of ids does not matter.
        let ids: Vec<_> = (0..200_u32).map(|n| (n * 37) % 200).collect();
        for (n, id) in ids.iter().enumerate() {
            calls.note(&request(*id), Some(Added::NewLine), AT);
            let kept = |size: usize| &ids[(n + 1).saturating_sub(size)..=n];
            let is_known = |request: &Request, added| calls.find(request) == Some(Ok(Some(added)));
            assert!(
                kept(KEPT_CALLS)
                    .iter()
                    .all(|id| is_known(&by_call(*id), Added::NewLine))
            );
            assert!(kept(KEPT_KEYS).iter().all(|id| is_known(&by_key(*id), Added::ToLine)));
        }
        assert_eq!((calls.calls().count(), calls.keys().count()), (KEPT_CALLS, KEPT_KEYS));
        assert_eq!(
            (calls.find(&by_call(ids[0])), calls.find(&by_key(ids[0]))),
            (None, None)
        );
    }

    #[test]
    fn another_request_under_the_same_name_is_refused() {
        let mut calls = AppliedCalls::default();
        calls.note(&request(1), None, AT);
        for names in [by_call(1), by_key(1)] {
            let other = Request { ask: ask(2), ..names };
            assert_eq!(calls.find(&other), Some(Err(Refused::Reused)));
        }
        let noted_without = AppliedCall {
            id: CallId(Uuid::from_u128(1)),
            ask: None,
            added: None,
        };
        let calls = AppliedCalls::restore([noted_without], []);
        assert_eq!(calls.find(&by_call(1)), Some(Ok(None)), "it cannot be told apart");
    }

    #[test]
    fn a_key_is_forgotten_after_a_day() {
        let mut calls = AppliedCalls::default();
        calls.note(&by_key(1), None, AT);
        calls.note(&by_key(2), None, AT + SignedDuration::from_hours(23));
        assert!(calls.find(&by_key(1)).is_some());
        calls.note(&by_key(3), None, AT + SignedDuration::from_hours(24));
        assert!(calls.find(&by_key(1)).is_none());
        assert!(calls.find(&by_key(2)).is_some());
    }
}
