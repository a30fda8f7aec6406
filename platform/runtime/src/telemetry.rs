//! Logs, and how they reach standard error without holding up anybody.

mod output;
mod visible;

use std::{
    any::Any,
    error::Error,
    fmt::{Debug, Display},
    fs::File,
    io::{IsTerminal, Write},
    iter,
    os::fd::{AsFd, BorrowedFd},
    panic,
    str::FromStr,
    time::Duration,
};

use tracing::{Span, field::Field, level_filters::LevelFilter};
use tracing_subscriber::{field::MakeExt, fmt, fmt::format};

pub use output::Output;
pub use visible::visible;
use visible::visible_json;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// Text for a person at a terminal, JSON for a machine.
    pub fn of_stderr() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("'{other}' is not a log format: text or json")),
        }
    }
}

/// What a process says on standard error: its log, and words for whoever started it. Nothing that is said here blocks, fails
/// or panics, whatever has become of standard error; what cannot be written is dropped, and counted.
#[derive(Debug, Clone)]
pub struct Log(Output);

impl Log {
    pub fn to_stderr() -> Self {
        let tell = |lines| tracing::error!(lines, "log lines were dropped: they could not be written in time");
        Self(Output::new(standard(std::io::stderr().as_fd()), tell))
    }

    /// Sends log lines of `level` and above here, and notes of panics. The first call in a process counts; later ones do
    /// nothing.
    pub fn install(&self, level: LevelFilter, format: LogFormat) {
        let output = self.0.clone();
        let builder = fmt()
            .with_max_level(level)
            .with_writer(move || Line(output.clone(), format))
            // It would be said by `eprintln!`, which panics where standard error is gone.
            .log_internal_errors(false)
            .with_target(true);
        // An error here says that there is a subscriber already.
        let installed = match format {
            LogFormat::Text => {
                let builder = builder.with_ansi(std::io::stderr().is_terminal());
                tracing::subscriber::set_global_default(builder.fmt_fields(fields()).finish())
            }
            LogFormat::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
        };
        if installed.is_ok() {
            // The hook that Rust comes with writes to standard error, and waits there while nobody empties it.
            panic::set_hook(Box::new(|panicked| {
                let place = panicked.location().map(ToString::to_string).unwrap_or_default();
                tracing::error!(place, what = panic_text(panicked.payload()), "panicked");
            }));
        }
    }

    /// Says a line to whoever started the process.
    pub fn say(&self, line: &str) {
        self.0.say(format!("{line}\n").into_bytes());
    }

    /// Waits until what was said has been written, at most for `limit`. False when it has not.
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.flush(limit)
    }
}

/// Standard output, for words that nobody has to take: they are dropped when nobody does.
pub fn stdout() -> Output {
    Output::new(standard(std::io::stdout().as_fd()), |_| {})
}

/// A standard stream past the lock of the standard library, which a write that blocks would hold.
fn standard(stream: BorrowedFd<'_>) -> Box<dyn Write + Send> {
    match stream.try_clone_to_owned() {
        Ok(own) => Box::new(File::from(own)),
        // It was closed before the process began.
        Err(_) => Box::new(std::io::sink()),
    }
}

/// The message of a line, and its fields as `name=value`, with nothing in them that a terminal obeys: what others have said may
/// be part of either.
fn fields() -> impl for<'writer> fmt::FormatFields<'writer> + Send + Sync + 'static {
    let write = |writer: &mut format::Writer<'_>, field: &Field, value: &dyn Debug| match field.name() {
        "message" => write!(writer, "{}", visible(&format!("{value:?}"))),
        name => write!(writer, "{name}={}", visible(&format!("{value:?}"))),
    };
    format::debug_fn(write).delimited(" ")
}

/// A log line as it is written: whole.
struct Line(Output, LogFormat);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.say(match self.1 {
            // Its fields were made visible one by one, and it has colours of our own.
            LogFormat::Text => line.to_vec(),
            LogFormat::Json => visible_json(&String::from_utf8_lossy(line)).into_bytes(),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a panic said.
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "something that is no text",
    }
}

/// Says what the request is about that the running task works for, such as a checkout, in all log lines from here on.
pub fn about(what: &str, id: &impl Display) {
    Span::current().record("subject", format!("{what} {id}"));
}

/// How long something took, in whole milliseconds, for a log line.
pub fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// An error with all of its sources, each said once: the text of some libraries' errors holds that of their source already.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    for source in iter::successors(error.source(), |error| (*error).source()) {
        let source = source.to_string();
        if !said.contains(&source) {
            said = format!("{said}: {source}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_a_terminal_obeys_nothing_that_others_have_said() {
        let written = Written::default();
        let (kept, hostile) = (written.clone(), "a\u{1b}[2J\r\nERROR b\u{9b}31m\u{202e}c");
        let subscriber = fmt()
            .with_writer(move || kept.clone())
            .with_ansi(false)
            .fmt_fields(fields())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _inside = tracing::info_span!("span", said = %hostile).entered();
            tracing::warn!(shown = %hostile, quoted = hostile, debug = ?hostile, "{hostile}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line = text.trim_end_matches('\n');
        let is_obeyed = |c: &char| c.is_control() || *c == '\u{202e}';
        assert_eq!(line.chars().find(is_obeyed), None, "{line:?}");
        for word in ["said=a", "shown=a", "quoted=\"a", "debug=\"a", r"\u{1b}[2J\r\nERROR b"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }

    #[test]
    fn a_line_of_json_obeys_nothing_either_and_says_the_same() {
        let written = Written::default();
        let output = Output::new(Box::new(written.clone()), |_| {});
        let (line, hostile) = (output.clone(), "a\u{1b}[2J\r\nERROR b\u{7f}\u{9b}31m\u{202e}c");
        let subscriber = fmt()
            .with_writer(move || Line(line.clone(), LogFormat::Json))
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _inside = tracing::info_span!("span", said = %hostile).entered();
            tracing::warn!(shown = %hostile, quoted = hostile, "{hostile}");
        });
        assert!(output.flush(Duration::from_secs(10)));
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line = text.trim_end_matches('\n');
        let is_obeyed = |c: &char| c.is_control() || *c == '\u{202e}';
        assert_eq!(line.chars().find(is_obeyed), None, "{line:?}");
        let read: serde_json::Value = serde_json::from_str(line).unwrap();
        for said in ["/shown", "/quoted", "/message", "/span/said"] {
            assert_eq!(
                read.pointer(said).and_then(serde_json::Value::as_str),
                Some(hostile),
                "{said}: {line}"
            );
        }
    }
}
