/*
 * boa.c - a stand-in for the web server boa, for the test-suite.
 *
 *     boa MODE PORT ROOT [ADDRESS]
 *     boa MODE CONF
 *
 * MODE     rc21     boa 0.94.14rc21: an nph program's stdout is the client's socket
 *          uclinux  boa 0.93.15 of uClinux-dist: the same, with the traps of its age
 *          piped    boa 0.94.13, stock: an nph program's stdout is a pipe
 * PORT     0: the kernel picks. Printed on stdout, alone on a line, once it listens
 * ROOT     ROOT/www holds static files, ROOT/cgi-bin the programs under /cgi-bin/
 * ADDRESS  the IPv4 address to listen on, 127.0.0.1 if not given
 * CONF     a boa.conf that says all this and more, see directive()
 *
 * The programs' error log is our stderr, or CONF's ErrorLog. SIGTERM ends it with 0; exit 100 is
 * a wrong command line or CONF, 111 a system call that failed.
 *
 * boa is in no registry that a test can count on. So this does to a request and to a CGI
 * program what boa does: the same variables and no more, the same descriptors, limits and
 * accidents. It was written from what the three real ones were seen to do, and none of their
 * source is in it. Quotes in comments are from those notes. Left out on purpose: keep-alive
 * (we answer, then close), HTTP/0.9, absolute URIs, byte ranges, dates, time-outs.
 *
 * It forks by vfork only and has no thread, small stacks and static buffers, as it also runs
 * without an MMU. ppoll and not poll, which is broken in uClibc on some CPUs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RC21 = 1, UCLINUX = 2, PIPED = 4, ALL = 7 };

static const struct mode {
	int id;
	const char *name, *software, *path;
	size_t head_max;	/* the head's buffer; when full the client is just closed */
	size_t line_max;	/* a header line of this length is a 400; 0: only head_max counts */
	int fixed_vars;		/* variables that are set before the first header's, ... */
	int vars_max;		/* ... and how many there may be: then an empty reply, or dropped */
	size_t pipe_max;	/* buffer between a program's pipe and the client, ... */
	bool pipe_hold;		/* ... sent on only when it is full or the pipe has ended? */
	int sndbuf;		/* SO_SNDBUF is raised to this; in uclinux lowered, too */
	int umask;		/* of the programs; -1: ours */
} modes[] = {
	{ RC21, "rc21", "Boa/0.94.14rc21", "/bin:/usr/bin:/usr/local/bin",
	  8192, 1024, 6, 100, 4096, false, 32768, 027 },
	{ UCLINUX, "uclinux", "Boa/0.93.15", "/bin:/usr/bin",
	  1024, 0, 9, 33, 1024, true, 1024, -1 },
	{ PIPED, "piped", "Boa/0.94.13", "/bin:/usr/bin:/usr/local/bin",
	  8192, 0, 6, 50, 8192, true, 8192, 0177 },
};

/* Headers whose first value is set aside, and becomes no HTTP_ variable just so. A second one
   of the same name does. */
enum { CONTENT_TYPE, CONTENT_LENGTH, IF_MODIFIED_SINCE, HOST, AUTHORIZATION, USER_AGENT,
       REFERER, COOKIE, ASIDE };
static const struct { const char *name; int modes; } aside[ASIDE] = {
	{ "CONTENT_TYPE", ALL }, { "CONTENT_LENGTH", ALL }, { "IF_MODIFIED_SINCE", ALL },
	{ "HOST", RC21 | UCLINUX }, { "AUTHORIZATION", UCLINUX }, { "USER_AGENT", UCLINUX },
	{ "REFERER", UCLINUX }, { "COOKIE", UCLINUX },
};

enum { CONNECTIONS = 64, VARS = 100, ARGS = 128, BUFFER = 8192, URI_BYTES = 1024,
       ROOT_BYTES = 512, POST_BYTES = 1024 * 1024, WORD = 64, TYPES = 32 };

struct conn {
	enum { HEAD, BODY, CGI_HEAD, FILL, DRAIN } state;
	int fd;			/* the client; -1: finished, to be swept */
	int src;		/* a POST body's file; later the file or pipe to send; or -1 */
	size_t start, end;	/* HEAD, BODY: what is not taken in yet. Else: what is to be sent */
	size_t scanned, eaten;	/* HEAD: looked at; given back, see header_line() */
	long body;		/* bytes of the body that are not in the file yet */
	const char *method, *version;	/* literals: they outlive the head */
	char *uri, *query, *path_info;
	int name_len;		/* of the program's name, which follows the prefix in uri */
	bool nph, no_keepalive;
	char *aside[ASIDE];
	struct { char *name, *value; } var[VARS];
	int vars;
	struct sockaddr_in peer, self;
	char buf[BUFFER + 1];	/* the head, which the char * above point into; then output */
};

