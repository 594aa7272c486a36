/* cgi-bin/longpoll.c, but for one thing: it sleeps until the kernel says that the file has been
 * replaced (inotify(7)). The best that a long poll over CGI can do.
 */
#define main look_every_pause
#include "../../../cgi-bin/longpoll.c"
#undef main
#include <poll.h>
#include <sys/inotify.h>

int main(void)
{
    long last = last_seen(getenv("QUERY_STRING"));
    struct pollfd changes = { .fd = inotify_init(), .events = POLLIN };
    char line[128];

    do {
        /* Before the look, so that no change is missed; each time, as a new file is there. */
        inotify_add_watch(changes.fd, SENSOR, IN_ATTRIB | IN_DELETE_SELF);
        if (look(line, sizeof line) && atol(line) != last) {
            printf("Content-Type: text/plain\nCache-Control: no-store\n\n%s", line);
            return 0;
        }
    } while (poll(&changes, 1, 25 * 1000) > 0 && read(changes.fd, line, sizeof line) > 0);
    puts("Status: 204 No Content\n");
    return 0;
}
