//! Publishing and consuming as background work of a service.

use runtime::Service;

use crate::{Consumer, InboxKeeper, Relay};

/// What a service does with events, beside its interface. A service may consume several topics.
pub trait ServiceEvents {
    /// Carries an outbox to the bus for as long as the service runs.
    #[must_use]
    fn publish(self, relay: Relay) -> Self;
    /// Takes part in a group for as long as the service runs.
    #[must_use]
    fn consume(self, consumer: Consumer) -> Self;
    /// Keeps the inbox of a group small for as long as the service runs.
    #[must_use]
    fn keep_inbox(self, keeper: InboxKeeper) -> Self;
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

    fn keep_inbox(self, keeper: InboxKeeper) -> Self {
        let tasks = self.tasks();
        self.background("inbox", move || keeper.clone().run(tasks.clone()))
    }
}
