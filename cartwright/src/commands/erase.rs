//! `cartwright erase`: removes all that a running shop keeps of a customer.
//!
//! Purchases are erased some at a time, in checkout last: what is still the customer's there is found again, so an erasure that
//! was cut off is made again from its beginning, as often as it takes.

use std::time::Duration;

use anyhow::anyhow;
use proto::{
    Reason,
    cart::v1::{self as cart, cart_service_client::CartServiceClient},
    checkout::v1::{self as checkout, PrepareErasureRequest, checkout_service_client::CheckoutServiceClient},
    convert::MAX_ERASED,
    notification::v1::{self as notification, notification_service_client::NotificationServiceClient},
    orders::v1::{self as orders, orders_service_client::OrdersServiceClient},
    status,
};
use runtime::channel::Peer;
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::{Failure, say};
use crate::{services::ServiceName, settings::Settings, shop::network::of_running};

/// How long a service may take for some purchases.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long events that are on their way are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// How many rounds may find fewer purchases than fit into one. Of a customer who buys nothing meanwhile there are two: one with
/// the rest, and the last one.
const SHORT_ROUNDS: usize = 10;

/// Who is to be erased.
pub(super) struct Whom {
    pub(super) user: String,
    /// Also when events of theirs are parked.
    pub(super) drop_parked: bool,
}

/// What was removed, or belongs to nobody now.
#[derive(Debug, Default)]
struct Counts {
    checkouts: u64,
    orders: u64,
    notifications: u64,
    carts: u64,
    log_keeps_events: bool,
}

/// The services that keep something of customers.
struct Services {
    checkout: CheckoutServiceClient<Peer>,
    orders: OrdersServiceClient<Peer>,
    notification: NotificationServiceClient<Peer>,
    cart: CartServiceClient<Peer>,
}

pub(super) async fn run(whom: &Whom, yes: bool, settings: &Settings) -> Result<(), Failure> {
    let peer = |service| of_running(service, settings, DEADLINE);
    let mut services = Services {
        checkout: CheckoutServiceClient::new(peer(ServiceName::Checkout)?),
        orders: OrdersServiceClient::new(peer(ServiceName::Orders)?),
        notification: NotificationServiceClient::new(peer(ServiceName::Notification)?),
        cart: CartServiceClient::new(peer(ServiceName::Cart)?),
    };
    if !yes {
        services.purchases_of(whom).await?;
        return Err(anyhow!(
            "nothing was erased: what is kept of this customer would go for good; say --yes if that is wanted"
        )
        .into());
    }
    let mut counts = Counts::default();
    let erased = services.erase(whom, &mut counts).await;
    for line in counts.lines() {
        say(&line)?;
    }
    erased?;
    Ok(say(if counts.is_nothing() {
        "nothing is kept of this customer"
    } else {
        "nothing else is kept of this customer"
    })?)
}

impl Services {
    /// The purchases of a customer that are to be erased next.
    async fn purchases_of(&mut self, whom: &Whom) -> anyhow::Result<Vec<String>> {
        let request = PrepareErasureRequest {
            user_id: whom.user.clone(),
            drop_parked: whom.drop_parked,
        };
        let prepared = self.checkout.prepare_erasure(request).await;
        let prepared = prepared.map_err(|status| failed(ServiceName::Checkout, &status))?;
        Ok(prepared.into_inner().checkout_ids)
    }

    async fn erase(&mut self, whom: &Whom, counts: &mut Counts) -> anyhow::Result<()> {
        let mut checkout_ids = self.purchases_of(whom).await?;
        let mut short_rounds = 0;
        while short_rounds < SHORT_ROUNDS {
            short_rounds += usize::from(checkout_ids.len() < MAX_ERASED);
            // In the last round there are none, and what belongs to no purchase goes.
            let is_last = checkout_ids.is_empty();
            self.forget_purchases(&whom.user, &checkout_ids, counts).await?;
            if is_last {
                self.erase_cart(&whom.user, counts).await?;
            }
            self.erase_purchases(whom, checkout_ids, counts).await?;
            // Asked at the end of the last round, too: something may have been bought in the meantime.
            checkout_ids = self.purchases_of(whom).await?;
            if is_last && checkout_ids.is_empty() {
                return Ok(());
            }
        }
        Err(anyhow!(
            "this customer goes on shopping: what was bought meanwhile is still kept; erase this customer again when that \
             is over"
        ))
    }

