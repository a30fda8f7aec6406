//! What the fake peers store: reservations, payments, and carts in `carts`. Like the real services, they repeat their
//! first answer. Tests look here for what a saga did.

pub(crate) mod carts;

use std::collections::BTreeMap;

use checkout::{
    domain::{CheckoutId, Failure, Line, PaymentMethod, ProductId, Shortage},
    ports::Payment,
};
use money::Money;
use proto::Reason;

use carts::Carts;

/// The state of a reservation of stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reservation {
    Held,
    /// There was too little stock.
    Refused(Failure),
    /// Its time to live is over, and its stock is available again.
    Expired,
    /// It had expired, and there was too little stock to confirm it.
    Lost,
    Released,
    Sold,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PaymentState {
    Charged,
    Declined(Failure),
    Refunded,
    /// The refund came before the charge.
    Cancelled,
}

#[derive(Debug, Default)]
pub(crate) struct PeerLedger {
    /// Stock that can be reserved, in pieces.
    pub(crate) available: BTreeMap<ProductId, i64>,
    pub(crate) reservations: BTreeMap<CheckoutId, (Reservation, Vec<Line>)>,
    pub(crate) carts: Carts,
    pub(crate) payments: BTreeMap<CheckoutId, PaymentState>,
    /// All movements of money, in minor units: charges are positive, refunds negative.
    pub(crate) money: Vec<(CheckoutId, i64)>,
    /// Before each Confirm, the reservation expires and everything sells out.
    pub(crate) reservations_expire: bool,
}

pub(crate) fn failure(reason: Reason) -> Failure {
    Failure {
        reason,
        message: format!("refused: {}", reason.as_str()),
        shortages: Vec::new(),
    }
}

/// The payment methods that are declined, each with its reason.
pub(crate) const DECLINES: [(&str, Reason); 5] = [
    ("pm_card_declined", Reason::CardDeclined),
    ("pm_card_insufficient_funds", Reason::InsufficientFunds),
    ("pm_card_expired", Reason::CardExpired),
    ("pm_card_invalid_cvc", Reason::InvalidCvc),
    ("pm_unheard_of", Reason::InvalidPaymentMethod),
];

impl PeerLedger {
    pub(crate) fn reserve(&mut self, id: CheckoutId, lines: &[Line]) -> Result<(), Failure> {
        match self.reservation(id) {
            Some(Reservation::Refused(failure)) => return Err(failure.clone()),
            Some(Reservation::Released) => return Err(failure(Reason::ReservationReleased)),
            Some(Reservation::Held | Reservation::Expired | Reservation::Lost | Reservation::Sold) => return Ok(()),
            None => {}
        }
        let shortages: Vec<_> = lines.iter().filter_map(|line| self.shortage(line)).collect();
        let answer = if shortages.is_empty() {
            self.change_stock(lines, -1);
            Ok(())
        } else {
            Err(Failure {
                shortages,
                ..failure(Reason::OutOfStock)
            })
        };
        let reservation = answer.clone().map_or_else(Reservation::Refused, |()| Reservation::Held);
        self.reservations.insert(id, (reservation, lines.to_vec()));
        answer
    }

    pub(crate) fn confirm(&mut self, id: CheckoutId) -> Result<(), Failure> {
        if self.reservations_expire {
            self.expire(id);
            self.sell_out();
        }
        let Some((reservation, lines)) = self.reservations.get(&id).cloned() else {
            return Err(failure(Reason::ReservationNotFound));
        };
        match reservation {
            Reservation::Sold => Ok(()),
            Reservation::Held => {
                self.reservations.insert(id, (Reservation::Sold, lines));
                Ok(())
            }
            Reservation::Expired if lines.iter().all(|line| self.shortage(line).is_none()) => {
                self.change_stock(&lines, -1);
                self.reservations.insert(id, (Reservation::Sold, lines));
                Ok(())
            }
            Reservation::Expired | Reservation::Lost => {
                self.reservations.insert(id, (Reservation::Lost, lines));
                Err(failure(Reason::ReservationExpired))
            }
            Reservation::Released => Err(failure(Reason::ReservationReleased)),
            Reservation::Refused(_) => Err(failure(Reason::ReservationNotFound)),
        }
    }

