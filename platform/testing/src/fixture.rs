//! A place of a test's own.

/// A place of a test's own, in a file system or on an engine: the same one for all that is opened on it, as by processes
/// that run at once or one after the other. What is opened there, and how, is said by each suite in a trait of its own.
pub trait Fixture: Sized + Send {
    /// `None` when its engine is not there, which was said.
    fn new() -> Option<Self>;

    /// Takes away what must not stay behind on a server.
    fn close(self) -> impl Future<Output = ()> {
        async {}
    }
}

/// Nowhere but in this process: for adapters that keep nothing anywhere else.
#[derive(Debug, Default)]
pub struct MemoryFixture<T>(pub T);

impl<T: Default + Send> Fixture for MemoryFixture<T> {
    fn new() -> Option<Self> {
        Some(Self::default())
    }
}
