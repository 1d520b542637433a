/* Numbers of the wire, read and written inline: they are most of what most structs are made of. */
#ifndef MP__SERIAL_NUMBER_H
#define MP__SERIAL_NUMBER_H
#include "serial/wire.h"

/* --- reading --- */

/* `bits` is its two's complement; unsigned ones over INT64_MAX are not `negative`. */
typedef struct mp__integer {
    uint64_t bits;
    bool negative;
} mp__integer;

static inline bool mp__is_integer(uint8_t first)
{
    return first < 0x80 || first >= MP__WIRE_NEGATIVE || (first >= MP__WIRE_UINT8 && first <= MP__WIRE_INT64);
}

/* So many bytes, 1, 2, 4 or 8, in the high end of the result; what is in its low end is of no account. */
static inline uint64_t mp__load_high(const uint8_t *at, const uint8_t *end, size_t width)
{
    uint64_t bits = 0;
    if (end - at >= 8) /* within a struct, almost always: one load for all widths */
        return mp__load_be64(at);
    if (width == 4)
        memcpy(&bits, at, 4);
    else if (width == 2)
        memcpy(&bits, at, 2);
    else
        bits = *at;
    return __builtin_bswap64(bits);
}

/* `p` is at an integer; NULL: cut short. */
static inline const uint8_t *mp__read_integer(const uint8_t *p, const uint8_t *end, mp__integer *number)
{
    uint8_t first = *p;
    if (first < 0x80 || first >= MP__WIRE_NEGATIVE) {
        number->bits = (uint64_t)(int8_t)first;
        number->negative = first >= 0x80;
        return p + 1;
    }
    size_t width = (size_t)1 << (first & 3);
    if ((size_t)(end - p) < 1 + width)
        return NULL;
    uint64_t high = mp__load_high(p + 1, end, width);
    unsigned unused = 64 - 8 * (unsigned)width;
    bool is_signed = first >= MP__WIRE_INT8;
    number->bits = is_signed ? (uint64_t)((int64_t)high >> unused) : high >> unused;
    number->negative = is_signed && (int64_t)high < 0;
    return p + 1 + width;
}

/* Into a signed or unsigned integer of `size` bytes. */
static inline bool mp__integer_fits(mp__integer number, bool is_signed, size_t size)
{
    uint64_t max = UINT64_MAX >> (64 - 8 * (unsigned)size);
    if (is_signed)
        return (number.negative ? ~number.bits : number.bits) <= max >> 1;
    return !number.negative && number.bits <= max;
}

/* Inlined with a constant size, so that what depends on it is gone. */
__attribute__((always_inline)) static inline const uint8_t *mp__read_as(const uint8_t *p, const uint8_t *end, uint8_t *to,
                                                                        bool is_signed, size_t size)
{
    mp__integer number;
    const uint8_t *next = mp__is_integer(*p) ? mp__read_integer(p, end, &number) : NULL;
    if (!next || !mp__integer_fits(number, is_signed, size))
        return NULL;
    memcpy(to, &number.bits, size); /* the low bytes come first */
    return next;
}

static inline const uint8_t *mp__read_float64(const uint8_t *p, const uint8_t *end, uint8_t *to)
{
    if (*p != MP__WIRE_FLOAT64 || end - p < 9)
        return NULL;
    uint64_t bits = mp__load_be64(p + 1);
    memcpy(to, &bits, sizeof bits);
    return p + 9;
}

static inline const uint8_t *mp__read_float32(const uint8_t *p, const uint8_t *end, uint8_t *to)
{
    if (*p != MP__WIRE_FLOAT32 || end - p < 5)
        return NULL;
    uint32_t bits;
    memcpy(&bits, p + 1, sizeof bits);
    bits = __builtin_bswap32(bits);
    memcpy(to, &bits, sizeof bits);
    return p + 5;
}

static inline const uint8_t *mp__read_bool(const uint8_t *p, uint8_t *to)
{
    if (*p != MP__WIRE_FALSE && *p != MP__WIRE_TRUE)
        return NULL;
    *to = *p & 1;
    return p + 1;
}

/* Reads floats and bools in the form in which the encoder writes them, and integers in all their forms. NULL: it is something else,
 * or does not fit, or is cut short: mp__decode_number finds out. And mp_none. */
