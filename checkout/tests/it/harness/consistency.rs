//! Asserts that the journal, the ledger of the peers and the outbox agree on every checkout.

use checkout::{
    domain::{Checkout, CheckoutId, Status},
    saga::{STEPS, VERSION_1_ONLY_STEPS},
};

use super::Harness;
use crate::fake_peers::{
    PeerCall,
    ledger::{Reservation, carts::wanted},
};

impl Harness {
    /// Asserts that every saga is final, and that the ledger and one event agree with its end. `what` names the case.
    pub(crate) async fn assert_consistent(&self, what: &str) {
        // Delayed calls arrive after all sagas are final.
        self.peers.deliver_all();
        let all = self.checkouts().await;
        for checkout in &all {
            self.assert_ledger(checkout, what);
            self.assert_history(checkout, what).await;
            let key = checkout.id.to_string();
            let outbox = self.journal.outbox();
            let events = outbox.iter().filter(|event| event.key == key).count();
            assert_eq!(events, 1, "{what}: events");
        }
        let ledger = self.peers.ledger();
        let has_checkout = |id: &CheckoutId| all.iter().any(|checkout| checkout.id == *id);
        assert!(
            ledger.reservations.keys().all(has_checkout),
            "{what}: a reservation without a checkout"
        );
        assert!(
            ledger.carts.holders().iter().all(has_checkout),
            "{what}: a hold without a checkout"
        );
        assert!(
            ledger.payments.keys().all(has_checkout),
            "{what}: a payment without a checkout"
        );
        assert_eq!(self.journal.outbox().len(), all.len(), "{what}");
    }

    fn assert_ledger(&self, checkout: &Checkout, what: &str) {
        let mut ledger = self.peers.ledger();
        let hold = ledger.carts.held(checkout.id, &checkout.user);
        let (reservation, movements) = (ledger.reservation(checkout.id), ledger.movements(checkout.id));
        match checkout.status() {
            Status::Completed => {
                assert_eq!(reservation, Some(&Reservation::Sold), "{what}");
                assert_eq!(movements, [checkout.purchase.total.minor_units()], "{what}");
                // The hold stays until the cart reads the event, which does not happen here.
                let pieces = checkout.held.then(|| wanted(&checkout.purchase.lines));
                assert_eq!(hold, pieces, "{what}");
            }
            Status::Failed => {
                let over = matches!(reservation, Some(Reservation::Released | Reservation::Refused(_)));
                assert!(over, "{what}: {reservation:?}");
                assert_eq!(hold, None, "{what}");
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
            let is_version_1 = checkout.purchase.cart.id.is_none() && !checkout.held;
            let allowed = STEPS.contains(&step) || is_version_1 && VERSION_1_ONLY_STEPS.contains(&step);
            assert!(allowed, "{what}: {step:?}");
        }
        let was_held = history.iter().any(|state| state == "CART_HELD");
        assert_eq!(was_held, checkout.held, "{what}");
    }

    /// Asserts that no saga has begun and no call with an effect was made.
    pub(crate) async fn assert_nothing_begun(&self) {
        assert_eq!(self.checkouts().await, []);
        let only_read = |call: &PeerCall| matches!(call, PeerCall::GetCart | PeerCall::GetPrices);
        assert!(self.peers.calls().iter().all(only_read));
        assert!(self.journal.outbox().is_empty());
    }
}
