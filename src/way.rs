//! What a request asks for: a WebSocket, one of the ways that browsers without one have, or
//! the way up that belongs to those.

use crate::frame::Mark;
use crate::handshake::{Origins, check_method, check_origin, check_upgrade, has_token};
use crate::http::{Fields, Refusal};
use crate::query::parameter;
use crate::target::Id;
use crate::variables::Variables;
use core::time::Duration;

/// The way a browser comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// RFC 6455.
    WebSocket,
    /// Server-sent events: one answer that does not end.
    Events,
    /// Long polling: one message, one answer.
    Poll(Poll),
    /// A message that comes up by POST.
    Post(Post),
    /// A page of another origin asks whether it may (Fetch, "CORS protocol").
    Preflight,
}

/// What a poll says in its query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Poll {
    /// The connection it goes on with, and its key.
    pub chain: Option<(Id, String)>,
    /// It says neither `via` nor `id`: a page that knows nothing of us. Its connection is in
    /// a cookie.
    pub unnamed: bool,
    /// At most so long, `wait`.
    pub wait: Option<Duration>,
    /// All messages as one JSON array, `batch=1`.
    pub batch: bool,
    /// The connection is to end, `close=1`.
    pub close: bool,
}

/// What a POST says in its query and its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The connection whose message it is, and its key. None: an event on its own.
    pub of: Option<(Id, String)>,
    /// CONTENT_LENGTH, bytes.
    pub length: usize,
    /// Its number among the connection's, `n`. A browser may repeat a POST whose connection broke,
    /// and say nothing to its page: a number that is not above those before is no new message.
    pub number: Option<u64>,
}

/// The cookie of pages that know nothing of us.
pub const COOKIE: &str = "ws2cgi";

impl Way {
    /// Reads a request's variables.
    pub fn of(vars: &Variables) -> Result<Way, Refusal> {
        if vars.get("HTTP_SEC_WEBSOCKET_KEY").is_some() || check_upgrade(vars).is_ok() {
            check_method(vars)?;
            return check_upgrade(vars).map(|()| Way::WebSocket);
        }
        match vars.text("REQUEST_METHOD") {
            "GET" => Way::of_get(vars),
            "POST" => Ok(Way::Post(Post {
                of: chain(vars)?,
                length: length(vars)?,
                number: parameter(vars.text("QUERY_STRING"), "n")
                    .map(|number| number.parse())
                    .transpose()
                    .map_err(|_| Refusal::new(400, "query", "400: n is a number"))?,
            })),
            "OPTIONS" => Ok(Way::Preflight),
            method => Err(Refusal {
                fields: &[("Allow", "GET, POST, OPTIONS")],
                ..Refusal::new(405, "method", format!("405: {method} means nothing here"))
            }),
        }
    }

    fn of_get(vars: &Variables) -> Result<Way, Refusal> {
        let query = vars.text("QUERY_STRING");
        let via = parameter(query, "via");
        let events = has_token(vars.text("HTTP_ACCEPT"), "text/event-stream");
        match via.as_deref() {
            Some("sse") => return Ok(Way::Events),
            None if events => return Ok(Way::Events),
            Some("poll") | None => {}
            Some(_) => {
                let text = "400: via is sse or poll";
                return Err(Refusal::new(400, "query", text));
            }
        }
        let named = chain(vars)?;
        let unnamed = via.is_none() && named.is_none();
        let wait = parameter(query, "wait").map(|wait| match wait.parse() {
            Ok(seconds) => Ok(Duration::from_secs(u64::from(u32::min(seconds, 86_400)))),
            Err(_) => Err(Refusal::new(
                400,
                "query",
                "400: wait is a number of seconds",
            )),
        });
        let set = |name| parameter(query, name).is_some_and(|value| value == "1");
        Ok(Way::Poll(Poll {
            chain: named.or_else(|| unnamed.then(|| cookie(vars)).flatten()),
            unnamed,
            wait: wait.transpose()?,
            batch: set("batch"),
            close: set("close"),
        }))
    }

    /// The value of WS_TRANSPORT.
    pub fn name(&self) -> &'static str {
        match self {
            Way::WebSocket => "websocket",
            Way::Events => "sse",
            Way::Poll(_) => "poll",
            Way::Post(_) | Way::Preflight => "post",
        }
    }
}