static const struct mode *mode;

/* What CONF, or ROOT, has said. */
static char root[ROOT_BYTES], documents[ROOT_BYTES], programs[ROOT_BYTES], prefix[WORD];
static char server_name[WORD] = "localhost", index_name[WORD] = "index.html";
static char default_type[WORD] = "text/plain", address[WORD] = "127.0.0.1";
static struct { char ending[16], name[WORD]; } types[TYPES];
static int type_count, prefix_len, keepalive_max = 100;
static unsigned port;

static struct conn *conns[CONNECTIONS];
static char path[ROOT_BYTES + URI_BYTES + 32], scratch[32768];

static bool is(int ids) { return mode->id & ids; }
static bool is_post(const struct conn *c) { return c->method && *c->method == 'P'; }
static bool is_head(const struct conn *c) { return c->method && *c->method == 'H'; }
static bool again(void) { return errno == EAGAIN || errno == EINTR; }
static void cloexec(int fd) { fcntl(fd, F_SETFD, FD_CLOEXEC); }

static void die(int code, const char *what)
{
	fprintf(stderr, "boa: %s%s%s\n", what, code == 111 ? ": " : "",
		code == 111 ? strerror(errno) : "");
	exit(code);
}

/* ---- answering --------------------------------------------------------------------------- */

static void close_src(struct conn *c)
{
	if (c->src >= 0)
		close(c->src);
	c->src = -1;
}

/* How boa parts from a client, and from a socket it has handed over: no shutdown, no linger,
   but a last read of what is no longer its own. */
static void finish(struct conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	/* It asks for 100 us; of the 100 Hz timers of its boards it gets up to two ticks. */
	struct timespec moment = { 0, 20 * 1000 * 1000 };
	ssize_t lost = 0;

	if (is(UCLINUX) && ppoll(&p, 1, &moment, NULL) > 0)
		lost = read(c->fd, scratch, 32);	/* "can steal the client's first bytes" */
	/* "POST to an nph program can freeze all of boa": its child has made the shared socket
	   blocking, so this waits until the client says more or goes, or until the program does
	   a shutdown. boa often escapes (3 of 22 froze), as it reads before the child gets there
	   or as SIGCHLD interrupts it. Behind vfork and SA_RESTART we never do: one POST shows
	   whether a program shuts down as it must. */
	if (!is(UCLINUX) && is_post(c))
		lost = read(c->fd, scratch, sizeof scratch);
	(void)lost;
	close(c->fd);
	c->fd = -1;
	close_src(c);
}

/* Puts an answer's first lines in front of the bytes at c->start, where there must be room. */
static void prepend(struct conn *c, const char *status, const char *more)
{
	char head[320];
	const char *version = is(RC21) && c->version ? c->version : "HTTP/1.0";
	int n = snprintf(head, sizeof head, "%s %s\r\nServer: %s\r\nConnection: close\r\n%s",
			 version, status, mode->software, more);

	c->start -= n;
	memcpy(c->buf + c->start, head, n);
	c->state = DRAIN;
}

/* The buffer held the head: what points into it is not looked at after this. */
static void refuse(struct conn *c, const char *status)
{
	close_src(c);
	c->start = c->end = 512;
	if (!is_head(c))
		c->end += sprintf(c->buf + 512, "<HTML><BODY><H1>%s</H1></BODY></HTML>\n", status);
	prepend(c, status, "Content-Type: text/html\r\n\r\n");
}

/* From a file or a pipe to the client, a buffer at a time. */
static void copy(struct conn *c)
{
	ssize_t n;

	if (c->state == FILL) {
		n = read(c->src, c->buf + c->end, mode->pipe_max - c->end);
		if (n > 0)
			c->end += n;
		else if (n == 0)
			close_src(c);
		else if (!again())
			finish(c);
		/* "Holds output back until 8 KB or EOF: no SSE, long polls work." */
		if (n < 0 || (n > 0 && mode->pipe_hold && c->end < mode->pipe_max))
			return;
		c->state = DRAIN;
	}
	if (c->start < c->end) {
		n = write(c->fd, c->buf + c->start, c->end - c->start);
		if (n > 0)
			c->start += n;
		else if (!again())
			finish(c);
	}
	if (c->fd < 0 || c->start < c->end)
		return;
	c->start = c->end = 0;
	c->state = FILL;
	if (c->src < 0)
		finish(c);
}

