//! Hand-off records: what the daemon takes, what it refuses, what of it programs see.

use crate::harness::{Daemon, Start, Ws, preload, read_answer, record, tcp_pair, wait_for};
use nix::libc::linger;
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, socketpair};
use nix::unistd::{getuid, pipe};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::read_to_string;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixDatagram;

const ACT: [(&str, &str); 1] = [("PATH_INFO", "/act")];

/// Hands in what must be refused for this reason, with one log line that names the sender,
/// and no descriptor kept.
fn refused(daemon: &mut Daemon, record: &[u8], fds: &[&dyn AsFd], why: &str) {
    let before = daemon.descriptors().len();
    let warnings = |daemon: &Daemon| -> Vec<String> {
        let log = daemon.log();
        let warnings = log.lines().filter(|line| line.starts_with("WARN"));
        warnings.map(str::to_owned).collect()
    };
    let said = warnings(daemon).len();
    daemon.hand_in(record, fds);
    daemon.status_until("/refusals/record", said + 1);
    let line = format!("WARN hand-off record from uid {} refused: {why}", getuid());
    wait_for(&line, || (warnings(daemon).len() > said).then_some(()));
    assert_eq!(warnings(daemon)[said..], [&*line]);
    daemon.expect(&line);
    assert_eq!(
        daemon.descriptors().len(),
        before,
        "{:?}",
        daemon.descriptors()
    );
}

#[test]
fn malformed_records_are_refused() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let cut = "it does not end with NUL";
    let version = "it is of another version of ws2cgi, or no hand-off record";
    let name = "a field has a bad name";
    let whole = record(&ACT);
    for (bytes, why) in [
        (&b""[..], cut),
        (&whole[..whole.len() - 1], cut),
        (b"\0", version),
        (b"ws2cgi/2 nph-ws\0PATH_INFO=/act\0", version),
        (b"GET /act HTTP/1.1\r\n\r\n\0", version),
        (b"ws2cgi/1 nph-\xff\0", "its program's name is not UTF-8"),
        (b"ws2cgi/1 nph-ws\0PATH_INFO\0", "a field has no '='"),
        (b"ws2cgi/1 nph-ws\0\0", "a field has no '='"),
        (b"ws2cgi/1 nph-ws\0=x\0", name),
        (b"ws2cgi/1 nph-ws\x009LIVES=x\0", name),
        (b"ws2cgi/1 nph-ws\0PATH INFO=x\0", name),
        (b"ws2cgi/1 nph-ws\0A\nERROR forged=x\0", name),
        (b"ws2cgi/1 nph-ws\0BASH_FUNC_x%%=() { :; }\0", name),
        (b"ws2cgi/1 nph-ws\0\xff=x\0", name),
    ] {
        let (client, server) = tcp_pair();
        refused(&mut daemon, bytes, &[&server], why);
        drop(server);
        assert_eq!(read_to_string(&client).expect("the end"), "");
    }
    bystander.works();
}

#[test]
fn a_program_with_more_than_a_name_has_no_route() {
    let daemon = Daemon::start();
    for program in ["nph-deep/act", "deep/act", "/act", "nph-", ".", ""] {
        let usual = String::from_utf8(record(&[("PATH_INFO", "")])).expect("text");
        let bytes = usual.replacen("nph-ws", program, 1);
        let (mut client, server) = tcp_pair();
        daemon.hand_in(bytes.as_bytes(), &[&server]);
        drop(server);
        assert_eq!(read_answer(&mut client).status, 404, "{program}");
    }
}

#[test]
fn a_record_holds_16_kb_and_no_more() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let of_size = |size: usize| {
        let without = record(&[ACT[0], ("HTTP_COOKIE", "")]).len();
        record(&[ACT[0], ("HTTP_COOKIE", &"c".repeat(size - without))])
    };
    let (client, server) = tcp_pair();
    daemon.hand_in(&of_size(16 * 1024), &[&server]);
    Ws::accepted(client).works();
    daemon.status_until("/events/close/done", 1);
    let cut = "it was cut off: too long, or too many descriptors";
    for size in [16 * 1024 + 1, 60_000] {
        refused(&mut daemon, &of_size(size), &[&server], cut);
    }
    bystander.works();
}

fn open(daemon: &Daemon, write: bool) -> File {
    let mut options = OpenOptions::new();
    options
        .read(!write)
        .write(write)
        .custom_flags(nix::libc::O_NONBLOCK);
    options
        .open(daemon.path("run/outbox"))
        .expect("open the outbox")
}

