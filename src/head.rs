//! A request head read on `--listen` → CGI variables, as a web server makes them.

use crate::handshake::has_token;
use crate::http::Refusal;
use crate::limits::{HEAD, HEAD_FIELDS};
use crate::route;
use crate::variables::Variables;
use core::net::SocketAddr;

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Head {
    /// More bytes are needed.
    Unfinished,
    /// A head of this many bytes.
    Whole {
        /// Its length.
        len: usize,
        /// The request path, if it is a route.
        route: Option<String>,
        /// What CGI makes of it.
        variables: Variables,
    },
    /// No upgrade can come of it.
    Wrong(Refusal),
}

/// Reads a head. `remote` and `local` where the connection is TCP; `trust`: believe
/// X-Forwarded-For and X-Forwarded-Proto.
pub fn parse(
    bytes: &[u8],
    remote: Option<SocketAddr>,
    local: Option<SocketAddr>,
    trust: bool,
) -> Head {
    // However many bytes came at once.
    let bytes = &bytes[..bytes.len().min(HEAD)];
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let wrong = |status, text: &str| Head::Wrong(Refusal::new(status, "head", text));
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD => return Head::Unfinished,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return wrong(431, "431: the request head is too large");
        }
        Err(_) => return wrong(400, "400: this is no HTTP request"),
    };
    let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
    let mut variables = Variables::default();
    let mut connection = false;
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("connection") {
            let value = core::str::from_utf8(field.value).unwrap_or_default();
            connection |= has_token(value, "upgrade");
        }
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return wrong(
                411,
                "411: Content-Length is missing (there is a Transfer-Encoding)",
            );
        }
        // An underscore would collide with the name that a hyphen makes.
        if !field.name.contains('_') {
            let name = field.name.to_ascii_uppercase().replace('-', "_");
            let name = match name.as_str() {
                "CONTENT_LENGTH" | "CONTENT_TYPE" => name,
                _ => format!("HTTP_{name}"),
            };
            if SINGLE.contains(&name.as_str()) && variables.get(&name).is_some() {
                return wrong(400, &format!("400: more than one {}", field.name));
            }
            variables.append(&name, field.value);
        }
    }
    let modern = request.version == Some(1);
    if !modern && variables.get("HTTP_SEC_WEBSOCKET_KEY").is_some() {
        return wrong(505, "505: an upgrade needs HTTP/1.1");
    }
    // RFC 9112 §3.2.
    let host = variables.get("HTTP_HOST");
    if host.map_or(modern, |host| !is_authority(host)) {
        return wrong(400, "400: the Host header is missing, or none");
    }
    if !connection || !modern {
        // Then the Upgrade field was not meant for us (RFC 9110 §7.8).
        variables.remove("HTTP_UPGRADE");
    }
    let (route, query) = match route::of_target(target) {
        Some((route, query)) => (Some(route), query),
        None => (None, ""),
    };
    variables.set("REQUEST_METHOD", method);
    variables.set("REQUEST_URI", target);
    variables.set("QUERY_STRING", query);
    variables.set(
        "SERVER_PROTOCOL",
        if modern { "HTTP/1.1" } else { "HTTP/1.0" },
    );
    variables.set(
        "SERVER_SOFTWARE",
        concat!("ws2cgi/", env!("CARGO_PKG_VERSION")),
    );
    let host = variables.text("HTTP_HOST").to_owned();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => &host,
    };
    variables.set("SERVER_NAME", name);
    if let Some(remote) = remote {
        variables.set("REMOTE_ADDR", remote.ip().to_canonical().to_string());
        variables.set("REMOTE_PORT", remote.port().to_string());
    }
    if let Some(local) = local {
        variables.set("SERVER_ADDR", local.ip().to_canonical().to_string());
        variables.set("SERVER_PORT", local.port().to_string());
    }
    if trust {
        believe_proxy(&mut variables);
    }
    Head::Whole {
        len,
        route,
        variables,
    }
}

/// The fields that may stand once (RFC 9112 §3.2 and §6.3, RFC 6454 §7.3, RFC 6455 §11.3): of two,
/// another reader of this head may believe the other.
const SINGLE: [&str; 6] = [
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "HTTP_HOST",
    "HTTP_ORIGIN",
    "HTTP_SEC_WEBSOCKET_KEY",
    "HTTP_SEC_WEBSOCKET_VERSION",
];

