//! The grammars, said once more and in other words than the daemon's own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ws2cgi::close::Close;
use ws2cgi::handshake::{self, Origin, Origins};
use ws2cgi::http::Style;
use ws2cgi::target::{Scope, Target};
use ws2cgi::variables::Variables;
use ws2cgi::way::{Way, since};

fn of(text: &str, more: &str) -> bool {
    text.chars()
        .all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9') || more.contains(c))
}

/// A room's name.
pub fn room(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && of(name, "._-")
}

/// A spool file's name: a plain file of its folder, not hidden.
pub fn spool_file(name: &str) -> bool {
    room(name) && !name.starts_with('.')
}

/// A route.
pub fn route(route: &str) -> bool {
    route.starts_with('/')
        && route.len() <= 256
        && of(route, "/._-")
        && !route.ends_with('/')
        && !route.contains("//")
        && !route.contains("/.")
}

/// Codes that may stand in a close frame.
pub fn close_code(code: u16) -> bool {
    let registered = (1000..1015).contains(&code) && ![1004, 1005, 1006].contains(&code);
    registered || (3000..5000).contains(&code)
}

/// A close as it may be sent.
pub fn check_close(close: &Close) {
    assert!(close_code(close.code), "{close:?}");
    assert!(close.reason.len() <= 123, "{close:?}");
}

/// A target that was read has one spelling.
pub fn check_target(target: &Target, text: Option<&str>) {
    let shown = target.to_string();
    assert_eq!(Target::parse(&shown).as_ref(), Ok(target));
    assert_eq!(text.unwrap_or(&shown), shown);
    match &target.scope {
        Scope::Room(name) => assert!(room(name) && name != "all", "{name}"),
        Scope::Route(path) => assert!(route(path), "{path}"),
        Scope::Connection(_) | Scope::All => {}
    }
}

/// Variables are of the allowlist, stand once, and hold no control bytes.
pub fn check_variables(variables: &Variables) {
    let mut names: Vec<_> = variables.iter().map(|(name, _)| name).collect();
    for (name, value) in variables.iter() {
        let word = |c: char| matches!(c, 'A'..='Z' | '0'..='9' | '_');
        assert!(!name.is_empty() && name.chars().all(word), "{name}");
        let never = [
            "PATH",
            "HTTP_PROXY",
            "HTTP_CONTENT_LENGTH",
            "HTTP_CONTENT_TYPE",
        ];
        assert!(!never.contains(&name), "{name}");
        assert!(
            !name.starts_with("WS_") && !name.starts_with("LD_"),
            "{name}"
        );
        assert!(
            !value.iter().any(u8::is_ascii_control),
            "{name}: {}",
            value.escape_ascii()
        );
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name twice");
}

/// Who gets in, and how, by variables of whatever origin.
pub fn check_handshake(variables: &Variables) {
    match Way::of(variables) {
        Ok(Way::Post(post)) => {
            assert_eq!(variables.text("REQUEST_METHOD"), "POST");
            let length = variables.text("CONTENT_LENGTH");
            assert!(length.bytes().all(|b| b.is_ascii_digit()), "{length}");
            // Where it is unset there is no body.
            let digits = if length.is_empty() { "0" } else { length };
            assert_eq!(digits.parse(), Ok(post.length));
        }
        Ok(_) => {}
        Err(refusal) => check_answer(&refusal.answer().to_bytes(Style::Http), refusal.status),
    }
    // Whatever it names.
    let _ = since(variables);
    let listed = Origin::parse("https://listed.test:8443").expect("an origin");
    let narrow = Origins {
        also: vec![listed],
        ..Origins::default()
    };
    let any = Origins {
        any: true,
        ..Origins::default()
    };
    let (wide, narrow) = (
        handshake::check(variables, &any),
        handshake::check(variables, &narrow),
    );
    match (wide, narrow) {
        (Ok(()), Ok(())) => check_origin(variables),
        (Ok(()), Err(refusal)) => {
            assert_eq!(refusal.status, 403);
            assert!(variables.get("HTTP_ORIGIN").is_some());
        }
        (Err(refusal), narrow) => {
            assert_eq!(narrow.as_ref(), Err(&refusal));
            return check_answer(&refusal.answer().to_bytes(Style::Http), refusal.status);
        }
    }
    assert_eq!(Way::of(variables), Ok(Way::WebSocket));
    assert_eq!(variables.text("REQUEST_METHOD"), "GET");
    assert_eq!(variables.text("HTTP_SEC_WEBSOCKET_VERSION"), "13");
    let upgrade = variables.text("HTTP_UPGRADE").to_ascii_lowercase();
    assert!(upgrade.contains("websocket"), "{upgrade}");
    let key = variables.text("HTTP_SEC_WEBSOCKET_KEY");
    assert_eq!(STANDARD.decode(key).expect("a key").len(), 16);
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = STANDARD.encode(digest.digest().bytes());
    assert_eq!(handshake::accept(variables), accept);
}

/// Same origin: the origin without its scheme is the host, but for a default port.
fn check_origin(variables: &Variables) {
    if variables.get("HTTP_ORIGIN").is_none() {
        return;
    }
    let lower = |name| variables.text(name).trim().to_ascii_lowercase();
    let (origin, host) = (lower("HTTP_ORIGIN"), lower("HTTP_HOST"));
    let (scheme, authority) = origin.split_once("://").expect("an origin");
    if origin == "https://listed.test:8443" {
        return;
    }
    let port = if ["https", "wss"].contains(&scheme) {
        ":443"
    } else {
        ":80"
    };
    let same = [authority.to_owned(), format!("{authority}{port}")].contains(&host)
        || format!("{host}{port}") == authority;
    assert!(
        same && !authority.contains(['/', '@', '?', '#', ' ']),
        "{origin} at {host}"
    );
}

/// A whole HTTP answer, as a client reads it.
pub fn check_answer(answer: &[u8], status: u16) {
    let (code, fields, body) = read_answer(answer);
    assert_eq!(code, status);
    assert_eq!(only(&fields, "connection"), "close");
    if [204, 304].contains(&status) {
        assert!(body.is_empty() && fields.iter().all(|(n, _)| n != "content-length"));
    } else {
        assert_eq!(only(&fields, "content-length"), body.len().to_string());
    }
    for name in ["transfer-encoding", "keep-alive", "sec-websocket-accept"] {
        assert!(fields.iter().all(|(n, _)| n != name), "{name}");
    }
}

/// The one value of a field.
pub fn only<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let mut values = fields
        .iter()
        .filter(|(n, _)| n == name)
        .map(|(_, value)| value);
    let value = values.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(values.next(), None, "{name} twice");
    value
}

/// Status, fields with names in lower case, body.
pub fn read_answer(answer: &[u8]) -> (u16, Vec<(String, String)>, &[u8]) {
    let mut fields = vec![httparse::EMPTY_HEADER; 9000];
    let mut response = httparse::Response::new(&mut fields);
    let len = match response.parse(answer) {
        Ok(httparse::Status::Complete(len)) => len,
        other => panic!("{other:?}: {}", answer.escape_ascii()),
    };
    let fields = response.headers.iter().map(|field| {
        let value = String::from_utf8_lossy(field.value).into_owned();
        (field.name.to_ascii_lowercase(), value)
    });
    (response.code.unwrap_or(0), fields.collect(), &answer[len..])
}
