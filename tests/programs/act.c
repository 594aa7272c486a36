/* The tests' event program: it does what the event says.
 *
 * What it says: of an open or close event the query's open= or close= (percent-encoded),
 * of a message the payload. Statements, separated by ';':
 *
 *   out TEXT       print TEXT; \n \r \t \\ \; \xNN are understood, here and below
 *   head TEXT      print TEXT, a blank line
 *   env            print the environment as a text body, a variable a line, sorted
 *   fds            print the open descriptors as a text body
 *   cwd            print the working folder as a text body
 *   ids            print process, parent, group and session by number, as a text body
 *   signals        print the signals that are not as at birth: blocked, ignored, caught, pending
 *   echo           print the payload as it came, with its own content type
 *   box TEXT       write TEXT and a newline to the outbox
 *   boxes N TEXT   the same N times, each with its number at the end
 *   note TEXT      note it, as a line "note TEXT", in the file `events`
 *   err TEXT       print TEXT to stderr
 *   flood N        print N bytes to stdout; errflood N: to stderr; 0: without end
 *   sleep MS       wait
 *   until NAME     wait until there is a file NAME in the working folder
 *   hang           wait for ever (as until, no longer than the working folder lives)
 *   deaf           from now on ignore SIGTERM
 *   move           go to the process group of the daemon
 *   pid NAME       write the process id to the file NAME
 *   cat PATH       print a file as a text body; link PATH: where a link leads
 *   shut           close stdout
 *   child TEXT     start a grandchild that does TEXT ('+' for ';'), in this group
 *   stray TEXT     the same in a session of its own
 *   signal N       kill itself; exit N: exit
 *
 * Every event is noted first, as a line "EVENT ID PAYLOAD-BYTES CODE BY REASON", in the
 * file `events` of its working folder; the end of every event, as "done EVENT ID".
 * It never forks: it runs where only vfork is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* Where memory is short, less. */
#ifndef PAYLOAD
#define PAYLOAD (1 << 20)
#endif
static char payload[PAYLOAD];
static size_t payload_len;

static const char *var(const char *name) {
    const char *value = getenv(name);
    return value ? value : "-";
}

static void put(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            exit(9);
        bytes += n;
        len -= (size_t)n;
    }
}