static char *behind_block(char *s)
{
	char *end = strstr(s, "\n\r\n");

	return end ? end + 3 : (end = strstr(s, "\n\n")) ? end + 2 : NULL;
}

/* The header block of an ordinary CGI program becomes an HTTP answer's. It has half the buffer;
   our lines go in front of it. Only its very first line is understood: a Status: further down
   is sent on as it is, under a 200. */
static void cgi_head(struct conn *c)
{
	ssize_t n = read(c->src, c->buf + c->end, mode->pipe_max - 1 - c->end);
	char *block = c->buf + c->start, *body, more[128];

	if (n < 0 && again())
		return;
	c->end += n > 0 ? n : 0;
	c->buf[c->end] = '\0';
	body = behind_block(block);
	if (n > 0 && c->end < mode->pipe_max - 1 && (mode->pipe_hold || !body))
		return;
	if (n <= 0)
		close_src(c);
	if (!body) {
		refuse(c, is(UCLINUX) ? "500 Server Error" : "502 Bad Gateway");
		return;
	}
	if (is_head(c))
		c->end = body - c->buf;
	c->state = DRAIN;
	if (!strncasecmp(block, "Status: ", 8)) {
		memcpy(c->buf + --c->start, "HTTP/1.0 ", 9);
	} else if (!strncasecmp(block, "Location: /", 11) && !is(UCLINUX)) {
		refuse(c, "400 Bad Request");	/* it follows no redirection of its own */
	} else if (!strncasecmp(block, "Location: ", 10)) {
		prepend(c, "302 Moved Temporarily", "");
	} else if (!is(UCLINUX)) {
		prepend(c, "200 OK", "");
	} else {	/* this one drops all lines but a Content-type that comes first */
		char *type = strncasecmp(block, "Content-type: ", 14) ? "text/html" : block + 14;
		snprintf(more, sizeof more, "Content-Type: %.99s", type);
		strcpy(more + strcspn(more, "\r\n"), "\r\n\r\n");
		c->start = body - c->buf;
		prepend(c, "200 OK", more);
	}
}

/* ---- running a program -------------------------------------------------------------------- */

/* What the next child needs, made before the vfork. */
static struct {
	char dir[sizeof path], words[URI_BYTES + 1], strings[3 * BUFFER], *next;
	char *argv[ARGS + 1], *envp[VARS + 32];
	int vars, in, out;
} job;

static void put(const char *format, ...)
{
	size_t room = job.strings + sizeof job.strings - job.next;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(job.next, room, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room || job.vars >= VARS + 31)
		return;
	job.envp[job.vars++] = job.next;
	job.next += n + 1;
}

static void put_if(const char *name, const char *value)
{
	if (value)
		put("%s=%s", name, value);
}

/* Exactly boa's variables, no more. */
static void environment(const struct conn *c)
{
	char ip[INET_ADDRSTRLEN], *type = c->aside[CONTENT_TYPE];
	int i;

	job.vars = 0;
	job.next = job.strings;
	put("PATH=%s", mode->path);
	put("SERVER_SOFTWARE=%s", mode->software);
	put("SERVER_NAME=%s", server_name);
	put("GATEWAY_INTERFACE=CGI/1.1");
	put("SERVER_PORT=%u", port);
	put("SERVER_ADMIN=%s", is(UCLINUX) ? "root@localhost" : "");
	put("REQUEST_METHOD=%s", c->method);
	put("SERVER_PROTOCOL=%s", c->version);
	/* As often as they came, in that order: "the first wins" where the program asks for one. */
	for (i = 0; i < c->vars; i++)
		put("HTTP_%s=%s", c->var[i].name, c->var[i].value);
	if (c->path_info) {
		put("PATH_INFO=%s", c->path_info);
		put("PATH_TRANSLATED=%s%s", documents, c->path_info);
	}
	put_if("QUERY_STRING", c->query);
	inet_ntop(AF_INET, &c->peer.sin_addr, ip, sizeof ip);
	put("REMOTE_ADDR=%s", ip);
	put("REMOTE_PORT=%u", ntohs(c->peer.sin_port));
	if (is_post(c)) {
		put("CONTENT_TYPE=%s", type ? type : "text/plain");
		put_if("CONTENT_LENGTH", c->aside[CONTENT_LENGTH]);
	}
	if (is(UCLINUX)) {	/* "no HTTP_HOST, no HTTP_AUTHORIZATION, no REQUEST_URI" */
		put("DOCUMENT_ROOT=%s", documents);
		put("SERVER_ROOT=%s", root);
		put("SCRIPT_NAME=%s", c->uri);	/* "wrongly holds PATH_INFO" */
		put_if("HTTP_COOKIE", c->aside[COOKIE]);
		put_if("HTTP_USER_AGENT", c->aside[USER_AGENT]);
		put_if("HTTP_REFERER", c->aside[REFERER]);
	} else {
		inet_ntop(AF_INET, &c->self.sin_addr, ip, sizeof ip);
		put("SERVER_ADDR=%s", ip);
		put("REQUEST_URI=%s", c->uri);	/* "its query cut off" */
		put("SCRIPT_NAME=%.*s", prefix_len + c->name_len, c->uri);
		put_if("HTTP_HOST", c->aside[HOST]);
	}
	job.envp[job.vars] = NULL;
}

