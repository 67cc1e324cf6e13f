//! Name look-ups that tests control: `shim/getaddrinfo.c` replaces libc's function in servers that are started with it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::account::Account;
use crate::home::{Home, open_directory};
use crate::process;
use crate::server::Builder;

/// Makes the server of `builder` use the shim, whose head documents the effect of each name.
pub fn obeying(builder: Builder) -> Builder {
    let (shim, releases) = shim();
    builder.env("LD_PRELOAD", shim).env("SEQUIN_TEST_RELEASES", releases)
}

/// Ends the look-up of `name.stall.test`, for all servers of this process.
pub fn release(name: &str) {
    let file = PathBuf::from(&shim().1).join(name);
    fs::write(&file, "").unwrap_or_else(|e| panic!("{file:?}: {e}"));
}

/// The library and the directory of the releases, readable for the server's account.
fn shim() -> &'static (String, String) {
    static SHIM: OnceLock<(String, String)> = OnceLock::new();
    SHIM.get_or_init(|| make().unwrap_or_else(|e| panic!("no shim for look-ups: {e}")))
}

fn make() -> std::io::Result<(String, String)> {
    let home = Home::shared(&Account::for_server()?)?;
    let library = home.root().join("getaddrinfo.so");
    let releases = home.root().join(format!("releases-{}", std::process::id()));
    // This process leaves its directory behind. The next process removes it, and the one of a process with the same id.
    for stale in fs::read_dir(home.root())?.flatten().map(|entry| entry.path()) {
        let name = stale.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pid = name.strip_prefix("releases-").and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| stale == releases || !process::is_alive(pid)) {
            let _ = fs::remove_dir_all(stale);
        }
    }
    open_directory(&releases)?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/shim/getaddrinfo.c");
    let new = library.with_extension(std::process::id().to_string());
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&new).arg(source).arg("-ldl").status()?;
    assert!(status.success(), "{source} was not compiled");
    fs::rename(new, &library)?;
    Ok((library.display().to_string(), releases.display().to_string()))
}
