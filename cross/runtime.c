/* What the C that wasm2c writes runs on, in place of wabt's own wasm-rt-impl.c: that one wants
 * signals, guard pages and setjmp; this one no MMU.
 *
 * The daemon's memory is taken once, at the start, up to its ceiling, and never moves: without
 * an MMU a large piece is hard to find later. That of a program that ends at once is small at
 * first, and moves where it must grow (GROWS). Every access of the module is checked
 * against its end, so that it can't touch anything else. */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime.h"
#include "module.h"

#define PAGE 65536u

/* The ceiling of the module's memory, in KB; the Makefile's MEMORY. */
#ifndef MEMORY_KB
#define MEMORY_KB 4096
#endif

/* Whether this is such a program. */
#ifndef GROWS
#define GROWS 0
#endif

static wasm_rt_memory_t *const memory = &self.w2c_memory;

/* Both texts are short: ours. */
static void die(const char *what, const char *why)
{
    char line[96] = "ws2cgi: ";
    ssize_t len;
    strcat(line, what);
    strcat(line, why);
    strcat(line, "\n");
    len = (ssize_t)strlen(line);
    _exit(write(2, line, (size_t)len) == len ? 70 : 71);
}

void broken(const char *why)
{
    die("module and host do not fit together: ", why);
    abort();
}

/* A defect in the module, stopped before it does harm. A panic has said more before. */
void wasm_rt_trap(wasm_rt_trap_t code)
{
    static const char *const why[] = {
        "none", "an access out of bounds", "integer overflow", "division by zero",
        "invalid conversion", "unreachable", "a call of another type", "uncaught exception",
        "stack exhausted",
    };
    die("stopped: ", (unsigned)code < sizeof why / sizeof *why ? why[code] : "unknown");
    abort();
}

/* Pages that the kernel gave; the module has `memory->pages` of them. */
static uint32_t taken;

/* As many pages, clear. Not calloc: without an MMU that asks mmap as well, for a header more,
 * which makes 4 MB more than the largest block of such a kernel, and clears once more what comes
 * clear. NULL: there is no memory. */
static uint8_t *take(uint32_t pages)
{
    void *memory = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    taken = pages;
    return memory;
}

void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, uint32_t initial, uint32_t most)
{
    uint32_t ceiling = MEMORY_KB * 1024u / PAGE;
    if (most > ceiling)
        most = ceiling;
    if (initial > most)
        broken("MEMORY is less than the module begins with");
    /* Whatever it does, it allocates. */
    if (GROWS && initial < most)
        memory->data = take(initial + 1);
    else
        memory->data = take(most);
    if (!memory->data)
        die("cannot start: ", GROWS ? "no memory"
                                    : "no memory for MEMORY, a number that make was given");
#if WABT_BIG_ENDIAN
    /* Address 0 is the last byte, and it grows downwards. */
    memory->data += (taken - initial) * PAGE;
#endif
    memory->pages = initial;
    memory->max_pages = most;
    memory->size = initial * PAGE;
}

/* Moves the memory to where there are so many pages. */
static bool move(uint32_t pages)
{
    uint8_t *old = memory->data;
    uint32_t had = taken, spare = 0;
    uint8_t *data = take(pages);
    if (!data)
        return false;
#if WABT_BIG_ENDIAN
    spare = (had - memory->pages) * PAGE;
    data += pages * PAGE - memory->size;
#endif
    memory->data = memcpy(data, old, memory->size);
    munmap(old - spare, had * PAGE);
    return true;
}

uint32_t wasm_rt_grow_memory(wasm_rt_memory_t *memory, uint32_t pages)
{
    uint32_t before = memory->pages;
    if (pages > memory->max_pages - before)
        return UINT32_MAX;
    if (GROWS && before + pages > taken && !move(before + pages))
        return UINT32_MAX;
#if WABT_BIG_ENDIAN
    memory->data -= pages * PAGE;
#endif
    memory->pages += pages;
    memory->size += pages * PAGE;
    return before;
}

uint32_t module_room(void)
{
    return (memory->max_pages - memory->pages) * PAGE;
}

/* The program ends with its process. */
void wasm_rt_free_memory(wasm_rt_memory_t *freed)
{
    (void)freed;
}
void wasm_rt_init(void)
{
}
bool wasm_rt_is_initialized(void)
{
    return true;
}

#if WABT_BIG_ENDIAN
static unsigned char *piece(uint32_t at, uint32_t len)
{
    return memory->data + (memory->size - at - len);
}

static void reverse(uint32_t at, uint32_t len)
{
    unsigned char *low = piece(at, len), *high = low + len;
    while (low < --high) {
        unsigned char byte = *low;
        *low++ = *high;
        *high = byte;
    }
}
#else
static unsigned char *piece(uint32_t at, uint32_t len)
{
    (void)len;
    return memory->data + at;
}

static void reverse(uint32_t at, uint32_t len)
{
    (void)at;
    (void)len;
}
#endif

void *lend(uint32_t at, uint32_t len)
{
    if (len > memory->size || at > memory->size - len)
        wasm_rt_trap(WASM_RT_TRAP_OOB);
    reverse(at, len);
    return piece(at, len);
}

void give_back(uint32_t at, uint32_t len)
{
    reverse(at, len);
}

Z_ws2cgi_instance_t self;
