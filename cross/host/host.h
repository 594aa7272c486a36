/* The operating system, for ws2cgi as a WebAssembly module: the imports of src/sys/wasm, and
 * what the files that serve them share.
 *
 * One function serves one import; src/sys/mod.rs says what each has to do, and the room of
 * src/sys/unix that has the name of the file does the same in Rust (host.c: its mod.rs). Numbers
 * come as they are, byte strings as address and length in the module's memory, paths with a NUL
 * that counts. What is returned is at least 0, or minus one of the errors of outcome.c: errno's
 * numbers differ from CPU to CPU.
 *
 * C99, and what Linux has had for long; no MMU is needed. */

#ifndef HOST_H
#define HOST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../runtime.h"
#include "module.h"

/* What wasm2c calls an import. */
#define IMPORT(name) Z_hostZ_##name

/* ---- file.c */

int close_on_exec(int fd);

/* ---- log.c */

void open_log(void);

/* ---- outcome.c */

/* errno, or another error in its place, as the module is told. */
u32 failed(void);
u32 failed_with(int error);

/* A system call's result. */
u32 outcome(long result);

/* Closes what has failed, and keeps errno. */
u32 give_up(int fd);

/* The bytes of a path, until give_back. The NUL that the module promises is looked for: the rest
 * of its memory may hold none. */
const char *borrow_path(u32 at, u32 len);

/* Writes bytes as far as they fit; returns how many there are. */
u32 give_bytes(u32 at, u32 room, const void *bytes, size_t len);

/* Writes numbers of 64 bits in little-endian order. */
void give_words(u32 at, u32 room, const uint64_t *words, unsigned count);

/* ---- process.c */

/* Nanoseconds. */
int64_t clock_of(clockid_t clock);

/* ---- transit.c */

/* read(2) and write(2) that never wait. */
ssize_t read_pipe(int fd, char *bytes, size_t len);
ssize_t write_pipe(int fd, const char *bytes, size_t len);

/* ---- wait.c */

/* The most that are waited for at once, and so all that the daemon is told it may open: it takes
 * fewer connections then. */
#define WATCHED 1024

/* What of `events`, and of errors, is there now; 0 too where that can't be told. */
int look(int fd, short events);

#endif
