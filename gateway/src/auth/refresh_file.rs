//! The file of a refresh token. Some providers void a refresh token when it is used, so its successor must be on disk
//! before anything else happens, and a crash must leave the old file or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// A longer file is not one of a token.
const LONGEST: u64 = 64 * 1024;

/// # Errors
/// The file cannot be read, or holds no token.
pub async fn read(path: PathBuf) -> io::Result<SecretString> {
    blocking(move || {
        if fs::metadata(&path)?.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long for a token"));
        }
        let text = fs::read_to_string(&path)?;
        match text.trim() {
            "" => Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty")),
            token => Ok(token.into()),
        }
    })
    .await
}

/// # Errors
/// The file was not replaced.
pub async fn replace(path: PathBuf, token: SecretString) -> io::Result<()> {
    blocking(move || write(&path, token.expose_secret())).await
}

fn write(path: &Path, token: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", uuid::Uuid::new_v4()));
    let new = folder.join(name);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).and_then(|mut file| {
        file.write_all(token.as_bytes())?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        // Already an error: that the leftover stays adds nothing to it.
        let _ = fs::remove_file(&new);
        return replaced;
    }
    File::open(folder)?.sync_all()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failed| Err(io::Error::other(failed)))
}