/* One write, so that lines of programs that run at once stay whole. */
static void append(const char *line, size_t len) {
    int fd = open("events", O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (fd >= 0)
        put(fd, line, len);
    close(fd);
}

static void note(const char *what) {
    char line[1024];
    int n;
    if (*what)
        n = snprintf(line, sizeof line, "%s %s %s\n", what, var("WS_EVENT"), var("WS_ID"));
    else
        n = snprintf(line, sizeof line, "%s %s %zu %s %s %s\n", var("WS_EVENT"), var("WS_ID"),
                     payload_len, var("WS_CLOSE_CODE"), var("WS_CLOSE_BY"), var("WS_CLOSE_REASON"));
    append(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static int hex(int c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

/* In place; returns the length, as there may be NULs. */
static size_t unescape(char *text, char mark) {
    char *to = text, *from = text;
    for (; *from; from++) {
        if (*from != mark || !from[1]) {
            *to++ = *from;
        } else if (mark == '%' || *++from == 'x') {
            *to++ = (char)(hex(from[1]) << 4 | hex(from[2]));
            from += 2;
        } else {
            *to++ = *from == 'n' ? '\n' : *from == 'r' ? '\r' : *from == 't' ? '\t' : *from;
        }
    }
    *to = 0;
    return (size_t)(to - text);
}

static void nap(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, 0);
}

static void flood(int fd, long n) {
    char block[512];
    memset(block, 'x', sizeof block);
    for (long left = n; n == 0 || left > 0; left -= (long)sizeof block)
        put(fd, block, n && left < (long)sizeof block ? (size_t)left : sizeof block);
}

static void box(const char *text, size_t len) {
    char line[4096];
    int fd = open(var("WS_OUTBOX"), O_WRONLY);
    if (fd < 0 || len >= sizeof line)
        exit(8);
    memcpy(line, text, len);
    line[len] = '\n';
    put(fd, line, len + 1);
    close(fd);
}

static void start(char *text, int stray) {
    char *argv[] = {"act", stray ? "stray" : "child", text, 0};
    char path[4096];
    const char *name = strrchr(var("SCRIPT_NAME"), '/');
    snprintf(path, sizeof path, "./%s", name ? name + 1 : "act");
    if (vfork() == 0) {
        execve(path, argv, environ);
        _exit(7);
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void text_body(void) {
    put(1, "Content-Type: text/plain\n\n", 26);
}

/* The tests' folder goes with its test: nothing waits longer. */
static void until(const char *name) {
    while (access("events", F_OK) == 0 && (!name || access(name, F_OK) != 0))
        nap(name ? 2 : 100);
}

/* Whoever sees the file sees all of it. */
static void write_pid(const char *name) {
    char new[64], line[32];
    int fd;
    snprintf(new, sizeof new, "%s.new", name);
    fd = open(new, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    put(fd, line, (size_t)sprintf(line, "%ld", (long)getpid()));
    close(fd);
    rename(new, name);
}

static void cat(const char *path) {
    char block[512];
    ssize_t n;
    int fd = open(path, O_RDONLY);
    text_body();
    while ((n = read(fd, block, sizeof block)) > 0)
        put(1, block, (size_t)n);
    close(fd);
}

/* Asked, not read in /proc: that tells what an emulator has done for itself. */
static void signals(void) {
    char line[32];
    sigset_t blocked, pending;
    sigprocmask(SIG_BLOCK, 0, &blocked);
    sigpending(&pending);
    text_body();
    for (int n = 1; n < 32; n++) {
        struct sigaction now;
        sigaction(n, 0, &now);
        const char *what = sigismember(&blocked, n)      ? "blocked"
                           : sigismember(&pending, n)    ? "pending"
                           : now.sa_handler == SIG_IGN   ? "ignored"
                           : now.sa_handler != SIG_DFL   ? "caught"
                                                         : 0;
        if (what)
            put(1, line, (size_t)sprintf(line, "%d %s ", n, what));
    }
    put(1, "end", 3);
}

static void act(char *script);

static void statement(char *verb) {
    char *rest = strchr(verb, ' ');
    char line[4200];
    size_t len;
    if (rest)
        *rest++ = 0;
    else
        rest = verb + strlen(verb);
    if (strcmp(verb, "child") == 0 || strcmp(verb, "stray") == 0) {
        start(rest, *verb == 's');
        return;
    }
    len = unescape(rest, '\\');
    if (strcmp(verb, "out") == 0) {
        put(1, rest, len);
    } else if (strcmp(verb, "head") == 0) {
        put(1, rest, len);
        put(1, "\n\n", 2);
    } else if (strcmp(verb, "env") == 0) {
        int n = 0;
        while (environ[n])
            n++;
        qsort(environ, (size_t)n, sizeof *environ, by_name);
        text_body();
        for (int i = 0; i < n; i++) {
            put(1, environ[i], strlen(environ[i]));
            put(1, "\n", 1);
        }
    } else if (strcmp(verb, "fds") == 0) {
        text_body();
        for (int fd = 0; fd < 256; fd++)
            if (fcntl(fd, F_GETFD) >= 0)
                put(1, line, (size_t)sprintf(line, "%d ", fd));
    } else if (strcmp(verb, "cwd") == 0) {
        text_body();
        if (getcwd(line, sizeof line))
            put(1, line, strlen(line));
    } else if (strcmp(verb, "ids") == 0) {
        text_body();
        put(1, line, (size_t)sprintf(line, "%ld %ld %ld %ld", (long)getpid(), (long)getppid(),
                                     (long)getpgid(0), (long)getsid(0)));
    } else if (strcmp(verb, "signals") == 0) {
        signals();
    } else if (strcmp(verb, "echo") == 0) {
        len = (size_t)sprintf(line, "Content-Type: %s\nContent-Length: %zu\n\n",
                              var("CONTENT_TYPE"), payload_len);
        put(1, line, len);
        put(1, payload, payload_len);
    } else if (strcmp(verb, "box") == 0) {
        box(rest, len);
    } else if (strcmp(verb, "boxes") == 0) {
        char *text = strchr(rest, ' ');
        int n = atoi(rest);
        for (int i = 0; i < n; i++)
            box(line, (size_t)sprintf(line, "%s%d", text + 1, i));
    } else if (strcmp(verb, "note") == 0) {
        append(line, (size_t)snprintf(line, sizeof line, "note %.4000s\n", rest));
    } else if (strcmp(verb, "err") == 0) {
        put(2, rest, len);
    } else if (strcmp(verb, "flood") == 0) {
        flood(1, atol(rest));
    } else if (strcmp(verb, "errflood") == 0) {
        flood(2, atol(rest));
    } else if (strcmp(verb, "sleep") == 0) {
        nap(atol(rest));
    } else if (strcmp(verb, "until") == 0 || strcmp(verb, "hang") == 0) {
        until(*verb == 'u' ? rest : 0);
    } else if (strcmp(verb, "pid") == 0) {
        write_pid(rest);
    } else if (strcmp(verb, "cat") == 0) {
        cat(rest);
    } else if (strcmp(verb, "link") == 0) {
        ssize_t n = readlink(rest, line, sizeof line);
        text_body();
        put(1, line, n > 0 ? (size_t)n : 0);
    } else if (strcmp(verb, "deaf") == 0) {
        signal(SIGTERM, SIG_IGN);
    } else if (strcmp(verb, "move") == 0) {
        if (setpgid(0, getpgid(getppid())) < 0)
            exit(3);
    } else if (strcmp(verb, "shut") == 0) {
        close(1);
    } else if (strcmp(verb, "signal") == 0) {
        raise(atoi(rest));
    } else if (strcmp(verb, "exit") == 0) {
        note("done");
        exit(atoi(rest));
    } else if (*verb) {
        fprintf(stderr, "act: no such verb: %s\n", verb);
        exit(6);
    }
}

/* "\;" is no separator, nor is "\\" before one. */
static void act(char *script) {
    while (script) {
        char *end = script;
        while (*end && *end != ';')
            end += *end == '\\' && end[1] ? 2 : 1;
        char *next = *end ? end + 1 : 0;
        *end = 0;
        while (*script == ' ')
            script++;
        statement(script);
        script = next;
    }
}

static char *parameter(const char *name) {
    static char query[8192];
    size_t len = strlen(name);
    snprintf(query, sizeof query, "%s", var("QUERY_STRING"));
    for (char *p = strtok(query, "&"); p; p = strtok(0, "&"))
        if (strncmp(p, name, len) == 0 && p[len] == '=') {
            unescape(p + len + 1, '%');
            return p + len + 1;
        }
    return 0;
}

int main(int argc, char **argv) {
    static char script[PAYLOAD < 1 << 16 ? PAYLOAD : 1 << 16];
    if (argc == 3) { /* a grandchild */
        if (strcmp(argv[1], "stray") == 0)
            setsid();
        for (char *p = argv[2]; *p; p++)
            if (*p == '+')
                *p = ';';
        snprintf(script, sizeof script, "%s", argv[2]);
        act(script);
        return 0;
    }
    if (strcmp(var("WS_EVENT"), "message") == 0) {
        size_t want = (size_t)atol(var("CONTENT_LENGTH"));
        if (want > sizeof payload)
            return 5;
        while (payload_len < want) {
            ssize_t n = read(0, payload + payload_len, want - payload_len);
            if (n <= 0)
                return 4;
            payload_len += (size_t)n;
        }
        size_t len = payload_len < sizeof script ? payload_len : sizeof script - 1;
        memcpy(script, payload, len);
    } else {
        char *said = parameter(var("WS_EVENT"));
        snprintf(script, sizeof script, "%s", said ? said : "");
    }
    note("");
    act(script);
    note("done");
    return 0;
}
