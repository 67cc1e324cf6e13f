//! A folder with a configuration and the files that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gateway::config::{Config, load};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tempfile::TempDir;

/// Gone with its owner.
pub struct Folder(TempDir);

impl Folder {
    /// With the secrets `app.token`, `other.token`, `secret`, and with `cert.pem`, `key.pem`, `ec.pem`.
    pub fn new() -> Folder {
        let folder = Folder(TempDir::new().unwrap());
        folder.secret("app.token", "the-token-of-app\n");
        folder.secret("other.token", "the-token-of-other\n");
        folder.secret("secret", "a secret\n");
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path("cert.pem"), cert.pem()).unwrap();
        folder.secret("key.pem", &signing_key.serialize_pem());
        folder.secret("ec.pem", &KeyPair::generate().unwrap().serialize_pem());
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file for its owner alone.
    pub fn secret(&self, name: &str, content: &str) {
        self.file(name, content, 0o600);
    }

    pub fn file(&self, name: &str, content: &str, mode: u32) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn load(&self, text: &str) -> Result<Config, String> {
        fs::write(self.path("gateway.toml"), text).unwrap();
        load(&self.path("gateway.toml")).map_err(|faults| self.relative(&faults.to_string()))
    }

    /// The faults of a text, one a line, with paths as the text has them.
    pub fn faults(&self, text: &str) -> String {
        self.load(text).err().unwrap_or_default()
    }

    fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", Path::display(self.0.path())), "")
    }
}
