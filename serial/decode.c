/* The decoder: msgpack to C values of described types.
 *
 * Decides that bytes are a value of the type, by walking both at once; FORMAT.md says which forms are taken besides the ones
 * that the encoder writes. Owns nothing in the end: blocks go to the value (results), or stay with the frame and the scratch
 * buffer (inputs). One thread for one frame. Happy path: one walk for values without pointers, two for others (decoder.h);
 * scalars are read at once. The bytes are input, not truth: each count is held against the bytes that are left before memory
 * is thought of, the memory is summed before any is taken, and nothing may be left over. On failure the value is zero. The
 * type must have passed mp__type_check: it bounds the recursion. */
#include "serial/clear.h"
#include "serial/decoder.h"
#include "serial/quick.h"
#include "serial/scan.h"

/* Memory for decoded data: at least this much, more for large payloads, and never more than a value may be. */
#define MEMORY_ALWAYS ((size_t)1 << 30)
#define MEMORY_PER_BYTE ((size_t)1024)

static const uint8_t *read_value(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to, size_t depth);

const uint8_t *mp__decoder_unexpected(mp__decoder *d, const uint8_t *p, const char *expected)
{
    if (p == d->end)
        return mp__decoder_cut_short(d, p);
    if (*p == 0xc1)
        return mp__decoder_fail(d, p, MP_EFORMAT, "0xc1 is not a msgpack value");
    return mp__decoder_fail(d, p, MP_ETYPE, "expected %s, got %s", expected, mp__scan_word(*p));
}

/* --- numbers: the commonest forms inline, all others in number.c --- */

static inline const uint8_t *read_number(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to)
{
    const uint8_t *next = to ? mp__read_number(p, d->end, type, to) : NULL;
    return next ? next : mp__decode_number(d, p, type, to);
}

/* --- texts, bytes, anys --- */

static void store_datum(uint8_t *to, const void *data, size_t size)
{
    mp__datum datum = {data, size};
    if (to)
        memcpy(to, &datum, sizeof datum);
}

static bool check_text(mp__decoder *d, const uint8_t *p, const mp__piece *piece)
{
    size_t bad;
    if (d->second || mp__utf8_valid((const char *)piece->data, piece->size, &bad))
        return true;
    (void)mp__decoder_fail(d, p, MP_EENCODING, "the text is not UTF-8: 0x%02x at its byte %zu", piece->data[bad], bad);
    return false;
}

/* The length of the one msgpack value at `at`; 0: there is none, and that is the fault. */
static size_t scan_any(mp__decoder *d, const uint8_t *p, const uint8_t *at, size_t size, size_t depth)
{
    size_t length = 0;
    mp_status status = mp__scan_within(at, size, MP_DEPTH_MAX - depth, &length);
    if (status == MP_ELIMIT)
        (void)mp__decoder_fail(d, p, MP_ELIMIT, "more than %zu arrays and maps are nested", MP_DEPTH_MAX - depth);
    else if (status != MP_OK)
        (void)mp__decoder_fail(d, p, MP_EFORMAT, "not one whole msgpack value");
    return status == MP_OK ? length : 0;
}

static const uint8_t *read_any_piece(mp__decoder *d, const uint8_t *p, mp__piece *piece, size_t depth)
{
    bool blob = mp__decoder_at_blob(d, p);
    const uint8_t *next = blob ? mp__decode_blob(d, p, piece) : p;
    if (!next || (blob && d->second)) /* the second walk need not scan a blob again */
        return next;
    const uint8_t *at = blob ? piece->data : p;
    size_t size = blob ? piece->size : mp__decoder_left(d, p), length = scan_any(d, p, at, size, depth);
    if (length == 0)
        return NULL;
    if (blob)
        return length == size ? next : mp__decoder_fail(d, p, MP_EFORMAT, "more than one msgpack value in the blob");
    *piece = (mp__piece){.data = p, .size = length};
    return p + length;
}

static const uint8_t *read_piece(mp__decoder *d, const uint8_t *p, const mp_type *type, mp__piece *piece, size_t depth)
{
    if (type->kind == MP__ANY)
        return read_any_piece(d, p, piece, depth);
    if (mp__decoder_at_blob(d, p))
        return mp__decode_blob(d, p, piece);
    return mp__decode_piece(d, p, type->kind == MP__STR ? MP__WIRE_STR8 : MP__WIRE_BIN8, mp__type_word(type), piece);
}

