//! The smallest complete saga: a trip is booked, waits for an approval, and is paid. If the payment is refused or the
//! approval does not come in time, the booking is cancelled.

use events::outbox;
use jiff::Timestamp;
use saga::{
    Commits, Machine, Next, Outcome, RetrySchedule, Signal, Step, Table, journal,
    testing::{Sample, fixture},
};
use storage::{Migrations, Row, StoreError, Value};
use uuid::Uuid;

saga::states! {
    pub(crate) enum State {
        Requested = "REQUESTED", "trip.begin";
        Booked = "BOOKED", "trip.booked";
        Approved = "APPROVED", "trip.approved";
        Paid = "PAID", "trip.paid";
    } compensating with String {
        Cancelling = "CANCELLING", "trip.cancelling";
        Cancelled = "CANCELLED", "trip.cancelled";
    }
}
use State::{Approved, Booked, Cancelled, Cancelling, Paid, Requested};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Call {
    Book,
    Pay,
    Cancel,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TripMachine {}

impl Machine for TripMachine {
    type State = State;
    /// The deadline of the approval.
    type Data = Timestamp;
    type Call = Call;

    const KIND: &'static str = "trip";
    const COMMITS: Commits = Commits {
        retry: "trip.retry",
        claim: "trip.claim",
        release_leases: "trip.release",
        signal: "trip.signal",
    };
    const VERSION: u32 = 1;
    const TABLE: Table = Table {
        name: "trips",
        scope: "traveller",
        key: "trip_key",
        frozen: &["approve_until"],
        learned: &[],
        history: "trip_history",
        history_id: "trip",
        final_states: &["PAID", "CANCELLED"],
    };
    const STEPS: &'static [(u32, &'static [Step])] = &[(
        1,
        &[
            ("REQUESTED", "BOOKED"),
            ("REQUESTED", "CANCELLED"),
            ("BOOKED", "APPROVED"),
            ("BOOKED", "CANCELLING"),
            ("APPROVED", "PAID"),
            ("APPROVED", "CANCELLING"),
            ("CANCELLING", "CANCELLED"),
        ],
    )];

    fn next(state: &State, approve_until: &Timestamp) -> Next<State, Call> {
        match state {
            Requested => Next::Call(Call::Book),
            Booked => Next::Wait(Some(*approve_until)),
            Approved => Next::Call(Call::Pay),
            Cancelling(_) => Next::Call(Call::Cancel),
            Paid | Cancelled(_) => Next::End,
        }
    }

    fn apply(state: State, outcome: Outcome<String>) -> State {
        match (state, outcome) {
            (Requested, Outcome::Done) => Booked,
            (Booked, Outcome::Done) => Cancelling("nobody approved it".to_owned()),
            (Approved, Outcome::Done) => Paid,
            (Approved, Outcome::Refused(why)) => Cancelling(why),
            (Approved, Outcome::Exhausted) => Cancelling("the bank does not answer".to_owned()),
            (Requested, Outcome::Refused(why)) | (Cancelling(why), Outcome::Done) => Cancelled(why),
            (state, _) => state,
        }
    }

    fn retry_schedule(call: Call) -> RetrySchedule {
        RetrySchedule::PEER.limited_to((call == Call::Pay).then_some(20))
    }

    fn on_signal(state: &State, signal: &Signal) -> Option<State> {
        (*state == Booked && signal.name == "approve").then_some(Approved)
    }

    fn frozen(approve_until: &Timestamp) -> Result<Vec<Value>, StoreError> {
        Ok(vec![Value::Time(*approve_until)])
    }

    fn read(row: Row<'_>) -> Result<Timestamp, StoreError> {
        row.time("approve_until")
    }
}

impl Sample for TripMachine {
    const SQLITE: Migrations = Migrations(&[
        include_str!("trips.sqlite.sql"),
        outbox::sqlite::SCHEMA,
        journal::sqlite::SCHEMA,
    ]);
    const POSTGRES: Migrations = Migrations(&[
        include_str!("trips.postgres.sql"),
        outbox::postgres::SCHEMA,
        journal::postgres::SCHEMA,
    ]);

    fn data(number: u32) -> Timestamp {
        fixture::at(4_000_000_000_000 + i64::from(number))
    }

    fn happy_path() -> Vec<State> {
        vec![Requested, Booked, Approved, Paid]
    }

    fn other_states() -> Vec<State> {
        vec![Cancelling("why".to_owned()), Cancelled("why".to_owned())]
    }

    fn refusals() -> Vec<(Call, String)> {
        [Call::Book, Call::Pay].map(|call| (call, "no money".to_owned())).into()
    }

    fn signals() -> Vec<Signal> {
        vec![Signal {
            id: Uuid::from_u128(1),
            name: "approve".to_owned(),
            payload: String::new(),
        }]
    }
}

saga::suites!(TripMachine);
