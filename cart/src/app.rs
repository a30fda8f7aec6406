//! The use cases, against ports.

mod erasure;
pub mod expiry;
mod turns;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use money::Quantity;
use runtime::{Clock, Ids, RequestContext, Runtime, Tasks};
use storage::StoreError;

use crate::{
    cache::{GuardedCache, Lookup},
    domain::{
        Added, Ask, Bought, CallId, Cart, CartId, CheckoutId, EventId, Held, IdempotencyKey, ProductId, Refused,
        Request, UserId, Version, Wanted,
    },
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
    /// The pieces that a checkout wants to hold are not free any more.
    HoldRefused,
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
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The change is refused for a cart of another version.
    pub expected: Option<Version>,
    /// A call that has changed the cart before changes nothing more, and is answered with the cart as it is.
    pub call: Option<CallId>,
    /// The same of a key that the customer has used before.
    pub key: Option<IdempotencyKey>,
}

impl Terms {
    fn with(self, ask: Ask) -> Request {
        let Self { expected, call, key } = self;
        Request {
            ask,
            expected,
            call,
            key,
        }
    }
}

/// A purchase that was completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    pub checkout: CheckoutId,
    pub event: EventId,
    /// Whether the checkout held its pieces. One that was begun before carts had holds did not.
    pub held: bool,
    pub bought: Vec<Bought>,
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
        let request = terms.with(Ask::Add(product, quantity));
        let changed = match self.0.products.find(product).await {
            Found::Offer(offer) => {
                let add = move |cart: &mut Cart, now| cart.add(offer.clone(), quantity, now).map(Some);
                self.change(user, request, add).await?
            }
            Found::NotFound => self.repeated(&user, &request, CartError::ProductNotFound).await?,
            Found::Unknown(source) => {
                self.repeated(&user, &request, CartError::ProductUnknown(source))
                    .await?
            }
        };
        let (cart, added) = changed;
        // A call that comes again, and of which it was not noted, adds no line now.
        Ok((cart, added.unwrap_or(Added::ToLine)))
    }

    pub async fn update_quantity(
        &self,
        user: UserId,
        product: ProductId,
        quantity: Quantity,
        terms: Terms,
    ) -> Result<Arc<Cart>, CartError> {
        let changed = self.change(user, terms.with(Ask::Set(product, quantity)), move |cart, _| {
            cart.set_quantity(product, quantity).map(|()| None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    pub async fn remove_item(&self, user: UserId, product: ProductId, terms: Terms) -> Result<Arc<Cart>, CartError> {
        let changed = self.change(user, terms.with(Ask::Remove(product)), move |cart, _| {
            cart.remove(product);
            Ok(None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    pub async fn clear_cart(&self, user: UserId, terms: Terms) -> Result<Arc<Cart>, CartError> {
        let changed = self.change(user, terms.with(Ask::Clear), |cart, _| {
            cart.clear();
            Ok(None)
        });
        changed.await.map(|(cart, _)| cart)
    }

    /// Holds pieces for a checkout.
    pub async fn hold(&self, user: UserId, wanted: Wanted) -> Result<Arc<Cart>, CartError> {
        match self.alter(user, move |cart, _| Ok(cart.hold(&wanted))).await? {
            (cart, Held::Done) => Ok(cart),
            (_, Held::Refused) => Err(CartError::HoldRefused),
        }
    }

    /// Gives back what a checkout holds.
    pub async fn give_back(&self, user: UserId, checkout: CheckoutId) -> Result<Arc<Cart>, CartError> {
        let given = self.alter(user, move |cart, _| cart.give_back(checkout).map_err(Refused::Total));
        given.await.map(|(cart, ())| cart)
    }

    /// Drops what was bought, once for each purchase.
    pub async fn complete(&self, user: UserId, purchase: Completed) -> Result<(), CartError> {
        let dropped = self.alter(user, move |cart, _| {
            let had_hold = cart.drop_hold(purchase.checkout);
            if !purchase.held {
                // What was held is off the free lines already, and the event may come again.
                let bought = if had_hold { &[][..] } else { &purchase.bought };
                cart.apply_purchase(purchase.event, bought);
            }
            Ok(())
        });
        dropped.await.map(|_| ())
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

    /// The answer to a request that was made before, when it cannot be made again.
    async fn repeated(
        &self,
        user: &UserId,
        request: &Request,
        otherwise: CartError,
    ) -> Result<(Arc<Cart>, Option<Added>), CartError> {
        if request.call.is_some() || request.key.is_some() {
            let cart = self.load(user).await?;
            if let Some(answer) = cart.answered(request) {
                return Ok((cart, answer?));
            }
        }
        Err(otherwise)
    }

    /// Makes a change that a customer asks for, once.
    async fn change(
        &self,
        user: UserId,
        request: Request,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<Option<Added>, Refused> + Send + Sync + 'static,
    ) -> Result<(Arc<Cart>, Option<Added>), CartError> {
        let once = move |cart: &mut Cart, now| cart.change(&request, now, |cart| rule(cart, now));
        self.alter(user, once).await
    }

    /// Changes a cart by a rule. Once it is its turn, it runs to its end even when the caller goes away: what is stored must
    /// reach the cache. Who goes away before that changes nothing.
    async fn alter<T: Send + 'static>(
        &self,
        user: UserId,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<T, Refused> + Send + Sync + 'static,
    ) -> Result<(Arc<Cart>, T), CartError> {
        let turn = self.0.turns.of(&user).await;
        let carts = self.clone();
        let work = async move {
            let _turn = turn;
            carts.alter_in_turn(&user, rule).await
        };
        let task = match RequestContext::current() {
            Some(context) => self.0.tasks.spawn(context.scope(work)),
            None => self.0.tasks.spawn(work),
        };
        task.await
            .unwrap_or_else(|panicked| Err(StoreError::corrupt(panicked).into()))
    }

    /// Load, rule, save if nobody else has saved since; again if somebody has.
    async fn alter_in_turn<T>(
        &self,
        user: &UserId,
        rule: impl Fn(&mut Cart, Timestamp) -> Result<T, Refused>,
    ) -> Result<(Arc<Cart>, T), CartError> {
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
            let now = clock.now();
            let mut cart = before.clone();
            let done = rule(&mut cart, now)?;
            if cart == before {
                return Ok((Arc::new(cart), done));
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
                    return Ok((cart, done));
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

/// Twice as long each time, up to a limit, and a random part of it.
fn backoff(attempt: u32) -> Duration {
    let longest = BACKOFF.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_BACKOFF);
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(fastrand::u64(micros / 2..=micros))
}
