//! The opening handshake (RFC 6455 §4.2), from CGI variables, whichever way they came.

use crate::http::Refusal;
use crate::variables::Variables;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Which pages may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// `--origin any`.
    pub any: bool,
    /// `--origin null`: sandboxed frames and file: pages.
    pub null: bool,
    /// Origins beside the page's own.
    pub also: Vec<Origin>,
}

impl Origins {
    /// Whether an origin was named by `--origin`: its own page needs none.
    pub fn list(&self, origin: &str) -> bool {
        let named = Origin::parse(origin).is_some_and(|origin| self.also.contains(&origin));
        self.any || named || (self.null && origin == "null")
    }
}

/// A web origin (RFC 6454), lower case, without the scheme's default port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    authority: String,
}

impl Origin {
    /// Reads `SCHEME://HOST[:PORT]`.
    pub fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        let bad = |c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c);
        if scheme.is_empty() || authority.is_empty() || authority.contains(bad) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        Some(Origin {
            authority: normal_authority(authority, &scheme),
            scheme,
        })
    }
}

fn normal_authority(authority: &str, scheme: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    let default_port = match scheme {
        "https" | "wss" => ":443",
        _ => ":80",
    };
    match authority.strip_suffix(default_port) {
        Some(host) => host.to_owned(),
        None => authority,
    }
}

/// Checks an upgrade request.
///
/// `HTTP_CONNECTION` is not asked for: boa never passes it. `--listen` checks its own.
pub fn check(vars: &Variables, origins: &Origins) -> Result<(), Refusal> {
    check_method(vars)?;
    check_upgrade(vars)?;
    let version = vars.text("HTTP_SEC_WEBSOCKET_VERSION");
    if version != "13" {
        let text = format!("426: Sec-WebSocket-Version is '{version}'; 13 is supported");
        return Err(Refusal {
            fields: &[("Sec-WebSocket-Version", "13")],
            ..Refusal::new(426, "version", text)
        });
    }
    let key = vars.text("HTTP_SEC_WEBSOCKET_KEY");
    if STANDARD.decode(key).map(|nonce| nonce.len()) != Ok(16) {
        let text = "400: Sec-WebSocket-Key is not 16 bytes in base64";
        return Err(Refusal::new(400, "key", text));
    }
    check_origin(vars, origins)
}

/// The value of Sec-WebSocket-Accept.
pub fn accept(vars: &Variables) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(vars.text("HTTP_SEC_WEBSOCKET_KEY").as_bytes());
    hash.update(GUID);
    STANDARD.encode(hash.digest().bytes())
}

/// A connection begins with a GET.
pub fn check_method(vars: &Variables) -> Result<(), Refusal> {
    match vars.text("REQUEST_METHOD") {
        "GET" => Ok(()),
        method => Err(Refusal {
            fields: &[("Allow", "GET")],
            ..Refusal::new(
                405,
                "method",
                format!("405: a connection begins with GET, not {method}"),
            )
        }),
    }
}

/// A WebSocket is asked for.
pub fn check_upgrade(vars: &Variables) -> Result<(), Refusal> {
    if has_token(vars.text("HTTP_UPGRADE"), "websocket") {
        return Ok(());
    }
    let text = "426: this is a WebSocket endpoint; connect with a WebSocket";
    Err(Refusal {
        fields: &[("Upgrade", "websocket")],
        ..Refusal::new(426, "upgrade", text)
    })
}

