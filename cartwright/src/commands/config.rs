//! `cartwright config`: the effective configuration.

use super::{CommandResult, print_line};
use crate::{
    Config,
    settings::{Settings, Sources},
};

pub(super) fn run(sources: &Sources, settings: Settings) -> CommandResult {
    for setting in sources.iter() {
        let value = setting.value.as_deref().unwrap_or("-");
        print_line(&format!("{:<26} {value:<24} {}", setting.variable, setting.source))?;
    }
    // Fails if a setting is wrong.
    Config::new(&[], settings)?;
    Ok(())
}