/* Decodes %XX in place. A '?' ends the text, *query is what follows; but the old boa decodes
   all, and looks for the query later. Only rc21 refuses control and 8-bit characters. */
static bool decode(char *s, char **query)
{
	char *to = s;

	for (; *s; s++) {
		int ch = *s;
		if (ch == '?' && !is(UCLINUX)) {
			*query = s + 1;
			break;
		}
		if (ch == '%') {
			char hex[3] = { s[1], s[1] ? s[2] : '\0', '\0' };
			if (!isxdigit((unsigned char)hex[0]) || !isxdigit((unsigned char)hex[1]))
				return false;
			ch = strtol(hex, NULL, 16);
			s += 2;
			if (is(RC21) && (ch < 32 || ch > 126))
				return false;
		}
		*to++ = ch;
	}
	*to = '\0';
	return true;
}

/* "A query without `=` becomes argv words." */
static void arguments(const struct conn *c)
{
	char *next, *word = c->query && !strchr(c->query, '=') ? job.words : NULL;
	int n = 1;

	if (word)
		strcpy(word, c->query);
	for (; word && n < ARGS; word = next) {
		char *rest = strchr(word, '+');
		next = rest ? rest + 1 : NULL;
		if (rest)
			*rest = '\0';
		if (decode(word, &rest))
			job.argv[n++] = word;
	}
	job.argv[n] = NULL;
}

static const char exec_failed[] = "boa: a program cannot be executed\n";

/* The child borrows our memory: system calls on what the job holds, nothing else. */
static void __attribute__((noreturn)) child(void)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };

	if (is(RC21))
		sigaction(SIGPIPE, &sa, NULL);	/* the other two leave it ignored */
	if (!is(UCLINUX) && chdir(job.dir) < 0)
		_exit(1);
	/* Zero, whatever was set: through the description that they share, the client's socket
	   is now blocking for its next owner. */
	if (dup2(job.out, 1) < 0 || fcntl(1, F_SETFL, 0) < 0)
		_exit(1);
	if (job.in >= 0 && dup2(job.in, 0) < 0)
		_exit(1);
	if (mode->umask >= 0)
		umask(mode->umask);
	execve(job.argv[0], job.argv, job.envp);
	_exit(write(2, exec_failed, sizeof exec_failed - 1) < 0 ? 2 : 1);
}

static pid_t launch(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		child();
	return pid;
}

static void run(struct conn *c)
{
	int pipes[2] = { -1, -1 };	/* calls on -1 fail and do no harm */
	bool piped = !c->nph || is(PIPED);
	char *slash;
	pid_t pid;

	environment(c);
	arguments(c);
	if (job.vars > mode->vars_max && !is(UCLINUX)) {
		finish(c);	/* "100 variables (more: empty reply)" */
		return;
	}
	snprintf(path, sizeof path, "%s%.*s", programs, c->name_len, c->uri + prefix_len);
	strcpy(job.dir, path);
	slash = strrchr(path, '/');
	job.dir[slash - path] = '\0';
	job.argv[0] = path;
	if (is(RC21)) {		/* it calls its programs ./NAME */
		job.argv[0] = slash - 1;
		slash[-1] = '.';
	}
	if (piped && pipe(pipes) < 0) {
		refuse(c, "500 Server Error");
		return;
	}
	cloexec(pipes[0]);
	cloexec(pipes[1]);
	fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	job.out = piped ? pipes[1] : c->fd;
	job.in = c->src;
	lseek(c->src, 0, SEEK_SET);
	pid = launch();
	close(pipes[1]);
	close_src(c);
	c->src = pipes[0];
	c->start = c->end = 0;
	c->state = FILL;
	if (pid < 0) {
		refuse(c, "500 Server Error");
	} else if (!piped) {
		finish(c);	/* "The parent just closes its copy" */
	} else if (!c->nph) {
		c->state = CGI_HEAD;
		c->start = c->end = mode->pipe_max / 2;
	}
}

