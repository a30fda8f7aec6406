//! The use cases, against ports.

mod erasure;
pub mod expiry;
mod user_locks;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use money::Quantity;
use runtime::{Clock, Ids, RequestContext, Runtime, Tasks};
use storage::StoreError;

use crate::{
    cache::{CacheLookup, GuardedCache},
    domain::{
        Added, Cart, CartId, CartRefusal, Change, ChangeOptions, ChangeRequest, CheckoutId, EventId, HoldOutcome,
        HoldRequest, ProductId, ProductQuantity, UserId,
    },
    ports::{CartStore, FillToken, ProductLookup, Products, Saved},
};
use user_locks::UserLocks;

/// Attempts at a change that conflicts with changes of other processes.
const MAX_ATTEMPTS: u32 = 12;
const MIN_BACKOFF: Duration = Duration::from_millis(2);
const MAX_BACKOFF: Duration = Duration::from_millis(100);
/// How far the clock that expires carts may be ahead of this machine's clock.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Why a use case failed.
#[derive(Debug)]
pub enum CartError {
    Refused(CartRefusal),
    ProductNotFound,
    CatalogueUnavailable(Box<dyn std::error::Error + Send + Sync>),
    /// The pieces that a checkout wants to hold are not free any more.
    HoldRefused,
    /// Every attempt conflicted with another change.
    Contended,
    Store(StoreError),
}

impl From<CartRefusal> for CartError {
    fn from(refused: CartRefusal) -> Self {
        Self::Refused(refused)
    }
}

impl From<StoreError> for CartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPurchase {
    pub checkout: CheckoutId,
    pub event: EventId,
    /// Whether the checkout held its pieces. Checkouts of versions before holds did not.
    pub held: bool,
    pub items: Vec<ProductQuantity>,
}

/// All carts. Clones share their state.
#[derive(Clone)]
pub struct Carts(Arc<Inner>);

