//! Contract suites: the same cases for all adapters of a port.

/// Defines the contract of a port: a macro that takes one fixture per adapter, and generates for each a module with a
/// test for every case, so no adapter can skip a case. The tests are skipped if the engine of the fixture is missing.
///
/// ```text
/// testing::contract! { store_contract:
///     a_saved_cart_is_loaded,
///     a_second_insert_conflicts,
/// }
///
/// store_contract!(sqlite: SqliteFixture, mongo: MongoFixture);
///
/// async fn a_saved_cart_is_loaded(fixture: &dyn Carts) { … }
/// ```
///
/// Cases in other modules are listed as in a `use`: `races::{two_replicas_sell_no_piece_twice, …},`.
#[macro_export]
macro_rules! contract {
    ($name:ident: $($module:ident::{ $($case:ident),+ $(,)? }),+ $(,)?) => {
        $crate::contract!(@define ($) $name [$($($module::$case)+)+]);
    };
    ($name:ident: $($case:ident),+ $(,)?) => {
        $crate::contract!(@define ($) $name [$(self::$case)+]);
    };
    // `$d` is a dollar sign: a macro cannot write the dollar of a macro that it generates.
    (@define ($d:tt) $name:ident $cases:tt) => {
        macro_rules! $name {
            ($d($d adapter:ident: $d fixture:ty),+ $d(,)?) => {
                $d($crate::contract!(@module $d adapter ($d fixture) $cases);)+
            };
        }
    };
    (@module $adapter:ident $fixture:tt [$($module:tt::$case:ident)+]) => {
        mod $adapter {
            #[allow(unused_imports, reason = "not every fixture type is imported by the suite")]
            use super::*;

            $($crate::contract!(@case $fixture $module $case);)+
        }
    };
    (@case ($fixture:ty) self $case:ident) => {
        $crate::contract!(@test ($fixture) $case (super::$case));
    };
    (@case ($fixture:ty) $module:ident $case:ident) => {
        $crate::contract!(@test ($fixture) $case (super::$module::$case));
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
