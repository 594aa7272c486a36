//! The hand-off record of whoever may write to the socket, and what becomes of it.

use super::input::stretch;
use super::rules;
use ws2cgi::close::{By, Ending};
use ws2cgi::event::{Event, Facts, environment, request_variables};
use ws2cgi::handoff::Record;
use ws2cgi::limits::HANDOFF_RECORD;
use ws2cgi::outbox::Opcode;
use ws2cgi::route;
use ws2cgi::target::{Boot, Id};

/// What is read can be written and read again; a program's environment holds what it may.
pub fn run(bytes: &[u8]) {
    let bytes = stretch(bytes);
    let Ok(record) = Record::parse(&bytes) else {
        return;
    };
    rules::check_variables(&record.variables);
    rules::check_handshake(&record.variables);
    match record.encode() {
        Some(again) => {
            assert!(again.len() <= HANDOFF_RECORD.min(bytes.len()));
            assert_eq!(Record::parse(&again).as_ref(), Ok(&record));
        }
        None => assert!(bytes.len() > HANDOFF_RECORD),
    }
    let path_info = record.variables.get("PATH_INFO").unwrap_or_default();
    let Some(path) = route::of_handoff(&record.program, path_info) else {
        return;
    };
    assert!(rules::route(&path), "{path}");
    match route::named(&record.program) {
        None => assert_eq!(path.as_bytes(), path_info),
        // Nothing outside it.
        Some(name) => {
            let behind = path
                .strip_prefix(&format!("/{name}"))
                .expect("its own route");
            assert!(behind.is_empty() || behind.starts_with('/'), "{path}");
        }
    }
    check_environment(&record, &path);
}

fn check_environment(record: &Record, path: &str) {
    let variables = request_variables(record.variables.clone(), "/cgi-bin/nph-ws/x", path);
    let id = Id {
        boot: Boot(1),
        number: 2,
    };
    let facts = Facts {
        id,
        route: path,
        transport: "websocket",
        rooms: &["a".to_owned(), "b".to_owned()],
        protocol: "",
        state: b"",
        outbox: "/run/ws/outbox",
    };
    // A reason of the peer's own choice.
    let ending = Ending {
        code: 1000,
        reason: record.program.clone(),
        by: By::Client,
    };
    for (event, method) in [
        (Event::Open, "GET"),
        (Event::Message(Opcode::Text, 5), "POST"),
        (Event::Close(&ending), "DELETE"),
    ] {
        let env = environment(&variables, &facts, &event);
        let mut names = Vec::new();
        for variable in &env {
            assert!(
                !variable.iter().any(u8::is_ascii_control),
                "{}",
                variable.escape_ascii()
            );
            let equals = variable
                .iter()
                .position(|&b| b == b'=')
                .expect("NAME=VALUE");
            names.push(&variable[..equals]);
        }
        for (name, value) in [
            ("REQUEST_METHOD", method),
            ("PATH_INFO", path),
            ("WS_ROUTE", path),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
        ] {
            let variable = format!("{name}={value}").into_bytes();
            assert!(env.contains(&variable), "{name}");
        }
        assert!(names.contains(&&b"QUERY_STRING"[..]));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name twice");
    }
}
