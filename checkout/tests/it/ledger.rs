//! The books of stock and payments, and those of carts in `carts`, kept as the real participants keep them: the first answer
//! is remembered. Tests look here for what a saga did in the end.

pub(crate) mod carts;

use std::collections::BTreeMap;

use checkout::domain::{CheckoutId, Failure, Line, PaymentMethod, ProductId, Shortage};
use checkout::ports::Payment;
use money::Money;
use proto::Reason;

use carts::Carts;

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hold {
    Held,
    /// There was not enough.
    Refused(Failure),
    /// Its time is over and its stock was given back.
    Expired,
    /// Its time was over, and the stock was gone when it was to be sold.
    Lost,
    Released,
    Sold,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Paid {
    Charged,
    Declined(Failure),
    Refunded,
    /// The refund came first.
    Cancelled,
}

/// All that has an effect.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Pieces that can be reserved.
    pub(crate) available: BTreeMap<ProductId, i64>,
    pub(crate) holds: BTreeMap<CheckoutId, (Hold, Vec<Line>)>,
    pub(crate) carts: Carts,
    pub(crate) payments: BTreeMap<CheckoutId, Paid>,
    /// Every movement of money, in minor units: charges are positive, refunds negative.
    pub(crate) money: Vec<(CheckoutId, i64)>,
    /// Whether the time of every hold is over, and its stock gone, before it is confirmed.
    pub(crate) holds_are_short: bool,
}

pub(crate) fn failure(reason: Reason) -> Failure {
    Failure {
        reason,
        message: format!("refused: {}", reason.as_str()),
        shortages: Vec::new(),
    }
}

/// For what the test methods are declined.
pub(crate) const DECLINES: [(&str, Reason); 5] = [
    ("pm_card_declined", Reason::CardDeclined),
    ("pm_card_insufficient_funds", Reason::InsufficientFunds),
    ("pm_card_expired", Reason::CardExpired),
    ("pm_card_invalid_cvc", Reason::InvalidCvc),
    ("pm_unheard_of", Reason::InvalidPaymentMethod),
];

impl Ledger {
    pub(crate) fn reserve(&mut self, id: CheckoutId, lines: &[Line]) -> Result<(), Failure> {
        match self.holds.get(&id) {
            Some((Hold::Refused(failure), _)) => return Err(failure.clone()),
            Some((Hold::Released, _)) => return Err(failure(Reason::ReservationReleased)),
            Some((Hold::Held | Hold::Expired | Hold::Lost | Hold::Sold, _)) => return Ok(()),
            None => {}
        }
        let shortages: Vec<_> = lines.iter().filter_map(|line| self.shortage(line)).collect();
        let answer = if shortages.is_empty() {
            self.take(lines);
            Ok(())
        } else {
            Err(Failure {
                shortages,
                ..failure(Reason::OutOfStock)
            })
        };
        let hold = answer.clone().map_or_else(Hold::Refused, |()| Hold::Held);
        self.holds.insert(id, (hold, lines.to_vec()));
        answer
    }

    pub(crate) fn confirm(&mut self, id: CheckoutId) -> Result<(), Failure> {
        if self.holds_are_short {
            self.expire(id);
            self.sell_out();
        }
        let Some((hold, lines)) = self.holds.get(&id).cloned() else {
            return Err(failure(Reason::ReservationNotFound));
        };
        match hold {
            Hold::Sold => Ok(()),
            Hold::Held => {
                self.holds.insert(id, (Hold::Sold, lines));
                Ok(())
            }
            Hold::Expired if lines.iter().all(|line| self.shortage(line).is_none()) => {
                self.take(&lines);
                self.holds.insert(id, (Hold::Sold, lines));
                Ok(())
            }
            Hold::Expired | Hold::Lost => {
                self.holds.insert(id, (Hold::Lost, lines));
                Err(failure(Reason::ReservationExpired))
            }
            Hold::Released => Err(failure(Reason::ReservationReleased)),
            Hold::Refused(_) => Err(failure(Reason::ReservationNotFound)),
        }
    }

