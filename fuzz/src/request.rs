//! What a request asks for: its method, query, cookies and the other variables that say it,
//! against a second reader of them.

use super::rules::check_answer;
use core::time::Duration;
use std::collections::BTreeMap;
use ws2cgi::handshake::{Origin, Origins};
use ws2cgi::http::Style;
use ws2cgi::key::Keys;
use ws2cgi::query::parameter;
use ws2cgi::target::Id;
use ws2cgi::variables::Variables;
use ws2cgi::way::{COOKIE, Poll, Post, Way, check_page, since};

/// What a line of the input sets, by its first byte; `?` adds a parameter to the query.
const NAMES: [(u8, &str); 12] = [
    (b'?', "QUERY_STRING"),
    (b'm', "REQUEST_METHOD"),
    (b'c', "HTTP_COOKIE"),
    (b'l', "CONTENT_LENGTH"),
    (b'a', "HTTP_ACCEPT"),
    (b'e', "HTTP_LAST_EVENT_ID"),
    (b'o', "HTTP_ORIGIN"),
    (b'h', "HTTP_HOST"),
    (b's', "HTTP_SEC_FETCH_SITE"),
    (b't', "HTTP_TRANSFER_ENCODING"),
    (b'u', "HTTP_UPGRADE"),
    (b'k', "HTTP_SEC_WEBSOCKET_KEY"),
];

/// Whatever stands in the variables, what is made of them is what the manual says.
pub fn run(bytes: &[u8]) {
    let mut values: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for line in bytes.split(|&b| b == b'\n') {
        let Some((first, value)) = line.split_first() else {
            continue;
        };
        let Some((_, name)) = NAMES.iter().find(|(byte, _)| byte == first) else {
            continue;
        };
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        match values.get_mut(name) {
            Some(query) if *first == b'?' => {
                query.push(b'&');
                query.extend_from_slice(value);
            }
            _ => drop(values.insert(name, value.to_vec())),
        }
    }
    let mut variables = Variables::default();
    variables.set("REQUEST_METHOD", "GET");
    for (name, value) in &values {
        match name.starts_with("HTTP_") {
            true => variables.offer(name, value),
            false => variables.set(name, value),
        }
    }
    check_query(&variables);
    check_way(&variables);
    check_since(&variables);
    check_pages(&variables);
}

