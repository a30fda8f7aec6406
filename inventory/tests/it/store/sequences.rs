//! Every sequence of up to four commands on one reservation, compared with a model without states.

use std::time::Duration;

use futures::{StreamExt, stream};
use inventory::{
    domain::{CheckoutId, Refusal},
    ports::StockStore,
};
use jiff::Timestamp;

use super::{HOUR, StoreFixture, ZERO_TTL, assert_balanced, delivery, lines, new_checkout, out_of_stock, stock_of};

pub(crate) async fn all_sequences_of_commands_on_a_reservation_that_does_not_expire(fixture: &dyn StoreFixture) {
    all_sequences(fixture, HOUR).await;
}

pub(crate) async fn all_sequences_of_commands_on_a_reservation_that_expires(fixture: &dyn StoreFixture) {
    all_sequences(fixture, ZERO_TTL).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Reserve,
    ReserveOtherLines,
    Confirm,
    Release,
    Expire,
    /// Another checkout reserves most of the stock.
    Rival,
}

const COMMANDS: [Command; 6] = [
    Command::Reserve,
    Command::ReserveOtherLines,
    Command::Confirm,
    Command::Release,
    Command::Expire,
    Command::Rival,
];
const LENGTH: u32 = 4;
const STOCK: i64 = 3;
const QUANTITY: i64 = 2;
const OTHER_QUANTITY: i64 = 1;
const CONCURRENCY: usize = 16;

/// Every command's result is checked, so the longest sequences cover the shorter ones.
async fn all_sequences(fixture: &dyn StoreFixture, ttl: Duration) {
    let store = &*fixture.open().await;
    // An expiry affects the reservations of all sequences, so sequences with due reservations run one by one.
    let concurrency = if ttl.is_zero() { 1 } else { CONCURRENCY };
    stream::iter(0..6_i64.pow(LENGTH))
        .for_each_concurrent(concurrency, |n| run_sequence(store, n, ttl))
        .await;
    assert_balanced(fixture).await;
}

/// Runs the `n`th sequence on its own product and checkout.
async fn run_sequence(store: &dyn StockStore, n: i64, ttl: Duration) {
    let digit = |position| usize::try_from(n / 6_i64.pow(position) % 6).unwrap();
    let sequence: Vec<_> = (0..LENGTH).map(|position| COMMANDS[digit(position)]).collect();
    let product = 1_000 + n;
    let goods = delivery(&format!("{n}"), product, STOCK);
    store.receive(&goods).await.unwrap().unwrap();
    let mut model = Model::new(product, ttl.is_zero());
    let (checkout, mut first_expiry) = (new_checkout(), None);
    for command in &sequence {
        let answer = run(store, *command, checkout, (product, ttl)).await;
        let expected = model.run(*command);
        assert_eq!(answer.clone().map(|_| ()), expected, "{command:?} in {sequence:?}");
        if let Ok(Some(expires_at)) = answer {
            let first = *first_expiry.get_or_insert(expires_at);
            assert_eq!(first, expires_at, "{command:?} in {sequence:?}");
        }
        let stock = stock_of(store, product).await;
        assert_eq!(stock, model.stock(), "after {command:?} in {sequence:?}");
    }
}

/// Returns the expiry time of a Reserve.
async fn run(
    store: &dyn StockStore,
    command: Command,
    checkout: CheckoutId,
    (product, ttl): (i64, Duration),
) -> Result<Option<Timestamp>, Refusal> {
    match command {
        Command::Reserve => store
            .reserve(checkout, &lines(&[(product, QUANTITY)]), ttl)
            .await
            .unwrap()
            .map(Some),
        Command::ReserveOtherLines => store
            .reserve(checkout, &lines(&[(product, OTHER_QUANTITY)]), ttl)
            .await
            .unwrap()
            .map(Some),
        Command::Confirm => store.confirm(checkout).await.unwrap().map(|()| None),
        Command::Release => store.release(checkout).await.unwrap().map(|()| None),
        Command::Expire => {
            store.expire(1_000).await.unwrap();
            Ok(None)
        }
        Command::Rival => {
            let taken = store
                .reserve(new_checkout(), &lines(&[(product, QUANTITY)]), HOUR)
                .await
                .unwrap();
            taken.map(|_| None)
        }
    }
}

/// The history of one reservation as facts.
struct Model {
    product: i64,
    expires: bool,
    on_hand: i64,
    held_by_rivals: i64,
    held: i64,
    /// The first requested quantity, and the answer.
    first: Option<(i64, Result<(), Refusal>)>,
    /// The final answer to Confirm: sold or lost.
    sold: Option<bool>,
    released: bool,
}

impl Model {
    fn new(product: i64, expires: bool) -> Self {
        Self {
            product,
            expires,
            on_hand: STOCK,
            held_by_rivals: 0,
            held: 0,
            first: None,
            sold: None,
            released: false,
        }
    }

    fn stock(&self) -> (i64, i64) {
        (self.on_hand, self.held + self.held_by_rivals)
    }

    fn free(&self) -> i64 {
        self.on_hand - self.held - self.held_by_rivals
    }

    fn run(&mut self, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Reserve => self.reserve(QUANTITY),
            Command::ReserveOtherLines => self.reserve(OTHER_QUANTITY),
            Command::Confirm => self.confirm(),
            Command::Release => self.release(),
            Command::Expire => {
                self.expire();
                Ok(())
            }
            Command::Rival => self.rival(),
        }
    }

    fn short(&self, quantity: i64) -> Refusal {
        out_of_stock(&[(self.product, quantity, self.free())])
    }

    fn reserve(&mut self, quantity: i64) -> Result<(), Refusal> {
        if self.released {
            return Err(Refusal::Released);
        }
        if let Some((asked, answer)) = &self.first {
            return if *asked == quantity {
                answer.clone()
            } else {
                Err(Refusal::Mismatch)
            };
        }
        let answer = if self.free() >= quantity {
            Ok(())
        } else {
            Err(self.short(quantity))
        };
        if answer.is_ok() {
            self.held = quantity;
        }
        self.first = Some((quantity, answer.clone()));
        answer
    }

    fn confirm(&mut self) -> Result<(), Refusal> {
        if self.released {
            return Err(Refusal::Released);
        }
        let Some((quantity, Ok(()))) = self.first else {
            return Err(Refusal::NotFound);
        };
        let sold = self.sold.unwrap_or(self.free() + self.held >= quantity);
        if self.sold.is_none() && sold {
            self.held = 0;
            self.on_hand -= quantity;
        }
        self.sold = Some(sold);
        if sold { Ok(()) } else { Err(Refusal::Expired) }
    }

    fn release(&mut self) -> Result<(), Refusal> {
        if self.sold == Some(true) {
            return Err(Refusal::Confirmed);
        }
        if !matches!(self.first, Some((_, Err(_)))) {
            self.released = true;
            self.held = 0;
        }
        Ok(())
    }

    fn expire(&mut self) {
        if self.expires {
            self.held = 0;
        }
    }

    fn rival(&mut self) -> Result<(), Refusal> {
        if self.free() < QUANTITY {
            self.expire();
        }
        if self.free() < QUANTITY {
            return Err(self.short(QUANTITY));
        }
        self.held_by_rivals += QUANTITY;
        Ok(())
    }
}
