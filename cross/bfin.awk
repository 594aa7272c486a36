# Finishes what gcc wrote for Blackfin from bfin.h: reads it twice, writes it with the code that
# its accesses call, and with the ways in and out.
#
#     awk -f bfin.awk FILE FILE
#
# A line `access i32_load R0 R5 20` becomes a call, and what it calls is, by way of example,
#
#     i32_load.R0.R5.20:   P0 = 20; JUMP i32_load.R0.R5     one for each offset
#     i32_load.R0.R5:      P1 = R5; P1 = P1 + P0            one for each register of an address
#     i32_load.R0:         check P1, add the memory's address, load R0; RTS
#
# so that an access takes 4 bytes, and each kind of it some 4 more, once.
#
# Accesses need not be aligned, but Blackfin's must be: what is not goes byte by byte.

FNR == 1 { pass++ }

pass == 1 {
    if ($1 == "access")
        accesses[$2 "." $3 "." $4 "." $5]
    if (match($0, /^_[A-Za-z0-9_.]+:/))
        defined[substr($0, 1, RLENGTH - 1)]
    next
}

$1 == "access" {
    ins("CALL " $2 "." $3 "." $4 "." $5)
    next
}

# Functions that lie outside.
($1 == "call" || $1 ~ /^jump/) && $2 ~ /^_/ {
    name = $2
    sub(/;$/, "", name)
    if (!(name in defined)) {
        ins($1 " " far(name))
        next
    }
}

# The code has no address of its own but what it is relative to.
/\.[HL] *= *[_.]/ {
    print FILENAME ":" FNR ": an absolute address:" $0 > "/dev/stderr"
    exit failed = 1
}

# The way in is below.
$1 == "_start_module:" { print "start_module.inside:"; next }

# Code needs no more.
/^\.text|^\t\.text/ { in_text = 1 }
/^\.data|^\t\.data|^\t\.section|^\.section/ { in_text = 0 }
in_text && /^\t\.align 4/ { print "\t.align 2"; next }

{ print }

END {
    if (failed)
        exit 1
    print "\t.text"
    for (name in accesses) {
        split(name, part, ".")
        access = part[1] "." part[2]
        base = access "." part[3]
        if (!(base in offsets))
            bases[access] = bases[access] " " part[3]
        offsets[base] = offsets[base] " " part[4]
    }
    for (access in bases)
        write_access(access)
    write_way_in()
    print "out_of_bounds:"
    ins("R0 = 1 (X)") # WASM_RT_TRAP_OOB
    ins("JUMP.L " far("_wasm_rt_trap"))
    for (name in outside) {
        print far(name) ":"
        ins("P3 = [P4]")
        ins("JUMP.L " name)
    }
}

function far(name) {
    outside[name]
    return name ".far"
}

# What the host calls: keeps what is the host's, and makes P4 and [P4] ours.
function write_way_in() {
    print "\t.global _start_module"
    print "_start_module:"
    ins("[--SP] = (P5:4)")
    ins("[--SP] = RETS")
    ins("P4 = [P3 + _self@GOT17M4]")
    ins("[P4] = P3")
    ins("SP += -12")
    ins("CALL start_module.inside")
    ins("SP += 12")
    ins("RETS = [SP++]")
    ins("(P5:4) = [SP++]")
    ins("RTS")
}

# The last way to the access falls through into it.
function write_access(access,    n, base, part, i) {
    n = split(bases[access], base, " ")
    for (i = 1; i <= n; i++)
        write_offsets(access, base[i], i == n)
    print access ":"
    split(access, part, ".")
    write_body(part[1], part[2])
}

