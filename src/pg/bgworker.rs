//! Background workers: their registration, their connection, their signals and their waits.

use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::mem;
use std::ptr::{self, NonNull};
use std::time::Duration;

use pgrx::pg_guard;
use pgrx::pg_sys::{self, Datum, Oid};

use super::wait_event::WaitEvent;

/// Defines `$symbol`, the function that Postgres calls by name as the main function of a background worker. It calls
/// `$main` with the argument of the worker's [`Registration`].
macro_rules! main_function {
    ($symbol:ident, $main:path) => {
        // SAFETY of the attribute: no other library has a symbol with the prefix of this extension.
        #[allow(unsafe_code, reason = "a binding that expands elsewhere")]
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub extern "C-unwind" fn $symbol(argument: pgrx::pg_sys::Datum) {
            $main(argument.value() as u64)
        }
    };
}
pub(crate) use main_function;

/// A background worker of this library, with a connection to a database.
pub struct Registration {
    pub name: &'static CStr,
    /// Its `backend_type` in pg_stat_activity.
    pub kind: &'static CStr,
    /// The symbol that [`main_function`] has defined.
    pub symbol: &'static CStr,
    pub argument: u64,
    /// How long after it has ended by an error Postgres starts it again; None for never.
    pub restart_after: Option<Duration>,
}

/// A worker that this process has started.
pub struct Started(NonNull<pg_sys::BackgroundWorkerHandle>);

impl Started {
    /// Whether its process has ended, or could not begin. Its place is free then. Postgres sets the latch of the process
    /// that has started it when that happens.
    pub fn has_ended(&self) -> bool {
        let mut pid = 0;
        // SAFETY: the handle that `start` was given, which lasts as long as this value.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.0.as_ptr(), &mut pid) };
        status == pg_sys::BgwHandleStatus::BGWH_STOPPED
    }

    /// Frees the memory of the handle. The worker goes on.
    pub fn forget(self) {
        // SAFETY: Postgres has allocated it, and it is freed once.
        unsafe { pg_sys::pfree(self.0.as_ptr().cast()) };
    }
}

impl Registration {
    /// Asks Postgres to start the worker. None if all background workers that the server may have are there already.
    pub fn start(&self) -> Option<Started> {
        let mut worker = self.describe();
        let mut handle = ptr::null_mut();
        // SAFETY: a whole description, which Postgres copies. It allocates the handle in the current context, which is one
        // that lasts as long as the process. The number of the own process is that of a process of Postgres.
        unsafe {
            worker.bgw_notify_pid = pg_sys::MyProcPid;
            let before = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
            let is_registered = pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle);
            pg_sys::CurrentMemoryContext = before;
            if is_registered { NonNull::new(handle).map(Started) } else { None }
        }
    }

    /// Has the worker started with the server. Only while Postgres [preloads](is_preloading) this library.
    pub fn start_with_server(&self) {
        // SAFETY: as in `start`. At another time Postgres logs a message and does nothing.
        unsafe { pg_sys::RegisterBackgroundWorker(&mut self.describe()) };
    }

    fn describe(&self) -> pg_sys::BackgroundWorker {
        let mut worker = pg_sys::BackgroundWorker {
            bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as c_int,
            // On a standby it waits for the promotion.
            bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
            bgw_restart_time: match self.restart_after {
                Some(time) => time.as_secs() as c_int,
                None => pg_sys::BGW_NEVER_RESTART,
            },
            bgw_main_arg: Datum::from(self.argument),
            ..Default::default()
        };
        copy(&mut worker.bgw_name, self.name);
        copy(&mut worker.bgw_type, self.kind);
        copy(&mut worker.bgw_library_name, c"sequin_mutations");
        copy(&mut worker.bgw_function_name, self.symbol);
        worker
    }
}

/// Copies a text that is shorter than `to`, whose bytes are all 0.
fn copy(to: &mut [c_char], from: &CStr) {
    for (to, from) in to.iter_mut().zip(from.to_bytes()) {
        *to = *from as c_char;
    }
}

/// Whether the postmaster is loading the library, and not for pg_upgrade, which admits no sessions but its own.
pub fn is_preloading() -> bool {
    // SAFETY: variables of the process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress && !pg_sys::IsBinaryUpgrade }
}

// pgrx's own bindings are Rust functions, which Postgres cannot be given to call.
unsafe extern "C-unwind" {
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
    fn SignalHandlerForConfigReload(signal: c_int);
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
    fn SignalHandlerForConfigReload(signal: c_int, sender: *const pg_sys::pg_signal_info);
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
    fn SignalHandlerForShutdownRequest(signal: c_int);
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18")))]
    fn SignalHandlerForShutdownRequest(signal: c_int, sender: *const pg_sys::pg_signal_info);
}

