/* Scan: is there one whole msgpack value here, and how long is it?
 *
 * Decides what an mp_any may be. Owns nothing, allocates nothing, does not recurse: a counter for each open container is all
 * it keeps. Any thread, no lock. Happy path: one step for each value within. Every element that a header claims has to be
 * paid for by a byte that is there, so what passes may be built into a tree (msgpack_unpack_next) without asking for more
 * memory than a small multiple of its bytes. Fails when the bytes end too early or 0xc1 stands in them (MP_EFORMAT) and when
 * arrays and maps nest too deep (MP_ELIMIT); the limit is the one at which msgpack-c gives up, so that what passes here can
 * be read there. tests/fuzz/fuzz_scan.c holds the two against each other. */
#include "serial/scan.h"
#include "serial/codec.h"
#include "serial/wire.h"

/* The bytes 0xc0 to 0xdf: how many bytes the value has before what its length counts, and how wide that length is. */
static const struct {
    uint8_t head, width;
} forms[32] = {
    [0x00] = {1, 0}, [0x02] = {1, 0}, [0x03] = {1, 0},                  /* nil, false, true */
    [0x04] = {2, 1}, [0x05] = {3, 2}, [0x06] = {5, 4},                  /* bin */
    [0x07] = {3, 1}, [0x08] = {4, 2}, [0x09] = {6, 4},                  /* ext: its type is in the head */
    [0x0a] = {5, 0}, [0x0b] = {9, 0},                                   /* float */
    [0x0c] = {2, 0}, [0x0d] = {3, 0}, [0x0e] = {5, 0}, [0x0f] = {9, 0}, /* uint */
    [0x10] = {2, 0}, [0x11] = {3, 0}, [0x12] = {5, 0}, [0x13] = {9, 0}, /* int */
    [0x14] = {3, 0}, [0x15] = {4, 0}, [0x16] = {6, 0}, [0x17] = {10, 0}, [0x18] = {18, 0}, /* fixext */
    [0x19] = {2, 1}, [0x1a] = {3, 2}, [0x1b] = {5, 4},                                     /* str */
    [0x1c] = {3, 2}, [0x1d] = {5, 4}, [0x1e] = {3, 2}, [0x1f] = {5, 4},                    /* array, map */
};

/* One value's own bytes at `at`: their number, 0 when they are cut short or do not exist; `children`: how many values
 * follow that belong to it. */
static size_t step(const uint8_t *at, size_t left, uint64_t *children)
{
    uint8_t first = at[0];
    if (first < 0x80 || first >= 0xe0)
        return 1;
    if (first < 0xa0) {
        *children = (uint64_t)(first & 0x0f) << (first < 0x90); /* a map's are keys and values */
        return 1;
    }
    if (first < 0xc0)
        return (first & 0x1fu) < left ? 1 + (first & 0x1fu) : 0;
    size_t head = forms[first - 0xc0].head, width = forms[first - 0xc0].width;
    if (head > left || width == 0)
        return head > left ? 0 : head;
    uint64_t length = mp__load_be(at + 1, width);
    if (first < MP__WIRE_ARRAY16)
        return length <= left - head ? head + (size_t)length : 0;
    *children = length << (first >= MP__WIRE_MAP16);
    return head;
}

static bool is_container(uint8_t first)
{
    return (first >= 0x80 && first < 0xa0) || (first >= MP__WIRE_ARRAY16 && first < 0xe0);
}

mp_status mp__scan_within(const uint8_t *bytes, size_t size, size_t depth, size_t *length)
{
    uint64_t missing[MP_DEPTH_MAX]; /* for each open container: the values that it still needs */
    size_t open = 0, at = 0;
    do {
        uint64_t children = 0;
        size_t own = at < size ? step(bytes + at, size - at, &children) : 0;
        if (own == 0)
            return MP_EFORMAT;
        if (is_container(bytes[at]) && open == depth)
            return MP_ELIMIT;
        at += own;
        if (children > 0) {
            missing[open++] = children;
            continue;
        }
        while (open > 0 && --missing[open - 1] == 0)
            open--;
    } while (open > 0);
    *length = at;
    return MP_OK;
}

mp_status mp__scan(const uint8_t *bytes, size_t size, size_t *length)
{
    return mp__scan_within(bytes, size, MP_DEPTH_MAX, length);
}

const char *mp__scan_word(uint8_t first)
{
    static const char *const words[32] = {
        "nil",        "0xc1",       "a bool",     "a bool",     "bytes",      "bytes",      "bytes",      "an ext",
        "an ext",     "an ext",     "a float",    "a float",    "an integer", "an integer", "an integer", "an integer",
        "an integer", "an integer", "an integer", "an integer", "an ext",     "an ext",     "an ext",     "an ext",
        "an ext",     "a text",     "a text",     "a text",     "an array",   "an array",   "a map",      "a map",
    };
    if (first < 0x80 || first >= 0xe0)
        return "an integer";
    return first < 0x90 ? "a map" : first < 0xa0 ? "an array" : first < 0xc0 ? "a text" : words[first - 0xc0];
}
