# What wasm2c (wabt 1.0.32) writes, for small CPUs: a fifth to a third less machine code.
#
# wasm2c allows for many instances of a module with many memories each, and for addresses of 33
# bits. Here is one instance, `self`, so nothing is passed along for it, and addresses have 32
# bits: memory.h checks each of them against the memory's end as before.

# One instance: no parameter, no argument.
s/Z_ws2cgi_instance_t\*( instance)?, //g
s/\(Z_ws2cgi_instance_t ?\* ?(instance)?\)/(void)/g
s/struct Z_host_instance_t\*( Z_host_instance)?, //g
s/\(struct Z_host_instance_t\*( Z_host_instance)?\)/(void)/g
s/\((\*)?\)\(void\*, /(*)(/g
s/\(\*\)\(void\*\)/(*)(void)/g
s/, instance->w2c_T0\.data\[[a-z0-9_]+\]\.module_instance//g
s/\(instance->Z_host_instance, /(/g
s/\(instance->Z_host_instance\)/()/g
s/\(instance, /(/g
s/\(instance\)/()/g
/instance->Z_host_instance = /d
s/init_instance_import\(Z_host_instance\)/init_instance_import()/
s/^void Z_ws2cgi_instantiate.*\{/void Z_ws2cgi_instantiate(void) {/
s/^void Z_ws2cgi_instantiate.*;/extern Z_ws2cgi_instance_t self;\n&/

# One memory, and addresses of 32 bits.
s/(_(load|store)\w*\()&instance->w2c_memory, \(u64\)/\1/
s/(_(load|store)\w*\()\((\w+)\) \+ ([0-9]+)u?/\1AT(\3, \4)/
s/(_(load|store)\w*\()\((\w+)\)/\1AT(\3, 0)/
s/memory_(copy|fill)\((&instance->w2c_memory, )+/module_\1(/g
/^DEFINE_LOAD\(i32_load, /i #include "memory.h"

s/instance->/self./g

# One table of functions, which nothing changes, so memory.h reads it where it lies. wasm-ld makes
# each type once: equal signature, equal number.
/^(static u32|  )func_types\[/d
/^static inline void funcref_table_init\(/,/^}/d
/^  wasm_rt_(allocate|free)_funcref_table\(/d
/^  funcref_table_init\(/ {
    s/.*, (elem_segment[a-z0-9_]+), ([0-9]+), ([0-9]+)u, 0, \2, .*/DEFINE_FUNCTION(\1, \2, \3)/
    h
    d
}
/^static void init_elem_instances/ {
    x
    G
}
/^  size_t module_offset;/d
/^static const wasm_elem_segment_expr_t/,/^}/ {
    s/^static const/static/
    s/, 0\},$/},/
}

# What is copied at the start.
s/^  LOAD_DATA\((.*), (data_segment[a-z0-9_]+),/  LOAD_DATA(\1, ARRAY(\2),/

# For pairs.sed.
/^DEFINE_STORE\(i64_store32, /a DEFINE_COPY(module_copy4, i32_load, i32_store)\nDEFINE_COPY(module_copy8, i64_load, i64_store)
