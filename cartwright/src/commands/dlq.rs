//! `cartwright dlq`: lists, shows and redrives parked events. Works with and without a running shop.

use anyhow::{Context, anyhow};
use events::{DeadLetters, Topic};
use proto::events::TOPICS;
use runtime::telemetry::visible;

use super::{CommandResult, print_line};
use crate::{cli::DlqCommand, settings::Settings, shop::bus::connect};

/// A parked event and its topic.
struct Parked {
    topic: Topic,
    letter: events::Parked,
}

pub(super) async fn run(command: DlqCommand, settings: &Settings) -> CommandResult {
    let bus_is_missing = settings.engines.kafka().is_none() && !settings.file("bus").exists();
    if bus_is_missing {
        return Err(anyhow!("DATA_DIR {}: no shop has been open here", settings.data_dir.display()).into());
    }
    let bus = connect(settings).await.map_err(anyhow::Error::from)?;
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
    for &topic in TOPICS {
        for group in topic.groups {
            let found = letters.list(topic.name, group).await;
            let found = found.context("the event bus cannot be read")?;
            all.extend(found.into_iter().map(|letter| Parked { topic, letter }));
        }
    }
    Ok(all)
}

/// Several groups may have parked the same event.
fn find<'a>(parked: &'a [Parked], id: &str) -> anyhow::Result<Vec<&'a Parked>> {
    let found: Vec<_> = parked.iter().filter(|parked| parked.letter.id == id).collect();
    if found.is_empty() {
        Err(anyhow!(
            "no event {id} is parked; `cartwright dlq list` shows those that are"
        ))
    } else {
        Ok(found)
    }
}

fn list(parked: &[Parked]) -> CommandResult {
    for Parked { letter, .. } in parked {
        let events::Parked {
            id,
            parked_at,
            group,
            reason,
            authentic,
            ..
        } = letter;
        let warning = if *authentic { "" } else { "NOT SIGNED BY THIS SHOP  " };
        print_escaped(&format!("{id}  {parked_at}  {group}  {warning}{reason}"))?;
    }
    let s = if parked.len() == 1 { "" } else { "s" };
    Ok(print_line(&format!("{} event{s} parked", parked.len()))?)
}

fn show(found: &[&Parked]) -> CommandResult {
    for Parked { letter, .. } in found {
        let message = &letter.message;
        let line = |name: &str, value: &str| print_escaped(&format!("{name:<10} {value}"));
        line("id", &letter.id)?;
        line("group", &letter.group)?;
        line("reason", &letter.reason)?;
        if !letter.authentic {
            line(
                "signed",
                "no: anybody who can write to the event bus may have written this letter",
            )?;
        }
        line("parked at", &letter.parked_at)?;
        line("stood at", &letter.origin)?;
        line("key", &message.key)?;
        for (name, value) in &message.headers {
            line("header", &format!("{name}: {value}"))?;
        }
        line("value", &String::from_utf8_lossy(&message.value))?;
        print_line("")?;
    }
    Ok(())
}

/// Escapes control characters: anybody may have written the letter, and a terminal would obey them.
fn print_escaped(line: &str) -> CommandResult {
    Ok(print_line(&visible(line))?)
}

async fn redrive(letters: &DeadLetters, found: &[&Parked]) -> CommandResult {
    for Parked { topic, letter } in found {
        letters
            .redrive(topic.name, letter)
            .await
            .context("the event bus cannot be written")?;
        print_escaped(&format!("{}  sent through {} again", letter.id, letter.group))?;
    }
    if found.is_empty() {
        print_line("nothing is parked")?;
    }
    Ok(())
}
