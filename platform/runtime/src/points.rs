//! Named points in the code, before and after each externally visible effect. Tests crash the process there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// The kind of effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointKind {
    /// The commit of a transaction, or the write of a document.
    Commit,
    /// A call to another service.
    Call,
    /// A publication of events to the bus.
    Publish,
    /// The commit of a consumer group's offset.
    Offset,
}

impl PointKind {
    /// The kind in names of points.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Call => "call",
            Self::Publish => "publish",
            Self::Offset => "offset",
        }
    }
}

/// The points before and after each commit, call, publication and offset commit, passed by the mechanisms and not by
/// their users: so every new commit or call has points. A name is `kind:label:side`: `commit:inventory.reserve:before`.
#[derive(Debug, Clone, Default)]
pub struct Points(Option<Arc<Armed>>);

#[derive(Debug)]
struct Armed {
    abort_at: Option<String>,
    trace: Option<Mutex<File>>,
}

/// An effect that has begun. Dropped without [`PointGuard::done`], the effect has failed, or its outcome is unknown.
#[derive(Debug)]
#[must_use = "a guard that is dropped at once marks a failed effect"]
pub struct PointGuard<'a> {
    points: &'a Points,
    kind: PointKind,
    label: &'a str,
}

impl Points {
    /// Points that do nothing.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Aborts the process, without destructors, at the point `abort_at`. Appends the names of all passed points to the
    /// file `trace`, one a line.
    pub fn armed(abort_at: Option<String>, trace: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path).map(Mutex::new);
        let trace = trace.map(open).transpose()?;
        if abort_at.is_none() && trace.is_none() {
            return Ok(Self::none());
        }
        Ok(Self(Some(Arc::new(Armed { abort_at, trace }))))
    }

    /// Passes the point before an effect. `label` names the effect among its kind.
    pub fn enter<'a>(&'a self, kind: PointKind, label: &'a str) -> PointGuard<'a> {
        self.pass(kind, label, "before");
        PointGuard {
            points: self,
            kind,
            label,
        }
    }

    fn pass(&self, kind: PointKind, label: &str, side: &str) {
        let Some(armed) = &self.0 else { return };
        let point = format!("{}:{label}:{side}", kind.name());
        if let Some(trace) = &armed.trace {
            let mut file = trace.lock().unwrap_or_else(PoisonError::into_inner);
            // If a point is not written, the test that reads the file fails.
            let _ = file.write_all(format!("{point}\n").as_bytes());
        }
        if armed.abort_at.as_ref() == Some(&point) {
            std::process::abort();
        }
    }
}

impl PointGuard<'_> {
    /// Passes the point after the effect.
    pub fn done(self) {
        self.points.pass(self.kind, self.label, "after");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_points_are_traced() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let points = Points::armed(None, Some(&trace)).unwrap();
        points.enter(PointKind::Commit, "a.b").done();
        drop(points.enter(PointKind::Call, "a.Fails"));
        assert_eq!(
            std::fs::read_to_string(trace).unwrap(),
            "commit:a.b:before\ncommit:a.b:after\ncall:a.Fails:before\n"
        );
    }
}
