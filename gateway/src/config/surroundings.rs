//! What a configuration refers to outside of its text: secret files, certificates, environment variables.
//!
//! The parser asks through [`Surroundings`], so that tests and the fuzz target parse any text without touching a file.

use std::env;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A certificate chain or a key has a few kilobytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Each error text follows the key and the path: "cannot be read: ...".
pub trait Surroundings {
    /// The content of a file that only its owner may read.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, is too large, or is open to other users.
    fn secret_file(&self, path: &Path) -> Result<String, String>;

    /// The same for a secret that systemd passes: `LoadCredential=NAME:...`.
    ///
    /// # Errors
    /// As above, or the process has no credentials.
    fn credential(&self, name: &str) -> Result<String, String>;

    /// The content of a file that may be public.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or is too large.
    fn public_file(&self, path: &Path) -> Result<Vec<u8>, String>;

    /// Whether the gateway may replace the content of this file.
    ///
    /// # Errors
    /// It may not.
    fn writable(&self, path: &Path) -> Result<(), String>;

    /// None: not set.
    fn variable(&self, name: &str) -> Option<Result<String, String>>;

    /// The path as the other methods expect it: relative ones begin in the folder of the configuration.
    fn resolve(&self, path: &str) -> PathBuf;
}

/// The machine itself.
pub struct Machine {
    folder: PathBuf,
    credentials: Option<PathBuf>,
}

impl Machine {
    /// For the configuration in `file`.
    pub fn around(file: &Path) -> Machine {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        Machine { folder, credentials: env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
    }
}

impl Surroundings for Machine {
    fn secret_file(&self, path: &Path) -> Result<String, String> {
        let (file, metadata) = open(path)?;
        reject_open_mode(&metadata)?;
        text(file)
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        let folder = self.credentials.as_ref().ok_or("there is no CREDENTIALS_DIRECTORY: systemd sets it")?;
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err("is no name of a credential".into());
        }
        // No look at the mode: systemd grants the service's user access through an ACL, which shows as group bits.
        text(open(&folder.join(name))?.0)
    }

    fn public_file(&self, path: &Path) -> Result<Vec<u8>, String> {
        bytes(open(path)?.0)
    }

    fn writable(&self, path: &Path) -> Result<(), String> {
        let opened = OpenOptions::new().append(true).open(path);
        opened.map(drop).map_err(|error| format!("cannot be written: {error}"))
    }

    fn variable(&self, name: &str) -> Option<Result<String, String>> {
        env::var_os(name).map(|value| value.into_string().map_err(|_| "is not UTF-8".to_owned()))
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

fn open(path: &Path) -> Result<(File, Metadata), String> {
    // Asked before the file is opened: opening a pipe waits for its other end.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a regular file".into());
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    Ok((file, metadata))
}

/// The rule of libpq for private keys: the owner alone, or a group if the file is root's, as in mounted secrets.
fn reject_open_mode(metadata: &Metadata) -> Result<(), String> {
    let mode = metadata.mode() & 0o7777;
    let (forbidden, most) = if metadata.uid() == 0 { (0o037, "0640") } else { (0o077, "0600") };
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(format!("has mode {mode:04o}, so that other users may read or change it: set {most} or less"))
}

fn bytes(file: File) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("is larger than 1MiB".into());
    }
    Ok(bytes)
}

fn text(file: File) -> Result<String, String> {
    String::from_utf8(bytes(file)?).map_err(|_| "is not UTF-8".into())
}

fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}