static const uint8_t *read_datum(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to, size_t depth)
{
    mp__piece piece;
    const uint8_t *next = read_piece(d, p, type, &piece, depth);
    if (!next || (type->kind == MP__STR && !check_text(d, p, &piece)))
        return NULL;
    uint8_t *datum = NULL;
    if (piece.size > 0 && !mp__decoder_place(d, p, &piece, 1, true, &datum))
        return NULL;
    store_datum(to, piece.size == 0 && type->kind == MP__STR ? (const void *)"" : datum, piece.size);
    return next;
}

/* --- arrays --- */

/* The head of an array; each element takes a byte at least, so a count that the bytes left cannot pay for is a lie. */
static const uint8_t *read_array_head(mp__decoder *d, const uint8_t *p, const char *expected, size_t *count)
{
    size_t left = mp__decoder_left(d, p), head = 1;
    if (left > 0 && *p >= MP__WIRE_FIXARRAY && *p < MP__WIRE_FIXSTR) {
        *count = *p & 0x0f;
    } else {
        if (left == 0 || (*p != MP__WIRE_ARRAY16 && *p != MP__WIRE_ARRAY16 + 1))
            return mp__decoder_unexpected(d, p, expected);
        size_t width = *p == MP__WIRE_ARRAY16 ? 2 : 4;
        head += width;
        if (left < head)
            return mp__decoder_cut_short(d, p);
        *count = (size_t)mp__load_be(p + 1, width);
    }
    return *count > left - head ? mp__decoder_cut_short(d, p) : p + head;
}

static const uint8_t *read_elements(mp__decoder *d, const uint8_t *p, const mp_type *element, uint8_t *to, size_t count,
                                    size_t depth)
{
    for (size_t i = 0; p && i < count; i++) {
        p = read_value(d, p, element, to ? to + i * element->size : NULL, depth);
        if (!p)
            mp__fault_in_element(d->fault, i);
    }
    return p;
}

static bool check_numbers(mp__decoder *d, const uint8_t *p, const mp_type *element, const mp__piece *piece)
{
    if (d->second)
        return true;
    size_t bad = element->kind == MP__BOOL ? mp__bools_whole(piece->data, piece->size) : piece->size;
    if (piece->size % element->size != 0)
        (void)mp__decoder_fail(d, p, MP_EFORMAT, "%zu bytes are no whole number of %s", piece->size,
                               mp__type_word(element));
    else if (bad < piece->size)
        (void)mp__decoder_fail(d, p, MP_EFORMAT, "element %zu is no bool: 0x%02x", bad, piece->data[bad]);
    else
        return true;
    return false;
}

static bool is_array(const mp__decoder *d, const uint8_t *p)
{
    return p < d->end && ((*p >= MP__WIRE_FIXARRAY && *p < MP__WIRE_FIXSTR) || (*p & 0xfe) == MP__WIRE_ARRAY16);
}

/* A span whose elements stand one by one. */
static const uint8_t *read_span_of_values(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to, size_t depth)
{
    const mp_type *element = type->element;
    size_t count;
    const uint8_t *next = read_array_head(d, p, mp__type_word(type), &count);
    if (!next)
        return NULL;
    uint8_t *items = NULL; /* the product is below 2^32 * MP_TYPE_SIZE_MAX = 2^62 */
    if (count > 0 && !mp__decoder_take(d, p, count * element->size, element->align, &items))
        return NULL;
    store_datum(to, items, count);
    return read_elements(d, next, element, items, count, depth + 1);
}

static const uint8_t *read_span_of_numbers(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to)
{
    const mp_type *element = type->element;
    mp__piece piece;
    const uint8_t *next = mp__decoder_at_blob(d, p) ? mp__decode_blob(d, p, &piece)
                                                    : mp__decode_piece(d, p, MP__WIRE_BIN8, mp__type_word(type), &piece);
    if (!next || !check_numbers(d, p, element, &piece))
        return NULL;
    uint8_t *items = NULL;
    if (piece.size > 0 && !mp__decoder_place(d, p, &piece, element->align, false, &items))
        return NULL;
    store_datum(to, items, piece.size / element->size);
    return next;
}

static const uint8_t *read_span(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to, size_t depth)
{
    if (mp__is_number(type->element) && !is_array(d, p))
        return read_span_of_numbers(d, p, type, to);
    return read_span_of_values(d, p, type, to, depth);
}

