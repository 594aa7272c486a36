//! The thin end of the one binary; see `lib.rs` for the rooms.

#![no_main]

ws2cgi::entry!(ws2cgi::run);
