//! A chat in one event program: all browsers on its route share the room `@chat`.
//!
//! ws2cgi runs it once per event, and keeps one thing between events for it: the nick, as WS-State.
//! What it sends is plain text, one line a message: `anna: hello`, or `* anna came` for news.
//! Nothing is escaped here: showing text safely is the page's work.
//!
//! A page may bring a nick (`…/nph-ws/chat?nick=anna`), and `/nick NAME` changes it. Two may use
//! the same: a program that must know who speaks asks for a cookie or a password in `open`.

#![allow(
    clippy::disallowed_methods,
    reason = "the daemon's rule, not one for its programs"
)]

use std::env;
use std::io::{self, Read};

fn main() -> io::Result<()> {
    match var("WS_EVENT").as_str() {
        "open" => open(),
        "message" => message()?,
        "close" => print!("WS-To: @chat\n\n* {} left", var("WS_STATE")),
        _ => {}
    }
    Ok(())
}

/// Joining comes before sending, so the first line a newcomer reads is about itself: the page
/// learns its own nick from it.
fn open() {
    let query = var("QUERY_STRING");
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("nick="));
    let nick = match wanted {
        Some(nick) if is_nick(nick) => nick.to_owned(),
        _ => format!("guest-{}", var("WS_ID").rsplit('-').next().unwrap_or("")),
    };
    print!("WS-Join: @chat\nWS-State: {nick}\nWS-To: @chat\n\n* {nick} came");
}

fn message() -> io::Result<()> {
    if !var("CONTENT_TYPE").starts_with("text/") {
        return Ok(()); // nothing printed: nothing sent
    }
    let length = var("CONTENT_LENGTH").parse().unwrap_or(0);
    let mut text = String::new();
    io::stdin().take(length).read_to_string(&mut text)?;

    let nick = var("WS_STATE");
    let text = text.replace(char::is_control, " "); // a newline could forge a line of someone else
    match text.trim() {
        "" => {}
        line if line == "/nick" || line.starts_with("/nick ") => rename(&nick, line[5..].trim()),
        line => print!("WS-To: @chat\n\n{nick}: {line}"),
    }
    Ok(())
}

fn rename(old: &str, new: &str) {
    if is_nick(new) {
        print!("WS-State: {new}\nWS-To: @chat\n\n* {old} is now {new}");
    } else {
        // No WS-To: the answer goes to the sender alone.
        print!("Content-Type: text/plain\n\n* a nick is 1 to 20 letters, digits or any of . _ -");
    }
}

/// So narrow that a nick fits a header line and a URL as it is, and ends where the colon stands.
fn is_nick(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=20).contains(&name.len()) && name.bytes().all(fits)
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
