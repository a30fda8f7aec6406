//! Settings of single services, made from the table of services.

use std::{collections::BTreeMap, fmt::Debug, marker::PhantomData};

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, builder::ValueParser, value_parser};

use super::ServiceName;
use crate::services::{Definition, Listener, Store};

/// A setting that each service has in a variable of its own.
pub trait PerServiceSetting: Debug + Clone {
    type Value: Debug + Clone + Send + Sync + 'static;
    const HELP: &'static str;

    /// The variable and the default, if this service has the setting.
    fn of(definition: Definition) -> Option<(&'static str, Option<String>)>;
    fn parser() -> ValueParser;
}

/// The values of one setting, by service.
#[derive(Debug, Clone)]
pub struct PerService<S: PerServiceSetting> {
    values: BTreeMap<ServiceName, S::Value>,
    setting: PhantomData<S>,
}

impl<S: PerServiceSetting> PerService<S> {
    /// The value of a service; `None` if it has none.
    pub fn of(&self, service: ServiceName) -> Option<&S::Value> {
        self.values.get(&service)
    }

    pub fn set(&mut self, service: ServiceName, value: S::Value) {
        self.values.insert(service, value);
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut S::Value> {
        self.values.values_mut()
    }
}

/// The services that have the setting, with variable and default.
fn rows<S: PerServiceSetting>() -> impl Iterator<Item = (ServiceName, &'static str, Option<String>)> {
    let all = ServiceName::ALL.into_iter();
    all.filter_map(|service| S::of(service.definition()).map(|(variable, default)| (service, variable, default)))
}

impl<S: PerServiceSetting> Args for PerService<S> {
    fn augment_args(command: Command) -> Command {
        rows::<S>().fold(command, |command, (_, variable, default)| {
            let name = variable.to_ascii_lowercase();
            let arg = Arg::new(name.clone())
                .long(name.replace('_', "-"))
                .value_name(variable)
                .env(variable)
                .global(true)
                .hide_short_help(true)
                .hide_env_values(true)
                .help(S::HELP)
                .value_parser(S::parser());
            command.arg(match default {
                Some(default) => arg.default_value(default),
                None => arg,
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: PerServiceSetting> FromArgMatches for PerService<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let value = |(service, variable, _): (_, &str, _)| {
            let value = matches.get_one::<S::Value>(&variable.to_ascii_lowercase())?;
            Some((service, value.clone()))
        };
        Ok(Self {
            values: rows::<S>().filter_map(value).collect(),
            setting: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Where the gRPC listeners bind.
pub type Ports = PerService<Port>;
/// The addresses of services in other processes.
pub type Addresses = PerService<Address>;
/// PostgreSQL databases of single services.
pub type Databases = PerService<DatabaseUrl>;
/// Files with the URLs of these databases.
pub type DatabaseFiles = PerService<DatabaseUrlFile>;

#[derive(Debug, Clone)]
pub enum Port {}

impl PerServiceSetting for Port {
    type Value = u16;
    const HELP: &'static str = "The port of this service's gRPC listener";

    fn of(definition: Definition) -> Option<(&'static str, Option<String>)> {
        match definition.listener {
            Listener::Grpc { port, default, .. } => Some((port, Some(default.to_string()))),
            Listener::Http => None,
        }
    }

    fn parser() -> ValueParser {
        value_parser!(u16).into()
    }
}

#[derive(Debug, Clone)]
pub enum Address {}

impl PerServiceSetting for Address {
    type Value = String;
    const HELP: &'static str =
        "Where this service is, host:port, when it is not in this process; more replicas with commas between them";

    fn of(definition: Definition) -> Option<(&'static str, Option<String>)> {
        match definition.listener {
            Listener::Grpc { default, address, .. } => Some((address, Some(format!("localhost:{default}")))),
            Listener::Http => None,
        }
    }

    fn parser() -> ValueParser {
        ValueParser::string()
    }
}

#[derive(Debug, Clone)]
pub enum DatabaseUrl {}

impl PerServiceSetting for DatabaseUrl {
    type Value = String;
    const HELP: &'static str = "PostgreSQL for this service alone, in place of `DATABASE_URL`";

    fn of(definition: Definition) -> Option<(&'static str, Option<String>)> {
        match definition.store {
            Store::Relational { url, .. } => Some((url, None)),
            Store::Carts | Store::None => None,
        }
    }

    fn parser() -> ValueParser {
        ValueParser::string()
    }
}

#[derive(Debug, Clone)]
pub enum DatabaseUrlFile {}

impl PerServiceSetting for DatabaseUrlFile {
    type Value = String;
    const HELP: &'static str = super::secrets::FILE_HELP;

    fn of(definition: Definition) -> Option<(&'static str, Option<String>)> {
        match definition.store {
            Store::Relational { file, .. } => Some((file, None)),
            Store::Carts | Store::None => None,
        }
    }

    fn parser() -> ValueParser {
        ValueParser::string()
    }
}
