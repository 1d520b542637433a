/* Rows of numbers: see row.h. Bytes in, bytes out; owns nothing, no lock. Of bools each is looked at, on both sides: a byte that is
 * neither 0 nor 1 ends the row before it, and is left to who can say what is wrong with it. */
#include "serial/row.h"

/* How many of them, from the first one on, are values of the type. */
static size_t count_good(const mp_type *type, const uint8_t *values, size_t step, size_t count)
{
    size_t good = 0;
    if (type->kind != MP__BOOL)
        return count;
    while (good < count && values[good * step] <= 1)
        good++;
    return good;
}

#define COPY_EACH(size)                                                                                                    \
    for (; count; count--, to += to_step, from += from_step)                                                               \
    memcpy(to, from, size)

static void copy(uint8_t *to, size_t to_step, const uint8_t *from, size_t from_step, size_t size, size_t count)
{
    if (to_step == size && from_step == size) {
        memcpy(to, from, count * size);
        return;
    }
    switch (size) {
    case 8: COPY_EACH(8); break;
    case 4: COPY_EACH(4); break;
    case 2: COPY_EACH(2); break;
    default: COPY_EACH(1);
    }
}

/* What is in an mp_none says nothing: it need never have been written. */
static void copy_values(const mp_type *type, uint8_t *to, size_t to_step, const uint8_t *from, size_t from_step,
                        size_t count)
{
    static const uint8_t nothing;
    bool is_none = type->kind == MP__NONE;
    copy(to, to_step, is_none ? &nothing : from, is_none ? 0 : from_step, type->size, count);
}

size_t mp__row_write(mp__buffer *out, unsigned kind, const mp_type *type, const void *values, size_t step, size_t count)
{
    size_t size = type->size;
    if (!mp__is_plain(type))
        return 0;
    count = count_good(type, values, step, count < MP__ROW_MAX ? count : MP__ROW_MAX);
    if (!count || !mp__buffer_reserve(out, MP__ROW_HEAD + count * size))
        return 0;
    uint8_t *at = out->data + out->size;
    mp__row_store_head(at, kind, (uint32_t)size, count);
    copy_values(type, at + MP__ROW_HEAD, size, values, step, count);
    out->size += MP__ROW_HEAD + count * size;
    return count;
}

size_t mp__row_open(mp__frame *frame)
{
    uint32_t size;
    if (frame->block || frame->size < sizeof size)
        return 0;
    memcpy(&size, frame->data, sizeof size);
    size_t bytes = frame->size - sizeof size, count = size ? bytes / size : 0;
    if (!count || count > MP__ROW_MAX || bytes % size)
        return 0;
    frame->data += sizeof size;
    frame->size = frame->control = frame->row = size;
    return count;
}

size_t mp__row_read(const mp_type *type, mp__frame *frame, size_t count, void *values, size_t step)
{
    size_t size = type->size;
    if (!mp__is_plain(type) || frame->row != size)
        return 0;
    count = count_good(type, frame->data, size, count);
    if (!count)
        return 0;
    copy_values(type, values, step, frame->data, size, count);
    frame->data += (count - 1) * size;
    return count;
}
