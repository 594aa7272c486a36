//! Every bound that is not an option, with its reason. Sizes are bytes.

use core::time::Duration;

/// One datagram of the hand-off: the CGI environment of one request. boa reads a
/// head of at most 8 KB, lighttpd's default is 8 KB too; CGI doubles some of it.
pub const HANDOFF_RECORD: usize = 16 * 1024;

/// Descriptors in one hand-off datagram that are looked at (and closed when they are
/// too many). Two are legal.
pub const HANDOFF_DESCRIPTORS: usize = 8;

/// How long `nph-*` waits for room in the daemon's socket, whose queue holds about 11.
pub const HANDOFF_WAIT: Duration = Duration::from_secs(1);
/// Between two tries meanwhile, as nothing tells when there is room.
pub const HANDOFF_RETRY: Duration = Duration::from_millis(10);

/// Hand-off records and new connections taken in one turn of the loop.
pub const ADMISSIONS_PER_TURN: usize = 32;
/// Between two tries while there is no descriptor for newcomers: their sockets stay readable, and
/// the loop would spin.
pub const ADMISSION_PAUSE: Duration = Duration::from_millis(100);

/// Connections to one `--listen` that the kernel keeps until they are taken: what some browsers
/// with 6 each ask for at once. Linux keeps one more.
pub const BACKLOG: usize = 64;

/// A request head read on `--listen`, as boa's.
pub const HEAD: usize = 8 * 1024;

/// Header fields in that head: boa's number of variables.
pub const HEAD_FIELDS: usize = 100;

/// A head, or the body of a POST, not complete by then is answered with 408: slow-loris. A head has
/// [`UNFINISHED`] where there is no room for another.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A whole route, `/chat/room/7`.
pub const ROUTE: usize = 256;

/// Connections beyond `--max-connections` that may exist at once while they are
/// being told 503; with all of them taken, newcomers wait in the kernel's queue. So they do where
/// as many heads are still to come as there may be connections, and so many more.
pub const REFUSALS: usize = 8;

/// Messages of one connection that wait, or come in, by POST at once, each with its descriptor: a
/// browser makes some 6 requests at once to one host.
pub const POSTS: usize = 8;

/// Descriptors that belong to no connection and no job: 0–2, the hand-off socket,
/// the FIFO, the locked run folder, the log, `/dev/null`, a pipe of our own, a file being
/// written, and some spare.
pub const FIXED_DESCRIPTORS: usize = 16;
/// A socket, or the two pipes of lighttpd's `cgi.upgrade`.
pub const DESCRIPTORS_PER_CONNECTION: usize = 2;
/// Our ends of stdin, stdout and stderr, and one to spare. (The child's ends, which only
/// one job at a time has, are among the fixed ones.)
pub const DESCRIPTORS_PER_JOB: usize = 4;

/// Bytes read from one descriptor in one turn: the shared scratch buffer.
pub const SCRATCH: usize = 4 * 1024;
/// Rounds of [`SCRATCH`] that one descriptor gets in one turn.
pub const READS_PER_TURN: usize = 4;

/// The header block of a CGI reply; the body has `--max-reply`.
pub const REPLY_HEAD: usize = 8 * 1024;
/// How many of a reply's mistakes are logged: one program can make thousands.
pub const REPLY_WARNINGS: usize = 8;
/// What of one event's stderr is logged; the rest is read and discarded.
pub const STDERR_LOGGED: usize = 4 * 1024;
/// From SIGTERM to SIGKILL for a program past its deadline.
pub const KILL_GRACE: Duration = Duration::from_secs(2);

/// Rooms of one connection.
pub const ROOMS: usize = 16;
/// A room's name, and a spool file's.
pub const NAME: usize = 64;
/// `WS-State`: enough for a user id and a cursor; it stands in every environment.
pub const STATE: usize = 256;
/// RFC 6455 §5.5: a control frame carries at most 125 bytes, 2 of them the code.
pub const CLOSE_REASON: usize = 123;

