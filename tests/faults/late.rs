//! What a daemon does by the clock: longer than a quick test may take.

use crate::harness::{Daemon, Start, wait_for};
use std::thread::sleep;
use std::time::Duration;

fn spooled(daemon: &Daemon) -> Vec<String> {
    let spool = std::fs::read_dir(daemon.path("run/spool")).expect("spool");
    let names = spool.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_spool_file_that_no_line_names_is_removed_and_one_that_waits_is_not() {
    let mut daemon = Daemon::with("--slow-timeout 50 --event-timeout 60 --queue 4096 --ping 0");
    let mut ws = daemon.connect("/act");
    let write = |name: &str| {
        std::fs::write(daemon.path("run/spool").join(name), name).expect("write");
    };
    (0..300).for_each(|n| write(&format!("left{n}")));
    write("waits");
    // A reader who stops holds the outbox up, and so the line that names the file.
    let narrow = daemon.narrow("/act2");
    let mut writer = daemon.writer();
    let lines = std::thread::spawn(move || {
        use std::io::Write;
        let text = format!("text /act2 {}\n", "x".repeat(4000));
        let written = (0..100).try_for_each(|_| writer.write_all(text.as_bytes()));
        written.and_then(|()| writer.write_all(b"textfile /act waits\n"))
    });
    let begin = daemon.number("/uptime");
    wait_for("45 seconds", || {
        (daemon.number("/uptime") > begin + 45).then_some(())
    });
    // Nothing is taken away as long as lines wait.
    assert_eq!(spooled(&daemon).len(), 301);
    drop(narrow);
    assert_eq!(ws.text(), "waits");
    lines.join().expect("the writer").expect("write");
    wait_for("the first of them to go", || {
        (spooled(&daemon).len() <= 44).then_some(())
    });
    let folder = daemon.path("run/spool").display().to_string();
    daemon.expect(&format!(
        "INFO 256 files removed from {folder}: no line named them for 20 s"
    ));
    wait_for("all of them to go", || {
        spooled(&daemon).is_empty().then_some(())
    });
    daemon.quiet();
}

#[test]
fn a_spool_file_is_not_taken_for_the_last_of_its_name() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    // Whenever the daemon looks, one of them waits for its line, and none for 20 s.
    let mut count = 0;
    while daemon.number("/uptime") < 45 {
        count += 1;
        std::fs::write(daemon.path("run/spool/img"), format!("img {count}")).expect("write");
        sleep(Duration::from_secs(4));
        daemon.outbox("textfile /act img");
        assert_eq!(ws.text(), format!("img {count}"));
    }
}

#[test]
fn a_daemon_whose_folder_was_replaced_takes_no_spool_file() {
    let mut daemon = Daemon::start();
    std::fs::rename(daemon.path("run"), daemon.path("moved")).expect("rename");
    let run = daemon.path("run").display().to_string();
    let other = Start::default().args(&format!("--run {run}")).ready();
    // It would take the file away itself.
    other.signal("STOP");
    let file = daemon.path("run/spool/theirs");
    std::fs::write(&file, "theirs").expect("write");
    // Two looks.
    sleep(Duration::from_secs(45));
    daemon.expect("run was removed or replaced: nobody can reach this daemon; restart it");
    assert!(file.exists());
}
