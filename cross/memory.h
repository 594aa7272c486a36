/* How the generated C reaches the module's memory (cross/compact.sed puts this in place of
 * what wasm2c writes for it): each access is checked against the memory's end, so the module
 * cannot touch anything else, MMU or not.
 *
 * An address that runs over 32 bits begins again at 0, where wasm would end the program: it
 * stays inside the memory all the same. */

#include "runtime.h"

#undef DEFINE_LOAD
#undef DEFINE_STORE

#if WABT_BIG_ENDIAN
/* Back to front: so a number's bytes stand in the order of the CPU. */
#define BYTES_AT(at, len) (self.w2c_memory.data + (self.w2c_memory.size - (at) - (len)))
#else
#define BYTES_AT(at, len) (self.w2c_memory.data + (at))
#endif

#ifdef BLACKFIN
#include "bfin.h"
#else

#define AT(base, offset) ((base) + (offset))
#define ARRAY(name) name
#define FRAME(pointer)

#define CHECK(at, len)                                                                         \
    if (UNLIKELY((at) > self.w2c_memory.size - (len)))                                         \
    TRAP(OOB)

#define DEFINE_LOAD(name, stored, widened, result)                                             \
    static inline result name(u32 at)                                                          \
    {                                                                                          \
        stored value;                                                                          \
        CHECK(at, sizeof value);                                                               \
        memcpy(&value, BYTES_AT(at, sizeof value), sizeof value);                              \
        return (result)(widened)value;                                                         \
    }

#define DEFINE_STORE(name, stored, given)                                                      \
    static inline void name(u32 at, given number)                                              \
    {                                                                                          \
        stored value = (stored)number;                                                         \
        CHECK(at, sizeof value);                                                               \
        memcpy(BYTES_AT(at, sizeof value), &value, sizeof value);                              \
    }

#define DEFINE_COPY(name, load, store)                                                         \
    static inline void name(u32 to, u32 from)                                                  \
    {                                                                                          \
        store(to, load(from));                                                                 \
    }

#endif

static void check_piece(u32 at, u32 len)
{
    if (UNLIKELY(len > self.w2c_memory.size || at > self.w2c_memory.size - len))
        TRAP(OOB);
}

static inline void module_copy(u32 to, u32 from, u32 len)
{
    check_piece(to, len);
    check_piece(from, len);
    memmove(BYTES_AT(to, len), BYTES_AT(from, len), len);
}

static inline void module_fill(u32 at, u32 byte, u32 len)
{
    check_piece(at, len);
    memset(BYTES_AT(at, len), (int)byte, len);
}

/* Calls through pointers: each is the number of a function in a table, from `first` on. */
static wasm_rt_function_ptr_t function(u32 number, u32 type);

#undef CALL_INDIRECT
#define CALL_INDIRECT(table, t, type, number, ...) (((t)function(number, type))(__VA_ARGS__))

#define DEFINE_FUNCTION(table, len, first)                                                     \
    static wasm_rt_function_ptr_t function(u32 number, u32 type)                               \
    {                                                                                          \
        const wasm_elem_segment_expr_t *functions = ARRAY(table);                              \
        u32 at = number - (first);                                                             \
        if (UNLIKELY(at >= (len) || functions[at].func_type_index != type))                    \
            TRAP(CALL_INDIRECT);                                                               \
        return functions[at].func;                                                             \
    }

int start_module(void)
{
    Z_ws2cgi_init_module();
    Z_ws2cgi_instantiate();
    return (int)Z_ws2cgiZ_run();
}