    pub(crate) fn release(&mut self, id: CheckoutId) -> Result<(), Failure> {
        match self.holds.get(&id).cloned() {
            Some((Hold::Sold, _)) => return Err(failure(Reason::ReservationConfirmed)),
            Some((Hold::Released | Hold::Refused(_), _)) => {}
            Some((Hold::Held, lines)) => {
                self.give_back(&lines);
                self.holds.insert(id, (Hold::Released, lines));
            }
            Some((Hold::Expired | Hold::Lost, lines)) => drop(self.holds.insert(id, (Hold::Released, lines))),
            None => drop(self.holds.insert(id, (Hold::Released, Vec::new()))),
        }
        Ok(())
    }

    /// The time of a hold is over.
    pub(crate) fn expire(&mut self, id: CheckoutId) {
        let Some((Hold::Held, lines)) = self.holds.get(&id).cloned() else {
            return;
        };
        self.give_back(&lines);
        self.holds.insert(id, (Hold::Expired, lines));
    }

    /// Somebody else buys everything that is left.
    pub(crate) fn sell_out(&mut self) {
        self.available.values_mut().for_each(|pieces| *pieces = 0);
    }

    pub(crate) fn charge(&mut self, id: CheckoutId, amount: Money, method: &PaymentMethod) -> Result<String, Failure> {
        let declined = DECLINES.iter().find(|(name, _)| *name == method.as_str());
        let paid = self.payments.entry(id).or_insert_with(|| {
            if let Some((_, reason)) = declined {
                return Paid::Declined(failure(*reason));
            }
            self.money.push((id, amount.minor_units()));
            Paid::Charged
        });
        match paid {
            Paid::Charged => Ok(payment_id(id)),
            Paid::Declined(failure) => Err(failure.clone()),
            Paid::Refunded | Paid::Cancelled => Err(failure(Reason::PaymentCancelled)),
        }
    }

    pub(crate) fn refund(&mut self, id: CheckoutId) {
        match self.payments.get(&id) {
            Some(Paid::Charged) => {
                self.money.push((id, -self.charged(id)));
                self.payments.insert(id, Paid::Refunded);
            }
            None => drop(self.payments.insert(id, Paid::Cancelled)),
            Some(Paid::Declined(_) | Paid::Refunded | Paid::Cancelled) => {}
        }
    }

    pub(crate) fn payment(&self, id: CheckoutId) -> Payment {
        match self.payments.get(&id) {
            None => Payment::Open,
            Some(Paid::Charged) => Payment::Succeeded {
                payment_id: payment_id(id),
            },
            Some(Paid::Declined(failure)) => Payment::Declined(failure.clone()),
            Some(Paid::Refunded | Paid::Cancelled) => Payment::Declined(failure(Reason::PaymentCancelled)),
        }
    }

    pub(crate) fn hold(&self, id: CheckoutId) -> Option<&Hold> {
        self.holds.get(&id).map(|(hold, _)| hold)
    }

    /// What a checkout's customer has paid, all in all.
    pub(crate) fn charged(&self, id: CheckoutId) -> i64 {
        self.movements(id).iter().sum()
    }

    pub(crate) fn movements(&self, id: CheckoutId) -> Vec<i64> {
        let of_checkout = self.money.iter().filter(|(of, _)| *of == id);
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

    fn take(&mut self, lines: &[Line]) {
        for line in lines {
            *self.available.entry(line.product).or_default() -= line.quantity.get();
        }
    }

    fn give_back(&mut self, lines: &[Line]) {
        for line in lines {
            *self.available.entry(line.product).or_default() += line.quantity.get();
        }
    }
}

pub(crate) fn payment_id(id: CheckoutId) -> String {
    format!("pay_{id}")
}