# P1 = base + offset. JUMP.S reaches 4 KB, and an offset takes 10 bytes at most.
function write_offsets(access, base, last,    name, n, offset, i, zero) {
    name = access "." base
    n = split(offsets[name], offset, " ")
    for (i = 1; i <= n; i++)
        if (offset[i] == 0)
            zero = i
    if (zero) {
        offset[zero] = offset[n--]
        print name ".0:"
        ins("P1 = " base)
        if (n || !last)
            ins("JUMP.L " access)
    }
    for (i = 1; i <= n; i++) {
        print name "." offset[i] ":"
        constant("P0", offset[i])
        if (i < n)
            ins((n - i < 400 ? "JUMP.S " : "JUMP.L ") name)
    }
    if (n) {
        print name ":"
        if (base ~ /^R/) {
            ins("P1 = " base)
            base = "P1"
        }
        ins("P1 = P0 + " base)
        if (!last)
            ins("JUMP.L " access)
    }
}

function constant(register, number) {
    if (number < 32768)
        ins(register " = " number " (X)")
    else if (number < 65536)
        ins(register " = " number " (Z)")
    else {
        ins(register ".L = " number % 65536)
        ins(register ".H = " int(number / 65536))
    }
}

# At P1, of or to the register `value`; of 64 bits, to the next one as well.
function write_body(kind, value,    len, high, spare, odd, i) {
    len = kind ~ /64/ ? 8 : kind ~ /16/ ? 2 : kind ~ /8/ ? 1 : 4
    high = "R" (substr(value, 2) + 1)
    odd = kind "." value ".odd"

    ins("P0 = [P4 + 28]") # the memory's size
    ins("P0 += -" len)
    ins("CC = P1 <= P0 (IU)")
    ins("IF !CC JUMP " kind "." value ".out")
    ins("P0 = [P4 + 16]") # and its address
    ins("P1 = P1 + P0")
    if (len > 1) {
        ins("P0 = P1 >> " (len == 2 ? 1 : 2))
        ins("P0 = P0 << " (len == 2 ? 1 : 2))
        ins("CC = P0 == P1")
        ins("IF !CC JUMP " odd)
    } else {
        # A conditional jump has a shadow of some instructions, in which nothing may be loaded
        # from where no memory might be (anomaly 05000245).
        for (i = 0; i < 3; i++)
            ins("NOP")
    }
    move(kind, value, len == 1 ? "B[P1]" : len == 2 ? "W[P1]" : "[P1]")
    if (len == 8)
        move(kind, high, "[P1 + 4]")
    ins("RTS")

    if (len > 1) {
        print odd ":"
        if (kind ~ /load/) {
            spare = value == "R0" ? "R2" : "R0"
            ins("[--SP] = " spare)
            collect(value, spare, len, kind ~ /_s$/ ? "X" : "Z")
            if (len == 8)
                collect(high, spare, len)
            ins(spare " = [SP++]")
        } else {
            spread(value, len)
            if (len == 8)
                spread(high, len)
        }
        ins("RTS")
    }
    print kind "." value ".out:"
    ins("JUMP.L out_of_bounds")
}

function move(kind, value, place) {
    if (kind ~ /store/)
        ins(place " = " value)
    else
        ins(value " = " place (kind ~ /_s$/ ? " (X)" : kind ~ /_u$/ ? " (Z)" : ""))
}

# A number of 2 or 4 bytes from P1 on, byte by byte; the last one of 2 may have the sign.
function collect(value, spare, len, sign,    i, most) {
    most = len == 2 ? 2 : 4
    ins(value " = B[P1++] (Z)")
    for (i = 1; i < most; i++) {
        ins(spare " = B[P1++] (" (most == 2 ? sign : "Z") ")")
        ins(spare " <<= " 8 * i)
        ins(value " = " value " | " spare)
    }
}

function spread(value, len,    i) {
    ins("[--SP] = " value)
    ins("B[P1++] = " value)
    for (i = 1; i < (len == 2 ? 2 : 4); i++) {
        ins(value " >>= 8")
        ins("B[P1++] = " value)
    }
    ins(value " = [SP++]")
}

function ins(text) {
    print "\t" text ";"
}