/// One line of the outbox. Only lines up to `PIPE_BUF` are atomic, and `ws-send`
/// writes no longer ones; a lone writer may.
pub const OUTBOX_LINE: usize = 16 * 1024;

/// How often the daemon looks whether its FIFO and its hand-off socket are still there under
/// their names: rare enough to cost nothing.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// A spool file that no line has named for this long has lost its writer: whoever writes line
/// and file by hand is faster.
pub const SPOOL_LEFT: Duration = Duration::from_secs(20);
/// Names of one folder that are looked at at once: its writers may make any number.
pub const NAMES: usize = 256;

/// A message of the small programs; the daemon's own bound is `--max-reply`.
pub const OUTLET_PAYLOAD: usize = 1024 * 1024;

/// By how much their memory for it grows at a time.
pub const INPUT_STEP: usize = 64 * 1024;

/// What `--memory` does not count: the tables of the loop, a request head before it is charged,
/// status.json while it is written.
pub const UNCOUNTED_MEMORY: usize = 128 * 1024;

/// The closing handshake after our close frame (RFC 6455 §7.1.1 sets no time).
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// An HTTP answer that is taken bit by bit: 64 KB over a line of 1 KB a second. It ends after
/// [`CLOSE_TIMEOUT`] in which nothing is taken, or where others wait for its memory.
pub const ANSWER: Duration = Duration::from_secs(60);
/// A client closed with 1013 has this long to read the close before a reset.
pub const SLOW_CLOSE: Duration = Duration::from_secs(2);
/// An end that soon after the 101, with nothing heard before, over pipes: the web server
/// never meant to pass anything on.
pub const EOF_AT_ONCE: Duration = Duration::from_secs(1);
/// After our last byte and FIN: how long the peer's bytes are read and discarded,
/// because closing on unread bytes resets the connection and destroys what we sent.
pub const LINGER: Duration = Duration::from_secs(2);
/// The whole of a shutdown.
pub const SHUTDOWN: Duration = Duration::from_secs(10);

/// Where memory is short, a message that has been coming in for longer than this may have to
/// give its share up to another, or to a connection. Whoever sends in earnest needs less. Where
/// all connections are taken, so may a chain of polls that waits for its second.
pub const UNFINISHED: Duration = Duration::from_secs(1);

/// Payloads from this size on leave their buffer behind: the protocol's own one is
/// made anew, so that an idle connection holds no large buffer.
pub const IDLE_BUFFER: usize = 512;
/// What an idle connection is charged to `--memory` beside its environment: protocol
/// buffer, one scratch of input, tables.
pub const CONNECTION_CHARGE: usize = 6 * 1024;
/// What a message is charged beside its payload: its allocations and what an allocator adds
/// to them. Its forms and its slots in queues are charged one by one.
pub const MESSAGE_CHARGE: usize = 14 * size_of::<usize>();
/// What each form of a message is charged: what it adds to the payload, and its allocations.
pub const FORM_CHARGE: usize = 24 * size_of::<usize>();
/// What a message takes in the history beside its payload and its target's name: its place, and
/// three allocations.
pub const HISTORY_ENTRY: usize = 128 + 16 * size_of::<usize>();
/// What a message takes in a queue beside its bytes, which it may share with other queues. It
/// counts to `--queue` too, so that empty messages count.
pub const QUEUE_SLOT: usize = 10 * size_of::<usize>();

/// By how much the memory in use falls before what is free goes back to the system: one message of
/// the largest size that is usual. Giving it back takes some microseconds.
pub const EBB: usize = 64 * 1024;

/// A log line, cut so that one write to a pipe is whole (POSIX `PIPE_BUF` on Linux).
pub const LOG_LINE: usize = 4096;
/// One atomic write to the FIFO (`PIPE_BUF` on Linux; POSIX promises 512).
pub const PIPE_BUF: usize = 4096;
