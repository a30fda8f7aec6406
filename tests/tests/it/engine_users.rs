//! The permissions of the engines of `deployments/local`: an intruder in one engine is neither root nor in another one.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use system_tests::engine_set::EngineSet;
use tempfile::TempDir;

const DEPLOYMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deployments");
const ENGINES: [&str; 4] = ["postgresql", "mongodb", "redis", "kafka"];
/// What an engine writes itself. The scripts write all other files, which the engine must not be able to change.
const ITS_OWN: [&str; 2] = ["data", "socket"];

/// The user of an engine's process.
fn user_of(engine: &Path) -> Result<u32> {
    let known = fs::read_to_string(engine.join("pid"))?;
    let pid = known.split(' ').next().context("a file without a process")?;
    Ok(fs::metadata(format!("/proc/{pid}"))?.uid())
}

/// The directory, and all in it that the scripts write.
fn held_by_scripts(engine: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = vec![engine.to_owned()];
    for entry in fs::read_dir(engine)? {
        let entry = entry?;
        if !ITS_OWN.iter().any(|name| entry.file_name() == *name) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

on_engines! {
    no_engine_runs_as_root_or_writes_where_the_scripts_write,
    the_role_of_the_shop_owns_its_database_and_nothing_else_in_postgresql,
    each_role_of_compose_owns_its_schemas_and_sees_no_other,
}

async fn no_engine_runs_as_root_or_writes_where_the_scripts_write() -> Result<()> {
    let engines = EngineSet::up().await?;
    let ours = fs::metadata(engines.directory())?.uid();
    let mut users = Vec::new();
    for name in ENGINES {
        let engine = engines.directory().join(name);
        let user = user_of(&engine)?;
        ensure!(user != 0, "{name} runs as root");
        ensure!(ours == 0 || user == ours, "{name} runs as user {user}, not as {ours}");
        for path in held_by_scripts(&engine)? {
            let is = fs::symlink_metadata(&path)?;
            ensure!(is.uid() == ours, "{} belongs to user {}", path.display(), is.uid());
            let others_may_write = is.permissions().mode() & 0o022 != 0;
            ensure!(!others_may_write, "{} can be written by others", path.display());
        }
        for path in ITS_OWN
            .map(|own| engine.join(own))
            .into_iter()
            .filter(|path| path.exists())
        {
            let is = fs::metadata(&path)?;
            let mode = is.permissions().mode() & 0o777;
            ensure!(
                (is.uid(), mode) == (user, 0o700),
                "{}: {} {mode:o}",
                path.display(),
                is.uid()
            );
        }
        users.push(user);
    }
    if ours == 0 {
        users.sort_unstable();
        users.dedup();
        ensure!(users.len() == ENGINES.len(), "two engines are one user: {users:?}");
        no_link_can_be_planted(&engines)?;
    }
    Ok(())
}

/// Root writes the file `port` at every start. A symlink in its place would redirect that write.
fn no_link_can_be_planted(engines: &EngineSet) -> Result<()> {
    for name in ENGINES {
        let engine = engines.directory().join(name);
        let port = engine.join("port");
        let planted = Command::new("ln")
            .args(["-sf", "/somewhere/else"])
            .arg(&port)
            .uid(user_of(&engine)?)
            .output()?;
        ensure!(!planted.status.success(), "{name} can plant a link");
        ensure!(!port.is_symlink(), "{name} has planted a link");
    }
    Ok(())
}

#[test]
fn engines_are_not_started_where_others_could_plant_links() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
    let output = Command::new(format!("{DEPLOYMENTS}/local/up"))
        .arg("redis")
        .env("CARTWRIGHT_ENGINES_DIR", folder.path().join("engines"))
        .output()?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        !output.status.success() && stderr.contains("others may write to"),
        "{stderr}"
    );
    Ok(())
}

/// A PostgreSQL for one test.
struct Postgresql {
    directory: TempDir,
}

impl Postgresql {
    fn up() -> Result<Self> {
        let open = fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new().permissions(open).tempdir()?;
        let engine = Self { directory };
        engine.run("up", &["postgresql"])?;
        Ok(engine)
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new(format!("{DEPLOYMENTS}/local/{script}"))
            .args(arguments)
            .env("CARTWRIGHT_ENGINES_DIR", self.directory.path())
            .env_remove("CARTWRIGHT_POSTGRESQL_PORT")
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn file(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.directory.path().join("postgresql").join(name))?;
        Ok(text.trim().to_owned())
    }

