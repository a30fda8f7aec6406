CREATE TABLE trips (
    id TEXT PRIMARY KEY, traveller TEXT NOT NULL, trip_key TEXT NOT NULL, fingerprint TEXT NOT NULL,
    state TEXT NOT NULL, status TEXT NOT NULL, failure TEXT, approve_until INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, version INTEGER NOT NULL, machine INTEGER NOT NULL,
    owner TEXT NOT NULL, fence INTEGER NOT NULL, lease_until INTEGER NOT NULL, wake_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, needs_attention INTEGER NOT NULL DEFAULT 0,
    unread_signals INTEGER NOT NULL DEFAULT 0, request_id TEXT, traceparent TEXT,
    UNIQUE (traveller, trip_key)
) STRICT;
CREATE INDEX trips_unfinished ON trips (wake_at) WHERE state NOT IN ('PAID', 'CANCELLED');
CREATE TABLE trip_history (
    trip TEXT NOT NULL REFERENCES trips (id), version INTEGER NOT NULL, state TEXT NOT NULL, at INTEGER NOT NULL,
    detail TEXT NOT NULL, PRIMARY KEY (trip, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE budgets (traveller TEXT PRIMARY KEY, trips INTEGER NOT NULL) STRICT;
