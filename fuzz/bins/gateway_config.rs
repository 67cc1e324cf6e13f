#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sequin_fuzz::targets::gateway_config::run(bytes));
