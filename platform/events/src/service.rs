//! Relays, consumers and pruners as background work of a service.

use runtime::Service;

use crate::{Consumer, InboxPruner, Relay};

/// Adds event processing to a service. It runs as long as the service. A service may consume several topics.
pub trait ServiceEvents {
    #[must_use]
    fn publish(self, relay: Relay) -> Self;
    #[must_use]
    fn consume(self, consumer: Consumer) -> Self;
    #[must_use]
    fn prune_inbox(self, pruner: InboxPruner) -> Self;
}

impl ServiceEvents for Service {
    fn publish(self, relay: Relay) -> Self {
        let tasks = self.tasks();
        self.background("relay", move || relay.clone().run(tasks.clone()))
    }

    fn consume(self, consumer: Consumer) -> Self {
        let tasks = self.tasks();
        self.background("consumer", move || consumer.clone().run(tasks.clone()))
    }

    fn prune_inbox(self, pruner: InboxPruner) -> Self {
        let tasks = self.tasks();
        self.background("inbox", move || pruner.clone().run(tasks.clone()))
    }
}
