//! Deadlines that depend on one another. A deadline inside of another one is shorter, so that whoever waits outside is told why
//! it failed. The order is checked when this is compiled.

use std::time::Duration;

/// Of a call between services that sets no deadline of its own.
pub const CALL: Duration = Duration::from_secs(3);
/// Of connecting to a peer.
pub const CONNECT: Duration = Duration::from_secs(2);
/// Of a handler that serves a call without a deadline, or with a longer one.
pub const HANDLER: Duration = Duration::from_mins(1);
/// For a client to take an answer that is ready.
pub const TAKE_ANSWER: Duration = Duration::from_secs(30);
/// For what is in flight on a connection that is too old.
pub const LAST_CALLS: Duration = Duration::from_secs(90);

/// For a free connection to a database.
pub const STORE_CONNECTION: Duration = Duration::from_secs(2);
/// For what is read, in all, or until a transaction has begun: a server that hangs looks like one that is slow.
pub const STORE_ANSWER: Duration = Duration::from_millis(2500);
/// Of a transaction: what has not ended by then is cut off with its connection.
pub const TRANSACTION: Duration = Duration::from_secs(10);

/// Of a readiness probe.
pub const PROBE: Duration = Duration::from_secs(2);
/// Of a question that a probe asks an engine.
pub const PROBE_QUESTION: Duration = Duration::from_secs(1);

/// The longest that the simulated provider may be told to take.
pub const PROVIDER_LATENCY: Duration = Duration::from_secs(6);
/// How long a provider may take beyond its own latency.
pub const PROVIDER_MARGIN: Duration = Duration::from_secs(1);
/// Of a call for which a provider is asked.
pub const PROVIDER_CALL: Duration = Duration::from_secs(8);
/// How long a driver owns a saga after its last write. A driver that lost it would call what another one calls, too.
pub const SAGA_LEASE: Duration = Duration::from_secs(15);

/// The longest that a caller may wait for a saga.
pub const SAGA_WAIT: Duration = Duration::from_secs(50);
/// How long its call may take beyond that.
pub const SAGA_WAIT_CALL: Duration = Duration::from_secs(5);
/// And the request to the gateway beyond that.
pub const SAGA_WAIT_REQUEST: Duration = Duration::from_secs(1);

/// For the broker to confirm an event.
pub const EVENT_DELIVERY: Duration = Duration::from_secs(8);
/// For a publication, in all.
pub const PUBLICATION: Duration = Duration::from_secs(10);
/// After so long without a word a member has left its group.
pub const GROUP_SESSION: Duration = Duration::from_secs(10);
/// For the commit of an offset.
pub const OFFSET_COMMIT: Duration = Duration::from_secs(15);

const fn is_within(inner: Duration, outer: Duration) -> bool {
    inner.as_millis() < outer.as_millis()
}

const fn sum(first: Duration, second: Duration) -> Duration {
    first.saturating_add(second)
}

const _: () = {
    assert!(is_within(CONNECT, CALL));
    assert!(is_within(STORE_CONNECTION, STORE_ANSWER));
    assert!(is_within(STORE_ANSWER, CALL));
    assert!(is_within(STORE_ANSWER, TRANSACTION));
    assert!(is_within(PROBE_QUESTION, PROBE));
    assert!(is_within(sum(PROVIDER_LATENCY, PROVIDER_MARGIN), PROVIDER_CALL));
    assert!(is_within(sum(PROVIDER_CALL, STORE_ANSWER), SAGA_LEASE));
    assert!(is_within(sum(SAGA_WAIT, SAGA_WAIT_CALL), HANDLER));
    assert!(is_within(HANDLER, LAST_CALLS));
    assert!(is_within(TAKE_ANSWER, LAST_CALLS));
    assert!(is_within(EVENT_DELIVERY, PUBLICATION));
    assert!(is_within(GROUP_SESSION, OFFSET_COMMIT));
};
