//! Numbered schema changes.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// The schema changes of one database, numbered from 1. A released change is never edited; a new one is added.
#[derive(Debug, Clone, Copy)]
pub struct Migrations(pub &'static [&'static str]);

impl Migrations {
    pub(crate) fn migrator(self) -> Migrator {
        let numbered = (1..).zip(self.0).map(|(version, sql)| {
            Migration::new(
                version,
                "schema".into(),
                MigrationType::Simple,
                (*sql).into_sql_str(),
                false,
            )
        });
        Migrator::with_migrations(numbered.collect())
    }
}
