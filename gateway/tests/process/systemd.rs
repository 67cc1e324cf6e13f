//! What a service manager hears, and whether the unit of the package is one.

use std::process::Command;

use rustix::process::Signal;
use tokio::net::UnixDatagram;

use super::program::Program;
use super::{FILE, Folder};

#[tokio::test]
async fn systemd_hears_of_start_reload_and_end() {
    let folder = Folder::new();
    let path = folder.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let hear = async || {
        let mut buffer = [0; 1000];
        let length = socket.recv(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let adjust = |command: &mut tokio::process::Command| {
        command.env("NOTIFY_SOCKET", &path);
    };
    let program = Program::start_with(&folder, FILE, adjust).await;
    assert_eq!(hear().await, "READY=1\n");
    program.signal(Signal::HUP);
    let reloading = hear().await;
    let time =
        reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.trim_end().parse::<u64>().ok());
    assert!(time.is_some(), "{reloading:?}");
    assert_eq!(hear().await, "READY=1\n");
    program.signal(Signal::TERM);
    assert_eq!(hear().await, "STOPPING=1\n");
    assert!(program.end().await.0.success());
}

#[test]
fn the_unit_is_one_that_systemd_accepts() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let unit = std::fs::read_to_string(format!("{root}/packaging/gateway/sequin-gateway.service")).unwrap();
    let folder = Folder::new();
    let path = folder.path("sequin-gateway.service");
    std::fs::write(&path, unit.replace("/usr/bin/sequin-gateway", env!("CARGO_BIN_EXE_sequin-gateway"))).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg(&path).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
        Err(error) => eprintln!("NOT CHECKED: systemd-analyze verify ({error})"),
    }
}