    /// The address of the database for a role.
    fn address(&self, role: &str, password: &str) -> Result<String> {
        let port = self.file("port")?;
        Ok(format!("postgres://{role}:{password}@127.0.0.1:{port}/cartwright"))
    }

    /// Runs the script `engines/postgresql` with these secrets, like the image in compose.
    fn make_roles(&self, secrets: &Path) -> Result<()> {
        let output = Command::new(format!("{DEPLOYMENTS}/engines/postgresql"))
            .env("SECRETS_DIR", secrets)
            .env("POSTGRES_USER", "administrator")
            .env("POSTGRES_DB", "cartwright")
            .env("PGHOST", self.directory.path().join("postgresql/socket"))
            .env("PGPORT", self.file("port")?)
            .env("PGPASSWORD", self.file("administrator")?)
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        let _ = self.run("down", &["--delete"]);
    }
}

/// Whether a role may do this.
async fn is_allowed(role: &mut PgConnection, statement: &str) -> bool {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(role)
        .await
        .is_ok()
}

async fn the_role_of_the_shop_owns_its_database_and_nothing_else_in_postgresql() -> Result<()> {
    let engine = Postgresql::up()?;
    let mut role = PgConnection::connect(&engine.address("cartwright", &engine.file("password")?)?).await?;
    for needed in [
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "CREATE SCHEMA anything; DROP SCHEMA anything",
        "CREATE DATABASE anything",
        "DROP DATABASE anything",
    ] {
        ensure!(is_allowed(&mut role, needed).await, "the role may not {needed}");
    }
    for more in [
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/planted'",
        "SELECT pg_read_file('/etc/hostname')",
        "SELECT rolpassword FROM pg_authid",
        "CREATE ROLE another",
        "ALTER ROLE cartwright SUPERUSER",
        "SET ROLE administrator",
        "ALTER SYSTEM SET port = 1",
        "CREATE EXTENSION file_fdw",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
    ] {
        ensure!(!is_allowed(&mut role, more).await, "the role may {more}");
    }
    let administrator = engine.address("administrator", &engine.file("administrator")?)?;
    let over_the_network = PgConnection::connect(&administrator).await;
    ensure!(over_the_network.is_err(), "the administrator gets in over the network");
    Ok(())
}

/// The roles of compose, each with its schemas.
const ROLES: [(&str, &[&str]); 6] = [
    ("product", &["product"]),
    ("inventory", &["inventory"]),
    ("payment", &["payment", "provider"]),
    ("checkout", &["checkout"]),
    ("orders", &["orders"]),
    ("notification", &["notification"]),
];

async fn each_role_of_compose_owns_its_schemas_and_sees_no_other() -> Result<()> {
    let engine = Postgresql::up()?;
    let folder = tempfile::tempdir()?;
    fs::copy(
        format!("{DEPLOYMENTS}/make-secrets"),
        folder.path().join("make-secrets"),
    )?;
    ensure!(Command::new(folder.path().join("make-secrets")).status()?.success());
    let secrets = folder.path().join("secrets");
    engine.make_roles(&secrets)?;
    for (name, own) in ROLES {
        let password = fs::read_to_string(secrets.join(format!("postgresql_{name}")))?;
        let mut role = PgConnection::connect(&engine.address(name, &password)?).await?;
        for schema in own {
            let made = format!("CREATE TABLE {schema}.things (id int); INSERT INTO {schema}.things VALUES (1)");
            ensure!(is_allowed(&mut role, &made).await, "{name} may not {made}");
        }
    }
    // Again, as for an existing volume: no data is lost.
    engine.make_roles(&secrets)?;
    for (name, own) in ROLES {
        let password = fs::read_to_string(secrets.join(format!("postgresql_{name}")))?;
        let mut role = PgConnection::connect(&engine.address(name, &password)?).await?;
        for schema in ROLES.iter().flat_map(|(_, schemas)| *schemas) {
            let read = format!("SELECT * FROM {schema}.things");
            ensure!(
                is_allowed(&mut role, &read).await == own.contains(schema),
                "{name}: {read}"
            );
        }
        for more in [
            "CREATE SCHEMA another",
            "CREATE TABLE public.things (id int)",
            "CREATE ROLE another",
        ] {
            ensure!(!is_allowed(&mut role, more).await, "{name} may {more}");
        }
    }
    Ok(())
}
