/* The encoder: C values of described types to msgpack, byte for byte what msgpack-c writes (FORMAT.md).
 *
 * Decides what can be sent: texts that are UTF-8, bools that are 0 or 1, an mp_any that is one msgpack value, no NULL with a
 * size. Owns nothing: it writes behind `out->size`, which moves only when all has succeeded, and puts large parts on the
 * list of blobs, by reference. One thread per buffer, no lock. Happy path: a switch on kind and size for each field, with
 * room for the longest number behind the cursor, so that the only check is one comparison. It fails for a value that cannot
 * be sent, for a full or unobtainable buffer, and for sizes that msgpack cannot say; out and blobs are then as before. In
 * every function the cursor `p` goes in and comes out, moved; NULL: failed, and the fault is set. The type must have passed
 * mp__type_check. */
#include "serial/codec.h"
#include "serial/memory.h"
#include "serial/number.h"
#include "serial/scan.h"
#include "serial/types.h"
#include "serial/wire.h"
#include <inttypes.h>

typedef struct writer {
    mp__buffer *out;
    uint8_t *end; /* of the buffer's memory */
    size_t start; /* where the value begins in `out` */
    mp__blobs *blobs;
    uint64_t blob_bytes;
    mp__fault *fault;
} writer;

static uint8_t *write_value(writer *w, uint8_t *p, const mp_type *type, const uint8_t *from, size_t depth);

#define fail(w, p, status, ...)                                                                                            \
    ((void)mp__fault_set((w)->fault, (status), (size_t)((p) - (w)->out->data) - (w)->start, __VA_ARGS__), (uint8_t *)NULL)

static inline size_t room_behind(const writer *w, const uint8_t *p)
{
    return (size_t)(w->end - p);
}

__attribute__((noinline)) static uint8_t *grow(writer *w, uint8_t *p, size_t more)
{
    size_t before = w->out->size;
    w->out->size = (size_t)(p - w->out->data);
    bool grown = mp__buffer_reserve(w->out, more);
    uint8_t *moved = w->out->data + w->out->size;
    w->end = w->out->data + w->out->capacity;
    w->out->size = before;
    return grown ? moved : fail(w, p, MP_ENOMEM, w->out->fixed ? "the buffer is full" : "not enough memory");
}

/* The cursor, with room for so many bytes behind it. */
static inline uint8_t *room(writer *w, uint8_t *p, size_t bytes)
{
    return room_behind(w, p) >= bytes ? p : grow(w, p, bytes);
}

/* --- numbers: number.h has the forms --- */

/* Near the end of a fixed buffer: what is shorter than the longest number may still fit. */
__attribute__((noinline)) static uint8_t *write_number_slowly(writer *w, uint8_t *p, const mp_type *type,
                                                              const uint8_t *from)
{
    uint8_t number[MP__NUMBER_MAX], *end = mp__put_number(number, type, from);
    if (!end)
        return fail(w, p, MP_EINVAL, "a bool must be 0 or 1, not %u", *from);
    size_t size = (size_t)(end - number);
    if (!(p = room(w, p, size)))
        return NULL;
    memcpy(p, number, size);
    return p + size;
}

static inline uint8_t *write_number(writer *w, uint8_t *p, const mp_type *type, const uint8_t *from)
{
    uint8_t *end = room_behind(w, p) >= MP__NUMBER_MAX ? mp__put_number(p, type, from) : NULL;
    return end ? end : write_number_slowly(w, p, type, from);
}

/* --- headers: the length of a text, of bytes, of an array --- */

/* The shortest of the forms with a length of 1 (if there is one), 2 and 4 bytes; `first` is the first of them. */
static uint8_t *write_length(writer *w, uint8_t *p, uint8_t first, bool has_8, size_t length)
{
    uint8_t head[5] = {0};
    size_t step = length > 0xffff ? 2 : length > 0xff || !has_8, width = (size_t)1 << step;
    if (length > UINT32_MAX)
        return fail(w, p, MP_ELIMIT, "%zu are more than msgpack can count (2^32 - 1)", length);
    head[0] = (uint8_t)(first + step - !has_8);
    for (size_t i = 0; i < width; i++)
        head[1 + i] = (uint8_t)(length >> (8 * (width - 1 - i)));
    if (!(p = room(w, p, 1 + width)))
        return NULL;
    memcpy(p, head, 1 + width);
    return p + 1 + width;
}

