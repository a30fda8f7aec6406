//! Buys what is in a cart, once per user and key.

use std::time::Duration;

use runtime::telemetry::chain;
use storage::StoreError;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Place, Sagas, endings::Ending};
use crate::{
    domain::{Checkout, CheckoutId, Purchase, Refusal, Request, freeze},
    ports::{Begun, Claimed, PeerError},
    saga::State,
};

/// When a saga that may end in another process is looked up: after this time, and after twice as long each time.
const LOOK: Duration = Duration::from_millis(200);

/// Checkouts that may hold pieces of one cart for another one to begin: as many as the cart takes.
const MAX_HOLDERS: usize = 50;

/// Why there is no checkout to answer with. The key is still free, except for `KeyReused`.
#[derive(Debug)]
pub enum InitiateError {
    /// The key was used with another request.
    KeyReused,
    Refused(Refusal),
    /// Everything in the cart is in this checkout, which has not ended.
    InProgress(CheckoutId),
    /// So many checkouts hold pieces of this cart that it takes no other one now.
    TooManyHolds,
    /// A peer that is needed before anything begins did not answer.
    Peer(PeerError),
    Store(StoreError),
    /// More is under way than can be worked on within the caller's time.
    Busy,
    /// The process is about to end.
    Stopping,
}

impl From<StoreError> for InitiateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A checkout, ended or as it stood when the caller's time was over.
#[derive(Debug)]
pub struct Initiated {
    pub checkout: Checkout,
    /// The key was known before.
    pub replayed: bool,
}

impl Sagas {
    /// `patience`: how long to wait for the saga to end.
    pub async fn initiate(&self, request: Request, patience: Duration) -> Result<Initiated, InitiateError> {
        let until = Instant::now() + patience;
        if let Some(known) = self.ports.journal.find(&request.user, &request.key).await? {
            return self.replay(known, &request, until).await;
        }
        let place = timeout_at(until, self.place()).await.map_err(|_| InitiateError::Busy)?;
        let purchase = match self.freeze_cart(&request).await {
            Ok(purchase) => purchase,
            // Another call with this key may have begun since, and may be why this cart is empty now: then it has its answer.
            Err(error) => {
                drop(place);
                let known = self
                    .ports
                    .journal
                    .find(&request.user, &request.key)
                    .await?
                    .ok_or(error)?;
                return self.replay(known, &request, until).await;
            }
        };
        let now = self.clock.now();
        let new = Checkout {
            id: CheckoutId(self.ids.next()),
            user: request.user.clone(),
            fingerprint: request.fingerprint(),
            method: request.method.clone(),
            purchase,
            state: State::Initiated,
            held: false,
            payment_id: None,
            created_at: now,
            updated_at: now,
            attempts: 0,
            needs_attention: false,
            version: 1,
        };
        // Watched before it begins, so that its end is not missed and need not be looked up.
        let ending = self.endings.watch(new.id);
        match self.begin(new.clone(), &request, place).await? {
            Some(known) => self.replay(known, &request, until).await,
            None => Ok(Initiated {
                checkout: self.await_end(new, ending, until).await?,
                replayed: false,
            }),
        }
    }

    /// Stores the saga and drives it, detached from the caller: it may go away at any moment, between the two as well.
    async fn begin(&self, new: Checkout, request: &Request, place: Place) -> Result<Option<Checkout>, InitiateError> {
        let (sagas, request) = (self.clone(), request.clone());
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let context = runtime::RequestContext::current();
        let work = async move {
            match sagas.ports.journal.begin(&new, &request, &sagas.lease).await {
                Ok(Begun::Created(fence)) => {
                    // The caller may have gone away.
                    let _ = begun.send(Ok(None));
                    sagas.drive(Claimed { checkout: new, fence }, place).await;
                }
                Ok(Begun::Exists(known)) => drop(begun.send(Ok(Some(*known)))),
                Ok(Begun::Unheld { has_ended: true, .. }) => {
                    drop(begun.send(Err(InitiateError::Refused(Refusal::Empty))));
                }
                Ok(Begun::Unheld { by, has_ended: false }) => drop(begun.send(Err(InitiateError::InProgress(by)))),
                Err(error) => drop(begun.send(Err(error.into()))),
            }
        };
        self.tasks.spawn(async move {
            match context {
                Some(context) => context.scope(work).await,
                None => work.await,
            }
        });
        has_begun.await.unwrap_or(Err(InitiateError::Stopping))
    }

