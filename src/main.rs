//! The thin end of the one binary; see `lib.rs` for the rooms.

fn main() -> std::process::ExitCode {
    ws2cgi::sys::unix::start(ws2cgi::run)
}
