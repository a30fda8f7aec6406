//! Logging that never blocks on standard error.

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
use uuid::Uuid;

pub use output::Output;
pub use visible::visible;
use visible::visible_json;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// Text for a terminal, JSON otherwise.
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

/// Standard error: the log, and messages to the operator. Writing never blocks, fails or panics, whatever happens to
/// standard error. Lines that cannot be written are dropped and counted.
#[derive(Debug, Clone)]
pub struct Log(Output);

impl Log {
    pub fn to_stderr() -> Self {
        let report_dropped =
            |lines| tracing::error!(lines, "log lines were dropped: they could not be written in time");
        Self(Output::new(unlocked(std::io::stderr().as_fd()), report_dropped))
    }

    /// Sends log lines of `level` and above here, and logs panics. Only the first call in a process has an effect.
    pub fn install(&self, level: LevelFilter, format: LogFormat) {
        let output = self.0.clone();
        let builder = fmt()
            .with_max_level(level)
            .with_writer(move || LineWriter(output.clone(), format))
            // The subscriber would report internal errors by `eprintln!`, which panics if standard error is gone.
            .log_internal_errors(false)
            .with_target(true);
        // An error means that there is a subscriber already.
        let installed = match format {
            LogFormat::Text => {
                let builder = builder.with_ansi(std::io::stderr().is_terminal());
                tracing::subscriber::set_global_default(builder.fmt_fields(fields()).finish())
            }
            LogFormat::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
        };
        if installed.is_ok() {
            // The default hook writes to standard error itself, and would block on a full pipe.
            panic::set_hook(Box::new(|panicked| {
                let place = panicked.location().map(ToString::to_string).unwrap_or_default();
                tracing::error!(place, what = panic_text(panicked.payload()), "panicked");
            }));
        }
    }

    /// Writes a message to the operator.
    pub fn write_line(&self, line: &str) {
        self.0.write_line(format!("{line}\n").into_bytes());
    }

    /// Waits at most for `limit` until all lines are written. False if some are not.
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.flush(limit)
    }
}

/// Standard output, for optional messages: lines that cannot be written are dropped.
pub fn stdout() -> Output {
    Output::new(unlocked(std::io::stdout().as_fd()), |_| {})
}

/// A standard stream without the standard library's lock, which a blocked write would hold.
fn unlocked(stream: BorrowedFd<'_>) -> Box<dyn Write + Send> {
    match stream.try_clone_to_owned() {
        Ok(own) => Box::new(File::from(own)),
        // The stream was closed before the process started.
        Err(_) => Box::new(std::io::sink()),
    }
}

/// Formats message and fields (`name=value`), with terminal controls escaped: either may contain foreign text.
fn fields() -> impl for<'writer> fmt::FormatFields<'writer> + Send + Sync + 'static {
    let write = |writer: &mut format::Writer<'_>, field: &Field, value: &dyn Debug| match field.name() {
        "message" => write!(writer, "{}", visible(&format!("{value:?}"))),
        name => write!(writer, "{name}={}", visible(&format!("{value:?}"))),
    };
    format::debug_fn(write).delimited(" ")
}

/// Writes whole log lines.
struct LineWriter(Output, LogFormat);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.write_line(match self.1 {
            // The fields are already escaped. The remaining escape sequences are the log's own colours.
            LogFormat::Text => line.to_vec(),
            LogFormat::Json => visible_json(&String::from_utf8_lossy(line)).into_bytes(),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The message of a panic.
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a payload that is not text",
    }
}

/// Names the subject of the current request, such as a checkout, in all following log lines of the request. An id that
/// is no UUID is foreign text, of any length, and is not recorded.
pub fn record_subject(what: &str, id: &impl Display) {
    if let Ok(id) = Uuid::try_parse(&id.to_string()) {
        Span::current().record("subject", format!("{what} {id}"));
    }
}

/// A duration in whole milliseconds, for log lines.
pub fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// An error with all its sources. A source that the text already contains is skipped, as some libraries include theirs.
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
    fn foreign_text_controls_no_terminal_in_text_lines() {
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
        let is_active = |c: &char| c.is_control() || *c == '\u{202e}';
        assert_eq!(line.chars().find(is_active), None, "{line:?}");
        for word in ["said=a", "shown=a", "quoted=\"a", "debug=\"a", r"\u{1b}[2J\r\nERROR b"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }

    #[test]
    fn only_a_uuid_is_recorded_as_the_subject() {
        let written = Written::default();
        let kept = written.clone();
        let subscriber = fmt().with_writer(move || kept.clone()).with_ansi(false).finish();
        let id = Uuid::from_u128(7);
        tracing::subscriber::with_default(subscriber, || {
            for said in ["somebody's words".to_owned(), id.to_string()] {
                let span = tracing::info_span!("request", subject = tracing::field::Empty);
                let _inside = span.entered();
                record_subject("checkout", &said);
                tracing::info!("told");
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("somebody"), "{text}");
        assert!(text.contains(&format!("checkout {id}")), "{text}");
    }

    #[test]
    fn foreign_text_controls_no_terminal_in_json_lines() {
        let written = Written::default();
        let output = Output::new(Box::new(written.clone()), |_| {});
        let (line, hostile) = (output.clone(), "a\u{1b}[2J\r\nERROR b\u{7f}\u{9b}31m\u{202e}c");
        let subscriber = fmt()
            .with_writer(move || LineWriter(line.clone(), LogFormat::Json))
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
        let is_active = |c: &char| c.is_control() || *c == '\u{202e}';
        assert_eq!(line.chars().find(is_active), None, "{line:?}");
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
