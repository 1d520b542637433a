/* Values of any described type, for the tests of serial/: random ones, comparing them, packing and reading them with
 * msgpack-c, and the way through a frame. Everything follows the type's description, so a new type is one more line in
 * `all_types`. Memory for values comes from an arena that one call frees. */
#ifndef TESTS_UNIT_VALUES_H
#define TESTS_UNIT_VALUES_H
#include "serial/codec.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <math.h>
#include <millpond.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- types --- */

typedef struct {
    char c;
    int8_t i8;
    short i16;
    int i32;
    long i64;
    long long ll;
    uint8_t u8;
    unsigned short u16;
    unsigned u32;
    size_t u64;
    unsigned long long ull;
    float f;
    double d;
    bool b;
} scalars;
MP_TYPE(scalars, c, i8, i16, i32, i64, ll, u8, u16, u32, u64, ull, f, d, b);

typedef struct {
    char name[8];
    int8_t i8[3];
    uint16_t u16[5];
    int i32[1];
    double d[4];
    float f[2];
    bool b[9];
    int32_t unnamed;
    scalars s[2];
    mp_str texts[3];
} arrays;
MP_TYPE(arrays, name, i8, u16, i32, d, f, b, (scalars, s), texts);

typedef struct {
    double x, y;
} point;
MP_TYPE(point, y, x); /* not in the order in which they lie */

typedef struct {
    mp_str text;
    mp_bytes bytes;
    mp_any any;
    point at;
    mp_str last;
} owner;
MP_TYPE(owner, text, bytes, any, (point, at), last);

typedef struct {
    mp_span_int8_t i8;
    mp_span_uint16_t u16;
    mp_span_int32_t i32;
    mp_span_uint64_t u64;
    mp_span_float f;
    mp_span_double d;
    mp_span_bool b;
    mp_span_char c;
} numbers;
MP_TYPE(numbers, i8, u16, i32, u64, f, d, b, c);

typedef struct {
    mp_span_point points;
    mp_span_owner owners;
    mp_span_mp_str texts;
    mp_span_mp_bytes blobs;
    mp_span_mp_any anys;
    numbers inside;
} nested;
MP_TYPE(nested, (point, points), (owner, owners), texts, blobs, anys, (numbers, inside));

typedef struct {
    int8_t id;
    mp_span_nested children;
    mp_str name;
} tree;
MP_TYPE(tree, id, (nested, children), name);

typedef struct {
    _Alignas(64) double lanes[8];
    mp_str text;
} aligned;
MP_TYPE(aligned, lanes, text);

typedef struct {
    mp_span_aligned all;
} aligned_span;
MP_TYPE(aligned_span, (aligned, all));

/* What only threads take: in no list, for it has no bytes. */
typedef struct {
    mp_ptr one, three[3];
    mp_span_mp_ptr many;
} addresses;
MP_TYPE(addresses, one, three, many);

typedef struct {
    mp_str name;
    mp_span_addresses all;
} holder;
MP_TYPE(holder, name, (addresses, all));

static const mp_type *const all_types[] = {
    &mp__type_int8_t,
    &mp__type_int16_t,
    &mp__type_int32_t,
    &mp__type_int64_t,
    &mp__type_uint8_t,
    &mp__type_uint16_t,
    &mp__type_uint32_t,
    &mp__type_uint64_t,
    &mp__type_char,
    &mp__type_short,
    &mp__type_int,
    &mp__type_long,
    &mp__type_unsigned,
    &mp__type_size_t,
    &mp__type_float,
    &mp__type_double,
    &mp__type_bool,
    &mp__type_long_long,
    &mp__type_unsigned_long_long,
    &mp__type_mp_none,
    &mp__type_mp_str,
    &mp__type_mp_bytes,
    &mp__type_mp_any,
    &mp__type_mp_span_int8_t,
    &mp__type_mp_span_int64_t,
    &mp__type_mp_span_uint32_t,
    &mp__type_mp_span_char,
    &mp__type_mp_span_float,
    &mp__type_mp_span_double,
    &mp__type_mp_span_bool,
    &mp__type_mp_span_mp_str,
    &mp__type_mp_span_mp_any,
    &mp__type_scalars,
    &mp__type_arrays,
    &mp__type_point,
    &mp__type_mp_span_point,
    &mp__type_owner,
    &mp__type_numbers,
    &mp__type_nested,
    &mp__type_tree,
    &mp__type_mp_span_tree,
    &mp__type_aligned,
    &mp__type_aligned_span,
};
enum { ALL_TYPES = sizeof all_types / sizeof all_types[0] };