__attribute__((always_inline)) static inline const uint8_t *mp__read_number(const uint8_t *p, const uint8_t *end,
                                                                            const mp_type *type, uint8_t *to)
{
    if (p >= end)
        return NULL;
    switch (MP__KEY(type->kind, type->size)) {
    case MP__KEY(MP__INT, 1): return mp__read_as(p, end, to, true, 1);
    case MP__KEY(MP__INT, 2): return mp__read_as(p, end, to, true, 2);
    case MP__KEY(MP__INT, 4): return mp__read_as(p, end, to, true, 4);
    case MP__KEY(MP__INT, 8): return mp__read_as(p, end, to, true, 8);
    case MP__KEY(MP__UINT, 1): return mp__read_as(p, end, to, false, 1);
    case MP__KEY(MP__UINT, 2): return mp__read_as(p, end, to, false, 2);
    case MP__KEY(MP__UINT, 4): return mp__read_as(p, end, to, false, 4);
    case MP__KEY(MP__UINT, 8): return mp__read_as(p, end, to, false, 8);
    case MP__KEY(MP__FLOAT, 8): return mp__read_float64(p, end, to);
    case MP__KEY(MP__FLOAT, 4): return mp__read_float32(p, end, to);
    case MP__KEY(MP__BOOL, 1): return mp__read_bool(p, to);
    case MP__KEY(MP__NONE, 1): *to = 0; return *p == MP__WIRE_NIL ? p + 1 : NULL;
    default: return NULL;
    }
}

/* --- writing: the put functions need MP__NUMBER_MAX bytes of room and write the shortest form, as msgpack-c does --- */

/* `first` is that of the 1-byte form, `step` 0 to 3 says 1, 2, 4 or 8 bytes. Eight are written, whatever is used. */
static inline uint8_t *mp__put_wide(uint8_t *p, int first, int step, uint64_t value)
{
    unsigned width = 1u << step;
    *p = (uint8_t)(first + step);
    mp__store_be64(p + 1, value << (64 - 8 * width));
    return p + 1 + width;
}

static inline uint8_t *mp__put_uint(uint8_t *p, uint64_t value)
{
    if (value < 0x80) {
        *p = (uint8_t)value;
        return p + 1;
    }
    return mp__put_wide(p, MP__WIRE_UINT8, (value > 0xffu) + (value > 0xffffu) + (value > 0xffffffffu), value);
}

static inline uint8_t *mp__put_int(uint8_t *p, int64_t value)
{
    if (value >= 0)
        return mp__put_uint(p, (uint64_t)value);
    if (value >= -32) {
        *p = (uint8_t)value;
        return p + 1;
    }
    uint64_t size = ~(uint64_t)value;
    return mp__put_wide(p, MP__WIRE_INT8, (size > 0x7fu) + (size > 0x7fffu) + (size > 0x7fffffffu), (uint64_t)value);
}

static inline uint8_t *mp__put_float(uint8_t *p, const uint8_t *from)
{
    uint32_t bits;
    memcpy(&bits, from, sizeof bits);
    bits = __builtin_bswap32(bits);
    *p = MP__WIRE_FLOAT32;
    memcpy(p + 1, &bits, sizeof bits);
    return p + 1 + sizeof bits;
}

static inline uint8_t *mp__put_double(uint8_t *p, const uint8_t *from)
{
    *p = MP__WIRE_FLOAT64;
    mp__store_be64(p + 1, mp__load_le64(from));
    return p + 9;
}

#define MP__PUT_INTEGER(T, put)                                                                                            \
    {                                                                                                                      \
        T number;                                                                                                          \
        memcpy(&number, from, sizeof number);                                                                              \
        return put(p, number);                                                                                             \
    }

/* Numbers and mp_none. NULL: neither, or a bool that is none. */
__attribute__((always_inline)) static inline uint8_t *mp__put_number(uint8_t *p, const mp_type *type, const uint8_t *from)
{
    switch (MP__KEY(type->kind, type->size)) {
    case MP__KEY(MP__INT, 1): MP__PUT_INTEGER(int8_t, mp__put_int)
    case MP__KEY(MP__INT, 2): MP__PUT_INTEGER(int16_t, mp__put_int)
    case MP__KEY(MP__INT, 4): MP__PUT_INTEGER(int32_t, mp__put_int)
    case MP__KEY(MP__INT, 8): MP__PUT_INTEGER(int64_t, mp__put_int)
    case MP__KEY(MP__UINT, 1): MP__PUT_INTEGER(uint8_t, mp__put_uint)
    case MP__KEY(MP__UINT, 2): MP__PUT_INTEGER(uint16_t, mp__put_uint)
    case MP__KEY(MP__UINT, 4): MP__PUT_INTEGER(uint32_t, mp__put_uint)
    case MP__KEY(MP__UINT, 8): MP__PUT_INTEGER(uint64_t, mp__put_uint)
    case MP__KEY(MP__CHAR, 1): MP__PUT_INTEGER(char, mp__put_int)
    case MP__KEY(MP__FLOAT, 4): return mp__put_float(p, from);
    case MP__KEY(MP__FLOAT, 8): return mp__put_double(p, from);
    case MP__KEY(MP__NONE, 1): *p = MP__WIRE_NIL; return p + 1;
    case MP__KEY(MP__BOOL, 1): *p = (uint8_t)(MP__WIRE_FALSE + (*from & 1)); return *from > 1 ? NULL : p + 1;
    default: return NULL;
    }
}

#undef MP__PUT_INTEGER

#endif
