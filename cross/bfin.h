/* For Blackfin with FDPIC, in place of what memory.h has for other CPUs: an access to the module's
 * memory is one instruction, a call of a few that bfin.awk writes for it. They change P0, P1 and
 * CC alone.
 *
 * P4 holds the address of `self` as long as the module runs: so its code is compiled without
 * FDPIC, where each function keeps an address of the data, and each call passes it. What lies
 * outside is called through bfin.awk's code too, which sets P3 for it. */

#include <stddef.h>

register Z_ws2cgi_instance_t *here __asm__("P4");
#define self (*here)

/* bfin.awk knows where these are. The first, which nothing else uses, holds the host's P3. */
_Static_assert(offsetof(Z_ws2cgi_instance_t, Z_host_instance) == 0 &&
                   offsetof(Z_ws2cgi_instance_t, w2c_memory.data) == 16 &&
                   offsetof(Z_ws2cgi_instance_t, w2c_memory.size) == 28,
               "bfin.awk knows another instance");

#define AT(base, offset) base, offset
#define DEFINE_LOAD(name, stored, widened, result)
#define DEFINE_STORE(name, stored, given)
#define INLINE static inline __attribute__((always_inline))
#define CHANGED "P0", "P1", "CC", "RETS"

/* One line each, as gcc counts lines to know how far a jump is. The more registers could be named
 * here, the more code bfin.awk would have to write; so a number of 32 bits is in R0 (q0), and an
 * address in a P register. */
#define LOAD(name, result, registers)                                                          \
    INLINE result name(u32 base, u32 offset)                                                   \
    {                                                                                          \
        result value;                                                                          \
        __asm__ volatile("access " #name " %0 %1 %2"                                           \
                         : "=" registers(value)                                                \
                         : "a"(base), "n"(offset)                                              \
                         : CHANGED);                                                           \
        return value;                                                                          \
    }

#define STORE(name, given, registers)                                                          \
    INLINE void name(u32 base, u32 offset, given value)                                        \
    {                                                                                          \
        __asm__ volatile("access " #name " %0 %1 %2"                                           \
                         :                                                                     \
                         : registers(value), "a"(base), "n"(offset)                            \
                         : CHANGED);                                                           \
    }

LOAD(i32_load, u32, "q0")
LOAD(i32_load8_s, u32, "q0")
LOAD(i32_load8_u, u32, "q0")
LOAD(i32_load16_s, u32, "q0")
LOAD(i32_load16_u, u32, "q0")
LOAD(i64_load, u64, "d")
STORE(i32_store, u32, "q0")
STORE(i32_store8, u32, "q0")
STORE(i32_store16, u32, "q0")
STORE(i64_store, u64, "d")

#define i64_load8_s(at) ((u64)(s32)i32_load8_s(at))
#define i64_load8_u(at) ((u64)i32_load8_u(at))
#define i64_load16_s(at) ((u64)(s32)i32_load16_s(at))
#define i64_load16_u(at) ((u64)i32_load16_u(at))
#define i64_load32_s(at) ((u64)(s32)i32_load(at))
#define i64_load32_u(at) ((u64)i32_load(at))
#define i64_store8(at, value) i32_store8(at, (u32)(value))
#define i64_store16(at, value) i32_store16(at, (u32)(value))
#define i64_store32(at, value) i32_store(at, (u32)(value))

#define DEFINE_COPY(name, load, store)                                                         \
    INLINE void name(u32 to, u32 to_offset, u32 from, u32 from_offset)                         \
    {                                                                                          \
        store(to, to_offset, load(from, from_offset));                                         \
    }

/* Where an array of ours lies. */
#define ARRAY(name)                                                                            \
    ({                                                                                         \
        void *at;                                                                              \
        __asm__("%0 = [%1]\n\t%0 = [%0 + %2@GOT17M4]" : "=&a"(at) : "a"(here), "i"(name));     \
        at;                                                                                    \
    })

/* Else gcc would know the module's stack pointer as the caller's, less something, and would keep
 * both. */
#define FRAME(pointer) __asm__("" : "+r"(pointer))