typedef union any_value { /* room for one value of each type */
    _Alignas(64) uint8_t bytes[2048];
} any_value;

/* --- an arena --- */

typedef struct arena {
    void *items[20000];
    size_t count;
} arena;

static inline void *arena_take(arena *a, size_t size)
{
    void *memory = aligned_alloc(64, (size + 64) & ~(size_t)63);
    if (!memory || a->count == sizeof a->items / sizeof a->items[0])
        abort();
    return a->items[a->count++] = memory;
}

static inline void arena_empty(arena *a)
{
    while (a->count > 0)
        free(a->items[--a->count]);
}

/* --- random values --- */

typedef struct chance {
    uint64_t state;
    size_t most; /* elements of a span, bytes of a text */
    bool large;  /* now and then, one that is a blob */
    arena *arena;
} chance;

static inline uint64_t roll(chance *c)
{
    c->state ^= c->state << 13;
    c->state ^= c->state >> 7;
    c->state ^= c->state << 17;
    return c->state * 0x2545f4914f6cdd1d;
}

static inline size_t below(chance *c, size_t bound)
{
    return (size_t)((roll(c) >> 16) % bound);
}

static inline size_t random_size(chance *c)
{
    if (c->large && below(c, 6) == 0)
        return MP__BLOB_MIN - 2 + below(c, 5000);
    return below(c, 3) == 0 ? below(c, 3) : below(c, c->most + 1);
}

/* Small and large ones, and those around a change of form. */
static inline uint64_t random_bits(chance *c)
{
    uint64_t bits = roll(c) >> below(c, 64);
    switch (below(c, 4)) {
    case 0: return ((uint64_t)1 << below(c, 64)) + below(c, 3) - 1;
    case 1: return ~bits;
    default: return bits;
    }
}

static inline double random_double(chance *c)
{
    static const double special[] = {0.0, -0.0, 1.0, 0.1, -1e300, 1e-310, 16777217.0, INFINITY, -INFINITY, NAN};
    return below(c, 3) ? (double)(int64_t)roll(c) * 0x1p-40 : special[below(c, sizeof special / sizeof special[0])];
}

