//! Structures of atomic numbers in shared memory.
//!
//! Postgres keeps 100,000 bytes of shared memory to spare for libraries that are loaded after its start. So this library
//! need not be preloaded. If it is, it has memory of its own. A crash of one process makes Postgres start all anew, with
//! shared memory that is empty again.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use pgrx::{pg_guard, pg_sys};

/// The lock under which libraries make their structures: its number in lwlocknames.h, the same in 15 to 19.
const ADDIN_SHMEM_INIT_LOCK: usize = 21;

/// A type that processes may share.
///
/// # Safety
/// All its bytes are atomic numbers, for which each pattern of bits is a value, or padding. It holds no pointer.
pub unsafe trait Shared: Sync {}

// SAFETY: an atomic number.
unsafe impl Shared for AtomicI32 {}
// SAFETY: an atomic number.
unsafe impl Shared for AtomicI64 {}
// SAFETY: an atomic number.
unsafe impl Shared for AtomicU32 {}
// SAFETY: an atomic number.
unsafe impl Shared for AtomicU64 {}
// SAFETY: atomic numbers and nothing else, in a layout of C.
unsafe impl<const N: usize> Shared for contract::statistics::Slots<N> {}
// SAFETY: nothing but its elements, which are shared.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Defines a structure whose fields are all [`Shared`], and which therefore is so itself.
macro_rules! shared_struct {
    ($(#[$of_struct:meta])* struct $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$of_struct])*
        #[repr(C)]
        struct $name { $($(#[$of_field])* $field: $type,)* }

        // SAFETY: the bounds say that each field is shared.
        #[allow(unsafe_code, reason = "a binding that expands elsewhere")]
        unsafe impl $crate::pg::shared_memory::Shared for $name where $($type: $crate::pg::shared_memory::Shared,)* {}
    };
}
pub(crate) use shared_struct;

/// A structure that all processes find under one name. At first all its numbers are 0.
pub struct SharedStruct<T: 'static> {
    name: &'static CStr,
    found: OnceLock<&'static T>,
}

impl<T: Shared + 'static> SharedStruct<T> {
    /// The name has to change with the layout: after an upgrade of the library, old and new processes may meet.
    pub const fn new(name: &'static CStr) -> SharedStruct<T> {
        SharedStruct { name, found: OnceLock::new() }
    }

    /// How much memory it takes, in bytes.
    pub const fn size(&self) -> usize {
        // Postgres rounds up to a cache line.
        size_of::<T>().next_multiple_of(128)
    }

    /// Raises, at the first call in a process, if there is no room left.
    pub fn get(&self) -> &'static T {
        self.found.get_or_init(|| find_or_make(self.name))
    }

    /// The structure, if this process has found it already.
    pub fn found(&self) -> Option<&'static T> {
        self.found.get().copied()
    }

    /// Finds the structure. False if there is no room left, or if this is the postmaster, which loads libraries before it has
    /// shared memory. Neither is an error here. It must not be called with a lock of this module held.
    pub fn try_find(&self) -> bool {
        if self.found.get().is_some() {
            return true;
        }
        // SAFETY: a variable of the process.
        if unsafe { pg_sys::MyProc.is_null() } {
            return false;
        }
        let found = catch_unwind(AssertUnwindSafe(|| {
            self.get();
        }));
        if found.is_err() {
            // SAFETY: the error was caught by the guard of pgrx, and ends here: Postgres must not keep it as an open one.
            // It has opened nothing but the locks of this module and of Postgres' list of structures, which are all that
            // this process holds: it waits for the next statement, or is about to commit.
            unsafe {
                pg_sys::LWLockReleaseAll();
                pg_sys::FlushErrorState();
            }
        }
        found.is_ok()
    }
}

static RESERVED: AtomicUsize = AtomicUsize::new(0);
static NEXT_HOOK: OnceLock<unsafe extern "C-unwind" fn()> = OnceLock::new();

/// Has Postgres reserve memory for structures. Once, while Postgres preloads this library.
pub fn reserve(bytes: usize) {
    RESERVED.store(bytes, Ordering::Relaxed);
    // SAFETY: the postmaster is one thread, and reads the variable when it has loaded all libraries.
    unsafe {
        if let Some(next) = pg_sys::shmem_request_hook {
            NEXT_HOOK.get_or_init(|| next);
        }
        pg_sys::shmem_request_hook = Some(request);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn request() {
    // SAFETY: Postgres calls this hook when memory may be requested. The next hook is one that another library has set.
    unsafe {
        if let Some(next) = NEXT_HOOK.get() {
            next();
        }
        pg_sys::RequestAddinShmemSpace(RESERVED.load(Ordering::Relaxed));
    }
}

/// Runs `f` while no other process makes a structure or is in this function. `f` must not raise, nor take long.
pub fn exclusively<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: as in `find_or_make`. The lock is not held by this process, because `f` calls nothing that takes it.
    unsafe {
        let lock = init_lock();
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let result = f();
        pg_sys::LWLockRelease(lock);
        result
    }
}

/// # Safety
/// In a process that is attached to shared memory.
unsafe fn init_lock() -> *mut pg_sys::LWLock {
    // SAFETY: as the caller promises. The array has the lock under this number.
    unsafe { &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock }
}

fn find_or_make<T: Shared + 'static>(name: &CStr) -> &'static T {
    let mut is_found = false;
    // SAFETY: a process that runs SQL or a worker is attached to shared memory, until its end. The array has the lock
    // under this number. ShmemInitStruct gives an address that fits every type, of as many bytes as asked for; it raises
    // if the name has another size. Postgres does not promise zeroes, so the first process writes them, before it lets
    // others in. An error gives the lock back. After that only atomic operations touch the memory: `T` is `Shared`.
    unsafe {
        let lock = init_lock();
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let memory = pg_sys::ShmemInitStruct(name.as_ptr(), size_of::<T>(), &mut is_found).cast::<T>();
        if !is_found {
            memory.write_bytes(0, 1);
        }
        pg_sys::LWLockRelease(lock);
        &*memory
    }
}
