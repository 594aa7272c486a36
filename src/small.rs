//! The small programs, all but the daemon: which of them is called, by its name. `ws2cgi` is
//! them as well; `ws2cgi-small` is nothing else, for boards without an MMU, which take a program
//! into memory whole, and in one piece, each time it is run.

use crate::sys::{Environment, Sys, print, variable};
use crate::{logging, nph, post, push, send};
use std::ffi::OsString;

const HELP: &str = "\
ws2cgi-small: the programs of ws2cgi that are not the daemon

usage: ws2cgi-small NAME ...            be ws-send, ws-push, ws-post or nph-NAME
       ws2cgi-small --help|--version

Linked as one of these it is that one; as anything else, run by a web server, it takes the place
of the CGI program of that name. The daemon is ws2cgi. See ws2cgi(8).
";

/// One call of a small program.
pub struct Call {
    program: Program,
    /// argv\[0\], or a path in the same folder where the name is an argument.
    called_as: String,
    args: Vec<OsString>,
}

enum Program {
    /// `nph-*`.
    Nph,
    /// `ws-post`, `post-*`, and what stands in for a program: ordinary CGI programs, whose
    /// output the web server parses.
    Cgi,
    Push,
    Send,
}

/// Runs `ws2cgi-small`. Returns the exit code: 0 done, 100 usage, 111 system.
pub fn run<S: Sys>(mut sys: S, args: Vec<OsString>, env: Environment) -> u8 {
    let args = match Call::of(args, &env) {
        Ok(call) => return call.run(&mut sys, &env),
        Err(args) => args,
    };
    // A web server makes arguments of the query.
    let asked = match variable(&env, "GATEWAY_INTERFACE") {
        None => args.first().and_then(|arg| arg.to_str()),
        Some(_) => None,
    };
    let text = match asked {
        Some("--help" | "-h") => HELP,
        Some("--version" | "-V") => concat!("ws2cgi-small ", env!("CARGO_PKG_VERSION"), "\n"),
        _ => {
            let why = "it is called by none of its programs' names, nph-ws or ws-send for one \
                       (--help shows the usage); the daemon is ws2cgi";
            S::log(&logging::line(&format!("ws2cgi-small: {why}")));
            return 100;
        }
    };
    match print(&sys, text) {
        Ok(()) => 0,
        Err(_) => 111,
    }
}

impl Call {
    /// What argv, its name included, calls. Else its arguments come back.
    pub fn of(args: Vec<OsString>, env: &Environment) -> Result<Call, Vec<OsString>> {
        let mut args = args.into_iter();
        let called_as = args.next().unwrap_or_default();
        let mut called_as = called_as.to_string_lossy().into_owned();
        let mut args: Vec<_> = args.collect();
        let mut program = Program::named(&called_as);
        // Before argv is read: boa makes it of the query.
        if program.is_none() && stands_in(&called_as, env) {
            program = Some(Program::Cgi);
        }
        // `ws2cgi NAME ...`; its options begin with a dash.
        let first = args.first().map(|arg| arg.to_string_lossy().into_owned());
        if let (None, Some(name)) = (&program, first) {
            program = Program::named(&name);
            if program.is_some() {
                // The folder stays that of the binary.
                called_as.truncate(called_as.len() - file_name(&called_as).len());
                called_as += &name;
                args.remove(0);
            }
        }
        match program {
            Some(program) => Ok(Call {
                program,
                called_as,
                args,
            }),
            None => Err(args),
        }
    }

    /// Runs it. Only ws-send reads its arguments.
    pub fn run<S: Sys>(self, sys: &mut S, env: &Environment) -> u8 {
        let called_as = &self.called_as;
        let name = file_name(called_as);
        match self.program {
            Program::Send => send::run(sys, called_as, self.args, env),
            Program::Push => push::run(sys, called_as, env),
            Program::Nph => nph::run(sys, name, called_as, env),
            Program::Cgi => match variable(env, "REQUEST_METHOD") {
                Some("GET") => nph::run(sys, name, called_as, env),
                _ => post::run(sys, name, called_as, env),
            },
        }
    }
}

impl Program {
    /// The one of a name or path.
    fn named(called_as: &str) -> Option<Program> {
        match file_name(called_as) {
            "ws-send" => Some(Program::Send),
            "ws-push" => Some(Program::Push),
            "ws-post" => Some(Program::Cgi),
            name if name.starts_with("nph-") => Some(Program::Nph),
            name if name.starts_with("post-") => Some(Program::Cgi),
            _ => None,
        }
    }
}

/// Whether a web server runs us by a name that says nothing: that of a program whose place we
/// have taken. (A program of ours has WS_EVENT, and may run any copy of ws2cgi.)
fn stands_in(called_as: &str, env: &Environment) -> bool {
    let request = |name| variable(env, name).is_some();
    let own = ["ws2cgi", "ws2cgi-small"].contains(&file_name(called_as));
    !own && request("GATEWAY_INTERFACE") && !request("WS_EVENT")
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