/* char[N]: a text without a zero in it; the rest of the field is zero already. */
static const uint8_t *read_chars(mp__decoder *d, const uint8_t *p, uint8_t *to, size_t count)
{
    mp__piece piece;
    const uint8_t *next = mp__decode_piece(d, p, MP__WIRE_STR8, "a text", &piece);
    if (!next || !check_text(d, p, &piece))
        return NULL;
    if (piece.size > count)
        return mp__decoder_fail(d, p, MP_ELIMIT, "%zu bytes do not fit char[%zu]", piece.size, count);
    if (piece.size == 0)
        return next;
    if (memchr(piece.data, 0, piece.size))
        return mp__decoder_fail(d, p, MP_EFORMAT, "a zero byte in a text for char[%zu]", count);
    if (to)
        memcpy(to, piece.data, piece.size);
    return next;
}

static const uint8_t *read_fixed_numbers(mp__decoder *d, const uint8_t *p, const mp_type *element, uint8_t *to,
                                         size_t count)
{
    mp__piece piece;
    const uint8_t *next = mp__decode_piece(d, p, MP__WIRE_BIN8, "an array of numbers", &piece);
    if (!next || !check_numbers(d, p, element, &piece))
        return NULL;
    if (piece.size != count * element->size)
        return mp__decoder_fail(d, p, MP_ETYPE, "expected %zu of %s, got %zu", count, mp__type_word(element),
                                piece.size / element->size);
    if (to)
        memcpy(to, piece.data, piece.size);
    return next;
}

static const uint8_t *read_fixed_array(mp__decoder *d, const uint8_t *p, const mp_field *field, uint8_t *to, size_t depth)
{
    const mp_type *element = field->type;
    if (element->kind == MP__CHAR)
        return read_chars(d, p, to, field->count);
    if (mp__is_number(element) && !is_array(d, p))
        return read_fixed_numbers(d, p, element, to, field->count);
    size_t count;
    const uint8_t *next = read_array_head(d, p, "an array", &count);
    if (next && count != field->count)
        return mp__decoder_fail(d, p, MP_ETYPE, "expected %zu of %s, got %zu", field->count, mp__type_word(element), count);
    return next ? read_elements(d, next, element, to, count, depth + 1) : NULL;
}

/* --- values --- */

__attribute__((noinline)) static const uint8_t *read_field(mp__decoder *d, const uint8_t *p, const mp_field *field,
                                                           uint8_t *to, size_t depth)
{
    p = field->count > 0 ? read_fixed_array(d, p, field, to, depth) : read_value(d, p, field->type, to, depth);
    if (!p)
        mp__fault_in_field(d->fault, field->name);
    return p;
}

/* `p` is behind the array's head. Numbers are read here: this loop is where the time for most structs goes. */
__attribute__((noinline)) static const uint8_t *read_fields(mp__decoder *d, const uint8_t *p, const mp_type *type,
                                                            uint8_t *to, size_t depth)
{
    const mp_field *field = type->fields, *last = field + type->count;
    for (; p && field < last; field++) {
        const uint8_t *next = to && field->count == 0 ? mp__read_number(p, d->end, field->type, to + field->offset) : NULL;
        p = next ? next : read_field(d, p, field, to ? to + field->offset : NULL, depth);
    }
    return p;
}

static const uint8_t *read_struct(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to, size_t depth)
{
    size_t count;
    const uint8_t *next = read_array_head(d, p, type->name, &count);
    if (next && count != type->count)
        return mp__decoder_fail(d, p, MP_ETYPE, "%s has %zu fields, got %zu", type->name, type->count, count);
    if (to) /* what is not named does not travel and is found zero, and so is padding */
        mp__clear(to, type->size);
    return next ? read_fields(d, next, type, to, depth + 1) : NULL;
}

static const uint8_t *read_none(mp__decoder *d, const uint8_t *p, uint8_t *to)
{
    if (p == d->end || *p != MP__WIRE_NIL)
        return mp__decoder_unexpected(d, p, "nil");
    if (to)
        *to = 0;
    return p + 1;
}

/* `depth`: the arrays that are open around the value. */
static const uint8_t *read_value(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to, size_t depth)
{
    if (mp__is_number(type))
        return read_number(d, p, type, to);
    if (type->kind == MP__STRUCT)
        return read_struct(d, p, type, to, depth);
    if (type->kind == MP__SPAN_OF)
        return read_span(d, p, type, to, depth);
    if (type->kind == MP__PTR)
        return mp__decoder_fail(d, p, MP_ETYPE, MP__POINTER_REFUSED);
    return type->kind == MP__NONE ? read_none(d, p, to) : read_datum(d, p, type, to, depth);
}

