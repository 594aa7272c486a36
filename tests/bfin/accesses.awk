# Every access that cross/bfin.awk may have to write: of each kind, of and to each register, from
# each register with an address, without an offset and with one of several.
#
#     awk -v table=1 -f accesses.awk      for accesses.c: which there are
#     awk -f accesses.awk                 their code, before bfin.awk

BEGIN {
    kinds = split("i32_load i32_load8_s i32_load8_u i32_load16_s i32_load16_u i64_load " \
                  "i32_store i32_store8 i32_store16 i64_store", kind, " ")
    registers = split("R0 R1 R2 R3 R4 R5 R6 R7 P2 P3 P5 FP", register, " ")
    offsets = split("1 20 63 64 255 32767 32768 65535 70000", offset, " ")
    if (!table) {
        print "\t.text"
        # With registers as at [P4 + 4], calls what [P4 + 8] points to.
        print "_start_module:"
        print "[--SP] = (R7:4, P5:5); [--SP] = FP; [--SP] = RETS; P0 = [P4 + 4]; P1 = [P4 + 8];"
        for (r = 1; r <= registers; r++)
            print register[r] " = [P0 + " 4 * (r - 1) "];"
        print "CALL (P1);"
        print "P0 = [P4 + 4];"
        for (r = 1; r <= registers; r++)
            print "[P0 + " 4 * (r - 1) "] = " register[r] ";"
        print "RETS = [SP++]; FP = [SP++]; (R7:4, P5:5) = [SP++]; RTS;"
    }
    for (k = 1; k <= kinds; k++)
        for (value = 1; value <= (kind[k] ~ /64/ ? 7 : 8); value++)
            for (base = 1; base <= registers; base++) {
                one(0)
                one(offset[++turn % offsets + 1])
            }
}

function one(distance,    name) {
    name = "access_" count++
    if (table)
        print "ACCESS(" name ", " kind[k] ", " value - 1 ", " base - 1 ", " distance ")"
    else {
        print "\t.global _" name
        print "_" name ":"
        print "[--SP] = RETS;"
        print "access " kind[k] " " register[value] " " register[base] " " distance
        print "RETS = [SP++]; RTS;"
    }
}
