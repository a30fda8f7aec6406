//! Isolated storage for one test.

/// Isolated storage for one test, in the file system or on an engine. A test may open several adapters on one fixture,
/// like several processes on one database. Each suite has a trait of its own, by which its fixtures open an adapter.
pub trait Fixture: Sized + Send {
    /// `None` if its engine is not available; that was reported, as by [`Engine::address`](crate::Engine::address).
    fn new() -> Option<Self>;

    /// Removes what must not stay on a server.
    fn close(self) -> impl Future<Output = ()> {
        async {}
    }
}

/// A fixture for adapters that keep everything in memory.
#[derive(Debug, Default)]
pub struct MemoryFixture<T>(pub T);

impl<T: Default + Send> Fixture for MemoryFixture<T> {
    fn new() -> Option<Self> {
        Some(Self::default())
    }
}