/* ---- reading a request -------------------------------------------------------------------- */

/* The body goes to an unlinked file, which will be the program's stdin. */
static void read_body(struct conn *c)
{
	ssize_t n = c->end - c->start;	/* what came with the head; nothing later on */
	size_t want = c->body < (long)sizeof scratch ? (size_t)c->body : sizeof scratch;
	const char *data = c->buf + c->start;

	c->start = c->end;
	if (n == 0 && c->body > 0) {
		data = scratch;
		n = read(c->fd, scratch, want);
	}
	if (n > c->body)
		n = c->body;
	if (n < 0 && again())
		return;
	if (n < 0)
		finish(c);
	else if (n == 0 && c->body > 0)
		refuse(c, "400 Bad Request");
	else if (write(c->src, data, n) != n)
		refuse(c, "500 Server Error");
	else if ((c->body -= n) == 0)
		run(c);
}

static void begin_body(struct conn *c)
{
	char name[] = "/tmp/boa-XXXXXX", *length = c->aside[CONTENT_LENGTH], *rest = "";

	c->body = length ? strtol(length, &rest, 10) : is(UCLINUX) ? (long)(c->end - c->start) : -1;
	if (c->body < (is(PIPED) ? 1 : 0) || c->body > POST_BYTES || *rest) {
		refuse(c, "400 Bad Request");
	} else if ((c->src = mkstemp(name)) < 0) {
		refuse(c, "500 Server Error");
	} else {
		unlink(name);
		cloexec(c->src);
		c->state = BODY;
		read_body(c);
	}
}

static void send_file(struct conn *c)
{
	const char *type = default_type, *dot;
	struct stat st;
	char more[128];
	int i;

	snprintf(path, sizeof path, "%s%s%s", documents, c->uri,
		 c->uri[strlen(c->uri) - 1] == '/' ? index_name : "");
	c->src = open(path, O_RDONLY | O_CLOEXEC);
	if (c->src < 0 || fstat(c->src, &st) < 0 || !S_ISREG(st.st_mode)) {
		refuse(c, "404 Not Found");
		return;
	}
	dot = strrchr(path, '.');
	for (i = 0; dot && i < type_count; i++)
		if (!strcmp(dot + 1, types[i].ending))
			type = types[i].name;
	snprintf(more, sizeof more, "Content-Type: %s\r\nContent-Length: %ld\r\n\r\n", type,
		 (long)st.st_size);
	c->start = c->end = 512;
	prepend(c, "200 OK", more);
	if (is_head(c))
		close_src(c);
}

/* Splits the path into program and PATH_INFO; gives the answer where there is none to run. */
static const char *find_program(struct conn *c)
{
	char *name = c->uri + prefix_len, *base = path + strlen(programs), *p;
	struct stat st;

	/* "NPH is decided by the name right after the prefix"; in the old boa "only where the
	   last path segment begins with nph-". */
	c->nph = !strncmp(is(UCLINUX) ? strrchr(c->uri, '/') + 1 : name, "nph-", 4);
	sprintf(path, "%s%s", programs, name);
	for (p = base;; p++) {
		char end;
		p += strcspn(p, "/");
		end = *p;
		*p = '\0';
		if (stat(path, &st) < 0)
			return "404 Not Found";
		c->name_len = p - base;
		c->path_info = end ? name + c->name_len : NULL;
		if (!S_ISDIR(st.st_mode) || !end || is(UCLINUX))	/* which knows no folders */
			break;
		*p = end;
	}
	return S_ISREG(st.st_mode) && !access(path, R_OK | X_OK) ? NULL : "403 Forbidden";
}

/* "//", "/./" and "/../" all become "/", so no path leads upwards. */
static void clean(char *s)
{
	char *to = s;

	while (*s) {
		*to++ = *s;
		if (*s++ == '/')
			while (*s == '/' || !strncmp(s, "./", 2) || !strncmp(s, "../", 3))
				s = strchr(s, '/') + 1;
	}
	*to = '\0';
}

