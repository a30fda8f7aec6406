//! Points: what the mechanisms of a shop are about to do, and have done, by name. A test can make the process die there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// What happens between the two sides of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A transaction is committed, or a document written.
    Commit,
    /// Another service is called.
    Call,
    /// Events are given to the bus.
    Publish,
    /// A consumer group notes how far it is.
    Offset,
}

impl Kind {
    /// As it stands in names of points.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Call => "call",
            Self::Publish => "publish",
            Self::Offset => "offset",
        }
    }
}

/// The points that the code passes: before and after each commit, call, publish and offset commit. The mechanisms pass
/// them, not their users, so that a new commit or call has its points without anybody thinking of it.
///
/// A name reads `kind:label:side`, such as `commit:inventory.reserve:before`.
#[derive(Debug, Clone, Default)]
pub struct Points(Option<Arc<Armed>>);

#[derive(Debug)]
struct Armed {
    abort_at: Option<String>,
    trace: Option<Mutex<File>>,
}

/// Something that has begun. Dropped without [`Passage::done`] it has failed, or what became of it is not known.
#[derive(Debug)]
#[must_use = "what is dropped at once has failed at once"]
pub struct Passage<'a> {
    points: &'a Points,
    kind: Kind,
    label: &'a str,
}

impl Points {
    /// No point does anything.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Aborts the process, without any destructor, at the point of this name; writes the names of all points passed,
    /// a line each, to the end of the file `trace`.
    pub fn armed(abort_at: Option<String>, trace: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path).map(Mutex::new);
        let trace = trace.map(open).transpose()?;
        if abort_at.is_none() && trace.is_none() {
            return Ok(Self::none());
        }
        Ok(Self(Some(Arc::new(Armed { abort_at, trace }))))
    }

    /// Passes the point before something happens. `label` says what it is, among all of its kind.
    pub fn enter<'a>(&'a self, kind: Kind, label: &'a str) -> Passage<'a> {
        self.pass(kind, label, "before");
        Passage {
            points: self,
            kind,
            label,
        }
    }

    fn pass(&self, kind: Kind, label: &str, side: &str) {
        let Some(armed) = &self.0 else { return };
        let point = format!("{}:{label}:{side}", kind.name());
        if let Some(trace) = &armed.trace {
            let mut file = trace.lock().unwrap_or_else(PoisonError::into_inner);
            // A point that could not be written down is missed by the test that reads the file, which then fails.
            let _ = file.write_all(format!("{point}\n").as_bytes());
        }
        if armed.abort_at.as_ref() == Some(&point) {
            std::process::abort();
        }
    }
}

impl Passage<'_> {
    /// It has happened: passes the point after it.
    pub fn done(self) {
        self.points.pass(self.kind, self.label, "after");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_passed_are_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let points = Points::armed(None, Some(&trace)).unwrap();
        points.enter(Kind::Commit, "a.b").done();
        drop(points.enter(Kind::Call, "a.Fails"));
        assert_eq!(
            std::fs::read_to_string(trace).unwrap(),
            "commit:a.b:before\ncommit:a.b:after\ncall:a.Fails:before\n"
        );
    }
}
