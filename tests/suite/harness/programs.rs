//! The programs under test, and those that the tests bring along.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// The binary under test. WS2CGI_BIN names another one, WS2CGI_RUNNER a program that runs
/// it (an emulator).
pub fn ws2cgi() -> PathBuf {
    match std::env::var_os("WS2CGI_BIN") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_BIN_EXE_ws2cgi")),
    }
}

/// A command that runs `program`, under WS2CGI_RUNNER where there is one, with an empty
/// environment.
pub fn command(program: &Path) -> Command {
    let mut command = match std::env::var_os("WS2CGI_RUNNER") {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    command.env_clear();
    command
}

/// Compiles a C file of the project, once a run of the tests, with `cc` or WS2CGI_CC.
pub fn compile(source: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let name = Path::new(source).file_stem().expect("a C file");
    let built = built().join(format!("{}.{}", name.to_string_lossy(), std::process::id()));
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    if !built.exists() {
        let cc = std::env::var("WS2CGI_CC").unwrap_or("cc".to_owned());
        let new = built.with_extension("new");
        let mut command = Command::new(cc);
        command
            .args(["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-O1", "-o"])
            .arg(&new);
        run_ok(command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source)));
        std::fs::rename(new, &built).expect("rename what was compiled");
    }
    built
}

/// A folder for what the tests build; cargo's, so it goes with `cargo clean`.
pub fn built() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Runs a command that must succeed.
pub fn run_ok(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
