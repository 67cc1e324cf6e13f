//! A token in a file on the database server, which keeps it out of dumps and catalogs.
//!
//! The user mapping names the file, so the name is not trusted. After symbolic links are resolved, it must be a regular
//! file below `sequin.secrets_directory`, and only the operating system user that runs Postgres may read it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::pg::session::{server_account, unix_now};

use contract::secret::{self, Secret};

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadTokenFile {
    #[error("the user mapping names a token_file, but sequin.secrets_directory is not set")]
    NoDirectory,
    #[error("could not read token_file \"{file}\": {error}")]
    Unreadable { file: String, error: io::Error },
    #[error("token_file \"{0}\" is outside of sequin.secrets_directory")]
    Outside(String),
    #[error("token_file \"{0}\" is not a regular file")]
    NotARegularFile(String),
    #[error("token_file \"{0}\" is accessible by other operating system users")]
    Exposed(String),
    #[error("token_file \"{file}\" does not hold a token: {reason}")]
    InvalidToken { file: String, reason: secret::InvalidToken },
}

impl BadTokenFile {
    /// The fix, for an administrator.
    pub fn hint(&self) -> String {
        match self {
            BadTokenFile::NoDirectory => "Set it in postgresql.conf, or with ALTER SYSTEM SET \
                sequin.secrets_directory = '/etc/sequin' and SELECT pg_reload_conf()."
                .into(),
            BadTokenFile::Unreadable { .. } => {
                "The file must exist in sequin.secrets_directory, and the operating system user that runs Postgres must be able to read it.".into()
            }
            BadTokenFile::Outside(_) => "Name a file in that directory.".into(),
            BadTokenFile::NotARegularFile(_) => "Name a file that contains only the token.".into(),
            BadTokenFile::Exposed(_) => "The file must belong to the operating system user that runs Postgres, with \
                mode 0600 or less, or to root, with mode 0640 or less. Run chmod 600 on it."
                .into(),
            BadTokenFile::InvalidToken { .. } => "The file must contain only the token, on one line.".into(),
        }
    }
}

/// Metadata that differs if the content of a file was changed.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    directory: PathBuf,
}

/// A token file, which is read again after it has changed: a token can be replaced without a command in Postgres.
pub struct TokenFile {
    name: PathBuf,
    last: Mutex<Option<(Stamp, Secret)>>,
}

impl TokenFile {
    pub fn new(name: PathBuf) -> Self {
        TokenFile { name, last: Mutex::new(None) }
    }

    /// The current token. `directory` is the setting `sequin.secrets_directory`.
    pub fn token(&self, directory: Option<PathBuf>) -> Result<Secret, BadTokenFile> {
        let directory = directory.ok_or(BadTokenFile::NoDirectory)?;
        let metadata = directory.join(&self.name).metadata().map_err(|error| self.unreadable(error))?;
        let stamp = Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            directory,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, token)) = last.as_ref()
            && *seen == stamp
        {
            return Ok(token.clone());
        }
        let token = self.read(&stamp.directory)?;
        // A file that has just been written may be written again within the same tick of the clock.
        let is_settled = unix_now() - stamp.changed.0 > 1;
        *last = is_settled.then(|| (stamp, token.clone()));
        Ok(token)
    }

    fn read(&self, directory: &Path) -> Result<Secret, BadTokenFile> {
        let root = directory.canonicalize().map_err(|error| self.unreadable(error))?;
        let path = root.join(&self.name).canonicalize().map_err(|error| self.unreadable(error))?;
        if !path.starts_with(&root) {
            return Err(BadTokenFile::Outside(self.shown()));
        }
        // The path contains no links. A link that replaced the file since then is not followed, a FIFO does not block.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path)
            .map_err(|error| self.unreadable(error))?;
        let metadata = file.metadata().map_err(|error| self.unreadable(error))?;
        if !metadata.is_file() {
            return Err(BadTokenFile::NotARegularFile(self.shown()));
        }
        if is_exposed(&metadata) {
            return Err(BadTokenFile::Exposed(self.shown()));
        }
        let text = read_text(file).map_err(|error| self.unreadable(error))?;
        // Editors end a file with a newline.
        let token = text.trim_end_matches(['\n', '\r']);
        Secret::new(token).map_err(|reason| BadTokenFile::InvalidToken { file: self.shown(), reason })
    }

    fn unreadable(&self, error: io::Error) -> BadTokenFile {
        BadTokenFile::Unreadable { file: self.shown(), error }
    }

    fn shown(&self) -> String {
        self.name.display().to_string()
    }
}

/// Postgres' rule for private keys: owned by its own user and accessible by no other one, or owned by root and readable
/// by one group.
fn is_exposed(metadata: &Metadata) -> bool {
    let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    let is_trusted = metadata.uid() == 0 || metadata.uid() == server_account();
    !is_trusted || metadata.mode() & others != 0
}

/// The file as text, up to one byte more than a token and a newline. Other bytes than UTF-8 make no valid token.
fn read_text(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(secret::MAX_BYTES as u64 + 3).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