#[test]
fn descriptors_of_the_wrong_kind_are_refused() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let (_client, tcp) = tcp_pair();
    let (_client2, tcp2) = tcp_pair();
    let file = File::open(daemon.path("handlers/act")).expect("a file");
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .expect("/dev/null");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let udp_pair = UdpSocket::bind("127.0.0.1:0").expect("bind");
    udp_pair
        .connect(udp.local_addr().expect("address"))
        .expect("connect");
    let flags = SockFlag::SOCK_CLOEXEC;
    let packets = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("pair");
    let (datagrams, _) = UnixDatagram::pair().expect("pair");
    let ((from, to), (from2, to2)) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
    let both = File::options()
        .read(true)
        .write(true)
        .open(daemon.path("run/outbox"));
    let (both, fifo_out, fifo_in) = (
        both.expect("open"),
        open(&daemon, false),
        open(&daemon, true),
    );

    let none = "it has no descriptor";
    let socket = "its descriptor is no connected stream socket";
    let pipes = "its descriptors are not a pipe to read and one to write";
    let many = "it has more than two descriptors";
    let outbox = "its descriptor is the outbox";
    let cases: [(&[&dyn AsFd], &str); 24] = [
        (&[], none),
        (&[&file], socket),
        (&[&null], socket),
        (&[&udp], socket),
        (&[&udp_pair], socket),
        (&[&packets.0], socket),
        (&[&datagrams], socket),
        (&[&from], socket),
        (&[&to], socket),
        (&[&both], socket),
        (&[&fifo_in], socket),
        (&[&tcp, &tcp2], pipes),
        (&[&tcp, &to], pipes),
        (&[&from, &tcp], pipes),
        (&[&to, &from], pipes),
        (&[&from, &from2], pipes),
        (&[&to, &to2], pipes),
        (&[&null, &null], pipes),
        (&[&file, &to], pipes),
        (&[&both, &both], pipes),
        (&[&fifo_out, &to], outbox),
        (&[&from, &fifo_in], outbox),
        (&[&from, &to, &tcp], many),
        (&[&tcp, &tcp, &tcp, &tcp, &tcp, &tcp, &tcp, &tcp], many),
    ];
    for (fds, why) in cases {
        refused(&mut daemon, &record(&ACT), fds, why);
    }
    bystander.works();
    // Nor has any of them been made non-blocking, or the like: the outbox still works.
    let id = bystander.id();
    daemon.outbox(format!("text {id} still here"));
    assert_eq!(bystander.text(), "still here");
}

#[test]
fn more_descriptors_than_there_is_room_for_are_refused() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let (_client, tcp) = tcp_pair();
    let thirty: Vec<&dyn AsFd> = vec![&tcp; 30];
    let cut = "it was cut off: too long, or too many descriptors";
    refused(&mut daemon, &record(&ACT), &thirty, cut);
    bystander.works();
}

#[test]
fn a_browser_that_has_gone_before_the_daemon_got_it_is_no_warning() {
    let daemon = Daemon::start();
    let before = daemon.descriptors().len();
    let (client, reset) = tcp_pair();
    let now = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client, Linger, &now).expect("SO_LINGER");
    drop(client);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let flags = SockFlag::SOCK_CLOEXEC;
    let never = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("socket");
    let all: [&dyn AsFd; 3] = [&reset, &listener, &never];
    for (n, fd) in all.iter().enumerate() {
        daemon.hand_in(&record(&ACT), &[*fd]);
        daemon.status_until("/refusals/gone", n + 1);
    }
    // The end of the daemon looks for warnings.
    daemon.logged_until(&["INFO", "127.0.0.1: it has gone before it got here"], 3);
    assert_eq!(
        daemon.status()["refusals"]["record"],
        serde_json::Value::Null
    );
    assert_eq!(daemon.descriptors().len(), before);
    daemon.connect("/act").works();
}

#[test]
fn where_a_program_is_called_like_the_path_the_url_is_still_whole() {
    let daemon = Daemon::start();
    symlink("act", daemon.path("handlers/nph-ws")).expect("link");
    let mut ws = daemon.connect("/nph-ws");
    let env = ws.ask("env");
    assert!(
        env.contains("\nSCRIPT_NAME=/cgi-bin/nph-ws/nph-ws\n"),
        "{env}"
    );
}

