//! The command line.

use std::process::ExitCode;

use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use runtime::config::Span;

use crate::{
    ServiceName, WRONG_CONFIGURATION, fail,
    settings::{
        Settings, Sources,
        redaction::{REDACTED, is_plain, shown},
    },
};

/// A shop that can be trusted with money: seven gRPC services behind a REST gateway, in one process or many.
///
/// Nothing needs to be installed or set: without a command, the whole shop starts on embedded stores.
#[derive(Debug, Parser)]
#[command(name = "cartwright", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the shop, or only some of its services (this is what happens without a command).
    Serve {
        /// The services to start; all of them when none is named.
        services: Vec<ServiceName>,
    },
    /// Start a shop on an empty temporary directory and go shopping in it.
    Demo,
    /// Print a signed token for development.
    Token {
        /// Whom the token speaks for.
        #[arg(long)]
        user: String,
        /// How long it is valid.
        #[arg(long, default_value = "24h")]
        expires_in: Span,
        /// A role to put into it.
        #[arg(long)]
        role: Option<String>,
    },
    /// Print the effective configuration and where each value comes from.
    Config,
    /// Events that a consumer could not apply.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Remove all that a running shop keeps of a customer; amounts, stock and ledgers stay (docs/erasure.md).
    Erase {
        /// Who is to be erased.
        #[arg(long)]
        user: String,
        /// Do it. Without this, it is only said whether anything is in the way.
        #[arg(long)]
        yes: bool,
        /// Also where events of this customer are parked; they go as well, if the bus lets single ones go.
        #[arg(long)]
        drop_parked: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List parked events.
    List,
    /// Show a parked event whole, with its reason.
    Show {
        /// The event's id, as `list` prints it.
        id: String,
    },
    /// Send parked events through their group again.
    Redrive {
        /// The event's id, as `list` prints it.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// Reads the command line, the environment and the files with secrets. An error was already said; it is the code to exit with.
pub(crate) fn parse() -> Result<(Command, (Settings, Sources)), ExitCode> {
    // What is set shows in `config`, without what is secret; help would show it as it is.
    let mut definition = Cli::command().mut_args(|arg| arg.hide_env_values(true));
    let parsed = definition.try_get_matches_from_mut(std::env::args_os());
    let matches = parsed.map_err(|error| refuse(&error))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| refuse(&error))?;
    let sources = Sources::read(&definition, &matches);
    let secrets = cli.settings.read_secrets();
    secrets.map_err(|error| fail(&error.to_string(), WRONG_CONFIGURATION))?;
    Ok((
        cli.command.unwrap_or(Command::Serve { services: Vec::new() }),
        (cli.settings, sources),
    ))
}

/// A value that came from the environment is wrong configuration, in one line; everything else is wrong usage, clap's way.
fn refuse(error: &clap::Error) -> ExitCode {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
        && let Some(argument) = context(ContextKind::InvalidArg)
        && let Some((flag, variable)) = argument.split_once(" <")
        && !std::env::args().any(|given| given == flag || given.starts_with(&format!("{flag}=")))
    {
        let one_of = match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(values)) => format!("must be {}", values.join(" or ")),
            _ => "is not valid".to_owned(),
        };
        let wants = std::error::Error::source(error).map_or(one_of, ToString::to_string);
        let value = context(ContextKind::InvalidValue).unwrap_or_default();
        let variable = variable.trim_end_matches('>');
        if !is_plain(value) {
            // An address with a login in the wrong variable: what is said repeats nothing of it.
            return fail(&format!("{variable}: the value is wrong"), WRONG_CONFIGURATION);
        }
        return fail(&format!("{variable}: '{value}' is wrong: {wants}"), WRONG_CONFIGURATION);
    }
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    let said = error.render().to_string();
    let clean = without_logins(&said, std::env::args().skip(1));
    if clean == said {
        // Help on a closed pipe is nobody's loss.
        let _ = error.print();
        return ExitCode::from(code);
    }
    fail(clean.trim_start_matches("error: ").trim_end(), code)
}

/// What is said of arguments, without what may be a login in them.
fn without_logins(said: &str, arguments: impl Iterator<Item = String>) -> String {
    let values = arguments.map(|argument| match argument.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => value.to_owned(),
        Some(_) | None => argument,
    });
    let mut odd: Vec<_> = values.filter(|value| shown(value) != *value).collect();
    // One may be a part of another.
    odd.sort_by_key(|value| std::cmp::Reverse(value.len()));
    odd.into_iter()
        .fold(said.to_owned(), |said, value| said.replace(&value, REDACTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_argument_repeats_no_login() {
        let arguments = ["serve", "--http-port=u:p@h", "postgres://u:p@h/d", "--user", "7"].map(str::to_owned);
        let said = "invalid value 'u:p@h' for '--http-port', and 'postgres://u:p@h/d' for serve, and 7";
        assert_eq!(
            without_logins(said, arguments.into_iter()),
            "invalid value '(redacted)' for '--http-port', and '(redacted)' for serve, and 7"
        );
    }
}