static void end_of_head(struct conn *c)
{
	const char *error;

	if (!decode(c->uri, &c->query)) {
		refuse(c, "400 Bad Request");
		return;
	}
	if (is(UCLINUX) && (c->query = strchr(c->uri, '?')))	/* "comes percent-decoded" */
		*c->query++ = '\0';
	clean(c->uri);
	if (*c->uri != '/')
		refuse(c, is(UCLINUX) ? "404 Not Found" : "400 Bad Request");
	else if (strncmp(c->uri, prefix, prefix_len) && is_post(c))
		refuse(c, is(UCLINUX) ? "501 Not Implemented" : "400 Bad Request");
	else if (strncmp(c->uri, prefix, prefix_len))
		send_file(c);
	else if ((error = find_program(c)))
		refuse(c, error);
	else if (is_post(c))
		begin_body(c);
	else
		run(c);		/* "what comes in the same segment behind it is lost" */
}

static void request_line(struct conn *c, char *line)
{
	char *end;

	c->method = !strncmp(line, "GET ", 4) ? "GET" : !strncmp(line, "HEAD ", 5) ? "HEAD" :
		    !strncmp(line, "POST ", 5) ? "POST" : NULL;
	if (!c->method) {
		refuse(c, is(UCLINUX) ? "400 Bad Request" : "501 Not Implemented");
		return;
	}
	c->uri = strchr(line, ' ');
	c->uri += strspn(c->uri, " ");
	end = c->uri + strcspn(c->uri, " ");
	line = end + strspn(end, " ");
	*end = '\0';
	c->version = !strcmp(line, "HTTP/1.1") ? "HTTP/1.1" :
		     !strcmp(line, "HTTP/1.0") ? "HTTP/1.0" : NULL;
	if (!c->version || end - c->uri > URI_BYTES)
		refuse(c, "400 Bad Request");
}

static void add_var(struct conn *c, char *name, char *value)
{
	if (mode->fixed_vars + c->vars < mode->vars_max) {
		c->var[c->vars].name = name;
		c->var[c->vars++].value = value;
	} else if (!is(UCLINUX) && c->fd >= 0) {
		finish(c);	/* "more: empty reply"; in the old one "dropped without a word" */
	}
}

static void header_line(struct conn *c, char *name, size_t len)
{
	char *value = strchr(name, ':'), *p;
	int i;

	if (!value) {
		if (!is(UCLINUX))
			finish(c);
		return;
	}
	*value++ = '\0';
	value += strspn(value, " \t");	/* "trailing blanks are kept" */
	for (p = name; *p; p++)
		*p = *p == '-' ? '_' : toupper((unsigned char)*p);
	if (is(RC21) && !*value)
		return;			/* "nor empty values" */
	for (i = 0; i < ASIDE; i++)
		if ((aside[i].modes & mode->id) && !c->aside[i] && !strcmp(name, aside[i].name)) {
			c->aside[i] = value;
			return;
		}
	if (!is(UCLINUX) && !strcmp(name, "ACCEPT"))
		return;
	/* "HTTP_CONNECTION is never set while KeepAliveMax > 0": that is, until one has ended
	   keep-alive, as an Upgrade does; a second Connection header is then one like any other. */
	if (!strcmp(name, "CONNECTION") && keepalive_max > 0 && !c->no_keepalive) {
		c->no_keepalive = strncasecmp(value, "Keep-Alive", 10) != 0;
		return;
	}
	if (is(RC21) && !strcmp(name, "REFERER"))
		add_var(c, name, value);	/* "Referer is always doubled" */
	add_var(c, name, value);
	/* The old one copies such a line and has its room again: its 1024 bytes need to hold
	   only what it sets aside and the line at hand. */
	if (is(UCLINUX))
		c->eaten += len + 1;
}

static bool bad_byte(unsigned char ch)
{
	return is(RC21) && (ch > 127 || (ch < 32 && !memchr("\t\r\n", ch, 3)));
}

