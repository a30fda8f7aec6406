//! The banner that `serve` prints once it answers.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use system_tests::{
    books,
    process::{SECRET, command},
};

use super::stdout;
use crate::BINARY;

const TIMEOUT: Duration = Duration::from_secs(30);
/// The last line of the banner of a shop with a gateway.
const END: &str = "/api/v1/orders";

/// Starts a shop that writes its banner to a file of this folder, and waits for the banner.
pub(super) async fn banner_of(
    mut serve: tokio::process::Command,
    folder: &Path,
) -> anyhow::Result<(tokio::process::Child, String)> {
    let banner = folder.join("banner");
    let child = serve.stdout(File::create(&banner)?).spawn()?;
    let lines = async {
        loop {
            let text = std::fs::read_to_string(&banner)?;
            if text.contains(END) {
                return anyhow::Ok(text);
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(TIMEOUT, lines).await.context("no banner")??;
    Ok((child, text))
}

#[tokio::test]
async fn the_commands_in_the_banner_make_a_purchase() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (mut child, text) = banner_of(command(BINARY, &data), folder.path()).await?;
    let script: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("curl") || line.starts_with("TOKEN="))
        .collect();
    assert_eq!(script.len(), 5, "{text}");
    // The commands call `cartwright`.
    symlink(BINARY, folder.path().join("cartwright"))?;
    let path = format!("PATH={}:$PATH", folder.path().display());
    let run = async |lines: &[&str]| {
        tokio::process::Command::new("bash")
            .args(["-c", &format!("{path}\n{}", lines.join("\necho\n"))])
            .env("JWT_SECRET", SECRET)
            .output()
            .await
    };
    let bought = stdout(&run(&script[..4]).await?);
    assert!(bought.contains("\"status\":\"COMPLETED\""), "{bought}");
    books::wait_until_idle(&data).await?;
    let orders = stdout(&run(&[script[0], script[4]]).await?);
    assert!(orders.contains("\"status\":\"CONFIRMED\""), "{orders}");
    child.kill().await?;
    Ok(())
}

/// The line with the token in the banner on a terminal.
fn token_line_on_a_terminal(mut serve: Command) -> anyhow::Result<String> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let name = ptsname(&terminal, Vec::new())?;
    let end = File::options().read(true).write(true).open(name.to_str()?)?;
    let mut child = serve.stdout(Stdio::from(end)).stderr(Stdio::null()).spawn()?;
    // Closes this process's copy of the terminal, so that reading ends with the child.
    drop(serve);
    let (mut reader, mut text, mut part) = (File::from(terminal), String::new(), [0; 4096]);
    while !text.contains(END) {
        // The read fails if the process has ended.
        let read = reader.read(&mut part).context(text.clone())?;
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    child.kill()?;
    child.wait()?;
    let line = text.lines().find(|line| line.starts_with("TOKEN="));
    Ok(line.context(text.clone())?.trim().to_owned())
}

#[tokio::test]
async fn a_token_is_printed_only_to_a_terminal_and_only_for_a_generated_key() -> anyhow::Result<()> {
    const NO_TOKEN: &str = "TOKEN=$(cartwright token --user 1)";
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let serve = |secret: Option<&str>| {
        let mut serve = command(BINARY, &data);
        serve.env_remove("JWT_SECRET");
        if let Some(secret) = secret {
            serve.env("JWT_SECRET", secret);
        }
        serve
    };
    for secret in [None, Some(SECRET)] {
        let (mut child, text) = banner_of(serve(secret), folder.path()).await?;
        child.kill().await?;
        ensure!(text.contains(NO_TOKEN) && !text.contains("eyJ"), "{text}");
    }
    let made = token_line_on_a_terminal(serve(None).into_std())?;
    assert!(made.starts_with("TOKEN=eyJ"), "{made}");
    let set = token_line_on_a_terminal(serve(Some(SECRET)).into_std())?;
    assert_eq!(set, NO_TOKEN);
    Ok(())
}
