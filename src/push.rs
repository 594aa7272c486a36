//! `ws-push`: the outbox from the web, "POST to send", for those who know the token.

use crate::http::reason;
use crate::key;
use crate::limits::OUTLET_PAYLOAD;
use crate::logging;
use crate::outlet::{Failure, Outlet, read_input};
use crate::query::parameter;
use crate::reply::opcode_of;
use crate::rundir::{RunDir, first_line};
use crate::sys::{Environment, Sys, print, variable};
use crate::target::Target;

/// Runs `ws-push`. It answers over HTTP; the exit code is 0 but where it can't.
pub fn run<S: Sys>(sys: &S, called_as: &str, env: &Environment) -> u8 {
    let (status, text) = match push(sys, called_as, env) {
        Ok(()) => (204, String::new()),
        Err(refusal) => refusal,
    };
    let mut answer = format!("Status: {status} {}\r\n", reason(status));
    match status {
        204 => {}
        405 => answer.push_str("Allow: POST\r\nContent-Type: text/plain\r\n"),
        _ => answer.push_str("Content-Type: text/plain\r\n"),
    }
    answer.push_str("\r\n");
    if !text.is_empty() {
        // One line, whatever it repeats of the query.
        let line = logging::line(&format!("{status}: {text}"));
        answer.push_str(&String::from_utf8_lossy(&line));
    }
    match print(sys, &answer) {
        Ok(()) => 0,
        Err(_) => 111,
    }
}

fn push<S: Sys>(sys: &S, called_as: &str, env: &Environment) -> Result<(), (u16, String)> {
    let variable = |name| variable(env, name).unwrap_or_default();
    if variable("REQUEST_METHOD") != "POST" {
        return Err((405, "POST the payload to ?to=TARGET".to_owned()));
    }
    let run = RunDir::find(sys, called_as, env);
    let token = first_line(sys, &run.token());
    let given = bearer(variable("HTTP_AUTHORIZATION")).unwrap_or(variable("HTTP_X_WS_TOKEN"));
    match token {
        Some(token) if key::same(token.as_bytes(), given.trim_ascii().as_bytes()) => {}
        // One answer for both, so that nothing can be learned from it.
        _ => {
            let why = "needs the token of the run folder in Authorization: Bearer or X-WS-Token";
            return Err((403, why.to_owned()));
        }
    }
    let to = parameter(variable("QUERY_STRING"), "to");
    let to = to.ok_or((400, "?to=TARGET is missing".to_owned()))?;
    let target = Target::parse(&to).map_err(|why| (400, why))?;
    let length = variable("CONTENT_LENGTH");
    if length.is_empty() {
        return Err((411, "Content-Length is missing".to_owned()));
    }
    let length: usize = length
        .parse()
        .map_err(|_| (400, "no Content-Length".to_owned()))?;
    if length > OUTLET_PAYLOAD {
        return Err((413, format!("at most {OUTLET_PAYLOAD} bytes")));
    }
    let failed = |failure| match failure {
        Failure::Usage(why) => (400, why),
        Failure::NotRunning(why) | Failure::System(why) => {
            S::log(&logging::line(&format!("ws-push: {why}")));
            (
                503,
                "the daemon is not running, or not to be reached; see the error log".to_owned(),
            )
        }
    };
    let payload = read_input(sys, Some(length)).map_err(failed)?;
    if payload.len() < length {
        return Err((400, "the body ended early".to_owned()));
    }
    let opcode = opcode_of(variable("CONTENT_TYPE").as_bytes());
    Outlet::new(run)
        .send(sys, opcode, &target, &payload)
        .map_err(failed)
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim_ascii().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        assert_eq!(bearer("bearer x"), Some("x"));
        assert_eq!(bearer("Basic x"), None);
    }
}
