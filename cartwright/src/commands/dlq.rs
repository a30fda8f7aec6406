//! `cartwright dlq`: events that a consumer could not apply. Works beside a running shop and without one.

use anyhow::{Context, anyhow};
use events::{DeadLetters, Parked};
use proto::events::{CHECKOUT_TOPIC, GROUPS};
use runtime::CrashPoints;

use super::{Failure, say};
use crate::{cli::DlqCommand, settings::Settings, shop::bus::connect};

pub(super) async fn run(command: DlqCommand, settings: &Settings) -> Result<(), Failure> {
    let nowhere = settings.engines.kafka().is_none() && !settings.file("bus").exists();
    if nowhere {
        return Err(anyhow!("DATA_DIR {}: no shop has been open here", settings.data_dir.display()).into());
    }
    let bus = connect(settings, &CrashPoints::none())
        .await
        .map_err(anyhow::Error::from)?;
    let letters = DeadLetters::new(bus);
    let parked = parked(&letters).await?;
    match command {
        DlqCommand::List => list(&parked),
        DlqCommand::Show { id } => show(&find(&parked, &id)?),
        DlqCommand::Redrive { id: Some(id), .. } => redrive(&letters, &find(&parked, &id)?).await,
        DlqCommand::Redrive { id: None, .. } => redrive(&letters, &parked.iter().collect::<Vec<_>>()).await,
    }
}

async fn parked(letters: &DeadLetters) -> anyhow::Result<Vec<Parked>> {
    let mut all = Vec::new();
    for group in GROUPS {
        all.extend(
            letters
                .list(CHECKOUT_TOPIC, group)
                .await
                .context("the event bus cannot be read")?,
        );
    }
    Ok(all)
}

/// An event may be parked by several groups.
fn find<'a>(parked: &'a [Parked], id: &str) -> anyhow::Result<Vec<&'a Parked>> {
    let found: Vec<_> = parked.iter().filter(|letter| letter.id == id).collect();
    if found.is_empty() {
        Err(anyhow!(
            "no event {id} is parked; `cartwright dlq list` shows those that are"
        ))
    } else {
        Ok(found)
    }
}

fn list(parked: &[Parked]) -> Result<(), Failure> {
    for letter in parked {
        say(&format!(
            "{}  {}  {}  {}",
            letter.id, letter.parked_at, letter.group, letter.reason
        ))?;
    }
    let s = if parked.len() == 1 { "" } else { "s" };
    Ok(say(&format!("{} event{s} parked", parked.len()))?)
}

fn show(found: &[&Parked]) -> Result<(), Failure> {
    for letter in found {
        say(&format!(
            "id         {}\ngroup      {}\nreason     {}",
            letter.id, letter.group, letter.reason
        ))?;
        say(&format!(
            "parked at  {}\nstood at   {}",
            letter.parked_at, letter.origin
        ))?;
        say(&format!("key        {}", letter.message.key))?;
        for (name, value) in &letter.message.headers {
            say(&format!("header     {name}: {value}"))?;
        }
        say(&format!(
            "value      {}\n",
            String::from_utf8_lossy(&letter.message.value)
        ))?;
    }
    Ok(())
}

async fn redrive(letters: &DeadLetters, found: &[&Parked]) -> Result<(), Failure> {
    for letter in found {
        letters
            .redrive(CHECKOUT_TOPIC, letter)
            .await
            .context("the event bus cannot be written")?;
        say(&format!("{}  sent through {} again", letter.id, letter.group))?;
    }
    if found.is_empty() {
        say("nothing is parked")?;
    }
    Ok(())
}