/* Each line is judged as it comes: an early error does not wait for the rest of the head. */
static void read_head(struct conn *c)
{
	size_t limit = mode->head_max + c->eaten < BUFFER ? mode->head_max + c->eaten : BUFFER;
	ssize_t n = read(c->fd, c->buf + c->end, limit - c->end);

	if (n < 0 && again())
		return;
	if (n <= 0) {	/* the client is gone, or the buffer full: boa makes no difference */
		finish(c);
		return;
	}
	c->end += n;
	while (c->fd >= 0 && c->state == HEAD && c->scanned < c->end) {
		char *line = c->buf + c->start, *stop = c->buf + c->scanned++;
		if (bad_byte(*stop))
			refuse(c, "400 Bad Request");
		else if (*stop == '\n') {
			c->start = c->scanned;
			while (stop > line && stop[-1] == '\r')
				stop--;
			*stop = '\0';
			if (mode->line_max && (size_t)(stop - line) >= mode->line_max)
				refuse(c, "400 Bad Request");
			else if (!c->method)
				request_line(c, line);
			else if (stop > line)
				header_line(c, line, stop - line);
			else
				end_of_head(c);
		}
	}
}

/* ---- the server --------------------------------------------------------------------------- */

static void step(struct conn *c)
{
	switch (c->state) {
	case HEAD: read_head(c); break;
	case BODY: read_body(c); break;
	case CGI_HEAD: cgi_head(c); break;
	case FILL:
	case DRAIN: copy(c); break;
	}
}

static struct conn *take(int listener)
{
	int fd = accept(listener, NULL, NULL), one = 1, size = 0;
	struct conn *c = fd < 0 ? NULL : calloc(1, sizeof *c);
	socklen_t len = sizeof c->peer;

	if (!c) {
		close(fd);
		return NULL;
	}
	c->fd = fd;
	c->src = -1;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	cloexec(fd);
	getpeername(fd, (struct sockaddr *)&c->peer, &len);
	len = sizeof c->self;
	getsockname(fd, (struct sockaddr *)&c->self, &len);
	len = sizeof size;
	getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len);
	if (is(UCLINUX) || size < mode->sndbuf)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &mode->sndbuf, sizeof mode->sndbuf);
	if (is(UCLINUX))	/* the others leave that to the program */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return c;
}

static void __attribute__((noreturn)) serve(int listener)
{
	static struct pollfd p[CONNECTIONS + 1];
	int i, slot;

	for (;;) {
		for (slot = -1, i = 0; i < CONNECTIONS; i++) {
			struct conn *c = conns[i];
			slot = c ? slot : i;
			bool from_src = c && (c->state == CGI_HEAD || c->state == FILL);
			p[i].fd = !c ? -1 : from_src ? c->src : c->fd;	/* -1 is passed over */
			p[i].events = c && c->state == DRAIN ? POLLOUT : POLLIN;
		}
		p[CONNECTIONS].fd = slot < 0 ? -1 : listener;
		p[CONNECTIONS].events = POLLIN;
		if (ppoll(p, CONNECTIONS + 1, NULL, NULL) < 0) {
			if (errno != EINTR)
				die(111, "ppoll");
			continue;
		}
		for (i = 0; i < CONNECTIONS; i++) {
			if (p[i].fd >= 0 && p[i].revents)
				step(conns[i]);
			if (conns[i] && conns[i]->fd < 0) {
				free(conns[i]);
				conns[i] = NULL;
			}
		}
		if (p[CONNECTIONS].fd >= 0 && p[CONNECTIONS].revents)
			conns[slot] = take(listener);
	}
}

static void on_signal(int sig)
{
	int saved = errno;

	if (sig == SIGTERM)
		_exit(0);	/* bodies are unlinked; sockets handed over live on, as with boa */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	errno = saved;
}

static int listen_on(struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	socklen_t len = sizeof *addr;

	/* REUSEADDR: "a restarted boa binds its port while they live". */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(fd, (struct sockaddr *)addr, sizeof *addr) < 0 || listen(fd, 128) < 0 ||
	    getsockname(fd, (struct sockaddr *)addr, &len) < 0)
		die(111, "cannot listen");
	cloexec(fd);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* ---- what it is told ---------------------------------------------------------------------- */

static void keep(char *to, size_t room, const char *value)
{
	if (strlen(value) >= room)
		die(100, "a value is too long");
	strcpy(to, value);
}

static void number(const char *value)
{
	char *rest = "";
	long n = isdigit((unsigned char)*value) ? strtol(value, &rest, 10) : -1;

	if (n < 0 || n > 65535 || *rest)
		die(100, "PORT is no port");
	port = n;
}

static void add_type(const char *name, const char *ending)
{
	if (type_count == TYPES)
		die(100, "too many types");
	keep(types[type_count].name, sizeof types->name, name);
	keep(types[type_count++].ending, sizeof types->ending, ending);
}

