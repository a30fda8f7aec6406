//! The use cases, against ports.

mod turns;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use money::Quantity;
use runtime::{Clock, Ids, RequestContext, Runtime, Tasks};
use storage::StoreError;

use crate::{
    cache::{GuardedCache, Lookup},
    domain::{Added, Bought, Cart, CartId, EventId, ProductId, Refused, UserId, Version},
    ports::{CartStore, Found, Products, Saved},
};
use turns::Turns;

/// How often a change is tried that others of this cart, in other processes, keep overtaking.
const ATTEMPTS: u32 = 12;
const BACKOFF: Duration = Duration::from_millis(2);
const MAX_BACKOFF: Duration = Duration::from_millis(100);

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

/// All carts. Clones share everything.
#[derive(Clone)]
pub struct Carts(Arc<Parts>);

struct Parts {
    store: Arc<dyn CartStore>,
    cache: GuardedCache,
    products: Arc<dyn Products>,
    turns: Turns,
    clock: Clock,
    ids: Ids,
    tasks: Tasks,
}

impl Carts {
    pub fn new(store: Arc<dyn CartStore>, cache: GuardedCache, products: Arc<dyn Products>, runtime: &Runtime) -> Self {
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

    /// The cart as it is. Of those who miss it in the cache at the same time one loads it.
    pub async fn get_cart(&self, user: &UserId) -> Result<Arc<Cart>, CartError> {
        let Parts {
            store, cache, turns, ..
        } = &*self.0;
        let load = async || {
            let stored = store.load(user).await?;
            Ok(Arc::new(stored.unwrap_or_else(|| Cart::never_filled(user.clone()))))
        };
        match cache.get(user).await {
            Lookup::Hit(cart) => return Ok(cart),
            Lookup::Skipped => return load().await,
            Lookup::Miss => {}
        }
        let _turn = turns.of(user).await;
        if let Lookup::Hit(cart) = cache.get(user).await {
            return Ok(cart);
        }
        let cart = load().await?;
        cache.put(cart.clone()).await;
        Ok(cart)
    }

    /// Adds pieces of a product at its present price.
    pub async fn add_item(
        &self,
        user: UserId,
        product: ProductId,
        quantity: Quantity,
        expected: Option<Version>,
    ) -> Result<(Arc<Cart>, Added), CartError> {
        let offer = match self.0.products.find(product).await {
            Found::Offer(offer) => offer,
            Found::NotFound => return Err(CartError::ProductNotFound),
            Found::Unknown(source) => return Err(CartError::ProductUnknown(source)),
        };
        self.change(user, expected, move |cart, now| cart.add(offer.clone(), quantity, now))
            .await
    }

    pub async fn update_quantity(
        &self,
        user: UserId,
        product: ProductId,
        quantity: Quantity,
        expected: Option<Version>,
    ) -> Result<Arc<Cart>, CartError> {
        let changed = self
            .change(user, expected, move |cart, _| cart.set_quantity(product, quantity))
            .await;
        changed.map(|(cart, ())| cart)
    }

    pub async fn remove_item(
        &self,
        user: UserId,
        product: ProductId,
        expected: Option<Version>,
    ) -> Result<Arc<Cart>, CartError> {
        let changed = self.change(user, expected, move |cart, _| {
            cart.remove(product);
            Ok(())
        });
        changed.await.map(|(cart, ())| cart)
    }

    pub async fn clear_cart(&self, user: UserId, expected: Option<Version>) -> Result<Arc<Cart>, CartError> {
        let changed = self.change(user, expected, |cart, _| {
            cart.clear();
            Ok(())
        });
        changed.await.map(|(cart, ())| cart)
    }

    /// Takes off what was bought, once for each event.
    pub async fn apply_purchase(&self, user: UserId, event: EventId, bought: Vec<Bought>) -> Result<(), CartError> {
        let changed = self.change(user, None, move |cart, _| {
            cart.apply_purchase(event, &bought);
            Ok(())
        });
        changed.await.map(|_| ())
    }

    /// Changes a cart by a rule. Runs to its end even when the caller goes away: what is stored must reach the cache.
    async fn change<T: Send + 'static>(
        &self,
        user: UserId,
        expected: Option<Version>,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<T, Refused> + Send + Sync + 'static,
    ) -> Result<(Arc<Cart>, T), CartError> {
        let carts = self.clone();
        let work = async move { carts.change_in_turn(&user, expected, rule).await };
        let task = match RequestContext::current() {
            Some(context) => self.0.tasks.spawn(context.scope(work)),
            None => self.0.tasks.spawn(work),
        };
        task.await
            .unwrap_or_else(|panicked| Err(StoreError::corrupt(panicked).into()))
    }

    /// Load, rule, save if nobody else has saved since; again if somebody has.
    async fn change_in_turn<T>(
        &self,
        user: &UserId,
        expected: Option<Version>,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<T, Refused>,
    ) -> Result<(Arc<Cart>, T), CartError> {
        let Parts {
            store,
            cache,
            turns,
            clock,
            ids,
            ..
        } = &*self.0;
        let _turn = turns.of(user).await;
        for attempt in 0..ATTEMPTS {
            let stored = store.load(user).await?;
            let base = stored.as_ref().map(|cart| cart.version);
            let before = stored.unwrap_or_else(|| Cart::never_filled(user.clone()));
            before.check_version(expected)?;
            let now = clock.now();
            let mut cart = before.clone();
            let outcome = rule(&mut cart, now)?;
            if cart == before {
                return Ok((Arc::new(cart), outcome));
            }
            cart.stamp(CartId(ids.next()), now);
            let cart = Arc::new(cart);
            match store.save(&cart, base).await {
                Ok(Saved::Done) => {
                    cache.put(cart.clone()).await;
                    return Ok((cart, outcome));
                }
                Ok(Saved::Conflict) => tokio::time::sleep(backoff(attempt)).await,
                Err(error) => {
                    // It may have been written: until that is known, no copy is to be believed.
                    cache.invalidate(user, cart.version).await;
                    return Err(error.into());
                }
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

/// Twice as long each time, up to a limit, and a random part of it.
fn backoff(attempt: u32) -> Duration {
    let longest = BACKOFF.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_BACKOFF);
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(fastrand::u64(micros / 2..=micros))
}
