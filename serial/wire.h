/* The bytes of msgpack, and how numbers stand in them. Big-endian on the wire; what an array of numbers is in memory goes as
 * it is, which is little-endian on every machine that this library is built for. */
#ifndef MP__SERIAL_WIRE_H
#define MP__SERIAL_WIRE_H
#include <assert.h>
#include <millpond/type.h>
#include <stdbool.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays of numbers travel as they stand in memory");
_Static_assert(sizeof(float) == 4 && sizeof(double) == 8, "float32 and float64");
_Static_assert(sizeof(bool) == 1 && sizeof(size_t) == 8, "64-bit machines");

enum {
    MP__WIRE_FIXMAP = 0x80,
    MP__WIRE_FIXARRAY = 0x90,
    MP__WIRE_FIXSTR = 0xa0,
    MP__WIRE_NIL = 0xc0,
    MP__WIRE_FALSE = 0xc2,
    MP__WIRE_TRUE = 0xc3,
    MP__WIRE_BIN8 = 0xc4,
    MP__WIRE_EXT8 = 0xc7,
    MP__WIRE_FLOAT32 = 0xca,
    MP__WIRE_FLOAT64 = 0xcb,
    MP__WIRE_UINT8 = 0xcc,
    MP__WIRE_INT8 = 0xd0,
    MP__WIRE_INT64 = 0xd3,
    MP__WIRE_FIXEXT8 = 0xd7,
    MP__WIRE_STR8 = 0xd9,
    MP__WIRE_ARRAY16 = 0xdc,
    MP__WIRE_MAP16 = 0xde,
    MP__WIRE_NEGATIVE = 0xe0, /* from here on: the integers -32 to -1 */

    MP__NUMBER_MAX = 9,    /* bytes of the longest number */
    MP__BLOB_REF = 10,     /* bytes of a reference to a blob: fixext8, type, u64 */
    MP__BLOB_EXT_TYPE = 1, /* the type of that ext */
};

/* What a text, bytes, an any and every span is in memory: a pointer and a number. */
typedef struct mp__datum {
    const void *data;
    size_t size;
} mp__datum;
_Static_assert(sizeof(mp_str) == sizeof(mp__datum) && offsetof(mp_str, size) == offsetof(mp__datum, size), "mp_str");
_Static_assert(sizeof(mp_bytes) == sizeof(mp__datum) && offsetof(mp_bytes, size) == offsetof(mp__datum, size), "mp_bytes");
_Static_assert(sizeof(mp_any) == sizeof(mp__datum) && offsetof(mp_any, size) == offsetof(mp__datum, size), "mp_any");
_Static_assert(sizeof(mp_span_int) == sizeof(mp__datum) && offsetof(mp_span_int, count) == offsetof(mp__datum, size),
               "span");

/* One number for kind and size, to switch on; it can be that of a number, or of mp_none, only where mp__is_plain. */
#define MP__KEY(kind, size) (((uint32_t)(kind) << 4) | (uint32_t)(size))

_Static_assert(MP__INT < MP__BOOL && MP__UINT < MP__BOOL && MP__CHAR < MP__BOOL && MP__FLOAT < MP__BOOL, "numbers first");
static inline bool mp__is_number(const mp_type *type)
{
    return type->kind <= MP__BOOL;
}

/* Numbers, and nothing at all: one short form, no memory. */
static inline bool mp__is_plain(const mp_type *type)
{
    return mp__is_number(type) || type->kind == MP__NONE;
}

/* Arrays of these go as one binary field. */
static inline bool mp__is_number_span(const mp_type *type)
{
    return type->kind == MP__SPAN_OF && mp__is_number(type->element);
}

static inline uint64_t mp__load_be64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap64(value);
}

static inline void mp__store_be64(uint8_t *at, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(at, &value, sizeof value);
}

static inline uint64_t mp__load_le64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* `width` is 1 to 8 bytes; no byte behind them is read. */
static inline uint64_t mp__load_be(const uint8_t *at, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | at[i];
    return value;
}

/* The offset of the first byte that is neither 0 nor 1; `size` when all are. Bools are read as bytes: to look at a _Bool
 * that is neither is undefined, and this is the look that finds out. */
static inline size_t mp__bools_whole(const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    for (uint64_t eight; size - at >= sizeof eight; at += sizeof eight) {
        memcpy(&eight, bytes + at, sizeof eight);
        if (eight & 0xfefefefefefefefeu)
            break;
    }
    while (at < size && bytes[at] <= 1)
        at++;
    return at;
}

#endif
