//! The ways that are compared.

/// A way for an update from the board to a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `cgi-bin/longpoll.c` as it is.
    LongPoll,
    /// The same, with a look at the file every 10 ms.
    Eager,
    /// The same, woken by the kernel.
    Inotify,
    /// ws2cgi's long poll.
    Poll,
    /// ws2cgi's event stream.
    Events,
    /// ws2cgi's WebSocket.
    WebSocket,
}

impl Way {
    /// All of them, as the tables have them.
    pub const ALL: [Way; 6] = [
        Way::LongPoll,
        Way::Eager,
        Way::Inotify,
        Way::Poll,
        Way::Events,
        Way::WebSocket,
    ];

    /// Those without ws2cgi.
    pub const CLASSIC: [Way; 3] = [Way::LongPoll, Way::Eager, Way::Inotify];

    /// Its name in tables and plots.
    pub fn name(self) -> &'static str {
        match self {
            Way::LongPoll => "CGI long poll, a look each 100 ms",
            Way::Eager => "CGI long poll, a look each 10 ms",
            Way::Inotify => "CGI long poll, inotify",
            Way::Poll => "ws2cgi, long poll",
            Way::Events => "ws2cgi, SSE",
            Way::WebSocket => "ws2cgi, WebSocket",
        }
    }

    /// Where a browser asks.
    pub fn url(self) -> &'static str {
        match self {
            Way::LongPoll => "/cgi-bin/longpoll",
            Way::Eager => "/cgi-bin/eager",
            Way::Inotify => "/cgi-bin/inotify",
            Way::Poll => "/cgi-bin/nph-ws/board?via=poll",
            Way::Events => "/cgi-bin/nph-ws/board?via=sse",
            Way::WebSocket => "/cgi-bin/nph-ws/board",
        }
    }

    /// Whether a process waits for each browser, and no daemon.
    pub fn is_classic(self) -> bool {
        Way::CLASSIC.contains(&self)
    }
}
