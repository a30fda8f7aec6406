//! Aborts the process at every crash point that a saga passes.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use runtime::Points;
use storage::{Sqlite, SqliteOptions};

use super::{
    Sample,
    run::{Participants, expected, run_to_end},
};
use crate::journal::sqlite::SqliteJournal;

const DIRECTORY: &str = "SAGA_TEST_DIRECTORY";
const ABORT_AT: &str = "SAGA_TEST_ABORT_AT";
const REFUSAL: &str = "SAGA_TEST_REFUSAL";
const TRACE: &str = "points";
/// The commits of begin, end and `release_all`, with a point before and after each.
const MIN_POINTS: usize = 6;

/// For a saga that succeeds, and for each refusal: runs a process to the end of the saga and traces its crash points.
/// Then, for each point: runs a process that aborts there, and a second process on the same data to the end.
///
/// The process is this test binary, limited to the test of this name.
///
/// # Panics
/// When a process does not abort where it should, or a saga does not end as the machine says, with each effect once.
#[allow(
    clippy::disallowed_methods,
    reason = "the parent tells the process by environment variables where to abort"
)]
pub fn at_every_point<M: Sample>(test: &str) {
    let test = test.split_once("::").map_or(test, |(_, name)| name);
    if let Some(directory) = env::var_os(DIRECTORY).map(PathBuf::from) {
        let refusal = env::var(REFUSAL).unwrap().parse::<usize>().unwrap();
        return run_once::<M>(&directory, env::var(ABORT_AT).ok(), refusal);
    }
    for refusal in 0..=M::refusals().len() {
        let process = |directory: &Path, abort_at: Option<&str>| {
            let mut process = Command::new(env::current_exe().unwrap());
            process
                .args(["--exact", test, "--nocapture"])
                .env(DIRECTORY, directory)
                .env(REFUSAL, refusal.to_string())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if let Some(point) = abort_at {
                process.env(ABORT_AT, point);
            }
            process.status().unwrap()
        };
        let first = tempfile::tempdir().unwrap();
        assert!(
            process(first.path(), None).success(),
            "refusal {refusal}: without an abort"
        );
        let trace = fs::read_to_string(first.path().join(TRACE)).unwrap();
        let points: BTreeSet<_> = trace.lines().collect();
        assert!(points.len() >= MIN_POINTS, "refusal {refusal}: {points:?}");
        for point in &points {
            let directory = tempfile::tempdir().unwrap();
            let aborted = process(directory.path(), Some(point));
            assert_eq!(
                aborted.code(),
                None,
                "refusal {refusal}: {point}: it was killed by a signal"
            );
            assert!(
                process(directory.path(), None).success(),
                "refusal {refusal}: after {point}"
            );
        }
    }
}

/// Runs a saga on the data in this directory, and checks its end and its effects.
fn run_once<M: Sample>(directory: &Path, abort_at: Option<String>, refusal: usize) {
    let points = Points::armed(abort_at, Some(&directory.join(TRACE))).unwrap();
    let participants = Arc::new(Participants::<M> {
        file: directory.join("effects"),
        refusal: refusal.checked_sub(1).map(|nth| M::refusals().swap_remove(nth)),
    });
    let run = async {
        let options = SqliteOptions {
            path: &directory.join("sagas.db"),
            migrations: M::SQLITE,
            points: &points,
        };
        let db = Sqlite::open(options).await.unwrap();
        run_to_end(Arc::new(SqliteJournal::new(db)), participants.clone()).await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let ended = { runtime }
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(run);
    assert_eq!((ended, participants.effects()), expected::<M>(&participants.refusal));
}
