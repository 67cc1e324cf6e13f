//! The test environment works.

use sequin_harness::process;

use crate::support::Session;
use crate::support::server::own;

#[test]
fn a_server_starts_answers_and_leaves_nothing() {
    let server = own("");
    let one: i32 = server.connect("postgres").one("SELECT 1");
    assert_eq!(one, 1);
    let (dir, postmaster) = (server.dir().to_path_buf(), server.postmaster().unwrap());
    drop(server);
    assert!(!dir.exists() && !process::is_alive(postmaster));
}
