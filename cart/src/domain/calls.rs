//! Which calls have changed a cart, for those that are delivered again.

use std::collections::VecDeque;

use super::{Added, CallId};

/// A call is delivered again within seconds, so the latest are enough. Unlike events, older ones do not count as applied:
/// ids of calls are made on many machines, and a call that is made is never to be dropped because its id is small.
const KEPT: usize = 32;

/// The latest calls that changed a cart, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedCalls(VecDeque<AppliedCall>);

/// A call that changed a cart, and what its caller was told besides the cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedCall {
    pub id: CallId,
    /// For calls that add.
    pub added: Option<Added>,
}

impl AppliedCalls {
    pub fn restore(calls: impl IntoIterator<Item = AppliedCall>) -> Self {
        Self(calls.into_iter().collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = AppliedCall> + '_ {
        self.0.iter().copied()
    }

    /// The call of this id, if it is one of the latest.
    pub fn find(&self, id: CallId) -> Option<AppliedCall> {
        self.iter().find(|call| call.id == id)
    }

    pub fn note(&mut self, call: AppliedCall) {
        self.0.push_back(call);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn call(n: u128) -> AppliedCall {
        AppliedCall {
            id: CallId(Uuid::from_u128(n)),
            added: n.is_multiple_of(2).then_some(Added::NewLine),
        }
    }

    #[test]
    fn the_latest_calls_are_known_with_what_they_did() {
        let mut calls = AppliedCalls::default();
        // Neither up nor down: the order of ids does not matter.
        let ids: Vec<_> = (0..100).map(|n| (n * 37) % 100).collect();
        for (n, id) in ids.iter().enumerate() {
            calls.note(call(*id));
            let kept = &ids[(n + 1).saturating_sub(KEPT)..=n];
            assert!(kept.iter().all(|id| calls.find(call(*id).id) == Some(call(*id))));
            assert_eq!(calls.iter().count(), kept.len());
        }
        assert_eq!(calls.find(call(ids[0]).id), None);
        assert_eq!(AppliedCalls::restore(calls.iter()), calls);
    }
}
