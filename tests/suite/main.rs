//! The tests of the whole: real daemons, real web servers, real clients, in temporary
//! folders. `harness` starts and ends them; each other room holds the tests of one subject.

// The ban is on the daemon's floors; the tests stand outside.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod harness;

mod apache;
mod boa;
mod board;
mod browser;
mod claims;
mod clock;
mod close_codes;
mod closing;
mod command_line;
mod crowds;
mod descriptors;
mod disk;
mod edges;
mod effects;
mod events;
mod failures;
mod freezing;
mod handoff;
mod handshake;
mod history;
mod launch;
mod lighttpd;
mod limits;
mod listen;
mod log;
mod migrate;
mod nginx;
mod nph;
mod opening;
mod order;
mod ordinary;
mod origin;
mod outbox;
mod packages;
mod patience;
mod peers;
mod pipes;
mod poll;
mod post;
mod privileges;
mod protocol;
mod push;
mod replies;
mod resume;
mod run_folder;
mod send_push;
mod shutdown;
mod signals;
mod slow;
mod small;
mod source;
mod sse;
mod status;
mod two_pipes;
mod upkeep;
mod utf_8;
mod variables;
mod writers;
mod ws2cgi_js;