    /// Lets the services that learn of purchases by events forget these, those whose events are still to come too.
    async fn forget_purchases(&mut self, user: &str, ids: &[String], counts: &mut Counts) -> anyhow::Result<()> {
        let request = notification::EraseUserRequest {
            user_id: user.to_owned(),
            checkout_ids: ids.to_vec(),
        };
        let erased = self.notification.erase_user(request).await;
        let erased = erased.map_err(|status| failed(ServiceName::Notification, &status))?;
        counts.notifications += erased.into_inner().notifications;
        let request = orders::EraseUserRequest {
            user_id: user.to_owned(),
            checkout_ids: ids.to_vec(),
        };
        let erased = self.orders.erase_user(request).await;
        let erased = erased.map_err(|status| failed(ServiceName::Orders, &status))?;
        counts.orders += erased.into_inner().orders;
        Ok(())
    }

    async fn erase_cart(&mut self, user: &str, counts: &mut Counts) -> anyhow::Result<()> {
        let request = cart::EraseUserRequest {
            user_id: user.to_owned(),
        };
        let erased = self.cart.erase_user(request).await;
        let erased = erased.map_err(|status| failed(ServiceName::Cart, &status))?;
        counts.carts += erased.into_inner().carts;
        Ok(())
    }

    /// Erases purchases for good. Their events come to everybody soon, if they have not yet.
    async fn erase_purchases(&mut self, whom: &Whom, ids: Vec<String>, counts: &mut Counts) -> anyhow::Result<()> {
        let request = checkout::EraseUserRequest {
            user_id: whom.user.clone(),
            checkout_ids: ids,
            drop_parked: whom.drop_parked,
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match self.checkout.erase_user(request.clone()).await {
                Ok(erased) => {
                    let erased = erased.into_inner();
                    counts.checkouts += erased.checkouts;
                    counts.log_keeps_events |= erased.log_keeps_events;
                    return Ok(());
                }
                Err(status) if is_in_progress(&status) && Instant::now() < until => sleep(LOOK).await,
                Err(status) => return Err(failed(ServiceName::Checkout, &status)),
            }
        }
    }
}

fn is_in_progress(status: &Status) -> bool {
    status::reason(status) == Some(Reason::CheckoutInProgress)
}

/// Why a service did not do it, and what to do.
fn failed(service: ServiceName, status: &Status) -> anyhow::Error {
    let (name, variable) = (service.as_str(), service.address_variable().unwrap_or_default());
    if status::refused(status).is_some() {
        return anyhow!("{name}: {}", status.message());
    }
    anyhow!(
        "{name} did not answer, or could not do it: not everything is erased; see that it runs and is ready, and that \
         {variable} says where it is, and erase this customer again"
    )
}

impl Counts {
    const fn is_nothing(&self) -> bool {
        self.checkouts == 0 && self.orders == 0 && self.notifications == 0 && self.carts == 0
    }

    /// What was erased in each service.
    fn lines(&self) -> Vec<String> {
        let of = |service: ServiceName, count: u64, one: &str, done: &str| {
            let s = if count == 1 { "" } else { "s" };
            format!("{:<14}{count} {one}{s} {done}", service.as_str())
        };
        let mut lines = vec![
            of(ServiceName::Notification, self.notifications, "notification", "removed"),
            of(ServiceName::Orders, self.orders, "order", "made nobody's"),
            of(ServiceName::Cart, self.carts, "cart", "removed"),
            of(ServiceName::Checkout, self.checkouts, "checkout", "made nobody's"),
        ];
        if self.log_keeps_events {
            lines.push(
                "kafka         keeps the events of these checkouts until EVENT_RETENTION is over (docs/erasure.md)"
                    .to_owned(),
            );
        }
        lines
    }
}
