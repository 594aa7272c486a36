//! Events: what programs are told, when they run, and what becomes of their failures.

use crate::harness::Daemon;

#[test]
fn open_message_close() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send_binary(b"echo");
    assert_eq!(ws.binary(), b"echo");
    assert_eq!(ws.close(4000, "bye"), 4000);
    daemon.event(&format!("done close {id}"));
    assert_eq!(
        daemon.events(),
        [
            format!("open {id} 0 - - -"),
            format!("done open {id}"),
            format!("message {id} 3 - - -"),
            format!("done message {id}"),
            format!("message {id} 4 - - -"),
            format!("done message {id}"),
            format!("close {id} 0 4000 client bye"),
            format!("done close {id}"),
        ]
    );
    daemon.until_empty();
}
