//! `cartwright config`: the effective configuration.

use super::{Failure, say};
use crate::{
    Config,
    settings::{Settings, Sources},
};

pub(super) fn run(sources: &Sources, settings: Settings) -> Result<(), Failure> {
    for setting in sources.iter() {
        let value = setting.value.as_deref().unwrap_or("-");
        say(&format!("{:<26} {value:<24} {}", setting.variable, setting.source))?;
    }
    // What is wrong with it, if anything is.
    Config::new(&[], settings)?;
    Ok(())
}