static inline void random_text(chance *c, char *text, size_t size)
{
    static const char *const characters[] = {"a", "7", " ", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbd"};
    for (size_t at = 0; at < size;) {
        const char *character = characters[below(c, below(c, 3) ? 3 : 7)];
        if (strlen(character) <= size - at) {
            memcpy(text + at, character, strlen(character));
            at += strlen(character);
        }
    }
}

static inline void random_object(chance *c, msgpack_packer *packer, int depth)
{
    char text[40];
    size_t size = below(c, depth > 0 ? 5 : sizeof text);
    switch (below(c, depth > 0 ? 9 : 7)) {
    case 0: msgpack_pack_nil(packer); break;
    case 1: below(c, 2) ? msgpack_pack_true(packer) : msgpack_pack_false(packer); break;
    case 2: msgpack_pack_int64(packer, (int64_t)random_bits(c)); break;
    case 3: msgpack_pack_double(packer, random_double(c)); break;
    case 4:
        random_text(c, text, size);
        msgpack_pack_str_with_body(packer, text, size);
        break;
    case 5:
        memset(text, 0xc1, size);
        msgpack_pack_bin_with_body(packer, text, size);
        break;
    case 6:
        memset(text, 0xc1, sizeof text);
        size = below(c, 2) ? 8 : size;
        msgpack_pack_ext_with_body(packer, text, size, below(c, 2) ? 1 : 5);
        break;
    case 7:
        msgpack_pack_array(packer, size);
        for (size_t i = 0; i < size; i++)
            random_object(c, packer, depth - 1);
        break;
    default:
        msgpack_pack_map(packer, size);
        for (size_t i = 0; i < 2 * size; i++)
            random_object(c, packer, depth - 1);
    }
}

static inline void random_any(chance *c, mp_any *any)
{
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    size_t size = random_size(c);
    if (size >= MP__BLOB_MIN) {
        msgpack_pack_array(&packer, (uint32_t)size);
        for (size_t i = 0; i < size; i++)
            msgpack_pack_nil(&packer);
    } else {
        random_object(c, &packer, 4);
    }
    void *data = arena_take(c->arena, buffer.size);
    memcpy(data, buffer.data, buffer.size);
    /* The ext that looks like a reference to a blob comes out in another form: not what is compared here. */
    if (buffer.size == 10 && (uint8_t)buffer.data[0] == 0xd7 && buffer.data[1] == 1)
        ((uint8_t *)data)[1] = 2;
    *any = (mp_any){data, buffer.size};
    msgpack_sbuffer_destroy(&buffer);
}

static inline void random_value(chance *c, const mp_type *type, void *to);

static inline void random_array(chance *c, const mp_type *element, void *to, size_t count)
{
    if (element->kind == MP__CHAR)
        for (size_t i = 0; i < count; i++)
            ((char *)to)[i] = 'a';
    for (size_t i = 0; element->kind != MP__CHAR && i < count; i++)
        random_value(c, element, (char *)to + i * element->size);
}

static inline void random_datum(chance *c, const mp_type *type, void *to)
{
    size_t size = random_size(c), most = 3;
    mp_str text = {NULL, size};
    if (type->kind == MP__ANY) {
        random_any(c, to);
        return;
    }
    if (type->kind == MP__SPAN_OF) {
        const mp_type *element = type->element;
        text.size = element->kind <= MP__BOOL ? size / element->size + 1 : size < most ? size : most;
        text.size = size == 0 ? 0 : text.size;
        void *items = text.size ? arena_take(c->arena, text.size * element->size) : NULL;
        if (items)
            memset(items, 0, text.size * element->size);
        random_array(c, element, items, text.size);
        text.data = items;
    } else if (size > 0) {
        char *data = arena_take(c->arena, size);
        random_text(c, data, size);
        text.data = data;
    }
    memcpy(to, &text, sizeof text);
}

static inline void random_value(chance *c, const mp_type *type, void *to)
{
    uint64_t bits = random_bits(c);
    double wide = random_double(c);
    float narrow = isfinite(wide) && (wide > 1e30 || wide < -1e30) ? 1.5f : (float)wide;
    if (type->kind == MP__STRUCT) {
        memset(to, 0, type->size);
        for (size_t i = 0; i < type->count; i++) {
            const mp_field *field = &type->fields[i];
            char *at = (char *)to + field->offset;
            if (field->count > 0 && field->type->kind == MP__CHAR)
                random_text(c, at, below(c, field->count + 1));
            else
                random_array(c, field->type, at, field->count ? field->count : 1);
        }
    } else if (type->kind == MP__BOOL) {
        *(uint8_t *)to = bits & 1;
    } else if (type->kind == MP__FLOAT) {
        memcpy(to, type->size == 4 ? (void *)&narrow : &wide, type->size);
    } else if (type->kind <= MP__BOOL) {
        memcpy(to, &bits, type->size);
    } else if (type->kind == MP__NONE) {
        *(char *)to = 0;
    } else {
        random_datum(c, type, to);
    }
}

/* --- comparing; NaNs of any kind are one --- */

static inline bool same_value(const mp_type *type, const void *a, const void *b);

static inline bool same_array(const mp_type *element, const void *a, const void *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!same_value(element, (const char *)a + i * element->size, (const char *)b + i * element->size))
            return false;
    return true;
}

