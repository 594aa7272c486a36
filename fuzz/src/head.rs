//! A request head on `--listen`, in any pieces, and the opening handshake it asks for.

use super::input::{pieces, stretch};
use super::rules;
use core::net::SocketAddr;
use ws2cgi::head::{Head, parse};
use ws2cgi::limits::HEAD;
use ws2cgi::variables::Variables;

#[derive(Debug, PartialEq)]
enum Outcome {
    Unfinished,
    Whole(usize, Option<String>, Variables),
    Wrong(u16, String),
}

/// The outcome is the same in whichever pieces a head comes and whatever comes behind it, and
/// what is made of it is what a web server may say.
pub fn run(bytes: &[u8]) {
    let Some((&how, rest)) = bytes.split_first() else {
        return;
    };
    let bytes = stretch(rest);
    let trust = how & 0x80 != 0;
    let outcome = read(&[&bytes], trust);
    assert_eq!(read(&pieces(&bytes, how), trust), outcome);
    match outcome {
        Outcome::Unfinished => assert!(bytes.len() < HEAD),
        Outcome::Wrong(status, text) => assert!(text.starts_with(&status.to_string())),
        Outcome::Whole(len, ref route, ref variables) => {
            assert!(len <= HEAD.min(bytes.len()));
            assert!(bytes[..len].ends_with(b"\n"));
            assert_eq!(read(&[&bytes[..len]], trust), outcome);
            assert_eq!(read(&[&bytes[..len], b"\xff\0 GET"], trust), outcome);
            assert_eq!(read(&[&bytes[..len - 1]], trust), Outcome::Unfinished);
            check(route.as_deref(), variables, trust);
        }
    }
}

fn addresses() -> [SocketAddr; 2] {
    ["192.0.2.7:5000", "[::ffff:192.0.2.1]:80"].map(|address| address.parse().expect("an address"))
}

/// As the daemon does it: what has come so far, again with each piece.
fn read(pieces: &[&[u8]], trust: bool) -> Outcome {
    let [remote, local] = addresses().map(Some);
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend_from_slice(piece);
        match parse(&bytes, remote, local, trust) {
            Head::Unfinished => {}
            Head::Wrong(refusal) => return Outcome::Wrong(refusal.status, refusal.text),
            Head::Whole {
                len,
                route,
                variables,
            } => return Outcome::Whole(len, route, variables),
        }
    }
    Outcome::Unfinished
}

fn check(route: Option<&str>, variables: &Variables, trust: bool) {
    rules::check_variables(variables);
    rules::check_handshake(variables);
    let (uri, query) = (
        variables.text("REQUEST_URI"),
        variables.text("QUERY_STRING"),
    );
    if let Some(route) = route {
        assert!(rules::route(route), "{route}");
        let whole = [route.to_owned(), format!("{route}?{query}")];
        assert!(whole.contains(&uri.to_owned()), "{uri}");
    }
    let protocol = variables.text("SERVER_PROTOCOL");
    match protocol {
        "HTTP/1.1" => assert!(variables.get("HTTP_HOST").is_some()),
        _ => {
            assert_eq!(protocol, "HTTP/1.0");
            assert_eq!(variables.get("HTTP_UPGRADE"), None);
        }
    }
    for (name, value) in [("SERVER_ADDR", "192.0.2.1"), ("SERVER_PORT", "80")] {
        assert_eq!(variables.text(name), value);
    }
    if !trust {
        assert_eq!(variables.text("REMOTE_ADDR"), "192.0.2.7");
        assert_eq!(variables.text("REMOTE_PORT"), "5000");
        assert_eq!(variables.get("HTTPS"), None);
    }
}