/// Whether it is a Host field's value, as far as its characters go (RFC 3986 §3.2).
fn is_authority(host: &[u8]) -> bool {
    let good = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(b);
    host.iter().all(good)
}

fn believe_proxy(variables: &mut Variables) {
    // A proxy adds what it saw at the end; what stands before it the client said, and need not
    // be text.
    let last = |name| {
        let value = variables.get(name).unwrap_or_default();
        let last = value.rsplit(|&b| b == b',').next().unwrap_or_default();
        core::str::from_utf8(last.trim_ascii()).unwrap_or_default()
    };
    let https = last("HTTP_X_FORWARDED_PROTO").eq_ignore_ascii_case("https");
    if let Ok(address) = last("HTTP_X_FORWARDED_FOR").parse::<core::net::IpAddr>() {
        variables.set("REMOTE_ADDR", address.to_canonical().to_string());
        variables.remove("REMOTE_PORT");
    }
    if https {
        variables.set("HTTPS", "on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_TEXT: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: board:81\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nX-Forwarded-For: 1.1.1.1, 9.9.9.9\r\n\
        X-Forwarded-Proto: https\r\nSec_WebSocket_Key: evil\r\nProxy: evil\r\n\r\nrest";

    fn whole(text: &str, trust: bool) -> (usize, Option<String>, Variables) {
        let remote = Some("10.0.0.1:555".parse().unwrap());
        match parse(text.as_bytes(), remote, None, trust) {
            Head::Whole {
                len,
                route,
                variables,
            } => (len, route, variables),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_head_becomes_variables() {
        let (len, route, vars) = whole(HEAD_TEXT, false);
        assert_eq!(
            (len, route.as_deref()),
            (HEAD_TEXT.len() - 4, Some("/chat"))
        );
        for (name, value) in [
            ("QUERY_STRING", "x=1"),
            ("REQUEST_URI", "/chat?x=1"),
            ("REMOTE_ADDR", "10.0.0.1"),
            ("SERVER_NAME", "board"),
            ("HTTP_UPGRADE", "websocket"),
            ("HTTP_SEC_WEBSOCKET_KEY", ""),
            ("HTTP_PROXY", ""),
            ("HTTPS", ""),
        ] {
            assert_eq!(vars.text(name), value, "{name}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed() {
        // It may add an element, or a field of its own.
        let more = "\r\nX-Forwarded-For: \u{ff}, ::ffff:8.8.8.8\r\nX-Forwarded-Proto: http";
        let fields = HEAD_TEXT.replace("\r\nProxy", &format!("{more}\r\nProxy"));
        for (text, address, https) in [(HEAD_TEXT, "9.9.9.9", "on"), (&fields, "8.8.8.8", "")] {
            let (_, _, vars) = whole(text, true);
            assert_eq!(
                (vars.text("REMOTE_ADDR"), vars.text("HTTPS")),
                (address, https)
            );
        }
    }

    #[test]
    fn no_connection_upgrade_no_upgrade() {
        let text = HEAD_TEXT.replace("keep-alive, Upgrade", "keep-alive");
        assert_eq!(whole(&text, false).2.get("HTTP_UPGRADE"), None);
    }

    #[test]
    fn wrong_heads() {
        for (text, status) in [
            ("\x16\x03\x01 TLS".to_owned(), 400),
            (
                "GET / HTTP/1.0\r\nSec-WebSocket-Key: x\r\n\r\n".to_owned(),
                505,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                411,
            ),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.0\r\nHost: a/b\r\n\r\n".to_owned(), 400),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n".to_owned(),
                400,
            ),
            (
                "POST / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
                400,
            ),
            // Whole, but too long.
            (
                format!(
                    "GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n",
                    "x".repeat(HEAD)
                ),
                431,
            ),
            (format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD)), 431),
            (
                format!(
                    "GET / HTTP/1.1\r\n{}\r\n",
                    "A: b\r\n".repeat(HEAD_FIELDS + 1)
                ),
                431,
            ),
        ] {
            match parse(text.as_bytes(), None, None, false) {
                Head::Wrong(refusal) => assert_eq!(refusal.status, status),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(
            parse(b"GET / HT", None, None, false),
            Head::Unfinished
        ));
        let outside = "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(whole(outside, false).1, None);
    }
}
