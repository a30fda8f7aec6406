//! Rows and values of both engines, so that services map rows once.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use sqlx::{
    ColumnIndex, Decode, PgConnection, Postgres as PostgresDb, Row as _, Sqlite as SqliteDb, SqliteConnection, Type,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
    types::Json,
};
use uuid::{Uuid, fmt::Hyphenated};

use crate::{SqlTimestamp, StoreError, timestamptz};

/// A row. In PostgreSQL ids are `uuid`, times `timestamptz` and documents `jsonb`; in SQLite ids and documents are
/// text, times whole milliseconds since 1970.
#[derive(Clone, Copy)]
pub enum Row<'r> {
    Sqlite(&'r SqliteRow),
    Postgres(&'r PgRow),
}

impl<'r> Row<'r> {
    fn get<T>(self, column: &str) -> Result<T, StoreError>
    where
        T: Decode<'r, SqliteDb> + Type<SqliteDb> + Decode<'r, PostgresDb> + Type<PostgresDb>,
        for<'c> &'c str: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub fn text(self, column: &str) -> Result<String, StoreError> {
        self.get(column)
    }

    pub fn text_or_null(self, column: &str) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    pub fn integer(self, column: &str) -> Result<i64, StoreError> {
        self.get(column)
    }

    pub fn flag(self, column: &str) -> Result<bool, StoreError> {
        self.get(column)
    }

    pub fn uuid(self, column: &str) -> Result<Uuid, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get::<Hyphenated, _>(column)?.into_uuid(),
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub fn uuid_or_null(self, column: &str) -> Result<Option<Uuid>, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get::<Option<Hyphenated>, _>(column)?.map(Hyphenated::into_uuid),
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub fn time(self, column: &str) -> Result<Timestamp, StoreError> {
        match self {
            Self::Sqlite(row) => Timestamp::from_millisecond(row.try_get(column)?).map_err(StoreError::corrupt),
            Self::Postgres(row) => Ok(row.try_get::<SqlTimestamp, _>(column)?.to_jiff()),
        }
    }

    pub fn json<T: DeserializeOwned>(self, column: &str) -> Result<T, StoreError> {
        self.json_or_null(column)?
            .ok_or_else(|| StoreError::corrupt(format!("column {column} is empty")))
    }

    pub fn json_or_null<T: DeserializeOwned>(self, column: &str) -> Result<Option<T>, StoreError> {
        // Reads raw JSON: `Json<T>` would require `T: 'static`.
        let document = match self {
            Self::Sqlite(row) => row.try_get::<Option<Json<Box<RawValue>>>, _>(column)?,
            Self::Postgres(row) => row.try_get::<Option<Json<Box<RawValue>>>, _>(column)?,
        };
        document
            .map(|document| serde_json::from_str(document.0.get()).map_err(StoreError::corrupt))
            .transpose()
    }
}

/// A value for a column, in the types of [`Row`].
#[derive(Debug, Clone)]
pub enum Value {
    Text(Option<String>),
    Integer(i64),
    Flag(bool),
    Uuid(Option<Uuid>),
    Time(Timestamp),
    Json(Option<Box<RawValue>>),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Some(text.into()))
    }

    pub fn json(document: &impl Serialize) -> Result<Self, StoreError> {
        let document = serde_json::value::to_raw_value(document).map_err(StoreError::corrupt)?;
        Ok(Self::Json(Some(document)))
    }

    pub fn bind_to_sqlite(self, query: Query<'_, SqliteDb, SqliteArguments>) -> Query<'_, SqliteDb, SqliteArguments> {
        match self {
            Self::Text(text) => query.bind(text),
            Self::Integer(integer) => query.bind(integer),
            Self::Flag(flag) => query.bind(flag),
            Self::Uuid(id) => query.bind(id.map(|id| id.to_string())),
            Self::Time(time) => query.bind(time.as_millisecond()),
            Self::Json(document) => query.bind(document.map(Json)),
        }
    }

    pub fn bind_to_postgres(self, query: Query<'_, PostgresDb, PgArguments>) -> Query<'_, PostgresDb, PgArguments> {
        match self {
            Self::Text(text) => query.bind(text),
            Self::Integer(integer) => query.bind(integer),
            Self::Flag(flag) => query.bind(flag),
            Self::Uuid(id) => query.bind(id),
            Self::Time(time) => query.bind(timestamptz(time)),
            Self::Json(document) => query.bind(document.map(Json)),
        }
    }
}

/// A transaction of either engine.
pub enum Transaction<'t> {
    Sqlite(&'t mut SqliteConnection),
    Postgres(&'t mut PgConnection),
}
