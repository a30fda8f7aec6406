CREATE TABLE trips (
    id uuid PRIMARY KEY, traveller text NOT NULL, trip_key text NOT NULL, fingerprint text NOT NULL,
    state text NOT NULL, status text NOT NULL, failure jsonb, approve_until timestamptz NOT NULL,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, version bigint NOT NULL, machine bigint NOT NULL,
    owner text NOT NULL, fence bigint NOT NULL, lease_until timestamptz NOT NULL, wake_at timestamptz NOT NULL,
    attempts bigint NOT NULL DEFAULT 0, needs_attention boolean NOT NULL DEFAULT false,
    unread_signals bigint NOT NULL DEFAULT 0, request_id text, traceparent text,
    UNIQUE (traveller, trip_key)
);
CREATE INDEX trips_unfinished ON trips (lease_until) WHERE state NOT IN ('PAID', 'CANCELLED');
CREATE TABLE trip_history (
    trip uuid NOT NULL REFERENCES trips (id), version bigint NOT NULL, state text NOT NULL, at timestamptz NOT NULL,
    detail text NOT NULL, PRIMARY KEY (trip, version)
);
CREATE TABLE budgets (traveller text PRIMARY KEY, trips bigint NOT NULL);
