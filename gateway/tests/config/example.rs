//! The example file of the repository, and of the Debian package.

use std::fs;
use std::path::Path;

use gateway::config::Backend;

use super::Folder;

#[test]
fn the_example_file_is_correct() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/gateway.toml");
    let text = fs::read_to_string(path).unwrap();
    let folder = Folder::new();
    // Without the secrets of its syncs the file has a fault for each, and with them none.
    assert_eq!(folder.faults(&text).lines().count(), 2, "{}", folder.faults(&text));
    folder.secret("stripe.key", "sk_test_x");
    folder.secret("notes.key", "n");
    let config = folder.load(&text).unwrap();
    assert!(config.syncs.keys().eq(["billing", "notes"]));
    let Backend::Http(notes) = &config.syncs["notes"].backend else { panic!("over HTTP") };
    assert_eq!(notes.base_url.as_str(), "https://notes.example.com/v1");
}

#[test]
fn the_lines_that_it_leaves_out_are_correct_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/gateway.toml");
    let text = fs::read_to_string(path).unwrap().replace("#tls", "tls");
    let folder = Folder::new();
    for (from, to) in
        [("cert.pem", "tls.crt"), ("key.pem", "tls.key"), ("secret", "stripe.key"), ("secret", "notes.key")]
    {
        fs::copy(folder.path(from), folder.path(to)).unwrap();
    }
    folder.secret("stripe.key", "sk_test_x");
    assert!(folder.load(&text).unwrap().tls.is_some());
}