/// Where the browser was when it was cut off: Last-Event-ID, `since`. None: it asks for nothing
/// of the past. Some(None): it names what is no mark.
pub fn since(vars: &Variables) -> Option<Option<Mark>> {
    let last = vars.text("HTTP_LAST_EVENT_ID");
    if !last.is_empty() {
        return Some(Mark::parse(last));
    }
    let since = parameter(vars.text("QUERY_STRING"), "since")?;
    Some(Mark::parse(&since)).filter(|_| !since.is_empty())
}

/// `id` and `key`.
fn chain(vars: &Variables) -> Result<Option<(Id, String)>, Refusal> {
    let query = vars.text("QUERY_STRING");
    let Some(id) = parameter(query, "id") else {
        return Ok(None);
    };
    match (Id::parse(&id), parameter(query, "key")) {
        (Some(id), Some(key)) => Ok(Some((id, key))),
        _ => Err(Refusal::new(400, "query", "400: id and key go together")),
    }
}

fn cookie(vars: &Variables) -> Option<(Id, String)> {
    let mut cookies = vars.text("HTTP_COOKIE").split(';');
    let ours = cookies.find_map(|cookie| {
        let (name, value) = cookie.split_once('=')?;
        (name.trim_ascii() == COOKIE).then_some(value.trim_ascii())
    })?;
    let (id, key) = ours.split_once('.')?;
    Some((Id::parse(id)?, key.to_owned()))
}

fn length(vars: &Variables) -> Result<usize, Refusal> {
    match vars.text("CONTENT_LENGTH") {
        // Unset where there is no body (RFC 3875 §4.1.2): busybox does so for an empty one.
        "" if vars.get("HTTP_TRANSFER_ENCODING").is_none() => Ok(0),
        "" => Err(Refusal::new(
            411,
            "length",
            "411: Content-Length is missing",
        )),
        // Digits alone (RFC 9110 §8.6): a sign would do for parse.
        text => Some(text)
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Refusal::new(400, "length", "400: Content-Length is no number")),
    }
}

