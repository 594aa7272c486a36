//! What an event program printed, and the HTTP answers that come of it.

use super::input::stretch;
use super::rules;
use ws2cgi::http::{self, Answer, Style};
use ws2cgi::limits::{REPLY_HEAD, STATE};
use ws2cgi::outbox::Opcode;
use ws2cgi::reply::{Reply, Verdict, head_end};

/// A reply that was understood makes an answer that every client reads alike, or a message.
pub fn run(bytes: &[u8]) {
    let output = stretch(bytes);
    let Ok(mut reply) = Reply::parse(output.clone()) else {
        return;
    };
    let end = match output.is_empty() {
        true => 0,
        false => head_end(&output).expect("a header block"),
    };
    assert!(end <= REPLY_HEAD);
    let body = &output[end..];
    check_parts(&reply);
    match reply.verdict() {
        Verdict::Refuse(answer) => {
            let status = answer.status.0;
            assert!((300..=599).contains(&status), "{status}");
            assert_eq!(answer.body, body);
            rules::check_answer(&answer.to_bytes(Style::Http), status);
            assert!(reply.failed() || reply.status.is_none());
        }
        Verdict::NoOpinion => assert!(reply.no_opinion() && reply.to.is_none()),
        Verdict::Accept => assert!(!reply.failed()),
    }
    check_switching(&reply);
    let mut posted = Reply::parse(output.clone()).expect("the same again");
    let answer = posted.take_answer();
    assert_eq!(answer.body, body);
    rules::check_answer(&answer.to_bytes(Style::Http), answer.status.0);
    check_cgi(&answer);
    match reply.take_message() {
        Ok(Some(message)) => {
            assert_eq!(message.payload, body);
            assert!(message.opcode == Opcode::Binary || core::str::from_utf8(body).is_ok());
        }
        Ok(None) => assert!(body.is_empty()),
        Err(_) => assert!(core::str::from_utf8(body).is_err()),
    }
}

/// What a web server makes a head of: one Status, first, and no more than one of each of ours.
fn check_cgi(answer: &Answer) {
    let bytes = answer.to_bytes(Style::Cgi);
    let end = head_end(&bytes).expect("a header block");
    let lines: Vec<_> = bytes[..end].split(|&b| b == b'\n').collect();
    let named = |name: &[u8]| {
        let lines = lines.iter();
        lines
            .filter(|line| line.to_ascii_lowercase().starts_with(name))
            .count()
    };
    assert!(lines[0].starts_with(b"Status: "));
    assert_eq!(named(b"status:"), 1);
    assert!(named(b"content-length:") <= 1);
}

fn check_parts(reply: &Reply) {
    for (name, value) in reply.fields() {
        let lower = name.to_ascii_lowercase();
        assert!(!lower.starts_with("ws-") && lower != "status", "{name}");
        let text = |b: &u8| !b.is_ascii_control() || *b == b'\t';
        assert!(value.iter().all(text), "{name}: {}", value.escape_ascii());
    }
    for name in reply.join.iter().chain(reply.leave.iter()) {
        assert!(rules::room(name) && name != "all", "{name}");
    }
    if let Some(target) = &reply.to {
        rules::check_target(target, None);
    }
    if let Some(close) = &reply.close {
        rules::check_close(close);
    }
    assert!(
        reply
            .state
            .as_ref()
            .is_none_or(|state| state.len() <= STATE)
    );
}

/// The 101: what makes it one is ours alone.
fn check_switching(reply: &Reply) {
    let answer = http::switching("accept", Some("chat"), &reply.switching_fields().collect());
    let (status, fields, body) = rules::read_answer(&answer);
    assert_eq!((status, body), (101, &b""[..]));
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", "accept"),
        ("sec-websocket-protocol", "chat"),
    ] {
        assert_eq!(rules::only(&fields, name), value);
    }
    for (name, _) in &fields {
        assert!(
            !name.starts_with("content-") && !name.starts_with("proxy-"),
            "{name}"
        );
        assert!(!["transfer-encoding", "location", "te"].contains(&name.as_str()));
    }
}
