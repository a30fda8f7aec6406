//! The use cases, against ports.

mod turns;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use money::Quantity;
use runtime::{Clock, Ids, RequestContext, Runtime, Tasks};
use storage::StoreError;

use crate::{
    cache::{GuardedCache, Lookup},
    domain::{Added, AppliedCall, Bought, CallId, Cart, CartId, EventId, ProductId, Refused, UserId, Version},
    ports::{CartStore, Found, Products, Saved, Ticket},
};
use turns::Turns;

/// How often a change is tried that others of this cart, in other processes, keep overtaking.
const ATTEMPTS: u32 = 12;
const BACKOFF: Duration = Duration::from_millis(2);
const MAX_BACKOFF: Duration = Duration::from_millis(100);
/// By how much the clock that lets a cart go may be ahead of this machine's.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Why a use case did not do what it was asked to.
#[derive(Debug)]
pub enum CartError {
    Refused(Refused),
    ProductNotFound,
    /// The catalogue could not be asked.
    ProductUnknown(Box<dyn std::error::Error + Send + Sync>),
    /// Others changed this cart every time.
    Contended,
    Store(StoreError),
}

impl From<Refused> for CartError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<StoreError> for CartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What a caller says with a change.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// The change is refused for a cart of another version.
    pub expected: Option<Version>,
    /// A call that has changed the cart before changes nothing more, and is answered with the cart as it is.
    pub call: Option<CallId>,
}

/// All carts. Clones share everything.
#[derive(Clone)]
pub struct Carts(Arc<Parts>);

struct Parts {
    store: Arc<dyn CartStore>,
    cache: Arc<GuardedCache>,
    products: Arc<dyn Products>,
    turns: Turns,
    clock: Clock,
    ids: Ids,
    tasks: Tasks,
}

impl Carts {
    pub fn new(
        store: Arc<dyn CartStore>,
        cache: Arc<GuardedCache>,
        products: Arc<dyn Products>,
        runtime: &Runtime,
    ) -> Self {
        let Runtime { clock, ids, tasks, .. } = runtime.clone();
        Self(Arc::new(Parts {
            store,
            cache,
            products,
            turns: Turns::default(),
            clock,
            ids,
            tasks,
        }))
    }

    /// The cart as it is, perhaps a copy. Of those who miss it in the cache at the same time one loads it.
    pub async fn get_cart(&self, user: &UserId) -> Result<Arc<Cart>, CartError> {
        let Parts { cache, turns, .. } = &*self.0;
        match cache.get(user).await {
            Lookup::Hit(cart) => return Ok(cart),
            Lookup::Skipped => return self.load(user).await,
            Lookup::Miss(_) => {}
        }
        let _turn = turns.of(user).await;
        let lookup = cache.get(user).await;
        if let Lookup::Hit(cart) = lookup {
            return Ok(cart);
        }
        let cart = self.load(user).await?;
        if let Lookup::Miss(ticket) = lookup {
            self.offer(&cart, ticket).await;
        }
        Ok(cart)
    }

    /// The cart as the store has it. The cache learns of it.
    pub async fn get_fresh_cart(&self, user: &UserId) -> Result<Arc<Cart>, CartError> {
        let cache = &self.0.cache;
        let lookup = cache.get(user).await;
        let cart = self.load(user).await?;
        match lookup {
            Lookup::Miss(ticket) => self.offer(&cart, ticket).await,
            Lookup::Hit(copy) if copy.version < cart.version => {
                cache.invalidate(user, cart.version).await;
            }
            Lookup::Hit(_) | Lookup::Skipped => {}
        }
        Ok(cart)
    }

    /// Adds pieces of a product at its present price.
    pub async fn add_item(
        &self,
        user: UserId,
        product: ProductId,
        quantity: Quantity,
        terms: Terms,
    ) -> Result<(Arc<Cart>, Added), CartError> {
        let changed = match self.0.products.find(product).await {
            Found::Offer(offer) => {
                let add = move |cart: &mut Cart, now| cart.add(offer.clone(), quantity, now).map(Some);
                self.change(user, terms, add).await?
            }
            Found::NotFound => self.repeated(&user, terms, CartError::ProductNotFound).await?,
            Found::Unknown(source) => self.repeated(&user, terms, CartError::ProductUnknown(source)).await?,
        };
        let (cart, added) = changed;
        Ok((cart, added.unwrap_or(Added::ToLine)))
    }

