//! The data directory: its owner, its permissions, and foreign files in it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use anyhow::ensure;
use system_tests::{
    process::{ShopProcess, command},
    shopping::buy_mouse,
};

use super::{assert_refused, run, stderr};
use crate::BINARY;

fn mode(path: &Path) -> anyhow::Result<u32> {
    Ok(fs::symlink_metadata(path)?.permissions().mode() & 0o777)
}

/// Checks that only the owner can enter the directory and open its files; returns the number of files.
fn assert_private(data: &Path) -> anyhow::Result<usize> {
    assert_eq!(mode(data)?, 0o700);
    let mut files = 0;
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        assert_eq!(mode(&path)?, 0o600, "{}", path.display());
        files += 1;
    }
    Ok(files)
}

#[tokio::test]
async fn the_data_directory_and_its_files_are_private() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("new/data");
    // The umask of the user must not matter.
    let mut serve = command(Path::new("/bin/bash"), &data);
    serve.args(["-c", &format!("umask 0; exec {BINARY} serve")]);
    let shop = ShopProcess::open(serve).await?;
    buy_mouse(&shop.customer("ada")?, "first").await?;
    assert!(
        assert_private(&data)? > 10,
        "while it is open, with the files beside the databases"
    );
    shop.stop().await?;
    assert_private(&data)?;
    // An earlier version left the files open, but not the keys.
    for entry in fs::read_dir(&data)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "key") {
            fs::set_permissions(path, Permissions::from_mode(0o644))?;
        }
    }
    fs::set_permissions(&data, Permissions::from_mode(0o755))?;
    let mut serve = command(BINARY, &data);
    serve.env("LOG_LEVEL", "info");
    let shop = ShopProcess::open(serve).await?;
    buy_mouse(&shop.customer("ada")?, "second").await?;
    assert_private(&data)?;
    let (_, stderr) = shop.stop().await?;
    assert!(stderr.contains("now it is closed to them (mode 700)"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn a_symlink_in_the_data_directory_overwrites_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let precious = folder.path().join("precious");
    for content in ["precious", ""] {
        fs::write(&precious, content)?;
        for name in ["cartwright.lock", "cart.db", "bus.db", "provider.db", "jwt.key"] {
            let data = folder.path().join(format!("{name}-{}", content.len()));
            fs::create_dir(&data)?;
            symlink(&precious, data.join(name))?;
            let mut serve = command(BINARY, &data);
            let output = serve.arg("serve").env_remove("JWT_SECRET").output().await?;
            assert_refused(&output, 1, &[name, "it is a link"]);
            assert_eq!(fs::read_to_string(&precious)?, content, "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_data_directory_may_be_a_symlink_to_a_private_directory() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (disk, link) = (folder.path().join("disk"), folder.path().join("data"));
    fs::create_dir(&disk)?;
    symlink(&disk, &link)?;
    let shop = ShopProcess::open(command(BINARY, &link)).await?;
    buy_mouse(&shop.customer("ada")?, "k").await?;
    shop.stop().await?;
    assert_private(&disk)?;
    Ok(())
}

#[tokio::test]
async fn a_directory_with_foreign_files_is_refused_and_left_unchanged() -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("letters"), "")?;
    fs::set_permissions(home.path(), Permissions::from_mode(0o755))?;
    for arguments in [&["serve"][..], &["serve", "gateway"]] {
        let mut serve = command(BINARY, home.path());
        let output = serve.args(arguments).env_remove("JWT_SECRET").output().await?;
        assert_refused(&output, 1, &["holds other things", "chmod 700"]);
    }
    assert_eq!(mode(home.path())?, 0o755);
    assert_eq!(fs::read_dir(home.path())?.count(), 1);
    // With mode 0700 the shop accepts the directory.
    fs::set_permissions(home.path(), Permissions::from_mode(0o700))?;
    ShopProcess::open(command(BINARY, home.path())).await?.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_world_writable_directory_is_refused_with_a_proposed_subdirectory() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let public = folder.path().join("public");
    fs::create_dir(&public)?;
    fs::write(public.join("letters"), "")?;
    let advised = public.join("shop");
    let advice = format!("DATA_DIR={}", advised.display());
    // The mode of /tmp.
    fs::set_permissions(&public, Permissions::from_mode(0o1777))?;
    for arguments in [&["serve"][..], &["serve", "gateway"]] {
        let mut serve = command(BINARY, &public);
        let output = serve.args(arguments).env_remove("JWT_SECRET").output().await?;
        assert_refused(&output, 1, &["everybody may write in it", &advice]);
        ensure!(!stderr(&output).contains("chmod"), "{}", stderr(&output));
    }
    assert_eq!(mode(&public)?, 0o777);
    let shop = ShopProcess::open(command(BINARY, &advised)).await?;
    buy_mouse(&shop.customer("ada")?, "k").await?;
    shop.stop().await?;
    assert_private(&advised)?;
    Ok(())
}

#[tokio::test]
async fn a_volume_that_each_mount_opens_to_our_group_is_closed_at_every_start() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let open = async || {
        let mut serve = command(BINARY, &data);
        serve.env_remove("JWT_SECRET");
        ShopProcess::open(serve).await
    };
    open().await?.stop().await?;
    for _ in 0..2 {
        for entry in fs::read_dir(&data)? {
            fs::set_permissions(entry?.path(), Permissions::from_mode(0o660))?;
        }
        fs::set_permissions(&data, Permissions::from_mode(0o2770))?;
        let shop = open().await?;
        assert_private(&data)?;
        let (_, log) = shop.stop().await?;
        for key in ["jwt.key", "events.key"] {
            let is_told = |line: &str| line.contains(key) && line.contains("now it is closed to that (mode 600)");
            assert!(log.lines().any(is_told), "{key}: {log}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_others_may_read_signs_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("jwt.key");
    fs::write(&key, "0123456789abcdef0123456789abcdef")?;
    // Open to everybody, and to our group: outside of a volume all users of the machine may be in that group.
    for (loose, who) in [
        (0o666, "others"),
        (0o644, "others"),
        (0o604, "others"),
        (0o640, "all of group"),
        (0o660, "all of group"),
    ] {
        fs::set_permissions(&key, Permissions::from_mode(loose))?;
        for arguments in [&["serve"][..], &["serve", "gateway"], &["token", "--user", "1"]] {
            let mut command = command(BINARY, folder.path());
            let output = command.args(arguments).env_remove("JWT_SECRET").output().await?;
            assert_refused(&output, 1, &["jwt.key", who, "may read or write it", "chmod 600"]);
        }
        assert_eq!(mode(&key)?, loose);
    }
    // The file does not matter while another key is set.
    ensure!(
        run(folder.path(), &["token", "--user", "1"], &[])
            .await?
            .status
            .success()
    );
    Ok(())
}