    async fn freeze_cart(&self, request: &Request) -> Result<Purchase, InitiateError> {
        let carts = &self.ports.carts;
        let cart = carts.cart_of(&request.user).await.map_err(InitiateError::Peer)?;
        match cart.check(request) {
            Ok(()) if cart.holders.len() >= MAX_HOLDERS => return Err(InitiateError::TooManyHolds),
            Ok(()) => {}
            Err(Refusal::Empty) => {
                let holder = self.unfinished(&cart.holders).await?;
                return Err(holder.map_or(InitiateError::Refused(Refusal::Empty), InitiateError::InProgress));
            }
            Err(refusal) => return Err(InitiateError::Refused(refusal)),
        }
        let products: Vec<_> = cart.lines.iter().map(|line| line.product).collect();
        let catalogue = &self.ports.catalogue;
        let current = catalogue.prices_of(&products).await.map_err(InitiateError::Peer)?;
        freeze(&cart, &current, request).map_err(InitiateError::Refused)
    }

    /// The first of these checkouts that has not ended.
    async fn unfinished(&self, holders: &[CheckoutId]) -> Result<Option<CheckoutId>, StoreError> {
        for id in holders {
            let found = self.ports.journal.get(*id, None).await?;
            if found.is_some_and(|(checkout, _)| !checkout.state.is_terminal()) {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    async fn replay(&self, known: Checkout, request: &Request, until: Instant) -> Result<Initiated, InitiateError> {
        if known.fingerprint != request.fingerprint() {
            return Err(InitiateError::KeyReused);
        }
        let checkout = if known.state.is_terminal() {
            known
        } else {
            let ending = self.endings.watch(known.id);
            // It may have ended before the watch began.
            let current = self.look_up(known).await?;
            self.await_end(current, ending, until).await?
        };
        Ok(Initiated {
            checkout,
            replayed: true,
        })
    }

    /// The checkout once its saga has ended, or as it stands at `until`.
    async fn await_end(
        &self,
        mut checkout: Checkout,
        mut ending: Ending,
        until: Instant,
    ) -> Result<Checkout, InitiateError> {
        let mut look = LOOK;
        while !checkout.state.is_terminal() {
            let wait = look.min(until.saturating_duration_since(Instant::now()));
            if let Ok(Ok(ended)) = timeout(wait, ending.wait_for(Option::is_some)).await
                && let Some(ended) = ended.clone()
            {
                return Ok(ended);
            }
            // It may have ended in another process: the journal knows.
            checkout = self.look_up(checkout).await?;
            if Instant::now() >= until {
                break;
            }
            look *= 2;
        }
        Ok(checkout)
    }

    /// The checkout as the journal has it now. When the store does not answer, this is the last known state: the saga itself
    /// goes on, and its caller can wait on.
    async fn look_up(&self, checkout: Checkout) -> Result<Checkout, StoreError> {
        match self.ports.journal.get(checkout.id, None).await {
            Ok(found) => Ok(found.map_or(checkout, |(current, _)| current)),
            Err(error @ StoreError::Unavailable(_)) => {
                let (id, error) = (checkout.id, chain(&error));
                tracing::warn!(checkout = %id, error, "the journal cannot be read; its last known state is used");
                Ok(checkout)
            }
            Err(error) => Err(error),
        }
    }
}
