//! A token kept in a file of the server's machine, so that neither a dump nor a catalog holds it.
//!
//! A user mapping names the file, so the name is not trusted: it must lead to a plain file below
//! `sequin.secrets_directory`, also by way of symbolic links, and nobody but the server's account may read it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::pg::session::{server_account, unix_now};

use contract::secret::{self, Secret};

/// Why a token file cannot be used. The path is the administrator's, who set the directory, and the mapping's.
#[derive(Debug, thiserror::Error)]
pub enum BadTokenFile {
    #[error("the user mapping names a token_file, but sequin.secrets_directory is not set")]
    NoDirectory,
    #[error("could not read token_file \"{file}\": {error}")]
    Unreadable { file: String, error: io::Error },
    #[error("token_file \"{0}\" leads out of sequin.secrets_directory")]
    Outside(String),
    #[error("token_file \"{0}\" is not a plain file")]
    NotAFile(String),
    #[error("token_file \"{0}\" can be read or written by others")]
    Exposed(String),
    #[error("token_file \"{file}\" does not hold a token: {reason}")]
    InvalidToken { file: String, reason: secret::InvalidToken },
}

impl BadTokenFile {
    /// What an administrator does about it.
    pub fn hint(&self) -> String {
        match self {
            BadTokenFile::NoDirectory => "Set it in postgresql.conf, or with ALTER SYSTEM SET \
                sequin.secrets_directory = '/etc/sequin' and SELECT pg_reload_conf()."
                .into(),
            BadTokenFile::Unreadable { .. } => {
                "The file must exist in sequin.secrets_directory and be readable by the server's account.".into()
            }
            BadTokenFile::Outside(_) => "Name a file within the directory.".into(),
            BadTokenFile::NotAFile(_) => "Name a file that holds the token and nothing else.".into(),
            BadTokenFile::Exposed(_) => "It must belong to the server's account with mode 0600 or less, or to root \
                with mode 0640 or less: chmod 600 it."
                .into(),
            BadTokenFile::InvalidToken { .. } => "The file must hold the token on one line and nothing else.".into(),
        }
    }
}

/// What tells one content of a file from another without reading it.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    directory: PathBuf,
}

/// A token file, read again when it has changed: a token can be replaced without a word to Postgres.
pub struct TokenFile {
    name: PathBuf,
    last: Mutex<Option<(Stamp, Secret)>>,
}

impl TokenFile {
    pub fn new(name: PathBuf) -> Self {
        TokenFile { name, last: Mutex::new(None) }
    }

    /// The token that the file holds now. `directory` is the setting `sequin.secrets_directory`.
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
        // A file that was written this very moment may be written again within the same tick of the clock.
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
        // The path has no links left. A link put in the file's place since is not followed, a FIFO not waited for.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path)
            .map_err(|error| self.unreadable(error))?;
        let metadata = file.metadata().map_err(|error| self.unreadable(error))?;
        if !metadata.is_file() {
            return Err(BadTokenFile::NotAFile(self.shown()));
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

/// Postgres' own rule for private keys: ours and nobody else's, or root's and readable by one group.
fn is_exposed(metadata: &Metadata) -> bool {
    let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    let is_trusted = metadata.uid() == 0 || metadata.uid() == server_account();
    !is_trusted || metadata.mode() & others != 0
}

/// The file as text, no more of it than a token can have, and a newline. What is not UTF-8 is no token either.
fn read_text(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(secret::MAX_BYTES as u64 + 3).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