    pub(crate) fn release(&mut self, id: CheckoutId) -> Result<(), Failure> {
        let lines = match self.reservations.get(&id).cloned() {
            Some((Reservation::Sold, _)) => return Err(failure(Reason::ReservationConfirmed)),
            Some((Reservation::Released | Reservation::Refused(_), _)) => return Ok(()),
            Some((Reservation::Held, lines)) => {
                self.change_stock(&lines, 1);
                lines
            }
            Some((Reservation::Expired | Reservation::Lost, lines)) => lines,
            // A tombstone, which refuses a late Reserve.
            None => Vec::new(),
        };
        self.reservations.insert(id, (Reservation::Released, lines));
        Ok(())
    }

    pub(crate) fn expire(&mut self, id: CheckoutId) {
        let Some((Reservation::Held, lines)) = self.reservations.get(&id).cloned() else {
            return;
        };
        self.change_stock(&lines, 1);
        self.reservations.insert(id, (Reservation::Expired, lines));
    }

    /// Other customers buy all available stock.
    pub(crate) fn sell_out(&mut self) {
        self.available.values_mut().for_each(|pieces| *pieces = 0);
    }

    pub(crate) fn charge(&mut self, id: CheckoutId, amount: Money, method: &PaymentMethod) -> Result<String, Failure> {
        let declined = DECLINES.iter().find(|(name, _)| *name == method.as_str());
        let payment = self.payments.entry(id).or_insert_with(|| {
            if let Some((_, reason)) = declined {
                return PaymentState::Declined(failure(*reason));
            }
            self.money.push((id, amount.minor_units()));
            PaymentState::Charged
        });
        match payment {
            PaymentState::Charged => Ok(payment_id(id)),
            PaymentState::Declined(failure) => Err(failure.clone()),
            PaymentState::Refunded | PaymentState::Cancelled => Err(failure(Reason::PaymentCancelled)),
        }
    }

    pub(crate) fn refund(&mut self, id: CheckoutId) {
        match self.payments.get(&id) {
            Some(PaymentState::Charged) => {
                self.money.push((id, -self.charged(id)));
                self.payments.insert(id, PaymentState::Refunded);
            }
            None => drop(self.payments.insert(id, PaymentState::Cancelled)),
            Some(PaymentState::Declined(_) | PaymentState::Refunded | PaymentState::Cancelled) => {}
        }
    }

    pub(crate) fn payment(&self, id: CheckoutId) -> Payment {
        match self.payments.get(&id) {
            None => Payment::Open,
            Some(PaymentState::Charged) => Payment::Succeeded {
                payment_id: payment_id(id),
            },
            Some(PaymentState::Declined(failure)) => Payment::Declined(failure.clone()),
            Some(PaymentState::Refunded | PaymentState::Cancelled) => {
                Payment::Declined(failure(Reason::PaymentCancelled))
            }
        }
    }

    pub(crate) fn reservation(&self, id: CheckoutId) -> Option<&Reservation> {
        self.reservations.get(&id).map(|(reservation, _)| reservation)
    }

    /// Charges minus refunds of a checkout.
    pub(crate) fn charged(&self, id: CheckoutId) -> i64 {
        self.movements(id).iter().sum()
    }

    pub(crate) fn movements(&self, id: CheckoutId) -> Vec<i64> {
        let of_checkout = self.money.iter().filter(|(checkout, _)| *checkout == id);
        of_checkout.map(|(_, amount)| *amount).collect()
    }

    fn shortage(&self, line: &Line) -> Option<Shortage> {
        let available = self.available.get(&line.product).copied().unwrap_or(0);
        let requested = line.quantity.get();
        (available < requested).then_some(Shortage {
            product_id: line.product.get(),
            requested,
            available,
        })
    }

    fn change_stock(&mut self, lines: &[Line], sign: i64) {
        for line in lines {
            *self.available.entry(line.product).or_default() += sign * line.quantity.get();
        }
    }
}

pub(crate) fn payment_id(id: CheckoutId) -> String {
    format!("pay_{id}")
}
