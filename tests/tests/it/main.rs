//! Black-box suites over the public interfaces of the whole shop.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]
#![allow(
    clippy::too_many_lines,
    clippy::print_stdout,
    reason = "a case tells one story, and what it measured"
)]

/// The `cartwright` command, as cargo builds it for these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_shop");

/// Runs each case on embedded stores and on real engines. A case is listed once, so that no profile can skip it.
macro_rules! on_every_profile {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() -> anyhow::Result<()> {
                    super::$case(system_tests::home::Profile::Embedded).await
                }
            )+
        }
        mod engines {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() -> anyhow::Result<()> {
                    let profile = system_tests::home::Profile::Engines;
                    if profile.is_available() { super::$case(profile).await } else { Ok(()) }
                }
            )+
        }
    };
}

/// Runs each case on real engines, if they are set.
macro_rules! on_engines {
    ($($case:ident),+ $(,)?) => {
        mod on_engines {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() -> anyhow::Result<()> {
                    let is_available = system_tests::home::Profile::Engines.is_available();
                    if is_available { super::$case().await } else { Ok(()) }
                }
            )+
        }
    };
}

mod addresses;
mod api;
mod bad_input;
mod books;
mod bought_once;
mod catalogue;
mod command;
mod commits;
mod crash;
mod crowd;
mod engine_users;
mod erasure;
mod expiry;
mod facts;
mod forged;
mod hostile;
mod idempotency;
mod kill;
mod log;
mod outage;
mod oversell;
mod readiness;
mod redelivery;
mod replicas;
mod split;
mod stopping;
mod tidy;
mod unknown;
mod upgrade;