#[test]
fn spoofed_variables_are_never_passed_on() {
    let daemon = Daemon::start();
    let (client, server) = tcp_pair();
    let spoofed = [
        "HTTP_PROXY",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PATH",
        "IFS",
        "ENV",
        "BASH_ENV",
        "SHELLOPTS",
        "HOME",
        "TZ",
        "WS_ID",
        "WS_BOOT",
        "WS_EVENT",
        "WS_STATE",
        "WS_ROOMS",
        "WS_OUTBOX",
        "WS2CGI_RUN",
        "HTTP_x",
        "HTTP_",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "PATH_TRANSLATED",
        "DOCUMENT_ROOT",
        "_",
    ];
    let more: Vec<_> = spoofed
        .iter()
        .map(|name| (*name, "evil"))
        .chain(ACT)
        .collect();
    daemon.hand_in(&record(&more), &[&server]);
    let env = Ws::accepted(client).ask("env");
    assert!(!env.contains("evil"), "{env}");
    let names: Vec<_> = env
        .lines()
        .map(|line| line.split('=').next().expect("a name"))
        .collect();
    let expected = [
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "GATEWAY_INTERFACE",
        "HTTP_HOST",
        "HTTP_SEC_WEBSOCKET_KEY",
        "HTTP_SEC_WEBSOCKET_VERSION",
        "HTTP_UPGRADE",
        "PATH",
        "PATH_INFO",
        "QUERY_STRING",
        "REMOTE_ADDR",
        "REQUEST_METHOD",
        "SCRIPT_NAME",
        "SERVER_PROTOCOL",
        "SERVER_SOFTWARE",
        "WS_BOOT",
        "WS_EVENT",
        "WS_ID",
        "WS_OUTBOX",
        "WS_PROTOCOL",
        "WS_ROOMS",
        "WS_ROUTE",
        "WS_STATE",
        "WS_TRANSPORT",
    ];
    assert_eq!(names, expected);
    assert!(env.contains("\nCONTENT_LENGTH=3\n") || env.starts_with("CONTENT_LENGTH=3\n"));
    let path = "\nPATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin\n";
    assert!(env.contains(path), "{env}");
}

#[test]
fn values_cannot_break_out_of_their_variable() {
    let daemon = Daemon::start();
    let (client, server) = tcp_pair();
    let more = [
        ACT[0],
        ("HTTP_COOKIE", "a=1\r\nWS_ID=2\x1b\x7f"),
        ("HTTP_COOKIE", "second"),
    ];
    daemon.hand_in(&record(&more), &[&server]);
    let env = Ws::accepted(client).ask("env");
    let cookies: Vec<_> = env.lines().filter(|line| line.contains("COOKIE")).collect();
    assert_eq!(cookies, ["HTTP_COOKIE=a=1??WS_ID=2??"]);
}

#[test]
fn shell_functions_and_a_poisoned_environment_stop_at_the_hand_off() {
    let daemon = Daemon::start();
    let (client, server) = tcp_pair();
    let mut nph = daemon.nph("nph-ws", &ACT);
    for name in [
        "BASH_FUNC_x%%",
        "IFS",
        "PATH",
        "HTTP_PROXY",
        "WS_STATE",
        "9LIVES",
    ] {
        nph.env(name, "() { evil; }");
    }
    nph.stdout(OwnedFd::from(server));
    assert!(nph.status().expect("run").success());
    drop(nph);
    let env = Ws::accepted(client).ask("env");
    assert!(!env.contains("evil"), "{env}");
}

#[test]
fn a_path_that_is_not_utf_8_is_not_found() {
    let daemon = Daemon::start();
    for program in ["nph-act", "nph-ws"] {
        let (mut client, server) = tcp_pair();
        let mut nph = daemon.nph(program, &[]);
        nph.env("PATH_INFO", OsStr::from_bytes(b"/act\xff"));
        nph.stdout(OwnedFd::from(server));
        assert!(nph.status().expect("run").success());
        drop(nph);
        assert_eq!(read_answer(&mut client).status, 404, "{program}");
    }
    assert_eq!(daemon.events(), [""; 0]);
}

#[test]
fn all_records_are_read_into_one_buffer() {
    let library = preload("tests/programs/large.c");
    let start = Start::default().shell(&format!(
        "export LARGE=$PWD/large LD_PRELOAD={}",
        library.display()
    ));
    let daemon = start.ready();
    let large = || std::fs::read_to_string(daemon.path("large")).unwrap_or_default();
    let works = || assert_eq!(daemon.connect("/act").ask("head X: y;out z"), "z");
    // The first program's stack is made with it.
    works();
    let before = large();
    assert!(!before.is_empty());
    (0..10).for_each(|_| works());
    assert_eq!(large(), before);
}