static inline double load_float(const mp_type *type, const void *at)
{
    float narrow;
    double wide;
    memcpy(type->size == 4 ? (void *)&narrow : &wide, at, type->size);
    return type->size == 4 ? (double)narrow : wide;
}

static inline bool same_double(double a, double b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static inline bool same_value(const mp_type *type, const void *a, const void *b)
{
    if (type->kind == MP__STRUCT) {
        bool same = true;
        for (size_t i = 0; i < type->count && same; i++) {
            const mp_field *field = &type->fields[i];
            const char *at_a = (const char *)a + field->offset, *at_b = (const char *)b + field->offset;
            same = same_array(field->type, at_a, at_b, field->count ? field->count : 1);
        }
        return same;
    }
    if (type->kind == MP__FLOAT)
        return same_double(load_float(type, a), load_float(type, b));
    if (type->kind <= MP__BOOL || type->kind == MP__NONE)
        return memcmp(a, b, type->size) == 0;
    mp_str text_a, text_b;
    memcpy(&text_a, a, sizeof text_a);
    memcpy(&text_b, b, sizeof text_b);
    if (text_a.size != text_b.size)
        return false;
    if (type->kind == MP__SPAN_OF)
        return same_array(type->element, text_a.data, text_b.data, text_a.size);
    return text_a.size == 0 || memcmp(text_a.data, text_b.data, text_a.size) == 0;
}

/* --- a look at what decoded values own: alignment, the word in front, the zero behind --- */

static inline bool is_well_placed(const mp_type *type, const void *value);

static inline bool array_is_well_placed(const mp_type *element, const void *items, size_t count)
{
    bool good = true;
    for (size_t i = 0; i < count && good && mp__type_owns(element); i++)
        good = is_well_placed(element, (const char *)items + i * element->size);
    return good;
}

static inline bool is_well_placed(const mp_type *type, const void *value)
{
    if (type->kind == MP__STRUCT) {
        bool good = true;
        for (size_t i = 0; i < type->count && good; i++) {
            const mp_field *field = &type->fields[i];
            good = array_is_well_placed(field->type, (const char *)value + field->offset, field->count ? field->count : 1);
        }
        return good;
    }
    mp_str datum;
    if (type->kind <= MP__BOOL || type->kind == MP__NONE)
        return true;
    memcpy(&datum, value, sizeof datum);
    if (datum.size == 0)
        return type->kind == MP__STR ? datum.data && datum.data[0] == 0 : datum.data == NULL;
    size_t align = type->kind == MP__SPAN_OF && type->element->align > 8 ? type->element->align : 8;
    if ((uintptr_t)datum.data % align != 0)
        return false;
    if (type->kind == MP__SPAN_OF)
        return array_is_well_placed(type->element, datum.data, datum.size);
    return datum.data[datum.size] == 0;
}

/* --- msgpack-c --- */

/* Packs a value as msgpack-c does. `foreign`: in forms that the encoder never chooses but the decoder takes. */
static inline void pack_value(chance *foreign, msgpack_packer *packer, const mp_type *type, const void *value);

static inline void pack_integer(chance *foreign, msgpack_packer *packer, bool is_signed, int64_t number)
{
    switch (foreign ? below(foreign, 3) : 0) {
    case 1:
        if (is_signed)
            msgpack_pack_fix_int64(packer, number);
        else
            msgpack_pack_fix_uint64(packer, (uint64_t)number);
        return;
    case 2:
        if (number >= 0 && number <= 0x7fff) {
            below(foreign, 2) ? msgpack_pack_fix_int16(packer, (int16_t)number)
                              : msgpack_pack_fix_uint32(packer, (uint32_t)number);
            return;
        }
    }
    if (is_signed)
        msgpack_pack_int64(packer, number);
    else
        msgpack_pack_uint64(packer, (uint64_t)number);
}

static inline void pack_number(chance *foreign, msgpack_packer *packer, const mp_type *type, const void *value)
{
    uint64_t bits = 0;
    memcpy(&bits, value, type->size);
    bool is_signed = type->kind == MP__INT || (type->kind == MP__CHAR && (char)-1 < 0);
    unsigned unused = 64 - 8 * (unsigned)type->size;
    if (type->kind == MP__BOOL)
        bits ? msgpack_pack_true(packer) : msgpack_pack_false(packer);
    else if (type->kind != MP__FLOAT)
        pack_integer(foreign, packer, is_signed, is_signed ? (int64_t)(bits << unused) >> unused : (int64_t)bits);
    else if (type->size == 8)
        msgpack_pack_double(packer, load_float(type, value));
    else
        foreign &&below(foreign, 2) ? msgpack_pack_double(packer, load_float(type, value))
                                    : msgpack_pack_float(packer, (float)load_float(type, value));
}

static inline void pack_array(chance *foreign, msgpack_packer *packer, const mp_type *element, const void *items,
                              size_t count)
{
    if (element->kind <= MP__BOOL && !(foreign && below(foreign, 2))) {
        msgpack_pack_bin_with_body(packer, items, count * element->size);
        return;
    }
    msgpack_pack_array(packer, count);
    for (size_t i = 0; i < count; i++)
        pack_value(foreign, packer, element, (const char *)items + i * element->size);
}

static inline void pack_struct(chance *foreign, msgpack_packer *packer, const mp_type *type, const void *value)
{
    msgpack_pack_array(packer, type->count);
    for (size_t i = 0; i < type->count; i++) {
        const mp_field *field = &type->fields[i];
        const char *at = (const char *)value + field->offset;
        if (field->count > 0 && field->type->kind == MP__CHAR)
            msgpack_pack_str_with_body(packer, at, strnlen(at, field->count));
        else if (field->count > 0)
            pack_array(foreign, packer, field->type, at, field->count);
        else
            pack_value(foreign, packer, field->type, at);
    }
}

static inline void pack_value(chance *foreign, msgpack_packer *packer, const mp_type *type, const void *value)
{
    mp_str datum;
    if (type->kind <= MP__BOOL) {
        pack_number(foreign, packer, type, value);
        return;
    }
    if (type->kind == MP__STRUCT) {
        pack_struct(foreign, packer, type, value);
        return;
    }
    if (type->kind == MP__NONE) {
        msgpack_pack_nil(packer);
        return;
    }
    memcpy(&datum, value, sizeof datum);
    if (type->kind == MP__STR)
        msgpack_pack_str_with_body(packer, datum.data, datum.size);
    else if (type->kind == MP__BYTES)
        msgpack_pack_bin_with_body(packer, datum.data, datum.size);
    else if (type->kind == MP__ANY)
        packer->callback(packer->data, datum.data, datum.size);
    else
        pack_array(foreign, packer, type->element, datum.data, datum.size);
}

/* Does the tree that msgpack-c read say the same as the value? */
static inline bool object_is_value(const msgpack_object *object, const mp_type *type, const void *value);

static inline bool object_is_bytes(const msgpack_object *object, const void *bytes, size_t size)
{
    bool is_str = object->type == MSGPACK_OBJECT_STR;
    if (!is_str && object->type != MSGPACK_OBJECT_BIN)
        return false;
    size_t its_size = is_str ? object->via.str.size : object->via.bin.size;
    const char *its_bytes = is_str ? object->via.str.ptr : object->via.bin.ptr;
    return its_size == size && (size == 0 || memcmp(its_bytes, bytes, size) == 0);
}

static inline bool object_is_number(const msgpack_object *object, const mp_type *type, const void *value)
{
    uint64_t bits = 0;
    memcpy(&bits, value, type->size);
    unsigned unused = 64 - 8 * (unsigned)type->size;
    if (type->kind == MP__BOOL)
        return object->type == MSGPACK_OBJECT_BOOLEAN && object->via.boolean == (bits == 1);
    if (type->kind == MP__FLOAT)
        return object->type == (type->size == 4 ? MSGPACK_OBJECT_FLOAT32 : MSGPACK_OBJECT_FLOAT64) &&
               same_double(object->via.f64, load_float(type, value));
    int64_t number = (int64_t)(bits << unused) >> unused;
    if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        return type->kind != MP__UINT && object->via.i64 == number;
    return object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 == bits &&
           (type->kind == MP__UINT || number >= 0);
}

static inline bool object_is_array(const msgpack_object *object, const mp_type *element, const void *items, size_t count)
{
    if (element->kind <= MP__BOOL)
        return object->type == MSGPACK_OBJECT_BIN && object_is_bytes(object, items, count * element->size);
    bool same = object->type == MSGPACK_OBJECT_ARRAY && object->via.array.size == count;
    for (size_t i = 0; i < count && same; i++)
        same = object_is_value(&object->via.array.ptr[i], element, (const char *)items + i * element->size);
    return same;
}

static inline bool object_is_struct(const msgpack_object *object, const mp_type *type, const void *value)
{
    bool same = object->type == MSGPACK_OBJECT_ARRAY && object->via.array.size == type->count;
    for (size_t i = 0; i < type->count && same; i++) {
        const mp_field *field = &type->fields[i];
        const msgpack_object *part = &object->via.array.ptr[i];
        const char *at = (const char *)value + field->offset;
        if (field->count > 0 && field->type->kind == MP__CHAR)
            same = part->type == MSGPACK_OBJECT_STR && object_is_bytes(part, at, strnlen(at, field->count));
        else
            same = field->count > 0 ? object_is_array(part, field->type, at, field->count)
                                    : object_is_value(part, field->type, at);
    }
    return same;
}

static inline bool object_is_any(const msgpack_object *object, mp_str datum)
{
    msgpack_unpacked whole;
    msgpack_unpacked_init(&whole);
    size_t offset = 0;
    /* msgpack_object_equal says that NaN is not NaN: what it says is what is packed again. */
    msgpack_sbuffer a, b;
    msgpack_packer packer;
    bool read = msgpack_unpack_next(&whole, datum.data, datum.size, &offset) == MSGPACK_UNPACK_SUCCESS;
    msgpack_sbuffer_init(&a);
    msgpack_sbuffer_init(&b);
    msgpack_packer_init(&packer, &a, msgpack_sbuffer_write);
    msgpack_pack_object(&packer, *object);
    msgpack_packer_init(&packer, &b, msgpack_sbuffer_write);
    msgpack_pack_object(&packer, whole.data);
    bool same = read && a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
    msgpack_sbuffer_destroy(&a);
    msgpack_sbuffer_destroy(&b);
    msgpack_unpacked_destroy(&whole);
    return same;
}

static inline bool object_is_value(const msgpack_object *object, const mp_type *type, const void *value)
{
    mp_str datum;
    if (type->kind <= MP__BOOL)
        return object_is_number(object, type, value);
    if (type->kind == MP__STRUCT)
        return object_is_struct(object, type, value);
    if (type->kind == MP__NONE)
        return object->type == MSGPACK_OBJECT_NIL;
    memcpy(&datum, value, sizeof datum);
    if (type->kind == MP__SPAN_OF)
        return object_is_array(object, type->element, datum.data, datum.size);
    if (type->kind == MP__ANY)
        return object_is_any(object, datum);
    return object->type == (type->kind == MP__STR ? MSGPACK_OBJECT_STR : MSGPACK_OBJECT_BIN) &&
           object_is_bytes(object, datum.data, datum.size);
}

/* --- bytes, frames --- */

/* Bytes as a payload that is all control part. */
static inline mp__frame frame_of(const void *bytes, size_t size)
{
    return (mp__frame){.size = size, .control = size, .data = bytes};
}

/* "93 01 02" to bytes; returns how many. */
static inline size_t from_hex(const char *hex, uint8_t *bytes)
{
    size_t size = 0;
    unsigned byte;
    int length;
    while (sscanf(hex, " %2x%n", &byte, &length) == 1) {
        bytes[size++] = (uint8_t)byte;
        hex += length;
    }
    return size;
}

/* Decodes bytes that are written in hex, as a result. */
static inline mp_status decode_hex(const mp_type *type, const char *hex, void *value, mp__fault *fault)
{
    uint8_t *bytes = malloc(strlen(hex) + 1); /* of the very size, so that a step over the end is seen */
    size_t size = from_hex(hex, bytes);
    bytes = realloc(bytes, size ? size : 1);
    mp__frame frame = frame_of(bytes, size);
    mp_status status = mp__decode_result(type, &frame, value, fault);
    free(bytes);
    return status;
}

/* Encodes in line; true if it gives these bytes. */
static inline bool encodes_to(const mp_type *type, const void *value, const char *hex)
{
    mp__buffer out = {0};
    mp__fault fault;
    uint8_t bytes[1024];
    size_t size = from_hex(hex, bytes);
    bool good =
        mp__encode(&out, type, value, NULL, &fault) == MP_OK && out.size == size && memcmp(out.data, bytes, size) == 0;
    for (size_t i = 0; !good && i < out.size; i++)
        fprintf(stderr, "%02x ", out.data[i]);
    mp__buffer_fini(&out);
    return good;
}

/* Appends what mp__frame_write left to its caller: the gaps and the blobs. `begin`: where the frame begins in `out`. */
static inline bool append_blobs(mp__buffer *out, size_t begin, const mp__blobs *blobs)
{
    size_t payload = begin + (blobs->count ? MP__FRAME_LONG : MP__FRAME_SHORT);
    for (size_t i = 0; i < blobs->count; i++) {
        const mp__blob *blob = &blobs->items[i];
        size_t end = payload + blob->offset + blob->size;
        if (!mp__buffer_reserve(out, end - out->size))
            return false;
        memset(out->data + out->size, 0, payload + blob->offset - out->size);
        memcpy(out->data + payload + blob->offset, blob->data, blob->size);
        out->size = end;
    }
    return true;
}

/* Puts bytes into a reader, as many at a time as it takes but no more than `most`, until a frame comes out or none is left.
 * `*at` moves. */
static inline bool feed(mp__frame_reader *reader, const uint8_t *bytes, size_t size, size_t most, size_t *at,
                        mp__frame *frame)
{
    uint8_t *where;
    size_t room;
    while (!mp__frame_reader_next(reader, frame)) {
        if (reader->status != MP_OK || *at == size || !mp__frame_reader_space(reader, &where, &room))
            return false;
        size_t piece = room < size - *at ? room : size - *at;
        piece = piece < most ? piece : most;
        memcpy(where, bytes + *at, piece);
        mp__frame_reader_filled(reader, piece);
        *at += piece;
    }
    return true;
}

/* --- allocations that fail --- */

static size_t allocations_left;

static inline bool may_allocate(void)
{
    return allocations_left > 0 && allocations_left--;
}
static inline void *failing_malloc(size_t size)
{
    return may_allocate() ? malloc(size) : NULL;
}
static inline void *failing_calloc(size_t count, size_t size)
{
    return may_allocate() ? calloc(count, size) : NULL;
}
static inline void *failing_realloc(void *old, size_t size)
{
    return may_allocate() ? realloc(old, size) : NULL;
}
static inline void *failing_aligned_alloc(size_t alignment, size_t size)
{
    return may_allocate() ? aligned_alloc(alignment, size) : NULL;
}

/* From now on the allocation after the next `n` fails, and all that follow. */
static inline void fail_allocation(size_t n)
{
    allocations_left = n;
    mp__memory = (mp__memory_calls){failing_malloc, failing_calloc, failing_realloc, failing_aligned_alloc};
}

static inline void fail_no_allocation(void)
{
    mp__memory = (mp__memory_calls){malloc, calloc, realloc, aligned_alloc};
}

#endif
