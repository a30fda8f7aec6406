//! Deadlines that depend on each other. An inner deadline is shorter than the outer one, so that the outer caller
//! learns the cause of a failure. Compile-time assertions check the order.

use std::time::Duration;

/// A call between services without a deadline of its own.
pub const CALL: Duration = Duration::from_secs(3);
/// Connecting to a peer.
pub const CONNECT: Duration = Duration::from_secs(2);
/// A handler whose call has no deadline, or a longer one.
pub const HANDLER: Duration = Duration::from_mins(1);
/// A client reads an answer that is ready.
pub const TAKE_ANSWER: Duration = Duration::from_secs(30);
/// Calls in flight on a connection that is too old.
pub const LAST_CALLS: Duration = Duration::from_secs(90);

/// Getting a free connection to a database.
pub const STORE_CONNECTION: Duration = Duration::from_secs(2);
/// A read in all, or the begin of a transaction: a hung server looks like a slow one.
pub const STORE_ANSWER: Duration = Duration::from_millis(2500);
/// A transaction. Beyond that, its connection is closed.
pub const TRANSACTION: Duration = Duration::from_secs(10);

/// A readiness probe.
pub const PROBE: Duration = Duration::from_secs(2);
/// A probe's question to an engine.
pub const PROBE_QUESTION: Duration = Duration::from_secs(1);

/// The highest latency that can be set for the simulated provider.
pub const PROVIDER_LATENCY: Duration = Duration::from_secs(6);
/// How long a provider may take beyond its latency.
pub const PROVIDER_MARGIN: Duration = Duration::from_secs(1);
/// A call that asks a provider.
pub const PROVIDER_CALL: Duration = Duration::from_secs(8);
/// How long a driver owns a saga after its last write. A driver without lease would repeat the calls of the new owner.
pub const SAGA_LEASE: Duration = Duration::from_secs(15);

/// The longest wait for a saga.
pub const SAGA_WAIT: Duration = Duration::from_secs(50);
/// How much longer the call that waits for a saga may take.
pub const SAGA_WAIT_CALL: Duration = Duration::from_secs(5);
/// How much longer again the request to the gateway may take.
pub const SAGA_WAIT_REQUEST: Duration = Duration::from_secs(1);

/// The broker confirms an event.
pub const EVENT_DELIVERY: Duration = Duration::from_secs(8);
/// A publication in all.
pub const PUBLICATION: Duration = Duration::from_secs(10);
/// A member that is silent for so long has left its consumer group.
pub const GROUP_SESSION: Duration = Duration::from_secs(10);
/// The commit of an offset.
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
