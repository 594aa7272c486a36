//! The same for the binary that is all of the programs but the daemon.

#![no_main]

ws2cgi::entry!(ws2cgi::small::run);