static uint8_t *write_byte(writer *w, uint8_t *p, size_t byte)
{
    if (!(p = room(w, p, 1)))
        return NULL;
    *p = (uint8_t)byte;
    return p + 1;
}

static inline uint8_t *write_array_head(writer *w, uint8_t *p, size_t count)
{
    return count < 16 ? write_byte(w, p, MP__WIRE_FIXARRAY + count) : write_length(w, p, MP__WIRE_ARRAY16, false, count);
}

static uint8_t *write_raw(writer *w, uint8_t *p, const void *data, size_t size)
{
    if (!p || !(p = room(w, p, size)))
        return NULL;
    if (size > 0)
        memcpy(p, data, size);
    return p + size;
}

static uint8_t *write_bin(writer *w, uint8_t *p, const void *data, size_t size)
{
    return write_raw(w, write_length(w, p, MP__WIRE_BIN8, true, size), data, size);
}

static uint8_t *write_str(writer *w, uint8_t *p, const void *data, size_t size)
{
    p = size < 32 ? write_byte(w, p, MP__WIRE_FIXSTR + size) : write_length(w, p, MP__WIRE_STR8, true, size);
    return write_raw(w, p, data, size);
}

/* --- blobs --- */

static bool is_blob(const writer *w, size_t size)
{
    return w->blobs && size >= MP__BLOB_MIN;
}

static bool blobs_have_room(mp__blobs *blobs)
{
    if (blobs->count < blobs->capacity)
        return true;
    size_t capacity = blobs->capacity ? blobs->capacity * 2 : 8;
    mp__blob *items = mp__memory.realloc(blobs->items, capacity * sizeof *items);
    if (!items)
        return false;
    blobs->items = items;
    blobs->capacity = capacity;
    return true;
}

static uint8_t *write_blob(writer *w, uint8_t *p, const void *data, size_t size)
{
    if (size > MP_ITEM_SIZE_MAX - w->blob_bytes)
        return fail(w, p, MP_ELIMIT, "the value has more than MP_ITEM_SIZE_MAX bytes");
    if (!blobs_have_room(w->blobs))
        return fail(w, p, MP_ENOMEM, "not enough memory");
    uint8_t reference[MP__BLOB_REF] = {MP__WIRE_FIXEXT8, MP__BLOB_EXT_TYPE};
    uint64_t bytes = size;
    memcpy(reference + 2, &bytes, sizeof bytes);
    if (!(p = write_raw(w, p, reference, sizeof reference)))
        return NULL;
    w->blobs->items[w->blobs->count++] = (mp__blob){.data = data, .size = size};
    w->blob_bytes += size;
    return p;
}

/* --- texts, bytes, anys --- */

static uint8_t *fail_utf8(writer *w, uint8_t *p, const void *data, size_t bad)
{
    return fail(w, p, MP_EENCODING, "the text is not UTF-8: 0x%02x at its byte %zu", ((const uint8_t *)data)[bad], bad);
}

static uint8_t *write_text(writer *w, uint8_t *p, const void *data, size_t size)
{
    size_t bad;
    if (!mp__utf8_valid(data, size, &bad))
        return fail_utf8(w, p, data, bad);
    return is_blob(w, size) ? write_blob(w, p, data, size) : write_str(w, p, data, size);
}

/* An ext of our own type with 8 bytes would be taken for a blob's reference: it goes in the longer form, ext8. */
static uint8_t *write_own_ext(writer *w, uint8_t *p, const uint8_t *fixext)
{
    uint8_t ext[MP__BLOB_REF + 1] = {MP__WIRE_EXT8, 8};
    memcpy(ext + 2, fixext + 1, MP__BLOB_REF - 1);
    return write_raw(w, p, ext, sizeof ext);
}