struct Inner {
    store: Arc<dyn CartStore>,
    cache: Arc<GuardedCache>,
    products: Arc<dyn Products>,
    locks: UserLocks,
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
        Self(Arc::new(Inner {
            store,
            cache,
            products,
            locks: UserLocks::default(),
            clock,
            ids,
            tasks,
        }))
    }

    /// The cart, perhaps a cached copy. Of concurrent cache misses one loads the cart.
    pub async fn get_cart(&self, user: &UserId) -> Result<Arc<Cart>, CartError> {
        let Inner { cache, locks, .. } = &*self.0;
        match cache.get(user).await {
            CacheLookup::Hit(cart) => return Ok(cart),
            CacheLookup::Skipped => return self.load(user).await,
            CacheLookup::Miss(_) => {}
        }
        let _lock = locks.lock(user).await;
        let lookup = cache.get(user).await;
        if let CacheLookup::Hit(cart) = lookup {
            return Ok(cart);
        }
        let cart = self.load(user).await?;
        if let CacheLookup::Miss(token) = lookup {
            self.fill_cache(&cart, token).await;
        }
        Ok(cart)
    }

    /// The cart from the store. Fills the cache on a miss, and drops an older cached copy.
    pub async fn get_fresh_cart(&self, user: &UserId) -> Result<Arc<Cart>, CartError> {
        let cache = &self.0.cache;
        let lookup = cache.get(user).await;
        let cart = self.load(user).await?;
        match lookup {
            CacheLookup::Miss(token) => self.fill_cache(&cart, token).await,
            CacheLookup::Hit(copy) if copy.version < cart.version => {
                cache.invalidate(user, cart.version).await;
            }
            CacheLookup::Hit(_) | CacheLookup::Skipped => {}
        }
        Ok(cart)
    }

    /// Adds pieces of a product at its current price.
    pub async fn add_item(
        &self,
        user: UserId,
        product: ProductId,
        quantity: Quantity,
        options: ChangeOptions,
    ) -> Result<(Arc<Cart>, Added), CartError> {
        let change = Change::Add(product, quantity);
        let request = ChangeRequest { change, options };
        let changed = match self.0.products.find(product).await {
            ProductLookup::Found(offer) => {
                let add = move |cart: &mut Cart, now| cart.add(offer.clone(), quantity, now).map(Some);
                self.change_once(user, request, add).await?
            }
            ProductLookup::NotFound => {
                let error = CartError::ProductNotFound;
                self.replay_or_fail(&user, &request, error).await?
            }
            ProductLookup::Unknown(source) => {
                let error = CartError::CatalogueUnavailable(source);
                self.replay_or_fail(&user, &request, error).await?
            }
        };
        let (cart, added) = changed;
        // `None`: a repeated call whose record has no answer. The repetition adds no line.
        Ok((cart, added.unwrap_or(Added::ExistingLine)))
    }

    pub async fn update_quantity(
        &self,
        user: UserId,
        product: ProductId,
        quantity: Quantity,
        options: ChangeOptions,
    ) -> Result<Arc<Cart>, CartError> {
        let change = Change::Set(product, quantity);
        let changed = self.change_once(user, ChangeRequest { change, options }, move |cart, _| {
            cart.set_quantity(product, quantity).map(|()| None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    pub async fn remove_item(
        &self,
        user: UserId,
        product: ProductId,
        options: ChangeOptions,
    ) -> Result<Arc<Cart>, CartError> {
        let change = Change::Remove(product);
        let changed = self.change_once(user, ChangeRequest { change, options }, move |cart, _| {
            cart.remove(product);
            Ok(None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    pub async fn clear_cart(&self, user: UserId, options: ChangeOptions) -> Result<Arc<Cart>, CartError> {
        let change = Change::Clear;
        let changed = self.change_once(user, ChangeRequest { change, options }, |cart, _| {
            cart.clear();
            Ok(None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    /// Holds pieces for a checkout.
    pub async fn hold(&self, user: UserId, request: HoldRequest) -> Result<Arc<Cart>, CartError> {
        match self
            .update_under_lock(user, move |cart, _| Ok(cart.hold(&request)))
            .await?
        {
            (cart, HoldOutcome::Held) => Ok(cart),
            (_, HoldOutcome::Refused) => Err(CartError::HoldRefused),
        }
    }

    /// Returns the pieces that a checkout holds to the cart.
    pub async fn give_back(&self, user: UserId, checkout: CheckoutId) -> Result<Arc<Cart>, CartError> {
        let given = self.update_under_lock(user, move |cart, _| {
            // The stored cart breaks a rule.
            cart.give_back(checkout)
                .map_err(|error| StoreError::corrupt(error).into())
        });
        given.await.map(|(cart, ())| cart)
    }

    /// Removes what was bought, once for each purchase.
    pub async fn complete_purchase(&self, user: UserId, purchase: CompletedPurchase) -> Result<(), CartError> {
        let completed = self.update_under_lock(user, move |cart, _| {
            let had_hold = cart.drop_hold(purchase.checkout);
            if !purchase.held {
                // Checkouts from before holds: their pieces are still in the lines, unless a hold has taken them. The
                // event id is recorded, so a second delivery removes nothing.
                let items = if had_hold { &[][..] } else { &purchase.items };
                cart.apply_purchase(purchase.event, items);
            }
            Ok(())
        });
        completed.await.map(|_| ())
    }

    async fn load(&self, user: &UserId) -> Result<Arc<Cart>, CartError> {
        let stored = self.0.store.load(user).await?;
        Ok(Arc::new(stored.unwrap_or_else(|| Cart::new(user.clone()))))
    }

    /// Caches a loaded cart, unless the cart may expire in the store before its copy does in the cache.
    async fn fill_cache(&self, cart: &Arc<Cart>, token: FillToken) {
        let Inner { cache, clock, .. } = &*self.0;
        let max_ttl = SignedDuration::try_from(cache.max_ttl()).unwrap_or(SignedDuration::MAX);
        if !cart.may_expire_within(max_ttl.saturating_add(MAX_CLOCK_SKEW), clock.now()) {
            cache.put(cart.clone(), token).await;
        }
    }

    /// The answer that a repeated request got the first time; `error` for a new request.
    async fn replay_or_fail(
        &self,
        user: &UserId,
        request: &ChangeRequest,
        error: CartError,
    ) -> Result<(Arc<Cart>, Option<Added>), CartError> {
        if request.options.call_id.is_some() || request.options.idempotency_key.is_some() {
            let cart = self.load(user).await?;
            if let Some(answer) = cart.first_answer(request) {
                return Ok((cart, answer?));
            }
        }
        Err(error)
    }

    /// Makes a customer's change, once for each request.
    async fn change_once(
        &self,
        user: UserId,
        request: ChangeRequest,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<Option<Added>, CartRefusal> + Send + Sync + 'static,
    ) -> Result<(Arc<Cart>, Option<Added>), CartError> {
        let once = move |cart: &mut Cart, now| Ok(cart.apply_once(&request, now, |cart| rule(cart, now))?);
        self.update_under_lock(user, once).await
    }

    /// Updates a cart by a rule. Under the user's lock the update runs to its end even if the caller is cancelled,
    /// because the cache must learn of what is stored. A caller cancelled while it waits for the lock changes nothing.
    async fn update_under_lock<T: Send + 'static>(
        &self,
        user: UserId,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<T, CartError> + Send + Sync + 'static,
    ) -> Result<(Arc<Cart>, T), CartError> {
        let lock = self.0.locks.lock(&user).await;
        let carts = self.clone();
        let work = async move {
            let _lock = lock;
            carts.load_apply_save(&user, rule).await
        };
        let task = match RequestContext::current() {
            Some(context) => self.0.tasks.spawn(context.scope(work)),
            None => self.0.tasks.spawn(work),
        };
        // A panic is reported like corrupt data: a retry does not help.
        task.await
            .unwrap_or_else(|panicked| Err(StoreError::corrupt(panicked).into()))
    }

    /// Loads, applies the rule, saves if the version is unchanged; retries on a conflict.
    async fn load_apply_save<T>(
        &self,
        user: &UserId,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<T, CartError>,
    ) -> Result<(Arc<Cart>, T), CartError> {
        let Inner {
            store,
            cache,
            clock,
            ids,
            ..
        } = &*self.0;
        for attempt in 0..MAX_ATTEMPTS {
            let stored = store.load(user).await?;
            let expected = stored.as_ref().map(|cart| cart.version);
            let before = stored.unwrap_or_else(|| Cart::new(user.clone()));
            let now = clock.now();
            let mut cart = before.clone();
            let result = rule(&mut cart, now)?;
            if cart == before {
                return Ok((Arc::new(cart), result));
            }
            cart.bump_version(CartId(ids.next()), now);
            let cart = Arc::new(cart);
            // Before the save, so that no older copy is read if the save's answer is lost or this process crashes.
            let token = cache.invalidate(user, cart.version).await;
            match store.save(&cart, expected).await? {
                Saved::Done => {
                    if let Some(token) = token {
                        cache.put(cart.clone(), token).await;
                    }
                    return Ok((cart, result));
                }
                Saved::Conflict => tokio::time::sleep(backoff(attempt)).await,
            }
        }
        Err(CartError::Contended)
    }
}

impl std::fmt::Debug for Carts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Carts")
    }
}

/// Exponential, with a random half as jitter.
fn backoff(attempt: u32) -> Duration {
    let exponential = MIN_BACKOFF.saturating_mul(2_u32.saturating_pow(attempt));
    let micros = u64::try_from(exponential.min(MAX_BACKOFF).as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(fastrand::u64(micros / 2..=micros))
}
