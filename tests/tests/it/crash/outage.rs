//! Stores that refuse some writes until the scenario ends the outage. The order of events depends on facts, never on time.

use system_tests::home::{Home, Profile};

use super::customers::PRICE;

/// The writes that a store refuses.
pub(super) struct Outage {
    pub(super) store: &'static str,
    pub(super) table: &'static str,
    /// `INSERT` or `UPDATE`.
    pub(super) change: &'static str,
    /// A condition on the row to be written, `NEW`.
    pub(super) when: String,
}

impl Outage {
    pub(super) async fn begin(&self, home: &Home) -> anyhow::Result<()> {
        let Self {
            store,
            table,
            change,
            when,
        } = self;
        let is_outage = format!("{when} AND NOT EXISTS (SELECT 1 FROM back)");
        let trigger = match home.profile() {
            Profile::Embedded => format!(
                "CREATE TRIGGER outage BEFORE {change} ON {table} WHEN {is_outage}
                 BEGIN SELECT RAISE(ABORT, 'outage'); END"
            ),
            Profile::Engines => format!(
                "CREATE FUNCTION fail_in_outage() RETURNS trigger LANGUAGE plpgsql SET search_path = \"{store}\" AS $$
                 BEGIN
                    IF {is_outage} THEN RAISE EXCEPTION 'outage'; END IF;
                    RETURN NEW;
                 END $$;
                 CREATE TRIGGER outage BEFORE {change} ON {table} FOR EACH ROW EXECUTE FUNCTION fail_in_outage()"
            ),
        };
        let sql = format!("CREATE TABLE back (yes INTEGER PRIMARY KEY); {trigger}");
        home.execute(store, &sql).await
    }

    /// Works while the shop is open, too.
    pub(super) async fn end(store: &str, home: &Home) -> anyhow::Result<()> {
        home.execute(store, "INSERT INTO back VALUES (1) ON CONFLICT DO NOTHING")
            .await
    }
}

/// Makes the provider fail for alice, whose purchase costs more than [`PRICE`], but not for bob.
pub(super) async fn stop_provider(home: &Home) -> anyhow::Result<()> {
    let outage = Outage {
        store: "provider",
        table: "charges",
        change: "INSERT",
        when: format!("NEW.amount > {PRICE}"),
    };
    outage.begin(home).await
}

pub(super) async fn restore_provider(home: &Home) -> anyhow::Result<()> {
    Outage::end("provider", home).await
}
