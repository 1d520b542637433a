/* Copying a value with all it points to.
 *
 * Decides where each datum lies in the copy's block: as the decoder does, by the same steps (block.h), so that whoever frees or
 * reads a value need not know whether it came over a wire. Owns nothing in the end: the block is the copy's. Any thread; nobody
 * may change `from` meanwhile. Happy path: a walk that checks and sums up, one allocation, the same walk again that fills; a
 * value that owns nothing is one memcpy. Fails for no memory, NULL with a count, a size over the limit; the copy is zero then.
 * In both walks the recursion is as deep as the type, which mp__type_check has bounded. */
#include "serial/copy.h"
#include "serial/block.h"
#include "serial/types.h"
#include "serial/wire.h"

typedef struct copier {
    mp__layout layout;
    mp__block *block; /* NULL in the first walk */
    mp__fault *fault;
} copier;

/* `to` is NULL in the first walk, in all that follow. */
static bool copy_value(copier *c, const mp_type *type, const uint8_t *from, uint8_t *to);

#define refuse(c, status, ...) ((void)mp__fault_set((c)->fault, (status), MP__NO_OFFSET, __VA_ARGS__), false)

static bool copy_elements(copier *c, const mp_type *element, const uint8_t *from, uint8_t *to, size_t count)
{
    if (!mp__type_owns(element)) {
        if (to)
            memcpy(to, from, count * element->size);
        return true;
    }
    for (size_t i = 0; i < count; i++)
        if (!copy_value(c, element, from + i * element->size, to ? to + i * element->size : NULL)) {
            mp__fault_in_element(c->fault, i);
            return false;
        }
    return true;
}

/* Room for so many bytes; `*place` is where, NULL in the first walk. */
static bool take(copier *c, size_t size, size_t align, uint8_t **place)
{
    size_t begin;
    if (!mp__layout_take(&c->layout, size, align, &begin))
        return refuse(c, MP_ELIMIT, "the value would take more than %zu bytes of memory", c->layout.limit);
    *place = c->block ? (uint8_t *)c->block + begin : NULL;
    if (*place)
        mp__block_put_word(*place, c->block);
    return true;
}

static void store_datum(uint8_t *to, const void *data, size_t size)
{
    mp__datum datum = {data, size};
    if (to)
        memcpy(to, &datum, sizeof datum);
}

/* Texts, bytes, anys: with a zero behind. */
static bool copy_datum(copier *c, const mp_type *type, mp__datum from, uint8_t *to)
{
    uint8_t *bytes = NULL;
    if (!from.data && from.size > 0)
        return refuse(c, MP_EINVAL, "NULL with a size of %zu", from.size);
    if (from.size == SIZE_MAX)
        return refuse(c, MP_ELIMIT, "a size of %zu cannot be", from.size);
    if (from.size > 0 && !take(c, from.size + 1, 1, &bytes))
        return false;
    if (bytes) {
        memcpy(bytes, from.data, from.size);
        bytes[from.size] = 0;
    }
    store_datum(to, from.size == 0 && type->kind == MP__STR ? (const void *)"" : bytes, from.size);
    return true;
}

static bool copy_span(copier *c, const mp_type *element, mp__datum from, uint8_t *to)
{
    uint8_t *items = NULL;
    size_t size;
    if (!from.data && from.size > 0)
        return refuse(c, MP_EINVAL, "NULL with a count of %zu", from.size);
    if (__builtin_mul_overflow(from.size, element->size, &size))
        return refuse(c, MP_ELIMIT, "a count of %zu cannot be", from.size);
    if (from.size > 0 && !take(c, size, element->align, &items))
        return false;
    store_datum(to, items, from.size);
    return from.size == 0 || copy_elements(c, element, from.data, items, from.size);
}

static bool copy_struct(copier *c, const mp_type *type, const uint8_t *from, uint8_t *to)
{
    if (to)
        memset(to, 0, type->size);
    for (size_t i = 0; i < type->count; i++) {
        const mp_field *field = &type->fields[i];
        uint8_t *at = to ? to + field->offset : NULL;
        bool copied = field->count > 0 ? copy_elements(c, field->type, from + field->offset, at, field->count)
                                       : copy_value(c, field->type, from + field->offset, at);
        if (!copied) {
            mp__fault_in_field(c->fault, field->name);
            return false;
        }
    }
    return true;
}

static bool copy_value(copier *c, const mp_type *type, const uint8_t *from, uint8_t *to)
{
    mp__datum datum;
    if (!mp__type_owns(type))
        return copy_elements(c, type, from, to, 1);
    if (type->kind == MP__STRUCT)
        return copy_struct(c, type, from, to);
    memcpy(&datum, from, sizeof datum);
    return type->kind == MP__SPAN_OF ? copy_span(c, type->element, datum, to) : copy_datum(c, type, datum, to);
}

static bool walk(copier *c, const mp_type *type, const void *from, void *to)
{
    c->layout = mp__layout_empty(MP_ITEM_SIZE_MAX);
    return copy_value(c, type, from, to);
}

static mp_status copy_owned(copier *c, const mp_type *type, const void *from, void *to)
{
    if (!walk(c, type, from, NULL))
        return c->fault->status;
    if (!mp__layout_is_empty(&c->layout) && !(c->block = mp__block_create(&c->layout)))
        return mp__fault_set(c->fault, MP_ENOMEM, MP__NO_OFFSET, "not enough memory for %zu bytes", c->layout.used);
    bool again = walk(c, type, from, to);
    assert(again);
    (void)again;
    return MP_OK;
}

mp_status mp__copy(const mp_type *type, const void *from, void *to, uint64_t *bytes, mp__fault *fault)
{
    copier c = {.fault = fault};
    mp_status status = MP_OK;
    fault->status = MP_OK;
    if (type->kind == MP__NONE) /* whose arrays may be NULL */
        memset(to, 0, type->size);
    else if (!mp__type_owns(type))
        memcpy(to, from, type->size);
    else
        status = copy_owned(&c, type, from, to);
    if (status != MP_OK)
        memset(to, 0, type->size);
    if (bytes)
        *bytes = c.block ? c.layout.used : 0;
    return status;
}
