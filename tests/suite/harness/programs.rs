//! The programs under test, and those that the tests bring along.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

/// The binary under test. WS2CGI_BIN names another one.
pub fn ws2cgi() -> PathBuf {
    named_by("WS2CGI_BIN").unwrap_or(env!("CARGO_BIN_EXE_ws2cgi").into())
}

/// The binary without the daemon. WS2CGI_SMALL names another one.
pub fn ws2cgi_small() -> PathBuf {
    named_by("WS2CGI_SMALL").unwrap_or(env!("CARGO_BIN_EXE_ws2cgi-small").into())
}

/// What the names of small programs are links to: the one of WS2CGI_SMALL, else `ws2cgi`.
pub fn linked() -> PathBuf {
    named_by("WS2CGI_SMALL").unwrap_or(ws2cgi())
}

fn named_by(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// How many of `many`: all, or one in WS2CGI_ONE_IN where the one of WS2CGI_BIN is slow.
pub fn as_many_as(many: usize) -> usize {
    let one_in = std::env::var("WS2CGI_ONE_IN").map_or(1, |text| text.parse().expect("a number"));
    many / one_in
}

/// A command that runs `program` with an empty environment.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}

/// What a program said, or is to say, as it can be compared: `No such file or directory (os
/// error 2)` are another C library's words and another CPU's number where WS2CGI_BIN is, and
/// become `…` there.
pub fn os_words(text: &str) -> String {
    let cut = || {
        let (before, rest) = text.split_once(" (os error ")?;
        let (_, after) = rest.split_once(')')?;
        let (before, _words) = before.rsplit_once(": ")?;
        Some(format!("{before}: …{after}"))
    };
    let foreign = std::env::var_os("WS2CGI_BIN").and_then(|_| cut());
    foreign.unwrap_or_else(|| text.to_owned())
}

/// Compiles a C or Rust file of the project, if that has not been done since it changed,
/// with `cc` or WS2CGI_CC and with `rustc` or RUSTC.
pub fn compile(source: &str) -> PathBuf {
    let (compiler, usual, options) = match source.ends_with(".rs") {
        true => ("RUSTC", "rustc", "--edition 2024 -C strip=symbols -o"),
        false => ("WS2CGI_CC", "cc", "-std=gnu99 -Wall -Wextra -Werror -O1 -o"),
    };
    let compiler = std::env::var(compiler).unwrap_or(usual.to_owned());
    compile_with(&compiler, options, source)
}

/// Compiles a C file of the project as a library for LD_PRELOAD, likewise.
pub fn preload(source: &str) -> PathBuf {
    compile_with(
        "cc",
        "-std=gnu99 -Wall -Wextra -Werror -shared -fPIC -o",
        source,
    )
}

fn compile_with(compiler: &str, options: &str, source: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut hash = DefaultHasher::new();
    std::fs::read(&source).expect("the source").hash(&mut hash);
    (compiler, options).hash(&mut hash);
    let name = source.file_stem().expect("a name").to_string_lossy();
    let built = built().join(format!("{name}.{:016x}", hash.finish()));
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    if !built.exists() {
        // Another process may be at it too.
        let new = built.with_extension(std::process::id().to_string());
        let mut command = Command::new(compiler);
        command.args(options.split(' ')).arg(&new).arg(&source);
        run_ok(&mut command);
        std::fs::rename(new, &built).expect("rename what was compiled");
    }
    built
}

/// Copies a program. Another process does so: ours is forked by other tests, and a program that is
/// open for writing anywhere can't be executed.
pub fn copy_program(from: &Path, to: &Path) {
    run_ok(Command::new("cp").arg("-p").args([from, to]));
}

/// A folder for what the tests build; cargo's, so it goes with `cargo clean`.
pub fn built() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// How a program ended: its exit code, stdout, stderr.
pub fn outcome(command: &mut Command, stdin: &[u8]) -> (i32, String, String) {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start");
    // It may end without reading.
    let _ = child.stdin.take().expect("stdin").write_all(stdin);
    let output = child.wait_with_output().expect("wait");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("an exit code");
    (code, text(output.stdout), text(output.stderr))
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