/// Percent-decoded, what is no escape as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let escape = text.get(at..at + 3).filter(|escape| {
            let mut digits = escape.bytes().skip(1);
            escape.starts_with('%') && digits.all(|b| b.is_ascii_hexdigit())
        });
        match escape {
            Some(escape) => {
                decoded.push(u8::from_str_radix(&escape[1..], 16).expect("two digits"));
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The parameters that have a value: of two of one name the first counts.
fn parameters(variables: &Variables) -> BTreeMap<&str, String> {
    let mut all = BTreeMap::new();
    for pair in variables.text("QUERY_STRING").split('&') {
        if let Some((name, value)) = pair.split_once('=') {
            all.entry(name).or_insert_with(|| decode(value));
        }
    }
    all
}

fn check_query(variables: &Variables) {
    let query = variables.text("QUERY_STRING");
    let all = parameters(variables);
    for (name, value) in &all {
        assert_eq!(parameter(query, name).as_ref(), Some(value), "{name}");
    }
    for name in ["id", "key", "via", "wait", "batch", "close", "n", "since"] {
        assert_eq!(parameter(query, name).as_ref(), all.get(name), "{name}");
    }
}

/// A list's elements, without case.
fn listed(variables: &Variables, name: &str, element: &str) -> bool {
    let value = variables.text(name).to_ascii_lowercase();
    value.split(',').any(|one| one.trim_ascii() == element)
}

/// The way, or the status of what refuses it.
fn expected(variables: &Variables) -> Result<Way, u16> {
    let method = variables.text("REQUEST_METHOD");
    let upgrade = listed(variables, "HTTP_UPGRADE", "websocket");
    if upgrade || variables.get("HTTP_SEC_WEBSOCKET_KEY").is_some() {
        return match (method, upgrade) {
            ("GET", true) => Ok(Way::WebSocket),
            ("GET", false) => Err(426),
            _ => Err(405),
        };
    }
    let query = parameters(variables);
    let named = || -> Result<_, u16> {
        match (query.get("id"), query.get("key")) {
            (None, _) => Ok(None),
            (Some(id), Some(key)) => Ok(Some((Id::parse(id).ok_or(400_u16)?, key.clone()))),
            (Some(_), None) => Err(400),
        }
    };
    match method {
        "OPTIONS" => Ok(Way::Preflight),
        "POST" => {
            let of = named()?;
            let length = variables.text("CONTENT_LENGTH");
            let chunked = variables.get("HTTP_TRANSFER_ENCODING").is_some();
            let digits = length.chars().all(|c| c.is_ascii_digit());
            let length = match (length, chunked) {
                ("", true) => return Err(411),
                ("", false) => 0,
                (length, _) if digits => length.parse().map_err(|_| 400_u16)?,
                _ => return Err(400),
            };
            let number = match query.get("n") {
                None => None,
                Some(number) => Some(number.parse().map_err(|_| 400_u16)?),
            };
            Ok(Way::Post(Post { of, length, number }))
        }
        "GET" => {
            let stream = listed(variables, "HTTP_ACCEPT", "text/event-stream");
            let via = query.get("via").map(String::as_str);
            match via {
                Some("sse") => return Ok(Way::Events),
                None if stream => return Ok(Way::Events),
                None | Some("poll") => {}
                _ => return Err(400),
            }
            let mut chain = named()?;
            let unnamed = via.is_none() && chain.is_none();
            if unnamed {
                chain = cookie(variables.text("HTTP_COOKIE"));
            }
            let wait = match query.get("wait") {
                None => None,
                Some(seconds) => {
                    let seconds: u32 = seconds.parse().map_err(|_| 400_u16)?;
                    Some(Duration::from_secs(u64::from(seconds.min(86_400))))
                }
            };
            let set = |name| query.get(name).is_some_and(|value| value == "1");
            Ok(Way::Poll(Poll {
                chain,
                unnamed,
                wait,
                batch: set("batch"),
                close: set("close"),
            }))
        }
        _ => Err(405),
    }
}

/// RFC 6265 §4.2.1: the first of that name.
fn cookie(cookies: &str) -> Option<(Id, String)> {
    let pairs = cookies.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim_ascii() == COOKIE);
    let (id, key) = named.next()?.1.trim_ascii().split_once('.')?;
    Some((Id::parse(id)?, key.to_owned()))
}

fn check_way(variables: &Variables) {
    let way = Way::of(variables);
    let status = way.as_ref().map_err(|refusal| refusal.status);
    assert_eq!(
        status,
        expected(variables).as_ref().map_err(|&status| status)
    );
    let chain = match way {
        Err(refusal) => {
            return check_answer(&refusal.answer().to_bytes(Style::Http), refusal.status);
        }
        Ok(Way::Poll(poll)) => poll.chain,
        Ok(Way::Post(post)) => post.of,
        Ok(Way::WebSocket | Way::Events | Way::Preflight) => None,
    };
    // Whose it is, only its key says.
    if let Some((id, key)) = chain {
        let keys = Keys::new([7; 20]);
        let own = keys.of(id);
        assert!(own.len() == 32 && keys.fits(id, &own));
        assert_eq!(keys.fits(id, &key), key == own);
    }
}

fn check_since(variables: &Variables) {
    let last = variables.text("HTTP_LAST_EVENT_ID");
    let asked = match last.is_empty() {
        true => parameters(variables).remove("since").unwrap_or_default(),
        false => last.to_owned(),
    };
    let mark = Id::parse(&asked);
    assert_eq!(since(variables), (!asked.is_empty()).then_some(mark));
}

/// Who reads an answer is a page of ours, or one that was named, and whose browser is told so.
fn check_pages(variables: &Variables) {
    let origin = variables.get("HTTP_ORIGIN").unwrap_or_default();
    let site = variables.text("HTTP_SEC_FETCH_SITE");
    let also = Origin::parse("https://listed.test:8443").expect("an origin");
    for any in [false, true] {
        let origins = Origins {
            any,
            also: vec![also.clone()],
            ..Origins::default()
        };
        let fields = match check_page(variables, &origins) {
            Ok(fields) => fields,
            Err(refusal) => {
                assert!(!any && refusal.status == 403);
                let foreign = ["cross-site", "same-site"].contains(&site);
                assert!(foreign || variables.get("HTTP_ORIGIN").is_some());
                check_answer(&refusal.answer().to_bytes(Style::Http), 403);
                continue;
            }
        };
        let lower = origin.to_ascii_lowercase();
        let named = any || lower == b"https://listed.test:8443";
        let told = !origin.is_empty() && named;
        let allow = [b"Access-Control-Allow-Origin: ", origin].concat();
        let lines = fields.as_bytes().split(|&b| b == b'\n');
        let lines: Vec<_> = lines.map(<[u8]>::trim_ascii_end).collect();
        assert_eq!(lines.contains(&allow.as_slice()), told);
        let credentials = &b"Access-Control-Allow-Credentials: true"[..];
        assert_eq!(lines.contains(&credentials), told && !any);
        assert!(lines.contains(&&b"Cache-Control: no-store"[..]));
        assert!(lines.contains(&&b"X-Content-Type-Options: nosniff"[..]));
        assert_eq!(
            lines.len(),
            1 + 2 + if told { 3 + usize::from(!any) } else { 0 }
        );
    }
}
