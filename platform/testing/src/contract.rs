//! One contract for all adapters of a port.

/// Defines the contract of a port: a macro to which each adapter is one line. It makes a module for each of them, with a test
/// for every case, so that none can skip one. A fixture whose engine is not there says so, and its tests pass.
///
/// ```text
/// testing::contract! { store_contract:
///     what_was_saved_is_loaded,
///     a_second_first_save_conflicts,
/// }
///
/// store_contract!(sqlite: SqliteFixture, mongo: MongoFixture);
///
/// async fn what_was_saved_is_loaded(fixture: &dyn Carts) { … }
/// ```
///
/// Cases that are in modules of their own are listed as in a `use`: `races::{two_replicas_sell_no_piece_twice, …},`.
#[macro_export]
macro_rules! contract {
    ($name:ident: $($room:ident::{ $($case:ident),+ $(,)? }),+ $(,)?) => {
        $crate::contract!(@define ($) $name [$($($room::$case)+)+]);
    };
    ($name:ident: $($case:ident),+ $(,)?) => {
        $crate::contract!(@define ($) $name [$(self::$case)+]);
    };
    // The first argument is a dollar, of which a macro cannot write one that is meant for another macro.
    (@define ($d:tt) $name:ident $cases:tt) => {
        macro_rules! $name {
            ($d($d adapter:ident: $d fixture:ty),+ $d(,)?) => {
                $d($crate::contract!(@module $d adapter ($d fixture) $cases);)+
            };
        }
    };
    (@module $adapter:ident $fixture:tt [$($room:tt::$case:ident)+]) => {
        mod $adapter {
            #[allow(unused_imports, reason = "the names of fixtures are those of the suite")]
            use super::*;

            $($crate::contract!(@case $fixture $room $case);)+
        }
    };
    (@case ($fixture:ty) self $case:ident) => {
        $crate::contract!(@test ($fixture) $case (super::$case));
    };
    (@case ($fixture:ty) $room:ident $case:ident) => {
        $crate::contract!(@test ($fixture) $case (super::$room::$case));
    };
    (@test ($fixture:ty) $name:ident ($case:path)) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            if let Some(fixture) = <$fixture as $crate::Fixture>::new() {
                $case(&fixture).await;
                $crate::Fixture::close(fixture).await;
            }
        }
    };
}