static uint8_t *write_any(writer *w, uint8_t *p, const uint8_t *data, size_t size, size_t depth)
{
    size_t length = 0;
    mp_status status = mp__scan_within(data, size, MP_DEPTH_MAX - depth, &length);
    if (status == MP_ELIMIT)
        return fail(w, p, MP_ELIMIT, "the mp_any nests more than %zu arrays and maps", MP_DEPTH_MAX - depth);
    if (status != MP_OK || length != size)
        return fail(w, p, MP_EINVAL, "the mp_any is not one whole msgpack value (for nothing, write nil)");
    if (is_blob(w, size))
        return write_blob(w, p, data, size);
    if (data[0] == MP__WIRE_FIXEXT8 && data[1] == MP__BLOB_EXT_TYPE)
        return write_own_ext(w, p, data);
    return write_raw(w, p, data, size);
}

static uint8_t *write_datum(writer *w, uint8_t *p, const mp_type *type, mp__datum datum, size_t depth)
{
    if (!datum.data && datum.size > 0)
        return fail(w, p, MP_EINVAL, "NULL with a size of %zu", datum.size);
    if (datum.size > PTRDIFF_MAX)
        return fail(w, p, MP_EINVAL, "a size of %zu cannot be", datum.size);
    if (type->kind == MP__STR)
        return write_text(w, p, datum.data, datum.size);
    if (type->kind == MP__ANY)
        return write_any(w, p, datum.data, datum.size, depth);
    return is_blob(w, datum.size) ? write_blob(w, p, datum.data, datum.size) : write_bin(w, p, datum.data, datum.size);
}

/* --- arrays --- */

/* Fixed arrays, which are never blobs, and spans of numbers: their bytes as they stand. */
static uint8_t *write_numbers(writer *w, uint8_t *p, const mp_type *element, const void *from, size_t size,
                              bool may_be_blob)
{
    size_t bad = element->kind == MP__BOOL ? mp__bools_whole(from, size) : size;
    if (bad < size) {
        (void)fail(w, p, MP_EINVAL, "a bool must be 0 or 1, not %u", ((const uint8_t *)from)[bad]);
        mp__fault_in_element(w->fault, bad);
        return NULL;
    }
    return may_be_blob && is_blob(w, size) ? write_blob(w, p, from, size) : write_bin(w, p, from, size);
}

static uint8_t *write_elements(writer *w, uint8_t *p, const mp_type *element, const uint8_t *from, size_t count,
                               size_t depth)
{
    p = write_array_head(w, p, count);
    for (size_t i = 0; p && i < count; i++) {
        p = write_value(w, p, element, from + i * element->size, depth + 1);
        if (!p)
            mp__fault_in_element(w->fault, i);
    }
    return p;
}

/* char[N]: a text up to its first zero, or all of it. */
static uint8_t *write_chars(writer *w, uint8_t *p, const void *from, size_t count)
{
    const uint8_t *zero = memchr(from, 0, count);
    size_t size = zero ? (size_t)(zero - (const uint8_t *)from) : count, bad;
    return mp__utf8_valid(from, size, &bad) ? write_str(w, p, from, size) : fail_utf8(w, p, from, bad);
}

static uint8_t *write_fixed_array(writer *w, uint8_t *p, const mp_field *field, const uint8_t *from, size_t depth)
{
    const mp_type *element = field->type;
    if (element->kind == MP__CHAR)
        return write_chars(w, p, from, field->count);
    if (mp__is_number(element))
        return write_numbers(w, p, element, from, field->count * element->size, false);
    return write_elements(w, p, element, from, field->count, depth);
}

