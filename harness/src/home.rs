//! The directory that images, templates and running servers live in.
//!
//! This is `target/pg` in most cases. It is a new temporary directory, removed with this process, if:
//! - the server's account cannot enter `target/pg`, for instance below a directory with mode 0700;
//! - this process cannot write there;
//! - a socket's path would be too long there.

use std::env;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use nix::unistd::{AccessFlags, access};

use crate::account::Account;
use crate::guard::Keeper;
use crate::paths;

/// The kernel's limit for the path of a Unix socket, without the final NUL.
const SOCKET_PATH_MAX: usize = 107;

/// The longest name below a home that Postgres uses for a socket or its lock file.
const LONGEST_SOCKET: &str = "run/4194304-9999/.s.PGSQL.5432";

/// The directory of images, templates and servers.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    /// Removes a home in the temporary directory.
    keeper: Option<Keeper>,
}

impl Home {
    /// The home of this process.
    pub fn shared(account: &Account) -> io::Result<Arc<Home>> {
        static SHARED: Mutex<Option<Arc<Home>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(home) = &*shared {
            return Ok(home.clone());
        }
        let home = Arc::new(Home::under(&paths::target().join("pg"), account)?);
        *shared = Some(home.clone());
        Ok(home)
    }

    /// A home in `base` if a server can run there, otherwise a temporary one.
    pub fn under(base: &Path, account: &Account) -> io::Result<Home> {
        // A target directory that another account has built may be closed to this account.
        if open_directory(base).and_then(|()| Ok(access(base, AccessFlags::W_OK)?)).is_ok()
            && let base = base.canonicalize()?
            && fits(&base)
            && account.can_enter(&base)
        {
            return Home { root: base, keeper: None }.furnish();
        }
        for place in [env::temp_dir(), "/tmp".into(), "/var/tmp".into(), "/dev/shm".into()] {
            let Ok(root) = fresh_directory(&place) else {
                continue;
            };
            if fits(&root) && account.can_enter(&root) {
                let keeper = Some(Keeper::of_home(&root)?);
                return Home { root, keeper }.furnish();
            }
            fs::remove_dir(&root)?;
        }
        Err(io::Error::other(format!("no directory in which a server can run, neither {base:?} nor a temporary one")))
    }

    fn furnish(self) -> io::Result<Home> {
        open_directory(&self.run())?;
        Ok(self)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is temporary, and removed when the process ends.
    pub fn is_passing(&self) -> bool {
        self.keeper.is_some()
    }

    fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// A new directory for one server.
    pub fn server_directory(&self) -> io::Result<PathBuf> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let dir = self.run().join(format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match fs::create_dir(&dir) {
                Ok(()) => {
                    return fs::set_permissions(&dir, Permissions::from_mode(0o755)).map(|()| dir);
                }
                // Left by an earlier process with the same number, when the machine crashed.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            }
        }
    }

    /// Held while an image or a template is made: several test processes may need the same one.
    pub fn lock(&self) -> io::Result<File> {
        let path = self.root.join("lock");
        let file = File::options().create(true).append(true).open(&path).or_else(|_| File::open(&path))?;
        file.lock()?;
        Ok(file)
    }
}

/// Creates `path`, readable for every account whatever the umask is.
pub fn open_directory(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn fits(root: &Path) -> bool {
    root.join(LONGEST_SOCKET).as_os_str().len() <= SOCKET_PATH_MAX
}

fn fresh_directory(place: &Path) -> io::Result<PathBuf> {
    let place = place.canonicalize()?;
    for attempt in 0.. {
        let root = place.join(format!("sequin-pg-{}-{attempt}", process::id()));
        match DirBuilder::new().mode(0o755).create(&root) {
            Ok(()) => {
                return fs::set_permissions(&root, Permissions::from_mode(0o755)).map(|()| root);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => continue,
            Err(e) => return Err(e),
        }
    }
    unreachable!("the range has no end")
}
