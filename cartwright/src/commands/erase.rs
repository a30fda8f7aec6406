//! `cartwright erase`: removes all that a running shop keeps of a customer.
//!
//! Purchases are erased in rounds, and in each round checkout comes last. Until then checkout still finds them, so an
//! interrupted erasure can be repeated from its beginning.

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

use super::{CommandResult, print_line};
use crate::{services::ServiceName, settings::Settings, shop::network::running_peer};

/// How long a service may take for one round.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait for events that are not published or read yet.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The most rounds with fewer purchases than fit into one. If the customer buys nothing meanwhile there are at most
/// two: one with the remaining purchases, and the last one without any.
const MAX_SHORT_ROUNDS: usize = 10;

pub(super) struct EraseArgs {
    pub(super) user: String,
    /// Erase although events of this user are parked, and drop these events.
    pub(super) drop_parked: bool,
}

/// The rows that were removed or anonymised.
#[derive(Debug, Default)]
struct Counts {
    checkouts: u64,
    orders: u64,
    notifications: u64,
    carts: u64,
    log_keeps_events: bool,
}

/// The services that store data of customers.
struct Services {
    checkout: CheckoutServiceClient<Peer>,
    orders: OrdersServiceClient<Peer>,
    notification: NotificationServiceClient<Peer>,
    cart: CartServiceClient<Peer>,
}

pub(super) async fn run(args: &EraseArgs, yes: bool, settings: &Settings) -> CommandResult {
    let peer = |service| running_peer(service, settings, DEADLINE);
    let mut services = Services {
        checkout: CheckoutServiceClient::new(peer(ServiceName::Checkout)?),
        orders: OrdersServiceClient::new(peer(ServiceName::Orders)?),
        notification: NotificationServiceClient::new(peer(ServiceName::Notification)?),
        cart: CartServiceClient::new(peer(ServiceName::Cart)?),
    };
    if !yes {
        services.next_purchases(args).await?;
        return Err(anyhow!("nothing was erased: erasing a customer is final; add --yes to do it").into());
    }
    let mut counts = Counts::default();
    let erased = services.erase(args, &mut counts).await;
    for line in counts.lines() {
        print_line(&line)?;
    }
    erased?;
    Ok(print_line(if counts.is_nothing() {
        "nothing is kept of this customer"
    } else {
        "nothing else is kept of this customer"
    })?)
}

impl Services {
    /// The next purchases to erase.
    async fn next_purchases(&mut self, args: &EraseArgs) -> anyhow::Result<Vec<String>> {
        let request = PrepareErasureRequest {
            user_id: args.user.clone(),
            drop_parked: args.drop_parked,
        };
        let prepared = self.checkout.prepare_erasure(request).await;
        let prepared = prepared.map_err(|status| failed(ServiceName::Checkout, &status))?;
        Ok(prepared.into_inner().checkout_ids)
    }

    async fn erase(&mut self, args: &EraseArgs, counts: &mut Counts) -> anyhow::Result<()> {
        let mut checkout_ids = self.next_purchases(args).await?;
        let mut short_rounds = 0;
        while short_rounds < MAX_SHORT_ROUNDS {
            short_rounds += usize::from(checkout_ids.len() < MAX_ERASED);
            // The last round has no purchases, and erases what belongs to none.
            let is_last = checkout_ids.is_empty();
            self.forget_purchases(&args.user, &checkout_ids, counts).await?;
            if is_last {
                self.erase_cart(&args.user, counts).await?;
            }
            self.erase_purchases(args, checkout_ids, counts).await?;
            // Also after the last round: the customer may have bought something meanwhile.
            checkout_ids = self.next_purchases(args).await?;
            if is_last && checkout_ids.is_empty() {
                return Ok(());
            }
        }
        Err(anyhow!(
            "this customer goes on shopping: later purchases are not erased; erase this customer again afterwards"
        ))
    }

    /// Erases these purchases in the services that consume their events, also those whose event is still to come.
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

    /// Erases purchases in checkout. Waits until all groups have read their events.
    async fn erase_purchases(&mut self, args: &EraseArgs, ids: Vec<String>, counts: &mut Counts) -> anyhow::Result<()> {
        let request = checkout::EraseUserRequest {
            user_id: args.user.clone(),
            checkout_ids: ids,
            drop_parked: args.drop_parked,
        };
        let deadline = Instant::now() + EVENT_TIMEOUT;
        loop {
            match self.checkout.erase_user(request.clone()).await {
                Ok(erased) => {
                    let erased = erased.into_inner();
                    counts.checkouts += erased.checkouts;
                    counts.log_keeps_events |= erased.log_keeps_events;
                    return Ok(());
                }
                Err(status) if is_in_progress(&status) && Instant::now() < deadline => sleep(POLL_INTERVAL).await,
                Err(status) => return Err(failed(ServiceName::Checkout, &status)),
            }
        }
    }
}

fn is_in_progress(status: &Status) -> bool {
    status::reason(status) == Some(Reason::CheckoutInProgress)
}

/// Why a service did not erase, and what the operator should do.
fn failed(service: ServiceName, status: &Status) -> anyhow::Error {
    let name = service.as_str();
    if status::refused(status).is_some() {
        return anyhow!("{name}: {}", status.message());
    }
    let address = match service.address_variable() {
        Some(variable) => format!("{variable} is its address"),
        None => "its address is right".to_owned(),
    };
    anyhow!(
        "{name} did not answer, or failed: not everything is erased; check that it runs and is ready and that {address}, \
         then erase this customer again"
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
