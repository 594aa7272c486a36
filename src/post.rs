//! `ws-post`: the way up for browsers without a WebSocket. An ordinary CGI program, it gives its
//! standard input, the body, and its standard output, the way for the answer, to the daemon.
//! So does every program whose name does not begin with `nph-`, with a POST.

use crate::handover::{descriptor, log, record, send};
use crate::http::{Refusal, Style};
use crate::rundir::RunDir;
use crate::sys::{Environment, Kind, Sys, write_all};

/// Runs `ws-post`, or `post-NAME`. The exit code is 0 where it did its part, answers among them.
pub fn run<S: Sys>(sys: &mut S, program: &str, called_as: &str, env: &Environment) -> u8 {
    let Some(record) = record::<S>(program, env) else {
        return 100;
    };
    let run = RunDir::find(sys, called_as, env);
    let refusal = match (descriptor(sys, 0), descriptor(sys, 1)) {
        // Nobody is there to answer: the browser may have gone meanwhile.
        (_, None | Some((_, Kind::Unconnected))) => return 0,
        (_, Some((stdout, Kind::Stream { .. }))) => send(sys, &record, &run, &[&stdout]).err(),
        (
            Some((stdin, Kind::PipeReader | Kind::File | Kind::Stream { .. })),
            Some((stdout, Kind::PipeWriter)),
        ) => send(sys, &record, &run, &[&stdin, &stdout]).err(),
        // Without a body there need be no standard input.
        (_, Some((stdout, Kind::PipeWriter))) => send(sys, &record, &run, &[&stdout]).err(),
        _ => {
            let text = "500: this web server gives CGI programs no pipe to answer through";
            Some(Refusal::new(500, "server", text))
        }
    };
    if let Some(refusal) = refusal {
        log::<S>(program, &refusal);
        if let Ok(stdout) = sys.inherited(1) {
            // A client that is gone needs no answer.
            let _ = write_all(sys, &stdout, &refusal.answer().to_bytes(Style::Cgi));
        }
    }
    0
}