static void alias(const char *url, const char *folder)
{
	keep(prefix, sizeof prefix, url);
	prefix_len = strlen(prefix);
	keep(programs, sizeof programs, folder);
	if (!prefix_len || prefix[prefix_len - 1] != '/' || folder[strlen(folder) - 1] != '/')
		die(100, "both sides of ScriptAlias end with a slash");
}

/* A line of boa.conf. Whom it runs as, its logs of requests, how long it waits and how many it
   serves are not this server's matter. A word that boa does not know ends it, as it ends boa. */
static void directive(char *word, char *value, char *more)
{
	static const char *const passed_over[] = {
		"User", "Group", "AccessLog", "KeepAliveTimeout", "MaxConnections", "MimeTypes",
	};
	size_t i;

	if (!strcmp(word, "Port")) {
		number(value);
	} else if (!strcmp(word, "Listen")) {
		keep(address, sizeof address, value);
	} else if (!strcmp(word, "ServerName")) {
		keep(server_name, sizeof server_name, value);
	} else if (!strcmp(word, "DocumentRoot")) {
		keep(documents, sizeof documents, value);
	} else if (!strcmp(word, "DirectoryIndex")) {
		keep(index_name, sizeof index_name, value);
	} else if (!strcmp(word, "DefaultType")) {
		keep(default_type, sizeof default_type, value);
	} else if (!strcmp(word, "KeepAliveMax")) {
		keepalive_max = atoi(value);
	} else if (!strcmp(word, "ScriptAlias") && more) {
		alias(value, more);
	} else if (!strcmp(word, "AddType")) {
		for (; more; more = strtok(NULL, " \t\n"))
			add_type(value, more);
	} else if (!strcmp(word, "ErrorLog")) {
		if (!freopen(value, "a", stderr))
			die(111, value);
	} else {
		for (i = 0; i < sizeof passed_over / sizeof *passed_over; i++)
			if (!strcmp(word, passed_over[i]))
				return;
		die(100, word);
	}
}

static void configure(const char *file)
{
	FILE *conf = fopen(file, "r");
	const char *name = strrchr(file, '/');
	char line[BUFFER];

	if (!conf)
		die(111, file);
	snprintf(root, sizeof root, "%.*s", name ? (int)(name - file) : 1, name ? file : ".");
	while (fgets(line, sizeof line, conf)) {
		char *word = strtok(line, " \t\n"), *value = word ? strtok(NULL, " \t\n") : NULL;

		if (!word || *word == '#')
			continue;
		if (!value)
			die(100, word);
		directive(word, value, strtok(NULL, " \t\n"));
	}
	fclose(conf);
	if (!*documents || !*programs)
		die(100, "DocumentRoot and ScriptAlias are needed");
}

static void place(const char *folder)
{
	if (!realpath(folder, scratch))
		die(111, folder);
	keep(root, sizeof root - sizeof "/cgi-bin/", scratch);
	strcat(strcpy(documents, root), "/www");
	alias("/cgi-bin/", strcat(scratch, "/cgi-bin/"));
	add_type("text/html", "html");
	add_type("text/javascript", "js");
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sockaddr_in addr = { .sin_family = AF_INET };
	size_t i;
	int fd;

	/* 0 to 2 are taken before anything else is opened, so that no socket is ever one of them;
	   0 is the programs' /dev/null. */
	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
		;
	close(fd);
	close(0);
	if (fd < 0 || open("/dev/null", O_RDONLY) != 0)
		die(111, "/dev/null");

	for (i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
		if (!strcmp(argv[1], modes[i].name))
			mode = &modes[i];
	if (argc < 3 || argc > 5 || !mode)
		die(100, "usage: boa rc21|uclinux|piped PORT ROOT [ADDRESS], or CONF instead");
	if (argc == 3) {
		configure(argv[2]);
	} else {
		number(argv[2]);
		place(argv[3]);
	}
	if (argc == 5)
		keep(address, sizeof address, argv[4]);
	if (inet_pton(AF_INET, address, &addr.sin_addr) != 1)
		die(100, "ADDRESS is no IPv4 address");

	sigaction(SIGCHLD, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
	if (is(UCLINUX))
		cloexec(0);	/* "fd 0 is closed in the program" */
	addr.sin_port = htons(port);
	fd = listen_on(&addr);
	port = ntohs(addr.sin_port);
	printf("%u\n", port);
	fflush(stdout);
	serve(fd);
}
