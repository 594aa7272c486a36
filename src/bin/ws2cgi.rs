//! The thin end of `ws2cgi`; see `lib.rs` for the rooms.

#![no_main]

ws2cgi::entry!(ws2cgi::run);
