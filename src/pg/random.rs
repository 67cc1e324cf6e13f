//! Random numbers from the generator that Postgres uses for secrets.

use pgrx::pg_sys;

use super::elog;

/// Fills `bytes`. Raises an error if the operating system has no random numbers to give.
pub fn fill(bytes: &mut [u8]) {
    // SAFETY: the memory and the length of one slice.
    if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) } {
        elog::internal_error("could not generate random values".to_owned());
    }
}

/// A number of 63 bits, so that no two processes ever draw the same.
pub fn unique_number() -> i64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    i64::from_ne_bytes(bytes) & i64::MAX
}

/// A number in [0, 1).
pub fn fraction() -> f64 {
    /// As many bits as a double has for a fraction.
    const BITS: u32 = 53;
    (unique_number() >> (63 - BITS)) as f64 / (1_u64 << BITS) as f64
}