static uint8_t *write_span(writer *w, uint8_t *p, const mp_type *element, mp__datum span, size_t depth)
{
    size_t bytes;
    if (!span.data && span.size > 0)
        return fail(w, p, MP_EINVAL, "NULL with a count of %zu", span.size);
    if (__builtin_mul_overflow(span.size, element->size, &bytes) || bytes > PTRDIFF_MAX)
        return fail(w, p, MP_EINVAL, "a count of %zu cannot be", span.size);
    if (mp__is_number(element))
        return write_numbers(w, p, element, span.data, bytes, true);
    return write_elements(w, p, element, span.data, span.size, depth);
}

/* --- values --- */

__attribute__((noinline)) static uint8_t *write_field(writer *w, uint8_t *p, const mp_field *field, const uint8_t *from,
                                                      size_t depth)
{
    p = field->count > 0 ? write_fixed_array(w, p, field, from, depth) : write_value(w, p, field->type, from, depth);
    if (!p)
        mp__fault_in_field(w->fault, field->name);
    return p;
}

/* `p` is behind the array's head. Numbers are written here: this loop is where the time for most structs goes. */
__attribute__((noinline)) static uint8_t *write_fields(writer *w, uint8_t *p, const mp_type *type, const uint8_t *from,
                                                       size_t depth)
{
    const mp_field *field = type->fields, *last = field + type->count;
    for (; p && field < last; field++) {
        const uint8_t *at = from + field->offset;
        bool quick = field->count == 0 && room_behind(w, p) >= MP__NUMBER_MAX;
        uint8_t *next = quick ? mp__put_number(p, field->type, at) : NULL;
        p = next ? next : write_field(w, p, field, at, depth);
    }
    return p;
}

static uint8_t *write_struct(writer *w, uint8_t *p, const mp_type *type, const uint8_t *from, size_t depth)
{
    p = write_array_head(w, p, type->count);
    return p ? write_fields(w, p, type, from, depth + 1) : NULL;
}

/* `depth`: the arrays that are open around the value. */
static uint8_t *write_value(writer *w, uint8_t *p, const mp_type *type, const uint8_t *from, size_t depth)
{
    mp__datum datum;
    if (mp__is_number(type))
        return write_number(w, p, type, from);
    if (type->kind == MP__STRUCT)
        return write_struct(w, p, type, from, depth);
    if (type->kind == MP__NONE)
        return write_byte(w, p, MP__WIRE_NIL);
    if (type->kind == MP__PTR)
        return fail(w, p, MP_ETYPE, MP__POINTER_REFUSED);
    memcpy(&datum, from, sizeof datum);
    return type->kind == MP__SPAN_OF ? write_span(w, p, type->element, datum, depth)
                                     : write_datum(w, p, type, datum, depth);
}

static mp_status encode_value(mp__buffer *out, const mp_type *type, const void *value, mp__blobs *blobs, mp__fault *fault)
{
    writer w = {.out = out, .end = out->data + out->capacity, .start = out->size, .blobs = blobs, .fault = fault};
    size_t blobs_before = blobs ? blobs->count : 0;
    uint8_t *end = write_value(&w, out->data + out->size, type, value, 0);
    if (end) {
        out->size = (size_t)(end - out->data);
        return MP_OK;
    }
    if (blobs)
        blobs->count = blobs_before;
    return fault->status;
}

mp_status mp__encode(mp__buffer *out, const mp_type *type, const void *value, mp__blobs *blobs, mp__fault *fault)
{
    fault->status = MP_OK;
    if (out->data && mp__is_number(type) && out->capacity - out->size >= MP__NUMBER_MAX) {
        uint8_t *p = out->data + out->size, *end = mp__put_number(p, type, value);
        if (end) {
            out->size += (size_t)(end - p);
            return MP_OK;
        }
    }
    if (!out->data && !mp__buffer_reserve(out, MP__NUMBER_MAX)) /* NULL as a cursor means failure */
        return mp__fault_set(fault, MP_ENOMEM, 0, out->fixed ? "the buffer is full" : "not enough memory");
    return encode_value(out, type, value, blobs, fault);
}

void mp__blobs_fini(mp__blobs *blobs)
{
    free(blobs->items);
    *blobs = (mp__blobs){0};
}
