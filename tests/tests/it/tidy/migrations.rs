//! Migrations that were released.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{
    assert_none,
    source::{files, read},
};

/// A line for each migration, as `sha256sum` prints it. A new migration adds its line; no line ever changes.
const RELEASED: &str = "tests/tests/it/tidy/migrations.sha256";

#[test]
fn no_migration_is_edited_once_a_store_may_have_it() {
    let released = read(RELEASED).text;
    let mut released: BTreeMap<&str, &str> = released
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(checksum, path)| (path, checksum))
        .collect();
    let mut findings = Vec::new();
    for file in files(&[".sql"])
        .iter()
        .filter(|file| file.path.contains("/migrations/"))
    {
        let checksum = Sha256::digest(&file.text)
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        match released.remove(file.path.as_str()) {
            Some(known) if known == checksum => {}
            Some(_) => findings.push(format!("{}: was edited, if only a comment; put it back", file.path)),
            None => findings.push(format!("{}: add the line `{checksum}  {}`", file.path, file.path)),
        }
    }
    findings.extend(released.keys().map(|path| format!("{path}: was removed; put it back")));
    assert_none(
        &findings,
        "a store refuses migrations whose checksums are not those of the ones that it has applied",
    );
}
