//! The life of a reservation.
//!
//! | state | Reserve again | Confirm | Release | its time runs out |
//! |---|---|---|---|---|
//! | – | takes stock → HELD, or → REFUSED | not found | → RELEASED (a mark for the late Reserve) | |
//! | HELD | first answer | → CONFIRMED, sold | → RELEASED, given back | → EXPIRED, given back |
//! | EXPIRED | first answer | stock there → CONFIRMED, sold; else → LOST, expired | → RELEASED | |
//! | LOST | first answer | expired | → RELEASED | |
//! | CONFIRMED | first answer | ok | confirmed | |
//! | RELEASED | released | released | ok | |
//! | REFUSED | first answer | not found | ok | |
//!
//! Reserve with other lines than the first time is a mismatch, except after a release.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Lines, Movement, ProductId};

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its stock is held, until its time runs out.
    Held,
    /// Its time ran out and its stock was given back.
    Expired,
    /// Its stock is sold, for ever.
    Confirmed,
    /// It was given up, or never was.
    Released,
    /// There was not enough stock.
    Refused,
    /// Its time ran out, and when it was to be confirmed the stock was gone.
    Lost,
}

impl State {
    pub const ALL: [Self; 6] = [
        Self::Held,
        Self::Expired,
        Self::Confirmed,
        Self::Released,
        Self::Refused,
        Self::Lost,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Expired => "EXPIRED",
            Self::Confirmed => "CONFIRMED",
            Self::Released => "RELEASED",
            Self::Refused => "REFUSED",
            Self::Lost => "LOST",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A product of which there is less than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    pub product_id: ProductId,
    pub requested: i64,
    pub available: i64,
}

/// Why a reservation does not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Of these there was not enough.
    OutOfStock(Vec<Shortage>),
    /// The same checkout asked for other lines before.
    Mismatch,
    /// There is no such reservation.
    NotFound,
    /// It was released.
    Released,
    /// It ran out, and its stock is gone.
    Expired,
    /// It was confirmed.
    Confirmed,
}

/// A reservation as Reserve finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub state: State,
    pub lines: Lines,
    /// What the first Reserve was told; `None` when Release came before any.
    pub first_answer: Option<Result<Timestamp, Refusal>>,
}

/// What Reserve does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnReserve {
    /// Takes stock for all lines or none.
    Take,
    /// Changes nothing.
    Answer(Result<Timestamp, Refusal>),
}

/// What Reserve does, given what is known of the checkout.
pub fn on_reserve(reservation: Option<Reservation>, lines: &Lines) -> OnReserve {
    let Some(reservation) = reservation else {
        return OnReserve::Take;
    };
    let same_lines = reservation.lines == *lines;
    OnReserve::Answer(match (reservation.state, reservation.first_answer) {
        (State::Released, _) | (_, None) => Err(Refusal::Released),
        (State::Held | State::Expired | State::Confirmed | State::Refused | State::Lost, Some(answer)) => {
            if same_lines { answer } else { Err(Refusal::Mismatch) }
        }
    })
}

/// How a checkout ends its reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    Confirm,
    Release,
}

/// What a settlement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It was done before.
    Nothing,
    Refuse(Refusal),
    /// The reservation gets this state, and its stock moves.
    Become(State, Option<Movement>),
    /// Takes the stock again: all lines → CONFIRMED, else → LOST.
    TakeAgain,
}

/// What a settlement does, given where the reservation stands (`None`: nobody knows it).
pub const fn on_settlement(settlement: Settlement, state: Option<State>) -> Step {
    match settlement {
        Settlement::Confirm => match state {
            None | Some(State::Refused) => Step::Refuse(Refusal::NotFound),
            // Also when its time has run out: as long as its stock was not given back, nobody else can have it.
            Some(State::Held) => Step::Become(State::Confirmed, Some(Movement::Sold)),
            Some(State::Expired) => Step::TakeAgain,
            Some(State::Lost) => Step::Refuse(Refusal::Expired),
            Some(State::Confirmed) => Step::Nothing,
            Some(State::Released) => Step::Refuse(Refusal::Released),
        },
        Settlement::Release => match state {
            None | Some(State::Expired | State::Lost) => Step::Become(State::Released, None),
            Some(State::Held) => Step::Become(State::Released, Some(Movement::Released)),
            Some(State::Released | State::Refused) => Step::Nothing,
            Some(State::Confirmed) => Step::Refuse(Refusal::Confirmed),
        },
    }
}

#[cfg(test)]
mod tests;
