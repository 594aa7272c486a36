//! Browsers without a WebSocket: event streams, polls, POSTs.

use super::{Answer, Daemon, PATIENCE, narrow_pair, read_answer};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{ChildStdin, ChildStdout, Stdio};

/// The variables of a request that asks for no upgrade.
const PLAIN: [(&str, &str); 3] = [
    ("HTTP_UPGRADE", ""),
    ("HTTP_SEC_WEBSOCKET_VERSION", ""),
    ("HTTP_SEC_WEBSOCKET_KEY", ""),
];

impl Daemon {
    /// A GET of a URL below `/cgi-bin/nph-ws` that asks for no upgrade, handed over as a
    /// socket; nothing of its answer has been read yet. Blanks in it are encoded.
    pub fn get(&self, url: &str, more: &[(&str, &str)]) -> TcpStream {
        self.raw(url, &[&PLAIN, more].concat())
    }

    /// The same on a socket of which the kernel holds little that has not been read.
    pub fn get_narrow(&self, url: &str) -> TcpStream {
        let (client, server) = narrow_pair();
        let url = url.replace(' ', "%20");
        let variables = [&Daemon::variables(&url), &PLAIN[..]].concat();
        self.hand_over(server, "nph-ws", &variables);
        client
    }

    /// The same, handed over as the pipe of the program's output.
    pub fn get_by_pipe(&self, url: &str, more: &[(&str, &str)]) -> impl Read + use<> {
        let url = url.replace(' ', "%20");
        let (path, query) = url.split_once('?').unwrap_or((&url, ""));
        let url = [("PATH_INFO", path), ("QUERY_STRING", query)];
        let mut nph = self.nph("nph-ws", &[&url, &PLAIN[..], more].concat());
        let mut nph = nph
            .stdout(Stdio::piped())
            .spawn()
            .expect("run the hand-off");
        let pipe = nph.stdout.take().expect("a pipe");
        assert!(nph.wait().expect("wait").success());
        pipe
    }

    /// A POST to a URL below `/cgi-bin/PROGRAM`, its body in a pipe. The answer is what a web
    /// server would make the head of.
    pub fn post_by(&self, program: &str, url: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
        let length = body.len().to_string();
        let variables = [&[("CONTENT_LENGTH", &*length)], more].concat();
        let (mut stdin, mut stdout) = self.post_begun(program, url, &variables);
        // The daemon may answer before it has read all.
        let _ = stdin.write_all(body);
        drop(stdin);
        cgi_answer(&mut stdout)
    }

    /// The same, of text; nothing of its body has been written, nor of its answer read.
    pub fn post_begun(
        &self,
        program: &str,
        url: &str,
        more: &[(&str, &str)],
    ) -> (ChildStdin, ChildStdout) {
        let url = url.replace(' ', "%20");
        let variables = [("REQUEST_METHOD", "POST"), ("CONTENT_TYPE", "text/plain")];
        let url = Daemon::variables(&url);
        let mut post = self.nph(program, &[&variables, &url, &PLAIN[..], more].concat());
        let post = post.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut post = post.spawn().expect("run ws-post");
        let pipes = (post.stdin.take(), post.stdout.take());
        assert!(post.wait().expect("wait").success());
        (pipes.0.expect("a pipe"), pipes.1.expect("a pipe"))
    }

    /// A POST of text to ws-post.
    pub fn post(&self, url: &str, body: &str) -> Answer {
        self.post_by("ws-post", url, &[], body.as_bytes())
    }
}

/// Reads what a CGI program prints, to its end.
pub fn cgi_answer(from: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("read");
    assert!(bytes.starts_with(b"Status: "), "{}", bytes.escape_ascii());
    let http = [b"HTTP/1.1 ", &bytes["Status: ".len()..]].concat();
    read_answer(&mut &http[..])
}

/// A page that polls.
#[derive(Clone, Debug, Default)]
pub struct Poller {
    /// `/act?via=poll`, with `&` behind if there is a query.
    url: String,
    pub id: String,
    pub key: String,
    pub since: String,
}

impl Poller {
    /// `url`: with a query.
    pub fn new(url: &str) -> Poller {
        Poller {
            url: url.to_owned(),
            ..Poller::default()
        }
    }

    /// The URL of the next poll.
    pub fn next_url(&self) -> String {
        let mut url = self.url.clone();
        for (name, value) in [("id", &self.id), ("key", &self.key), ("since", &self.since)] {
            if !value.is_empty() {
                url.push_str(&format!("&{name}={value}"));
            }
        }
        url
    }

    /// Asks; nothing of the answer has been read.
    pub fn ask(&self, daemon: &Daemon, more: &str) -> TcpStream {
        daemon.get(&format!("{}{more}", self.next_url()), &[])
    }

    /// Takes an answer's word for where it is.
    pub fn note(&mut self, answer: &Answer) {
        for (name, value) in [
            ("ws-id", &mut self.id),
            ("ws-key", &mut self.key),
            ("ws-since", &mut self.since),
        ] {
            if let Some(said) = answer.field(name) {
                said.clone_into(value);
            }
        }
    }

    /// Asks, and reads the answer.
    pub fn poll(&mut self, daemon: &Daemon, more: &str) -> Answer {
        let mut stream = self.ask(daemon, more);
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let answer = read_answer(&mut stream);
        self.note(&answer);
        answer
    }

    /// The text of the next message.
    pub fn text(&mut self, daemon: &Daemon) -> String {
        loop {
            let answer = self.poll(daemon, "");
            match answer.status {
                200 => return answer.body,
                204 => {}
                _ => panic!("{answer:?}"),
            }
        }
    }
}
