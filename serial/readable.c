/* msgpack for people: one value on one line.
 *
 * Decides how each kind of value reads: numbers as in C, texts in quotation marks with what cannot be printed escaped, bytes in
 * hexadecimal digits, the first few of them. The bytes are scanned first: then every length in them is true and they nest no deeper
 * than 32, so that the walk needs no checks, and recurses that deep at most. Owns nothing, allocates nothing, any thread. */
#include "serial/readable.h"
#include "serial/codec.h"
#include "serial/wire.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { BYTES_SHOWN = 16 };

typedef struct printer {
    mp__sink *sink;
    size_t stop; /* the text's length at which it is cut */
    bool cut;
} printer;

static bool is_over(printer *p)
{
    if (p->sink->length < p->stop)
        return false;
    if (!p->cut)
        mp__sink_print(p->sink, "...");
    p->cut = true;
    return true;
}

static void print_bytes(printer *p, const char *what, const uint8_t *at, uint64_t size)
{
    mp__sink_print(p->sink, "<%s%" PRIu64 " byte%s%s", what, size, size == 1 ? "" : "s", size > 0 ? ":" : "");
    for (uint64_t i = 0; i < size && i < BYTES_SHOWN; i++)
        mp__sink_print(p->sink, " %02x", at[i]);
    mp__sink_print(p->sink, size > BYTES_SHOWN ? " ...>" : ">");
}

static void print_text(printer *p, const uint8_t *at, uint64_t size)
{
    size_t bad;
    if (!mp__utf8_valid((const char *)at, size, &bad)) {
        print_bytes(p, "no UTF-8, ", at, size);
        return;
    }
    mp__sink_bytes(p->sink, "\"", 1);
    for (uint64_t i = 0; i < size; i++) {
        bool begins = (at[i] & 0xc0) != 0x80;
        if (begins && is_over(p))
            return;
        if (at[i] == '"' || at[i] == '\\')
            mp__sink_print(p->sink, "\\%c", at[i]);
        else if (at[i] == '\n')
            mp__sink_print(p->sink, "\\n");
        else if (at[i] < 0x20 || at[i] == 0x7f)
            mp__sink_print(p->sink, "\\x%02x", at[i]);
        else
            mp__sink_bytes(p->sink, (const char *)at + i, 1);
    }
    mp__sink_bytes(p->sink, "\"", 1);
}

static void print_float(printer *p, const uint8_t *at)
{
    uint64_t bits = mp__load_be(at + 1, at[0] == MP__WIRE_FLOAT32 ? 4 : 8);
    uint32_t few = (uint32_t)bits;
    float narrow;
    double wide;
    memcpy(&narrow, &few, sizeof narrow);
    memcpy(&wide, &bits, sizeof wide);
    bool is_narrow = at[0] == MP__WIRE_FLOAT32;
    char text[40];
    for (int digits = 6; digits <= 17; digits++) { /* as few as tell it from its neighbours */
        snprintf(text, sizeof text, "%.*g", digits, is_narrow ? (double)narrow : wide);
        if (is_narrow ? !(strtof(text, NULL) < narrow || strtof(text, NULL) > narrow)
                      : !(strtod(text, NULL) < wide || strtod(text, NULL) > wide))
            break;
    }
    mp__sink_print(p->sink, "%s", text);
}

static const uint8_t *print_value(printer *p, const uint8_t *at);

/* `count` values, or pairs of them. NULL: the text is cut. */
static const uint8_t *print_values(printer *p, const uint8_t *at, uint64_t count, bool pairs)
{
    mp__sink_print(p->sink, pairs ? "{" : "[");
    for (uint64_t i = 0; i < count && at && !p->cut; i++) {
        if (i > 0)
            mp__sink_print(p->sink, ", ");
        at = print_value(p, at);
        if (pairs && at && !p->cut) {
            mp__sink_print(p->sink, ": ");
            at = print_value(p, at);
        }
    }
    if (at && !p->cut)
        mp__sink_print(p->sink, pairs ? "}" : "]");
    return at;
}

/* What begins with 0xc0 to 0xdf; lengths are in the 1, 2 or 4 bytes behind. */
static const uint8_t *print_long(printer *p, const uint8_t *at)
{
    static const uint8_t widths[32] = {[0x04] = 1, 2, 4, 1, 2, 4, [0x19] = 1, 2, 4, 2, 4, 2, 4};
    uint8_t first = at[0];
    size_t width = widths[first - 0xc0];
    uint64_t length = width ? mp__load_be(at + 1, width) : 0;
    const uint8_t *data = at + 1 + width;
    if (first == MP__WIRE_NIL || first == MP__WIRE_FALSE || first == MP__WIRE_TRUE) {
        mp__sink_print(p->sink, first == MP__WIRE_NIL ? "nil" : first == MP__WIRE_TRUE ? "true" : "false");
        return at + 1;
    }
    if (first < MP__WIRE_EXT8) {
        print_bytes(p, "", data, length);
        return data + length;
    }
    if (first < MP__WIRE_FLOAT32 || (first >= 0xd4 && first < MP__WIRE_STR8)) {
        size_t size = first < MP__WIRE_FLOAT32 ? (size_t)length : (size_t)1 << (first - 0xd4);
        print_bytes(p, "ext, ", data + 1, size);
        return data + 1 + size;
    }
    if (first < MP__WIRE_UINT8) {
        print_float(p, at);
        return at + (first == MP__WIRE_FLOAT32 ? 5 : 9);
    }
    if (first >= MP__WIRE_ARRAY16)
        return print_values(p, data, length, first >= MP__WIRE_MAP16);
    if (first >= MP__WIRE_STR8) {
        print_text(p, data, length);
        return data + length;
    }
    size_t size = (size_t)1 << (first & 3);
    uint64_t number = mp__load_be(at + 1, size), sign = (uint64_t)1 << (8 * size - 1);
    if (first < MP__WIRE_INT8)
        mp__sink_print(p->sink, "%" PRIu64, number);
    else
        mp__sink_print(p->sink, "%" PRId64, (int64_t)((number ^ sign) - sign));
    return at + 1 + size;
}

static const uint8_t *print_value(printer *p, const uint8_t *at)
{
    uint8_t first = at[0];
    if (is_over(p))
        return NULL;
    if (first < MP__WIRE_FIXMAP || first >= MP__WIRE_NEGATIVE) {
        mp__sink_print(p->sink, "%d", (int8_t)first);
        return at + 1;
    }
    if (first < MP__WIRE_FIXSTR)
        return print_values(p, at + 1, first & 15, first < MP__WIRE_FIXARRAY);
    if (first >= MP__WIRE_NIL)
        return print_long(p, at);
    print_text(p, at + 1, first & 31);
    return at + 1 + (first & 31);
}

void mp__readable(mp__sink *sink, const uint8_t *bytes, size_t size, size_t most)
{
    printer p = {sink, sink->length + most, false};
    size_t length;
    if (mp__scan(bytes, size, &length) != MP_OK || length != size)
        mp__sink_print(sink, "<%zu bytes that are no msgpack value>", size);
    else
        print_value(&p, bytes);
}
