# What compact.sed leaves, in pairs of lines.

# A number that is loaded only to be stored is one call in place of two.
/ = i(32|64)_load\(/ {
    N
    s/^  w2c_(i[0-9]+) = i32_load\((.*)\);\n  i32_store\((.*), w2c_\1\);$/  module_copy4(\3, \2);/
    s/^  w2c_(j[0-9]+) = i64_load\((.*)\);\n  i64_store\((.*), w2c_\1\);$/  module_copy8(\3, \2);/
    P
    D
}

# Where a function moves the module's stack pointer down.
/^  w2c_l[0-9]+ = w2c_i0;$/ {
    N
    s/^.*\n  self\.w2c_g0 = w2c_i0;$/  FRAME(w2c_i0);\n&/
    P
    D
}
