//! That there is something to test with.

use sequin_harness::{Server, process};

#[test]
fn a_server_starts_answers_and_leaves_nothing() {
    let server = Server::start();
    let one: i32 = server.connect("postgres").query_one("SELECT 1", &[]).unwrap().get(0);
    assert_eq!(one, 1);
    let (dir, postmaster) = (server.dir().to_path_buf(), server.postmaster().unwrap());
    drop(server);
    assert!(!dir.exists() && !process::is_alive(postmaster));
}
