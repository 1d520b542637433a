/* Reading an integer of the wire, inline: it is most of what most structs are made of. */
#ifndef MP__SERIAL_NUMBER_H
#define MP__SERIAL_NUMBER_H
#include "serial/wire.h"

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

/* Reads a double in the form in which the encoder writes it, and integers in all their forms. NULL: it is something else, or
 * does not fit, or is cut short: mp__decode_number finds out. */
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
    default: return NULL;
    }
}

#endif
