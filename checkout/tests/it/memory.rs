//! A journal in memory, which runs on paused time. The contract suite holds it to what the real ones do.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use checkout::{
    domain::{Checkout, CheckoutId, Entry, IdempotencyKey, Request, UserId},
    ports::{Begun, Claimed, Fence, Filter, Journal, Lease, Record},
    saga::State,
};
use events::Event;
use runtime::Clock;
use storage::StoreError;
use tokio::{task::yield_now, time::Instant};

/// What goes wrong with one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteFault {
    /// Nothing is written.
    Lost,
    /// It is written, and nobody is told.
    AnswerLost,
}

struct Row {
    checkout: Checkout,
    key: IdempotencyKey,
    history: Vec<Entry>,
    owner: String,
    fence: i64,
    lease_until: Instant,
    wake_at: Instant,
    readable: bool,
}

impl Row {
    fn read(&self) -> Result<Checkout, StoreError> {
        if self.readable {
            Ok(self.checkout.clone())
        } else {
            Err(StoreError::corrupt("spoilt"))
        }
    }
}

#[derive(Default)]
struct Tables {
    rows: BTreeMap<CheckoutId, Row>,
    outbox: Vec<Event>,
    faults: VecDeque<Option<WriteFault>>,
    looks: usize,
    writes: usize,
    get_is_unavailable: bool,
}

#[derive(Default, Clone)]
pub(crate) struct MemoryJournal(Arc<Mutex<Tables>>);

impl MemoryJournal {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap()
    }

    pub(crate) fn outbox(&self) -> Vec<Event> {
        self.tables().outbox.clone()
    }

    pub(crate) fn spoil(&self, id: CheckoutId) {
        self.tables().rows.get_mut(&id).unwrap().readable = false;
    }

    /// Puts a saga here that nobody drives, as if it had been driven so far before.
    pub(crate) fn put(&self, checkout: Checkout, key: IdempotencyKey, history: Vec<Entry>) {
        let now = Instant::now();
        let row = Row {
            key,
            history,
            owner: "gone".to_owned(),
            fence: 1,
            lease_until: now,
            wake_at: now,
            readable: true,
            checkout,
        };
        self.tables().rows.insert(row.checkout.id, row);
    }

    /// What happens to one of the next writes, counted from 0.
    pub(crate) fn fail_nth_write(&self, nth: usize, fault: WriteFault) {
        let mut tables = self.tables();
        tables.faults.resize(nth, None);
        tables.faults.push_back(Some(fault));
    }

    /// How often `find` and `get` were asked.
    pub(crate) fn looks(&self) -> usize {
        self.tables().looks
    }

    /// Makes `get` fail, or work again.
    pub(crate) fn make_get_unavailable(&self, is_unavailable: bool) {
        self.tables().get_is_unavailable = is_unavailable;
    }

    /// How often a saga was begun or something was written down of one.
    pub(crate) fn writes(&self) -> usize {
        self.tables().writes
    }

    fn write<T>(&self, write: impl FnOnce(&mut Tables) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut tables = self.tables();
        tables.writes += 1;
        match tables.faults.pop_front().flatten() {
            None => write(&mut tables),
            Some(WriteFault::Lost) => Err(StoreError::unavailable("the disk is full")),
            Some(WriteFault::AnswerLost) => {
                write(&mut tables)?;
                Err(StoreError::unavailable("connection lost"))
            }
        }
    }
}

fn entry((state, at, detail): &(State, jiff::Timestamp, String)) -> Entry {
    Entry {
        state: state.name().to_owned(),
        at: *at,
        detail: detail.clone(),
    }
}

fn apply(row: &mut Row, record: &Record, lease: &Lease) -> i64 {
    row.history.extend(record.steps.iter().map(entry));
    let checkout = &mut row.checkout;
    checkout.version += i64::try_from(record.steps.len()).unwrap();
    if let Some((state, at, _)) = record.steps.last() {
        checkout.state = state.clone();
        checkout.updated_at = *at;
    }
    if let Some(id) = &record.payment_id {
        checkout.payment_id = Some(id.clone());
    }
    checkout.held |= record.held;
    checkout.attempts = record.retry.map_or(0, |retry| retry.attempts);
    checkout.needs_attention = record.retry.is_some_and(|retry| retry.needs_attention);
    row.wake_at = Instant::now() + record.retry.map(|retry| retry.after).unwrap_or_default();
    row.lease_until = row.wake_at + lease.ttl;
    checkout.version
}