/// Connects a worker that has just started to a database; with None it sees only the catalogs that all databases share.
/// From now on SIGTERM asks it to end, see [`is_shutdown_requested`]. Raises if the database is not there any more.
pub fn connect(database: Option<Oid>) {
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
    use pg_sys::pqsignal;
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
    use pg_sys::pqsignal_be as pqsignal;
    // SAFETY: the handlers are Postgres' own: they set a flag and the latch. Postgres raises if the process is no
    // background worker, or is connected already.
    unsafe {
        pqsignal(libc::SIGHUP, Some(SignalHandlerForConfigReload));
        pqsignal(libc::SIGTERM, Some(SignalHandlerForShutdownRequest));
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database.unwrap_or(Oid::INVALID), Oid::INVALID, 0);
    }
}

/// Makes the process act as the first superuser again, whatever session_authorization the database or the role sets.
pub fn restore_session_user() {
    // SAFETY: a connected process, between two transactions. The role with this number always exists.
    unsafe { pg_sys::SetSessionAuthorization(Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID), true) };
}

/// Whether the process was asked to end.
pub fn is_shutdown_requested() -> bool {
    // SAFETY: a flag that a signal handler sets; read volatile, because the compiler cannot see that handler.
    unsafe { (&raw const pg_sys::ShutdownRequestPending).read_volatile() != 0 }
}

/// Has `f` called when this process ends, before it leaves shared memory, unless it crashes.
pub fn at_exit(f: fn()) {
    // SAFETY: the callback is of this library, which is never unloaded. The argument is a `fn()`, as it takes it.
    unsafe { pg_sys::before_shmem_exit(Some(run_at_exit), Datum::from(f as *mut ())) };
}

#[pg_guard]
unsafe extern "C-unwind" fn run_at_exit(_code: c_int, f: Datum) {
    // SAFETY: Postgres passes the argument of the registration: a function of this type.
    let f = unsafe { mem::transmute::<*mut (), fn()>(f.cast_mut_ptr()) };
    f();
}

/// Ends the process. After a code of 0 Postgres forgets the worker, after 1 it starts it again as its
/// [`Registration`] says.
pub fn exit(code: c_int) -> ! {
    // SAFETY: runs the exit callbacks of Postgres and does not return.
    unsafe { pg_sys::proc_exit(code) }
    // In PostgreSQL 18's headers it is marked in a way that bindgen does not see.
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
    unreachable!("proc_exit returned")
}

/// Waits for the latch, at most `most`, and does what Postgres asks of every process meanwhile: an interrupt raises or
/// ends the process, and a changed configuration is read. True if the latch was set.
pub fn wait(most: Duration, event: WaitEvent) -> bool {
    let millis = most.as_millis().min(i32::MAX as u128) as c_long;
    let event = event.id();
    let wanted = (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as c_int;
    // SAFETY: the process' own latch.
    let fired = unsafe {
        let fired = pg_sys::WaitLatch(pg_sys::MyLatch, wanted, millis, event);
        pg_sys::ResetLatch(pg_sys::MyLatch);
        fired
    };
    handle_interrupts();
    fired as u32 & pg_sys::WL_LATCH_SET != 0
}

/// Does what Postgres asks of every process: an interrupt raises or ends the process, and a changed configuration is read.
pub fn handle_interrupts() {
    pgrx::check_for_interrupts!();
    reload_configuration();
}

fn reload_configuration() {
    let flag = &raw mut pg_sys::ConfigReloadPending;
    // SAFETY: a flag that a signal handler sets, read and written volatile because the compiler cannot see that handler.
    // Reading the files is for between two statements, as here.
    unsafe {
        if flag.read_volatile() != 0 {
            flag.write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// The state of the process in pg_stat_activity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Idle,
    Running,
}

/// Shows what the process is doing in pg_stat_activity.
pub fn report_activity(activity: Activity, what: &str) {
    let state = match activity {
        Activity::Idle => pg_sys::BackendState::STATE_IDLE,
        Activity::Running => pg_sys::BackendState::STATE_RUNNING,
    };
    let what = CString::new(what.replace('\0', "")).expect("no NUL is left");
    // SAFETY: a NUL-terminated text, which Postgres copies.
    unsafe { pg_sys::pgstat_report_activity(state, what.as_ptr()) };
}

/// The number that initdb has given this cluster.
pub fn system_identifier() -> i64 {
    // SAFETY: reads the control file's copy in shared memory.
    unsafe { pg_sys::GetSystemIdentifier() as i64 }
}