/// Checks that the page may do this, which for all ways but the WebSocket means to read what
/// comes back, too. Ok: the fields that say so to its browser.
///
/// No Origin is sent by pages of our own, but neither by those of others that only embed us,
/// as an image or a script: they say so in Sec-Fetch-Site, if the web server passes it on.
pub fn check_page(vars: &Variables, origins: &Origins) -> Result<Fields, Refusal> {
    check_origin(vars, origins)?;
    let origin = vars.get("HTTP_ORIGIN").unwrap_or_default();
    let site = vars.text("HTTP_SEC_FETCH_SITE");
    if origin.is_empty() && matches!(site, "cross-site" | "same-site") && !origins.any {
        let text = "403: a page of another origin may not embed this";
        return Err(Refusal::new(403, "origin", text));
    }
    let mut fields = Fields::default();
    fields.put("Cache-Control", "no-store");
    // What a program prints for pages is no page, and no script, itself.
    fields.put("X-Content-Type-Options", "nosniff");
    if !origin.is_empty() && origins.list(vars.text("HTTP_ORIGIN")) {
        fields.put("Access-Control-Allow-Origin", origin);
        if !origins.any {
            fields.put("Access-Control-Allow-Credentials", "true");
        }
        let own = "WS-Id, WS-Key, WS-Since, WS-Gap, WS-Close, WS-Retry";
        fields.put("Access-Control-Expose-Headers", own);
        fields.put("Vary", "Origin");
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::Origin;
    use crate::target::Boot;

    fn vars(changes: &[(&str, &str)]) -> Variables {
        let mut vars = Variables::default();
        vars.set("REQUEST_METHOD", "GET");
        vars.set("HTTP_HOST", "board");
        for (name, value) in changes {
            vars.set(name, value);
        }
        vars
    }

    #[test]
    fn the_length_of_a_post_is_digits() {
        let of = |length: &str| {
            let vars = vars(&[("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", length)]);
            match Way::of(&vars) {
                Ok(Way::Post(post)) => Ok(post.length),
                Ok(other) => panic!("{other:?}"),
                Err(refusal) => Err(refusal.status),
            }
        };
        assert_eq!((of("0"), of("007")), (Ok(0), Ok(7)));
        // Unset: there is no body.
        assert_eq!(of(""), Ok(0));
        for bad in ["+5", "-5", " 5", "5, 5", "0x5", "99999999999999999999999"] {
            assert_eq!(of(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn ways() {
        let id = Id {
            boot: Boot(3),
            number: 9,
        };
        let of = |changes: &[(&str, &str)]| Way::of(&vars(changes));
        assert_eq!(of(&[("HTTP_UPGRADE", "websocket")]), Ok(Way::WebSocket));
        assert_eq!(of(&[("QUERY_STRING", "via=sse")]), Ok(Way::Events));
        assert_eq!(of(&[("HTTP_ACCEPT", "text/event-stream")]), Ok(Way::Events));
        let unnamed = Poll {
            unnamed: true,
            ..Poll::default()
        };
        assert_eq!(of(&[]), Ok(Way::Poll(unnamed.clone())));
        assert_eq!(
            of(&[("HTTP_COOKIE", &format!("a=b; ws2cgi={id}.k"))]),
            Ok(Way::Poll(Poll {
                chain: Some((id, "k".to_owned())),
                ..unnamed
            }))
        );
        let query = format!("id={id}&key=k&wait=3&batch=1");
        assert_eq!(
            of(&[("QUERY_STRING", &query), ("HTTP_COOKIE", "ws2cgi=x.y")]),
            Ok(Way::Poll(Poll {
                chain: Some((id, "k".to_owned())),
                wait: Some(Duration::from_secs(3)),
                batch: true,
                ..Poll::default()
            }))
        );
        for (changes, status) in [
            (&[("QUERY_STRING", "via=ws")][..], 400),
            (&[("QUERY_STRING", "id=x&key=y")], 400),
            (&[("QUERY_STRING", "id=%zz&key=y")], 400),
            (&[("QUERY_STRING", "wait=x")], 400),
            (&[("REQUEST_METHOD", "PUT")], 405),
            (
                &[
                    ("REQUEST_METHOD", "POST"),
                    ("HTTP_TRANSFER_ENCODING", "chunked"),
                ],
                411,
            ),
            (&[("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "-1")], 400),
            (
                &[
                    ("REQUEST_METHOD", "POST"),
                    ("CONTENT_LENGTH", "1"),
                    ("QUERY_STRING", "n=x"),
                ],
                400,
            ),
        ] {
            assert_eq!(of(changes).unwrap_err().status, status, "{changes:?}");
        }
        for (length, bytes) in [("5", 5), ("", 0)] {
            let post = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", length)];
            let post = of(&post[..if length.is_empty() { 1 } else { 2 }]);
            let (of, length, number) = (None, bytes, None);
            assert_eq!(post, Ok(Way::Post(Post { of, length, number })));
        }
    }

    #[test]
    fn marks() {
        let mark = Mark {
            boot: Boot(3),
            number: 0,
        };
        let query = format!("since={mark}");
        assert_eq!(since(&vars(&[])), None);
        assert_eq!(since(&vars(&[("QUERY_STRING", "since=")])), None);
        assert_eq!(since(&vars(&[("QUERY_STRING", "since=7")])), Some(None));
        assert_eq!(since(&vars(&[("QUERY_STRING", &query)])), Some(Some(mark)));
        // What the browser itself remembers is newer than what its page's URL says.
        let last = [("HTTP_LAST_EVENT_ID", "7"), ("QUERY_STRING", &query)];
        assert_eq!(since(&vars(&last)), Some(None));
    }

    #[test]
    fn pages() {
        let origins = Origins {
            also: vec![Origin::parse("http://friend").unwrap()],
            ..Origins::default()
        };
        let fields = |changes: &[(&str, &str)]| check_page(&vars(changes), &origins);
        let text = |changes: &[(&str, &str)]| {
            let bytes = fields(changes).unwrap().as_bytes().to_vec();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(text(&[]).lines().count(), 2);
        assert!(fields(&[("HTTP_ORIGIN", "http://evil")]).is_err());
        assert!(fields(&[("HTTP_SEC_FETCH_SITE", "cross-site")]).is_err());
        assert!(fields(&[("HTTP_SEC_FETCH_SITE", "same-origin")]).is_ok());
        let friend = text(&[("HTTP_ORIGIN", "http://friend")]);
        assert!(friend.contains("Access-Control-Allow-Origin: http://friend\r\n"));
    }
}
