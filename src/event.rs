//! An event is a CGI request (RFC 3875 §4): connection and event → environment.

use crate::close::Ending;
use crate::outbox::Opcode;
use crate::target::Id;
use crate::variables::Variables;

/// Programs get this PATH, never a peer's.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// The three events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Before the 101.
    Open,
    /// A message of this many bytes.
    Message(Opcode, usize),
    /// After the last message.
    Close(&'a Ending),
}

/// What kind an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Before the 101; the program may refuse.
    Open,
    /// A message.
    Message,
    /// The last.
    Close,
}

impl Kind {
    /// The value of WS_EVENT.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Message => "message",
            Kind::Close => "close",
        }
    }
}

impl Event<'_> {
    fn kind(&self) -> Kind {
        match self {
            Event::Open => Kind::Open,
            Event::Message(..) => Kind::Message,
            Event::Close(_) => Kind::Close,
        }
    }
}

/// What a program is told about its connection, beside the request's own variables.
#[derive(Debug)]
pub struct Facts<'a> {
    /// WS_ID and WS_BOOT.
    pub id: Id,
    /// WS_ROUTE.
    pub route: &'a str,
    /// WS_TRANSPORT.
    pub transport: &'a str,
    /// WS_ROOMS, names without `@`.
    pub rooms: &'a [String],
    /// WS_PROTOCOL, empty where none was chosen.
    pub protocol: &'a str,
    /// WS_STATE.
    pub state: &'a [u8],
    /// WS_OUTBOX.
    pub outbox: &'a str,
}

/// The whole environment, `NAME=VALUE` each.
pub fn environment(request: &Variables, facts: &Facts, event: &Event) -> Vec<Vec<u8>> {
    let mut env = Vec::with_capacity(48);
    let mut put = |name: &str, value: &[u8]| env.push([name.as_bytes(), b"=", value].concat());
    for (name, value) in request.iter() {
        put(name, value);
    }
    put("PATH", PATH.as_bytes());
    put("WS_EVENT", event.kind().name().as_bytes());
    put("WS_ID", facts.id.to_string().as_bytes());
    put("WS_BOOT", facts.id.boot.to_string().as_bytes());
    put("WS_ROUTE", facts.route.as_bytes());
    put("WS_TRANSPORT", facts.transport.as_bytes());
    let rooms: Vec<String> = facts.rooms.iter().map(|name| format!("@{name}")).collect();
    put("WS_ROOMS", rooms.join(" ").as_bytes());
    put("WS_PROTOCOL", facts.protocol.as_bytes());
    put("WS_STATE", facts.state);
    put("WS_OUTBOX", facts.outbox.as_bytes());
    match event {
        Event::Open => put("REQUEST_METHOD", b"GET"),
        Event::Message(opcode, length) => {
            put("REQUEST_METHOD", b"POST");
            put("CONTENT_LENGTH", length.to_string().as_bytes());
            put(
                "CONTENT_TYPE",
                match opcode {
                    Opcode::Text => b"text/plain; charset=utf-8",
                    Opcode::Binary => b"application/octet-stream",
                },
            );
        }
        Event::Close(ending) => {
            put("REQUEST_METHOD", b"DELETE");
            put("WS_CLOSE_CODE", ending.code.to_string().as_bytes());
            // A peer's text: no control bytes, and no NUL above all.
            let shown = |c: char| if c.is_control() { '?' } else { c };
            let reason: String = ending.reason.chars().map(shown).collect();
            put("WS_CLOSE_REASON", reason.as_bytes());
            put("WS_CLOSE_BY", ending.by.name().as_bytes());
        }
    }
    env
}

/// The request's variables as its programs see them: the ones that are the same in every
/// event are ours to set, whatever the web server said.
pub fn request_variables(mut request: Variables, script_name: &str, path_info: &str) -> Variables {
    request.set("GATEWAY_INTERFACE", "CGI/1.1");
    request.set("SCRIPT_NAME", script_name);
    request.set("PATH_INFO", path_info);
    // RFC 3875 §4.1.7: always there.
    request.offer("QUERY_STRING", b"");
    for name in ["REQUEST_METHOD", "CONTENT_LENGTH", "CONTENT_TYPE"] {
        request.remove(name);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::By;
    use crate::target::Boot;

    fn of(event: &Event) -> Vec<String> {
        let mut vars = Variables::default();
        vars.offer("REQUEST_METHOD", b"GET");
        vars.offer("HTTP_COOKIE", b"s=1");
        let request = request_variables(vars, "/cgi-bin/nph-ws/chat", "/room");
        let facts = Facts {
            id: Id {
                boot: Boot(1),
                number: 2,
            },
            route: "/chat/room",
            transport: "websocket",
            rooms: &["a".to_owned(), "b".to_owned()],
            protocol: "",
            state: b"s",
            outbox: "/run/outbox",
        };
        let env = environment(&request, &facts, event);
        env.into_iter()
            .map(|v| String::from_utf8(v).unwrap())
            .collect()
    }

    #[test]
    fn each_variable_stands_once() {
        let ending = Ending {
            code: 1000,
            reason: "a\nb\0".into(),
            by: By::Client,
        };
        for event in [
            Event::Open,
            Event::Message(Opcode::Text, 5),
            Event::Close(&ending),
        ] {
            let env = of(&event);
            let mut names: Vec<_> = env.iter().map(|v| v.split('=').next().unwrap()).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count);
            assert!(env.contains(&"WS_ROOMS=@a @b".to_owned()));
            assert!(env.contains(&"PATH_INFO=/room".to_owned()));
            assert!(env.contains(&"QUERY_STRING=".to_owned()));
        }
        assert!(of(&Event::Message(Opcode::Text, 5)).contains(&"CONTENT_LENGTH=5".to_owned()));
        assert!(of(&Event::Close(&ending)).contains(&"WS_CLOSE_REASON=a?b?".to_owned()));
    }
}
