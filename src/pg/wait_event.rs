//! The names of this extension's waits in `pg_stat_activity.wait_event`.

#[cfg(not(any(feature = "pg15", feature = "pg16")))]
use std::ffi::CStr;

use pgrx::pg_sys;

/// The reason of a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitEvent {
    /// `SequinResolve`: the address of a host.
    Resolve,
    /// `SequinConnect`: a TCP connection.
    Connect,
    /// `SequinSend`: room for more of the request.
    Send,
    /// `SequinReceive`: the reply, or the other side of a TLS handshake.
    Receive,
    /// `SequinAwaitDelivery`: records that others deliver.
    AwaitDelivery,
    /// `SequinWorkerMain`: an idle worker, for work.
    WorkerMain,
    /// `SequinLauncherMain`: the launcher, for databases that want workers.
    LauncherMain,
    /// `SequinWriteBackMain`: an idle write-back process, for upstream ids.
    WriteBackMain,
}

/// Before PostgreSQL 17 extensions have no names of their own: all wait for `Extension`.
#[cfg(any(feature = "pg15", feature = "pg16"))]
impl WaitEvent {
    /// As the functions that wait want it.
    pub fn id(self) -> u32 {
        pg_sys::PG_WAIT_EXTENSION
    }
}

#[cfg(not(any(feature = "pg15", feature = "pg16")))]
const _: () = {
    let mut place = 0;
    while place < WaitEvent::ALL.len() {
        assert!(WaitEvent::ALL[place] as usize == place, "not in the order of declaration");
        place += 1;
    }
};

#[cfg(not(any(feature = "pg15", feature = "pg16")))]
impl WaitEvent {
    /// In the order of their declaration.
    const ALL: [WaitEvent; 8] = [
        WaitEvent::Resolve,
        WaitEvent::Connect,
        WaitEvent::Send,
        WaitEvent::Receive,
        WaitEvent::AwaitDelivery,
        WaitEvent::WorkerMain,
        WaitEvent::LauncherMain,
        WaitEvent::WriteBackMain,
    ];

    const fn name(self) -> &'static CStr {
        match self {
            WaitEvent::Resolve => c"SequinResolve",
            WaitEvent::Connect => c"SequinConnect",
            WaitEvent::Send => c"SequinSend",
            WaitEvent::Receive => c"SequinReceive",
            WaitEvent::AwaitDelivery => c"SequinAwaitDelivery",
            WaitEvent::WorkerMain => c"SequinWorkerMain",
            WaitEvent::LauncherMain => c"SequinLauncherMain",
            WaitEvent::WriteBackMain => c"SequinWriteBackMain",
        }
    }

    /// As the functions that wait want it. Raises in the first wait of a process if the extensions of this cluster have
    /// used up all names (128).
    pub fn id(self) -> u32 {
        use std::sync::OnceLock;

        // The first wait registers the names, because a preloaded library has no shared memory yet. It registers all of
        // them: an error then comes while the process waits for a connection or for work, and not behind a request.
        static IDS: OnceLock<[u32; WaitEvent::ALL.len()]> = OnceLock::new();
        // SAFETY: a process that waits is attached to shared memory, to which Postgres copies the name. The same name has
        // the same number in every process.
        let name = |event: WaitEvent| unsafe { pg_sys::WaitEventExtensionNew(event.name().as_ptr()) };
        IDS.get_or_init(|| WaitEvent::ALL.map(name))[self as usize]
    }
}
