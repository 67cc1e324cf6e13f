//! Latches: a process sets another's to wake it.

use pgrx::pg_sys;

/// The place of this process in Postgres' array of processes.
pub fn own_process_number() -> u32 {
    // SAFETY: a process that is connected to a database has its entry, which is an element of this array.
    unsafe { pg_sys::MyProc.offset_from((*pg_sys::ProcGlobal).allProcs) as u32 }
}

/// Wakes the process at this place. If it has just ended, this wakes the next process there, as Postgres' own code may do:
/// each wait for a latch checks afterwards whether there is anything to do.
///
/// It raises nothing and takes no lock.
pub fn wake(process: u32) {
    // SAFETY: a process that is attached to shared memory has this array, whose length is checked. Its elements last as
    // long as the server. SetLatch may be called on any of them, and raises nothing.
    unsafe {
        let processes = pg_sys::ProcGlobal;
        if process < (*processes).allProcCount {
            pg_sys::SetLatch(&raw mut (*(*processes).allProcs.add(process as usize)).procLatch);
        }
    }
}