/// A saga of this user that holds nothing, and that a new one must wait for.
fn unheld(tables: &Tables, new: &Checkout) -> Option<Begun> {
    let now = Clock::system().now();
    let is_unread = |old: &Checkout| {
        let age = now.duration_since(old.updated_at);
        old.purchase.cart.version >= new.purchase.cart.version
            && Duration::try_from(age).unwrap_or_default() < Duration::from_hours(7 * 24)
    };
    let is_in_the_way = |old: &&Checkout| match old.state {
        State::Initiated | State::InventoryReserved | State::PaymentPending | State::PaymentCompleted => true,
        State::Completed => is_unread(old),
        State::CartHeld | State::Releasing(_) | State::GivingBack(_) | State::Refunding(_) | State::Failed(_) => false,
    };
    let all = tables.rows.values().map(|row| &row.checkout);
    let of_user = all.filter(|old| old.user == new.user && old.purchase.cart.id.is_none() && !old.held);
    let first = of_user
        .filter(is_in_the_way)
        .min_by_key(|old| old.state.is_terminal())?;
    Some(Begun::Unheld {
        by: first.id,
        has_ended: first.state.is_terminal(),
    })
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn begin(&self, new: &Checkout, request: &Request, lease: &Lease) -> Result<Begun, StoreError> {
        yield_now().await;
        self.write(|tables| {
            let same = |row: &&Row| row.checkout.user == new.user && row.key == request.key;
            if let Some(row) = tables.rows.values().find(same) {
                return Ok(Begun::Exists(Box::new(row.read()?)));
            }
            if let Some(unheld) = unheld(tables, new) {
                return Ok(unheld);
            }
            let first = (
                new.state.clone(),
                new.created_at,
                "cart and prices are frozen".to_owned(),
            );
            let row = Row {
                checkout: new.clone(),
                key: request.key.clone(),
                history: vec![entry(&first)],
                owner: lease.owner.clone(),
                fence: 1,
                lease_until: Instant::now() + lease.ttl,
                wake_at: Instant::now(),
                readable: true,
            };
            tables.rows.insert(new.id, row);
            Ok(Begun::Created(Fence(1)))
        })
    }

    async fn find(&self, user: &UserId, key: &IdempotencyKey) -> Result<Option<Checkout>, StoreError> {
        yield_now().await;
        let mut tables = self.tables();
        tables.looks += 1;
        let mut rows = tables.rows.values();
        let row = rows.find(|row| row.checkout.user == *user && row.key == *key);
        row.map(Row::read).transpose()
    }

    async fn get(&self, id: CheckoutId, of: Option<&UserId>) -> Result<Option<(Checkout, Vec<Entry>)>, StoreError> {
        yield_now().await;
        let mut tables = self.tables();
        tables.looks += 1;
        if tables.get_is_unavailable {
            return Err(StoreError::unavailable("does not answer"));
        }
        let row = tables
            .rows
            .get(&id)
            .filter(|row| of.is_none_or(|user| row.checkout.user == *user));
        row.map(|row| Ok((row.read()?, row.history.clone()))).transpose()
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Checkout>, StoreError> {
        let tables = self.tables();
        let readable = tables.rows.values().filter_map(|row| row.read().ok());
        let wanted = readable
            .filter(|checkout| filter.after.is_none_or(|after| checkout.id > after))
            .filter(|checkout| filter.status.is_none_or(|status| checkout.status() == status))
            .filter(|checkout| !filter.needs_attention || checkout.needs_attention);
        Ok(wanted.take(usize::try_from(filter.limit).unwrap()).collect())
    }

    async fn record(&self, claimed: &Claimed, record: &Record, lease: &Lease) -> Result<i64, StoreError> {
        yield_now().await;
        self.write(|tables| {
            let taken = |event: &Event| tables.outbox.iter().any(|other| other.id == event.id);
            let id_is_taken = record.event.as_ref().is_some_and(taken);
            let same = |row: &&mut Row| {
                row.checkout.version == claimed.checkout.version && row.fence == claimed.fence.0 && !id_is_taken
            };
            let row = tables.rows.get_mut(&claimed.checkout.id).filter(same);
            let version = apply(row.ok_or(StoreError::Conflict)?, record, lease);
            tables.outbox.extend(record.event.clone());
            Ok(version)
        })
    }

    async fn claim_due(&self, lease: &Lease, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        yield_now().await;
        let now = Instant::now();
        let mut tables = self.tables();
        let rows = tables.rows.values_mut();
        let due = rows.filter(|row| !row.checkout.state.is_terminal() && row.wake_at <= now && row.lease_until <= now);
        let mut claimed = Vec::new();
        for row in due.take(usize::try_from(limit).unwrap()) {
            row.fence += 1;
            row.owner.clone_from(&lease.owner);
            row.lease_until = now + lease.ttl;
            claimed.extend(row.read().ok().map(|checkout| Claimed {
                checkout,
                fence: Fence(row.fence),
            }));
        }
        Ok(claimed)
    }

    async fn disown(&self, owner: &str) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let now = Instant::now();
        let rows = tables.rows.values_mut();
        for row in rows.filter(|row| row.owner == owner && !row.checkout.state.is_terminal()) {
            (row.lease_until, row.wake_at) = (now, now);
        }
        Ok(())
    }
}
