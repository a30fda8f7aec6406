//! What must be true in the end: of every saga, the journal says what the books say.

use checkout::{
    domain::{Checkout, CheckoutId, Status},
    saga::{STEPS, STEPS_WITHOUT_A_HOLD},
};

use super::Harness;
use crate::{
    ledger::{Hold, carts::wanted},
    world::At,
};

impl Harness {
    /// That every saga has ended, and that its verdict is what the books say. `what` is shown when it is not.
    pub(crate) async fn assert_sound(&self, what: &str) {
        // What comes now comes after everybody has stopped waiting for it.
        self.world.deliver_all();
        let all = self.checkouts().await;
        for checkout in &all {
            self.assert_books(checkout, what);
            self.assert_history(checkout, what).await;
            let key = checkout.id.to_string();
            let events = self
                .journal
                .outbox()
                .into_iter()
                .filter(|event| event.key == key)
                .count();
            assert_eq!(events, 1, "{what}: events");
        }
        let ledger = self.world.ledger();
        assert!(
            ledger.holds.len() <= all.len(),
            "{what}: a reservation without a checkout"
        );
        let is_known = |holder: &CheckoutId| all.iter().any(|checkout| checkout.id == *holder);
        assert!(
            ledger.carts.holders().iter().all(is_known),
            "{what}: pieces of a cart without a checkout"
        );
        assert!(
            ledger.payments.len() <= all.len(),
            "{what}: a payment without a checkout"
        );
        assert_eq!(self.journal.outbox().len(), all.len(), "{what}");
    }

    fn assert_books(&self, checkout: &Checkout, what: &str) {
        let mut ledger = self.world.ledger();
        let in_cart = ledger.carts.held(checkout.id, &checkout.user);
        let (hold, movements) = (ledger.hold(checkout.id), ledger.movements(checkout.id));
        match checkout.status() {
            Status::Completed => {
                assert_eq!(hold, Some(&Hold::Sold), "{what}");
                assert_eq!(movements, [checkout.purchase.total.minor_units()], "{what}");
                // They are there until its event has reached the cart.
                let pieces = checkout.held.then(|| wanted(&checkout.purchase.lines));
                assert_eq!(in_cart, pieces, "{what}");
            }
            Status::Failed => {
                let over = matches!(hold, Some(Hold::Released | Hold::Refused(_)));
                assert!(over, "{what}: {hold:?}");
                assert_eq!(in_cart, None, "{what}");
                assert_eq!(ledger.charged(checkout.id), 0, "{what}");
                assert!(movements.len() <= 2, "{what}: {movements:?}");
            }
            Status::Initiated | Status::InventoryReserved | Status::PaymentPending | Status::PaymentCompleted => {
                panic!("{what}: unfinished: {checkout:?}")
            }
        }
        assert!(!checkout.needs_attention, "{what}");
    }

    async fn assert_history(&self, checkout: &Checkout, what: &str) {
        let history = self.history(checkout.id).await;
        assert_eq!(i64::try_from(history.len()).unwrap(), checkout.version, "{what}");
        for step in history.windows(2) {
            let step = (step[0].as_str(), step[1].as_str());
            // Steps that were taken before carts had holds.
            let is_of_before = checkout.purchase.cart.id.is_none() && !checkout.held;
            let (allowed, was_allowed) = (STEPS.contains(&step), STEPS_WITHOUT_A_HOLD.contains(&step));
            assert!(allowed || is_of_before && was_allowed, "{what}: {step:?}");
        }
        let was_held = history.iter().any(|state| state == "CART_HELD");
        assert_eq!(was_held, checkout.held, "{what}");
    }

    /// That nothing has begun, and nobody was asked for anything that has an effect.
    pub(crate) async fn assert_untouched(&self) {
        assert_eq!(self.checkouts().await, []);
        let only_read = |at: &At| matches!(at, At::Cart | At::Prices);
        assert!(self.world.calls().iter().all(only_read));
        assert!(self.journal.outbox().is_empty());
    }
}