    pub async fn update_quantity(
        &self,
        user: UserId,
        product: ProductId,
        quantity: Quantity,
        terms: Terms,
    ) -> Result<Arc<Cart>, CartError> {
        let changed = self.change(user, terms, move |cart, _| {
            cart.set_quantity(product, quantity).map(|()| None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    pub async fn remove_item(&self, user: UserId, product: ProductId, terms: Terms) -> Result<Arc<Cart>, CartError> {
        let changed = self.change(user, terms, move |cart, _| {
            cart.remove(product);
            Ok(None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    pub async fn clear_cart(&self, user: UserId, terms: Terms) -> Result<Arc<Cart>, CartError> {
        let changed = self.change(user, terms, |cart, _| {
            cart.clear();
            Ok(None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    /// Takes off what was bought, once for each event.
    pub async fn apply_purchase(&self, user: UserId, event: EventId, bought: Vec<Bought>) -> Result<(), CartError> {
        let changed = self.change(user, Terms::default(), move |cart, _| {
            cart.apply_purchase(event, &bought);
            Ok(None)
        });
        changed.await.map(|_| ())
    }

    async fn load(&self, user: &UserId) -> Result<Arc<Cart>, CartError> {
        let stored = self.0.store.load(user).await?;
        Ok(Arc::new(stored.unwrap_or_else(|| Cart::never_filled(user.clone()))))
    }

    /// Offers the cache what was loaded, unless the store may let it go before the cache does.
    async fn offer(&self, cart: &Arc<Cart>, ticket: Ticket) {
        let Parts { cache, clock, .. } = &*self.0;
        let lifetime = SignedDuration::try_from(cache.lifetime()).unwrap_or(SignedDuration::MAX);
        if !cart.may_go_within(lifetime.saturating_add(SKEW), clock.now()) {
            cache.put(cart.clone(), ticket).await;
        }
    }

    /// The answer to a call that was delivered before, when it cannot be made again.
    async fn repeated(&self, user: &UserId, terms: Terms, otherwise: CartError) -> Result<Changed, CartError> {
        if terms.call.is_some() {
            let cart = self.load(user).await?;
            if let Some(call) = known(&cart, terms) {
                return Ok((cart, call.added));
            }
        }
        Err(otherwise)
    }

    /// Changes a cart by a rule. Once it is its turn, it runs to its end even when the caller goes away: what is stored must
    /// reach the cache. Who goes away before that changes nothing.
    async fn change(
        &self,
        user: UserId,
        terms: Terms,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<Option<Added>, Refused> + Send + Sync + 'static,
    ) -> Result<Changed, CartError> {
        let turn = self.0.turns.of(&user).await;
        let carts = self.clone();
        let work = async move {
            let _turn = turn;
            carts.change_in_turn(&user, terms, rule).await
        };
        let task = match RequestContext::current() {
            Some(context) => self.0.tasks.spawn(context.scope(work)),
            None => self.0.tasks.spawn(work),
        };
        task.await
            .unwrap_or_else(|panicked| Err(StoreError::corrupt(panicked).into()))
    }

    /// Load, rule, save if nobody else has saved since; again if somebody has.
    async fn change_in_turn(
        &self,
        user: &UserId,
        terms: Terms,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<Option<Added>, Refused>,
    ) -> Result<Changed, CartError> {
        let Parts {
            store,
            cache,
            clock,
            ids,
            ..
        } = &*self.0;
        for attempt in 0..ATTEMPTS {
            let stored = store.load(user).await?;
            let base = stored.as_ref().map(|cart| cart.version);
            let before = stored.unwrap_or_else(|| Cart::never_filled(user.clone()));
            if let Some(call) = known(&before, terms) {
                return Ok((Arc::new(before), call.added));
            }
            before.check_version(terms.expected)?;
            let now = clock.now();
            let mut cart = before.clone();
            let added = rule(&mut cart, now)?;
            if cart == before {
                return Ok((Arc::new(cart), added));
            }
            if let Some(id) = terms.call {
                cart.calls.note(AppliedCall { id, added });
            }
            cart.stamp(CartId(ids.next()), now);
            let cart = Arc::new(cart);
            // Before the save: whatever becomes of that, of its answer and of this process, no older copy is believed.
            let ticket = cache.invalidate(user, cart.version).await;
            match store.save(&cart, base).await? {
                Saved::Done => {
                    if let Some(ticket) = ticket {
                        cache.put(cart.clone(), ticket).await;
                    }
                    return Ok((cart, added));
                }
                Saved::Conflict => tokio::time::sleep(backoff(attempt)).await,
            }
        }
        Err(CartError::Contended)
    }
}

/// The cart after a change, and for those that add what they did.
type Changed = (Arc<Cart>, Option<Added>);

/// What the call did that comes with these terms, if it has changed the cart before.
fn known(cart: &Cart, terms: Terms) -> Option<AppliedCall> {
    terms.call.and_then(|call| cart.calls.find(call))
}

impl std::fmt::Debug for Carts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Carts")
    }
}

/// Twice as long each time, up to a limit, and a random part of it.
fn backoff(attempt: u32) -> Duration {
    let longest = BACKOFF.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_BACKOFF);
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(fastrand::u64(micros / 2..=micros))
}
