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
        redaction::{REDACTED, is_plain, redact},
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
    /// Start the shop, or only some of its services (the default command).
    Serve {
        /// The services to start; all if none is named.
        services: Vec<ServiceName>,
    },
    /// Start a shop on an empty temporary directory and go shopping in it.
    Demo,
    /// Print a signed token for development.
    Token {
        /// The user of the token.
        #[arg(long)]
        user: String,
        /// How long it is valid.
        #[arg(long, default_value = "24h")]
        expires_in: Span,
        /// A role of the user.
        #[arg(long)]
        role: Option<String>,
    },
    /// Print the effective configuration and where each value comes from.
    Config,
    /// List, show or redrive events that a consumer could not apply.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Erase all personal data of a customer in a running shop; amounts, stock and ledgers stay (docs/erasure.md).
    Erase {
        /// The customer to erase.
        #[arg(long)]
        user: String,
        /// Erase. Without this flag, the command only checks whether something prevents the erasure.
        #[arg(long)]
        yes: bool,
        /// Erase although events of this customer are parked. Drops these events, if the bus can delete them.
        #[arg(long)]
        drop_parked: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List parked events.
    List,
    /// Show a parked event with its reason.
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

/// Reads the command line, the environment and the secret files. Prints an error, and returns its exit code.
pub(crate) fn parse() -> Result<(Command, (Settings, Sources)), ExitCode> {
    // Help would print secrets of the environment; `config` redacts them.
    let mut definition = Cli::command().mut_args(|arg| arg.hide_env_values(true));
    let parsed = definition.try_get_matches_from_mut(std::env::args_os());
    let matches = parsed.map_err(|error| print_error(&error))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| print_error(&error))?;
    let sources = Sources::read(&definition, &matches);
    let secrets = cli.settings.read_secrets();
    secrets.map_err(|error| fail(&error.to_string(), WRONG_CONFIGURATION))?;
    Ok((
        cli.command.unwrap_or(Command::Serve { services: Vec::new() }),
        (cli.settings, sources),
    ))
}

/// Prints an invalid value of the environment in one line, as wrong configuration. Lets clap print wrong usage.
fn print_error(error: &clap::Error) -> ExitCode {
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
            // The value may be an address with a login, in the wrong variable: it is not repeated.
            return fail(&format!("{variable}: the value is wrong"), WRONG_CONFIGURATION);
        }
        return fail(&format!("{variable}: '{value}' is wrong: {wants}"), WRONG_CONFIGURATION);
    }
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    let text = error.render().to_string();
    let redacted = redact_arguments(&text, std::env::args().skip(1));
    if redacted == text {
        // Fails if the pipe is closed, and then nobody reads the help.
        let _ = error.print();
        return ExitCode::from(code);
    }
    fail(redacted.trim_start_matches("error: ").trim_end(), code)
}

/// The text without arguments that may contain a login.
fn redact_arguments(text: &str, arguments: impl Iterator<Item = String>) -> String {
    let values = arguments.map(|argument| match argument.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => value.to_owned(),
        Some(_) | None => argument,
    });
    let mut logins: Vec<_> = values.filter(|value| redact(value) != *value).collect();
    // Longest first: one value may be a part of another.
    logins.sort_by_key(|value| std::cmp::Reverse(value.len()));
    logins
        .into_iter()
        .fold(text.to_owned(), |text, value| text.replace(&value, REDACTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_an_argument_repeats_no_login() {
        let arguments = ["serve", "--http-port=u:p@h", "postgres://u:p@h/d", "--user", "7"].map(str::to_owned);
        let text = "invalid value 'u:p@h' for '--http-port', and 'postgres://u:p@h/d' for serve, and 7";
        assert_eq!(
            redact_arguments(text, arguments.into_iter()),
            "invalid value '(redacted)' for '--http-port', and '(redacted)' for serve, and 7"
        );
    }
}
