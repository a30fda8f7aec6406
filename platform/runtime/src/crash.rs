//! Places where a process may die, so that a test can make it die there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Named points that the code passes: before and after each commit, call, publish and offset commit. The mechanisms pass
/// them, not their users, so that a new commit or call has its points without anybody thinking of it.
///
/// A name reads `kind:label:when`, such as `commit:inventory.reserve:before`.
#[derive(Debug, Clone, Default)]
pub struct CrashPoints(Option<Arc<Armed>>);

#[derive(Debug)]
struct Armed {
    abort_at: Option<String>,
    trace: Option<Mutex<File>>,
}

impl CrashPoints {
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

    /// Passes the point before something happens.
    pub fn before(&self, kind: &str, label: &str) {
        self.pass(kind, label, "before");
    }

    /// Passes the point after something happened.
    pub fn after(&self, kind: &str, label: &str) {
        self.pass(kind, label, "after");
    }

    fn pass(&self, kind: &str, label: &str, when: &str) {
        let Some(armed) = &self.0 else { return };
        let point = format!("{kind}:{label}:{when}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_passed_are_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let points = CrashPoints::armed(None, Some(&trace)).unwrap();
        points.before("commit", "a.b");
        points.after("commit", "a.b");
        assert_eq!(
            std::fs::read_to_string(trace).unwrap(),
            "commit:a.b:before\ncommit:a.b:after\n"
        );
    }
}
