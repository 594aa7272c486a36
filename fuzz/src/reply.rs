//! What an event program printed, and the HTTP answers that come of it.

use super::input::stretch;
use super::rules;
use ws2cgi::http;
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
            let (status, ..) = rules::read_answer(&answer);
            assert!(status == 302 || (300..=599).contains(&status), "{status}");
            rules::check_refusal(&answer, status);
            assert!(answer.ends_with(body));
            assert!(reply.failed() || reply.status.is_none());
        }
        Verdict::NoOpinion => assert!(reply.no_opinion() && reply.to.is_none()),
        Verdict::Accept => assert!(!reply.failed()),
    }
    check_switching(&reply);
    match reply.take_message() {
        Ok(Some(message)) => {
            assert_eq!(message.payload, body);
            assert!(message.opcode == Opcode::Binary || core::str::from_utf8(body).is_ok());
        }
        Ok(None) => assert!(body.is_empty()),
        Err(_) => assert!(core::str::from_utf8(body).is_err()),
    }
}

fn check_parts(reply: &Reply) {
    for (name, value) in &reply.fields {
        let lower = name.to_ascii_lowercase();
        assert!(!lower.starts_with("ws-") && lower != "status", "{name}");
        let text = |b: &u8| !b.is_ascii_control() || *b == b'\t';
        assert!(value.iter().all(text), "{name}: {}", value.escape_ascii());
    }
    for name in reply.join.iter().chain(&reply.leave) {
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
    let answer = http::switching("accept", Some("chat"), &reply.switching_fields());
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
