//! The thin end of `ws2cgi-small`, all of the programs but the daemon.

#![no_main]

ws2cgi::entry!(ws2cgi::small::run);
