/* The code that cross/bfin.awk writes for accesses to the module's memory: each kind of it, of each
 * register, at addresses aligned and not, within the memory and not. What it should do is said
 * here once more, byte by byte. `make test-bfin` runs this on the simulator.
 *
 * It prints what does not hold, and how many accesses did.
 */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"
#include "module.h"

enum { REGISTERS = 12, SIZE = 40, AROUND = 16, FEW = 10 };

typedef enum {
    i32_load, i32_load8_s, i32_load8_u, i32_load16_s, i32_load16_u, i64_load,
    i32_store, i32_store8, i32_store16, i64_store
} Kind;

static const struct {
    unsigned char len, store, sign;
} kinds[] = {
    {4, 0, 0}, {1, 0, 1}, {1, 0, 0}, {2, 0, 1}, {2, 0, 0}, {8, 0, 0},
    {4, 1, 0}, {1, 1, 0}, {2, 1, 0}, {8, 1, 0},
};

#define ACCESS(name, kind, value, base, offset) extern void name(void);
#include "accesses.inc"
#undef ACCESS

static const struct {
    void (*code)(void);
    const char *name;
    Kind kind;
    unsigned value, base, offset;
} accesses[] = {
#define ACCESS(name, kind, value, base, offset) {name, #kind, kind, value, base, offset},
#include "accesses.inc"
};

Z_ws2cgi_instance_t self;

static unsigned char memory[AROUND + SIZE + AROUND] __attribute__((aligned(4)));
static jmp_buf before;

/* Called in place of the access, and so with the module's registers. */
void wasm_rt_trap(wasm_rt_trap_t code) {
    longjmp(before, code == WASM_RT_TRAP_OOB ? 1 : 2);
}

/* Access number n at an address. Returns why that was wrong. */
static const char *wrong(unsigned n, u32 at) {
    u32 registers[REGISTERS], expected[REGISTERS];
    unsigned char bytes[sizeof memory];
    unsigned len = kinds[accesses[n].kind].len, value = accesses[n].value, i;
    int inside = at <= SIZE - len, trap;

    for (i = 0; i < sizeof memory; i++)
        memory[i] = (unsigned char)(i * 37 + 129);
    for (i = 0; i < REGISTERS; i++)
        registers[i] = 0x8badf00d * (i + 1);
    registers[accesses[n].base] = at - accesses[n].offset;
    memcpy(expected, registers, sizeof expected);
    memcpy(bytes, memory, sizeof bytes);
    if (!inside) {
    } else if (kinds[accesses[n].kind].store) {
        for (i = 0; i < len; i++)
            bytes[AROUND + at + i] = (unsigned char)(registers[value + i / 4] >> i % 4 * 8);
    } else {
        expected[value] = 0;
        if (len == 8)
            expected[value + 1] = 0;
        for (i = 0; i < len; i++)
            expected[value + i / 4] |= (u32)bytes[AROUND + at + i] << i % 4 * 8;
        if (kinds[accesses[n].kind].sign && bytes[AROUND + at + len - 1] & 0x80)
            expected[value] |= ~0u << len * 8;
    }

    self.w2c_memory.data = memory + AROUND;
    self.w2c_memory.size = SIZE;
    self.w2c_g0 = (u32)registers;
    self.w2c___data_end = *(u32 *)accesses[n].code; /* without FDPIC a function is its address */
    trap = setjmp(before);
    if (!trap)
        start_module();
    if (memcmp(memory, bytes, sizeof bytes) != 0)
        return "another memory";
    if (trap != !inside)
        return trap ? "a trap" : "no trap";
    if (inside && memcmp(registers, expected, sizeof expected) != 0)
        return "other registers";
    return NULL;
}

int main(void) {
    static const u32 ends[] = {0x80000000, 0xfffffff9, 0xfffffffe, 0xffffffff};
    unsigned done = 0, failures = 0, n, i;
    for (n = 0; n < sizeof accesses / sizeof *accesses; n++)
        for (i = 0; i < SIZE + 4 + sizeof ends / sizeof *ends; i++) {
            u32 at = i < SIZE + 4 ? i : ends[i - SIZE - 4];
            const char *why = wrong(n, at);
            done++;
            if (why && failures++ < FEW)
                printf("%s of register %u, register %u + %u, at %#x: %s\n", accesses[n].name,
                       accesses[n].value, accesses[n].base, accesses[n].offset, at, why);
        }
    printf("%u accesses, %u wrong\n", done, failures);
    return failures > 0;
}
