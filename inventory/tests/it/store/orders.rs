//! Every order of up to four commands on one reservation, checked against a model that knows nothing of states.

use std::time::Duration;

use futures::{StreamExt, stream};
use inventory::{
    domain::{CheckoutId, Refusal},
    ports::StockStore,
};
use jiff::Timestamp;

use super::{HOUR, NO_TIME, Stores, assert_balanced, delivery, lines, new_checkout, out_of_stock, stock_of};

pub(crate) async fn all_orders_of_commands_on_a_hold_with_time_left(fixture: &dyn Stores) {
    all_orders(fixture, HOUR).await;
}

pub(crate) async fn all_orders_of_commands_on_a_hold_that_ran_out(fixture: &dyn Stores) {
    all_orders(fixture, NO_TIME).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Reserve,
    ReserveOtherLines,
    Confirm,
    Release,
    /// The sweep passes.
    Sweep,
    /// Somebody else, with all time left, wants most of the stock.
    Rival,
}

const COMMANDS: [Command; 6] = [
    Command::Reserve,
    Command::ReserveOtherLines,
    Command::Confirm,
    Command::Release,
    Command::Sweep,
    Command::Rival,
];
const LONGEST: u32 = 4;
const PIECES: i64 = 3;
const WANTED: i64 = 2;
const OTHER: i64 = 1;

/// Orders at once that do not touch each other.
const AT_ONCE: usize = 16;

/// Each shorter order is the beginning of one of the longest, and every step is checked.
async fn all_orders(fixture: &dyn Stores, ttl: Duration) {
    let store = &*fixture.open().await;
    // What runs out is given back by the sweep of any of them: then each must be alone.
    let at_once = if ttl.is_zero() { 1 } else { AT_ONCE };
    stream::iter(0..6_i64.pow(LONGEST))
        .for_each_concurrent(at_once, |n| order(store, n, ttl))
        .await;
    assert_balanced(fixture).await;
}

/// The `n`th of all orders, on a product and a checkout of its own.
async fn order(store: &dyn StockStore, n: i64, ttl: Duration) {
    let digit = |place| usize::try_from(n / 6_i64.pow(place) % 6).unwrap();
    let order: Vec<_> = (0..LONGEST).map(|place| COMMANDS[digit(place)]).collect();
    let product = 1_000 + n;
    let goods = delivery(&format!("{n}"), product, PIECES);
    store.receive(&goods).await.unwrap().unwrap();
    let mut model = Model::new(product, ttl.is_zero());
    let (checkout, mut held_until) = (new_checkout(), None);
    for command in &order {
        let answer = run(store, *command, checkout, (product, ttl)).await;
        let expected = model.run(*command);
        assert_eq!(answer.clone().map(|_| ()), expected, "{command:?} in {order:?}");
        if let Ok(Some(expires_at)) = answer {
            let first = *held_until.get_or_insert(expires_at);
            assert_eq!(first, expires_at, "{command:?} in {order:?}");
        }
        let stock = stock_of(store, product).await;
        assert_eq!(stock, model.stock(), "after {command:?} in {order:?}");
    }
}

/// The answer, and until when the stock is held where it says so.
async fn run(
    store: &dyn StockStore,
    command: Command,
    checkout: CheckoutId,
    (product, ttl): (i64, Duration),
) -> Result<Option<Timestamp>, Refusal> {
    match command {
        Command::Reserve => store
            .reserve(checkout, &lines(&[(product, WANTED)]), ttl)
            .await
            .unwrap()
            .map(Some),
        Command::ReserveOtherLines => store
            .reserve(checkout, &lines(&[(product, OTHER)]), ttl)
            .await
            .unwrap()
            .map(Some),
        Command::Confirm => store.confirm(checkout).await.unwrap().map(|()| None),
        Command::Release => store.release(checkout).await.unwrap().map(|()| None),
        Command::Sweep => {
            store.expire(1_000).await.unwrap();
            Ok(None)
        }
        Command::Rival => {
            let taken = store
                .reserve(new_checkout(), &lines(&[(product, WANTED)]), HOUR)
                .await
                .unwrap();
            taken.map(|_| None)
        }
    }
}

/// What happened to one reservation, as facts.
struct Model {
    product: i64,
    runs_out: bool,
    on_hand: i64,
    rivals: i64,
    /// Pieces that it holds now.
    holds: i64,
    /// What was asked for first, and the answer.
    first: Option<(i64, Result<(), Refusal>)>,
    /// The first answer of substance to Confirm: sold, or lost for ever.
    sold: Option<bool>,
    released: bool,
}

impl Model {
    fn new(product: i64, runs_out: bool) -> Self {
        Self {
            product,
            runs_out,
            on_hand: PIECES,
            rivals: 0,
            holds: 0,
            first: None,
            sold: None,
            released: false,
        }
    }

    fn stock(&self) -> (i64, i64) {
        (self.on_hand, self.holds + self.rivals)
    }

    fn free(&self) -> i64 {
        self.on_hand - self.holds - self.rivals
    }

    fn run(&mut self, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Reserve => self.reserve(WANTED),
            Command::ReserveOtherLines => self.reserve(OTHER),
            Command::Confirm => self.confirm(),
            Command::Release => self.release(),
            Command::Sweep => {
                self.sweep();
                Ok(())
            }
            Command::Rival => self.rival(),
        }
    }

    fn short(&self, wanted: i64) -> Refusal {
        out_of_stock(&[(self.product, wanted, self.free())])
    }

    fn reserve(&mut self, wanted: i64) -> Result<(), Refusal> {
        if self.released {
            return Err(Refusal::Released);
        }
        if let Some((asked, answer)) = &self.first {
            return if *asked == wanted {
                answer.clone()
            } else {
                Err(Refusal::Mismatch)
            };
        }
        let answer = if self.free() >= wanted {
            Ok(())
        } else {
            Err(self.short(wanted))
        };
        if answer.is_ok() {
            self.holds = wanted;
        }
        self.first = Some((wanted, answer.clone()));
        answer
    }

    fn confirm(&mut self) -> Result<(), Refusal> {
        if self.released {
            return Err(Refusal::Released);
        }
        let Some((wanted, Ok(()))) = self.first else {
            return Err(Refusal::NotFound);
        };
        let sold = self.sold.unwrap_or(self.free() + self.holds >= wanted);
        if self.sold.is_none() && sold {
            self.holds = 0;
            self.on_hand -= wanted;
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
            self.holds = 0;
        }
        Ok(())
    }

    fn sweep(&mut self) {
        if self.runs_out {
            self.holds = 0;
        }
    }

    fn rival(&mut self) -> Result<(), Refusal> {
        if self.free() < WANTED {
            self.sweep();
        }
        if self.free() < WANTED {
            return Err(self.short(WANTED));
        }
        self.rivals += WANTED;
        Ok(())
    }
}
