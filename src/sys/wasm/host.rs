//! The imports of the module. Each file of `cross/host/` serves those that stand under its name, by
//! functions of the same names. None keeps an address beyond its call.

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    // ---- host.c
    pub safe fn argument(index: u32, to: *mut u8, room: usize) -> i32;
    pub safe fn variable(index: u32, to: *mut u8, room: usize) -> i32;
    pub safe fn read(fd: i32, to: *mut u8, room: usize) -> i32;
    pub safe fn write(fd: i32, from: *const u8, len: usize) -> i32;
    pub safe fn pending(fd: i32) -> i32;
    pub safe fn close(fd: i32);

    // ---- child.c
    pub safe fn spawn(
        path: *const u8,
        path_len: usize,
        env: *const u8,
        env_len: usize,
        stdin: u32,
        pipes: *mut u8,
        room: usize,
    ) -> i32;
    pub safe fn exited(pid: u32) -> i32;
    pub safe fn kill(pid: u32, hard: u32);
    pub safe fn reap(pid: u32) -> i32;

    // ---- file.c
    pub safe fn inherited(number: u32) -> i32;
    pub safe fn take_inherited(number: u32) -> i32;
    pub safe fn stat(path: *const u8, len: usize, to: *mut u8, room: usize) -> i32;
    pub safe fn lstat(path: *const u8, len: usize, to: *mut u8, room: usize) -> i32;
    pub safe fn fstat(fd: i32, to: *mut u8, room: usize) -> i32;
    pub safe fn executable(path: *const u8, len: usize) -> i32;
    pub safe fn list(path: *const u8, len: usize, to: *mut u8, room: usize) -> i32;
    pub safe fn make_dir(path: *const u8, len: usize) -> i32;
    pub safe fn make_fifo(path: *const u8, len: usize) -> i32;
    pub safe fn set_access(fd: i32, change: u32, uid: u32, gid: u32, mode: u32) -> i32;
    pub safe fn give(path: *const u8, len: usize, uid: u32, gid: u32) -> i32;
    pub safe fn unlink(path: *const u8, len: usize) -> i32;
    pub safe fn rename(from: *const u8, from_len: usize, to: *const u8, to_len: usize) -> i32;
    pub safe fn open(path: *const u8, len: usize, how: u32, mode: u32) -> i32;
    pub safe fn lock(fd: i32) -> i32;

    // ---- log.c
    pub safe fn log(line: *const u8, len: usize) -> i32;

    // ---- outcome.c
    pub safe fn error_text(to: *mut u8, room: usize) -> i32;

    // ---- process.c
    pub safe fn now() -> i64;
    pub safe fn seed(to: *mut u8, room: usize) -> i32;
    pub safe fn pid() -> i32;
    pub safe fn descriptor_limit() -> i32;
    pub safe fn memory_limit() -> i32;
    pub safe fn current_dir(to: *mut u8, room: usize) -> i32;
    pub safe fn user(name: *const u8, len: usize) -> i64;
    pub safe fn group(name: *const u8, len: usize) -> i64;
    pub safe fn identity() -> i64;
    pub safe fn become_user(uid: u32, gid: u32) -> i32;

    // ---- socket.c
    pub safe fn recv(fd: i32, to: *mut u8, room: usize) -> i32;
    pub safe fn send(fd: i32, from: *const u8, len: usize) -> i32;
    pub safe fn listen_tcp(address: *const u8, len: usize, port: u32) -> i32;
    pub safe fn listen_unix(path: *const u8, len: usize) -> i32;
    pub safe fn accept(listener: i32) -> i32;
    pub safe fn adopt(fd: i32) -> i32;
    pub safe fn kind(fd: i32, names: *mut u8, room: usize) -> i32;
    pub safe fn shutdown(fd: i32, both: u32);
    pub safe fn before_close(fd: i32, reset: u32);
    pub safe fn bind_handoff(path: *const u8, len: usize) -> i32;
    pub safe fn receive_handoff(
        fd: i32,
        to: *mut u8,
        room: usize,
        about: *mut u8,
        about_room: usize,
    ) -> i32;
    pub safe fn send_handoff(
        path: *const u8,
        path_len: usize,
        record: *const u8,
        len: usize,
        fds: *const u8,
        fds_len: usize,
    ) -> i32;

    // ---- wait.c
    pub safe fn catch_signals() -> i32;
    pub safe fn watch(fd: i32, interest: u32);
    pub safe fn wait(deadline: i64, ready: *mut u8, room: usize) -> i32;
}
