//! Deadlines that depend on each other. An inner deadline is shorter than the outer one, so that the outer caller
//! learns the cause of a failure. Compile-time assertions check the order.

use std::time::Duration;

/// A call between services without a deadline of its own.
pub const CALL: Duration = Duration::from_secs(3);
/// Connecting to a peer.
pub const CONNECT: Duration = Duration::from_secs(2);
/// A handler whose call has no deadline, or a longer one.
pub const HANDLER: Duration = Duration::from_mins(1);
/// How long a gRPC client may take to read an answer that is ready. Then the server closes its connection.
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

/// The highest latency of the simulated payment provider that the shop can be configured with.
pub const PROVIDER_LATENCY: Duration = Duration::from_secs(6);
/// How much longer than its latency the payment service waits for the provider.
pub const PROVIDER_MARGIN: Duration = Duration::from_secs(1);
/// A call of checkout to the payment service that asks the provider.
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
/// The lease of a relay on its outbox. The relay extends it once half of it is over, also during a publication.
///
/// No assertion relates it to [`PUBLICATION`]: whatever its length, the database may not answer when the lease should be
/// extended. Then the lease can pass during a publication, and a second relay publishes the same rows. This is
/// harmless. The second relay reads the rows after it has the lease, so it publishes everything that is not marked, in
/// order: what the first relay still sends are repetitions, which consumers drop by event id, and the first occurrences
/// of a key's events stay in order. The fence refuses the first relay's marks.
pub const OUTBOX_LEASE: Duration = Duration::from_secs(10);
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
    // The last read of the saga may begin at the end of the wait.
    assert!(is_within(STORE_ANSWER, SAGA_WAIT_CALL));
    assert!(is_within(Duration::ZERO, SAGA_WAIT_REQUEST));
    assert!(is_within(HANDLER, LAST_CALLS));
    assert!(is_within(TAKE_ANSWER, LAST_CALLS));
    assert!(is_within(EVENT_DELIVERY, PUBLICATION));
    assert!(is_within(GROUP_SESSION, OFFSET_COMMIT));
};
