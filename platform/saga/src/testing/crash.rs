//! Processes that abort at every point that a saga passes.

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
    life::{Books, expected, live},
};
use crate::journal::sqlite::SqliteJournal;

const DIRECTORY: &str = "SAGA_TEST_DIRECTORY";
const ABORT_AT: &str = "SAGA_TEST_ABORT_AT";
const REFUSAL: &str = "SAGA_TEST_REFUSAL";
const TRACE: &str = "points";
/// Every saga begins, ends, and is looked for at a start: before and after each of these commits there is a point.
const LEAST: usize = 6;

/// For one saga that goes well and one for each refusal: lets a process live once, to the end of the saga, and notes the points
/// that it passes. Then, for each of these: lets a new one live until it aborts there, and another one, on what the first has
/// left, to its end.
///
/// The process is this test, which the harness knows by this name.
///
/// # Panics
/// When a process does not abort where it should, or a saga does not end as the machine says, with each effect once.
#[allow(
    clippy::disallowed_methods,
    reason = "the process that is to abort is told so by its parent, not by a configuration"
)]
pub fn at_every_point<M: Sample>(test: &str) {
    let test = test.split_once("::").map_or(test, |(_, name)| name);
    if let Some(directory) = env::var_os(DIRECTORY).map(PathBuf::from) {
        let refusal = env::var(REFUSAL).unwrap().parse::<usize>().unwrap();
        return one_life::<M>(&directory, env::var(ABORT_AT).ok(), refusal);
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
        assert!(points.len() >= LEAST, "refusal {refusal}: {points:?}");
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

/// Plays a saga on what is in this directory, and judges it.
fn one_life<M: Sample>(directory: &Path, abort_at: Option<String>, refusal: usize) {
    let points = Points::armed(abort_at, Some(&directory.join(TRACE))).unwrap();
    let books = Arc::new(Books::<M> {
        file: directory.join("books"),
        refuses: refusal.checked_sub(1).map(|nth| M::refusals().swap_remove(nth)),
    });
    let played = async {
        let options = SqliteOptions {
            path: &directory.join("sagas.db"),
            migrations: M::SQLITE,
            points: &points,
        };
        let db = Sqlite::open(options).await.unwrap();
        live(Arc::new(SqliteJournal::new(db)), books.clone()).await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let ended = { runtime }
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(played);
    assert_eq!((ended, books.effects()), expected::<M>(&books.refuses));
}