/* --- a whole payload --- */

static size_t memory_limit(const mp__frame *frame)
{
    size_t limit = frame->size > MP_ITEM_SIZE_MAX / MEMORY_PER_BYTE ? MP_ITEM_SIZE_MAX : frame->size * MEMORY_PER_BYTE;
    return limit > MEMORY_ALWAYS ? limit : MEMORY_ALWAYS;
}

static void begin_walk(mp__decoder *d)
{
    d->layout.used = mp__layout_empty(0).used;
    d->blobs = 0;
    d->blob_end = d->frame->control;
}

/* Checks everything, and stores what needs no memory. */
static mp_status walk_first(mp__decoder *d, const mp_type *type, uint8_t *value)
{
    const mp__frame *frame = d->frame;
    begin_walk(d);
    const uint8_t *p = read_value(d, frame->data, type, value, 0);
    if (p && p != d->end)
        p = mp__decoder_fail(d, p, MP_EFORMAT, "%zu bytes are left over", mp__decoder_left(d, p));
    if (p && d->blob_end != frame->size)
        p = mp__decoder_fail(d, p, MP_EFORMAT, "%zu bytes of the payload belong to no blob", frame->size - d->blob_end);
    return p ? MP_OK : d->fault->status;
}

/* The same walk with memory. What it reads has been checked: it cannot fail. */
static void walk_again(mp__decoder *d, const mp_type *type, uint8_t *value)
{
    begin_walk(d);
    d->second = true;
    const uint8_t *end = read_value(d, d->frame->data, type, value, 0);
    assert(end == d->end);
    (void)end;
}

static bool wants_memory(const mp__decoder *d)
{
    return !mp__layout_is_empty(&d->layout);
}

static mp_status fail_whole(mp_status status, const mp_type *type, void *value)
{
    memset(value, 0, type->size);
    return status;
}

static mp__decoder decoder_for(const mp__frame *frame, mp__fault *fault)
{
    return (mp__decoder){.frame = frame,
                         .end = frame->data + frame->control,
                         .layout = mp__layout_empty(memory_limit(frame)),
                         .fault = fault};
}

/* The frame's block now belongs to the value. */
static void take_block(mp__frame *frame)
{
    frame->block = NULL;
    if (frame->reader)
        frame->reader->block = NULL;
}

/* Blocks that the value will own: one for small data, the frame's for blobs; both in one ring. */
static bool gather_blocks(mp__decoder *d)
{
    mp__block *block = d->blobs > 0 ? d->frame->block : NULL;
    if (block)
        d->owner = block;
    if (!wants_memory(d))
        return true;
    if (!mp__decoder_own_memory(d))
        return false;
    if (block) {
        d->owner->next = block;
        block->next = d->owner;
    }
    return true;
}

mp_status mp__decode_result(const mp_type *type, mp__frame *frame, void *value, mp__fault *fault)
{
    fault->status = MP_OK;
    if (mp__decode_quickly(type, frame, value))
        return MP_OK;
    mp__decoder d = decoder_for(frame, fault);
    mp_status status = walk_first(&d, type, value);
    if (status != MP_OK)
        return fail_whole(status, type, value);
    if (!wants_memory(&d) && d.blobs == 0)
        return MP_OK;
    if (!gather_blocks(&d))
        return fail_whole(mp__fault_set(fault, MP_ENOMEM, 0, "not enough memory for %zu bytes", d.layout.used), type,
                          value);
    bool in_frame = d.blobs > 0 && frame->block;
    walk_again(&d, type, value);
    if (in_frame)
        take_block(frame);
    return MP_OK;
}

mp_status mp__decode_input(const mp_type *type, mp__frame *frame, void *value, mp__buffer *scratch, mp__fault *fault)
{
    fault->status = MP_OK;
    if (mp__decode_quickly(type, frame, value))
        return MP_OK;
    mp__decoder d = decoder_for(frame, fault);
    mp_status status = walk_first(&d, type, value);
    if (status != MP_OK)
        return fail_whole(status, type, value);
    if (!wants_memory(&d) && d.blobs == 0)
        return MP_OK;
    if (!mp__decoder_lend_memory(&d, scratch))
        return fail_whole(mp__fault_set(fault, MP_ENOMEM, 0, "not enough memory for %zu bytes", d.layout.used), type,
                          value);
    walk_again(&d, type, value);
    return MP_OK;
}
