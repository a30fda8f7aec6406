//! What the system suites share: shops in this process and in other processes, customers, and checks of the stores.

pub mod books;
pub mod engine_set;
pub mod home;
pub mod process;
pub mod secured_engines;
pub mod shopping;
pub mod shops;
