//! What the system suites share: shops in this process and in processes of their own, customers, and the books.

pub mod books;
pub mod engine_set;
pub mod home;
pub mod process;
pub mod secured;
pub mod shops;
