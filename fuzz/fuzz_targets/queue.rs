#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ws2cgi_fuzz::targets::queue::run(bytes));