/// Whether the page that asks may connect.
pub fn check_origin(vars: &Variables, origins: &Origins) -> Result<(), Refusal> {
    let Some(sent) = vars.get("HTTP_ORIGIN") else {
        return Ok(()); // no browser
    };
    if origins.any {
        return Ok(());
    }
    let refuse = |cause, text: String| Err(Refusal::new(403, cause, text));
    let text = core::str::from_utf8(sent).unwrap_or_default().trim_ascii();
    if text == "null" {
        return match origins.null {
            true => Ok(()),
            false => refuse("origin", "403: Origin null needs --origin null".to_owned()),
        };
    }
    let Some(origin) = Origin::parse(text) else {
        return refuse("origin", "403: the Origin header is none".to_owned());
    };
    if origins.also.contains(&origin) {
        return Ok(());
    }
    let host = vars.text("HTTP_HOST");
    if host.is_empty() {
        let text = format!(
            "403: no Host to compare Origin {text} with (does this web server pass HTTP_HOST?); \
             start ws2cgi with --origin {text}"
        );
        return refuse("host", text);
    }
    // The scheme is not compared, as TLS may end before us.
    if normal_authority(host, &origin.scheme) == origin.authority {
        return Ok(());
    }
    let text = format!("403: a page of {text} may not connect to {host} without --origin {text}");
    refuse("origin", text)
}

/// Whether a comma-separated header value holds a token, in any case.
pub fn has_token(value: &str, token: &str) -> bool {
    value
        .split(',')
        .any(|t| t.trim_ascii().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(changes: &[(&str, &str)]) -> Variables {
        let mut vars = Variables::default();
        for (name, value) in [
            ("REQUEST_METHOD", "GET"),
            ("HTTP_UPGRADE", "websocket"),
            ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
            ("HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("HTTP_HOST", "board:8080"),
        ] {
            vars.set(name, value);
        }
        for (name, value) in changes {
            vars.set(name, value);
        }
        vars
    }

    #[test]
    fn the_example_of_rfc_6455() {
        let vars = request(&[]);
        assert_eq!(check(&vars, &Origins::default()), Ok(()));
        assert_eq!(accept(&vars), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn wrong_requests() {
        for (change, status) in [
            (("REQUEST_METHOD", "POST"), 405),
            (("HTTP_UPGRADE", "h2c"), 426),
            (("HTTP_SEC_WEBSOCKET_VERSION", "8"), 426),
            (("HTTP_SEC_WEBSOCKET_VERSION", ""), 426),
            (("HTTP_SEC_WEBSOCKET_KEY", ""), 400),
            (("HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ"), 400),
            (("HTTP_SEC_WEBSOCKET_KEY", "c2hvcnQ="), 400),
        ] {
            let refusal = check(&request(&[change]), &Origins::default()).unwrap_err();
            assert_eq!(refusal.status, status, "{change:?}");
        }
    }

    #[test]
    fn origins() {
        let cases = [
            ("http://board:8080", "board:8080", 0),
            ("https://BOARD:8080", "board:8080", 0),
            ("http://board", "board:80", 0),
            ("https://board", "board:443", 0),
            ("https://board", "board", 0),
            ("http://board:443", "board", 403),
            ("http://evil", "board:8080", 403),
            ("http://board:8080.evil", "board:8080", 403),
            ("http://board:8080@evil", "board:8080", 403),
            ("board:8080", "board:8080", 403),
            ("null", "board:8080", 403),
            ("", "board:8080", 403),
            ("http://board:8080", "", 403),
            ("https://also.example", "board:8080", 0),
            ("http://also.example", "board:8080", 403),
        ];
        let origins = Origins {
            also: vec![Origin::parse("https://also.example:443").unwrap()],
            ..Origins::default()
        };
        for (origin, host, status) in cases {
            let vars = request(&[("HTTP_ORIGIN", origin), ("HTTP_HOST", host)]);
            let got = check(&vars, &origins).err().map_or(0, |r| r.status);
            assert_eq!(got, status, "Origin {origin}, Host {host}");
        }
    }

    #[test]
    fn origin_any_and_null() {
        let null = Origins {
            null: true,
            ..Origins::default()
        };
        let any = Origins {
            any: true,
            ..Origins::default()
        };
        let from = |origin| request(&[("HTTP_ORIGIN", origin)]);
        assert!(check(&from("null"), &null).is_ok());
        assert!(check(&from("http://evil"), &null).is_err());
        assert!(check(&from("null"), &any).is_ok());
        assert!(check(&from("http://evil"), &any).is_ok());
    }
}
