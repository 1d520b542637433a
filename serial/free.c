/* Giving back what decoded values own.
 *
 * Decides nothing: each datum that is not empty has, in the 8 bytes before it, a pointer to the block it lies in, and the
 * blocks of one result form a ring (block.h). Owns nothing afterwards. Any thread, one at a time for one value; never
 * blocks. Happy path: find a value's first datum that is not empty, free the ring, zero the value. One is enough, and
 * elements of a span need no look: the span itself is a datum. Values that own nothing, zeroed ones among them, and borrowed
 * ones (their pointer to a block is NULL) are only zeroed. Cannot fail. */
#include "serial/block.h"
#include "serial/types.h"
#include "serial/wire.h"

/* The first datum in the value that is not empty; {NULL, 0}: it owns nothing. */
static mp__datum first_datum(const mp_type *type, const uint8_t *value)
{
    mp__datum datum = {NULL, 0};
    if (type->kind == MP__STRUCT) {
        for (size_t i = 0; i < type->count && !datum.size; i++) {
            const mp_field *field = &type->fields[i];
            size_t elements = mp__type_owns(field->type) ? (field->count ? field->count : 1) : 0;
            for (size_t k = 0; k < elements && !datum.size; k++)
                datum = first_datum(field->type, value + field->offset + k * field->type->size);
        }
    } else {
        memcpy(&datum, value, sizeof datum);
    }
    return datum;
}

/* One of the ring that the value owns; NULL: it owns nothing, or has it borrowed. */
static mp__block *block_of(const mp_type *type, const uint8_t *value)
{
    mp__datum datum = first_datum(type, value);
    mp__block *block = NULL;
    if (datum.size)
        memcpy(&block, (const uint8_t *)datum.data - sizeof block, sizeof block);
    return block;
}

void mp__block_hold(const mp_type *type, const void *value, bool held)
{
    mp__block *first = mp__type_owns(type) ? block_of(type, value) : NULL;
    for (mp__block *block = first; block; block = block->next == first ? NULL : block->next)
        block->held = held;
}

void mp_free_values(const mp_type *type, void *values, size_t count)
{
    if (!values || count == 0)
        return;
    bool owns = mp__type_owns(type);
    for (size_t i = 0; owns && i < count; i++)
        mp__block_free(block_of(type, (const uint8_t *)values + i * type->size));
    memset(values, 0, count * type->size);
}
