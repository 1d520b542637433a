/* Lone numbers in frames, inline, and mp_none: all that many a small item is, and the call would cost as much as the work. Anything
 * else, and whatever is wrong, is left to mp__frame_write and mp__decode_. */
#ifndef MP__SERIAL_QUICK_H
#define MP__SERIAL_QUICK_H
#include "serial/frame.h"
#include "serial/number.h"

enum { MP__FRAME_NUMBER_MAX = MP__FRAME_SHORT + MP__NUMBER_MAX };

static inline void mp__frame_store_short(uint8_t *at, unsigned kind, size_t payload)
{
    uint32_t header = (kind & 15u) | (uint32_t)payload << 4;
    memcpy(at, &header, sizeof header);
}

/* A frame of a number, at a place with room for MP__FRAME_NUMBER_MAX bytes; its end. NULL: a bool that is none. */
static inline uint8_t *mp__frame_put_number(uint8_t *at, unsigned kind, const mp_type *type, const void *value)
{
    uint8_t *end = mp__put_number(at + MP__FRAME_SHORT, type, value);
    if (end)
        mp__frame_store_short(at, kind, (size_t)(end - at) - MP__FRAME_SHORT);
    return end;
}

/* False: it is not plain, or there is hardly room; nothing has changed. */
static inline bool mp__frame_write_quickly(mp__buffer *out, unsigned kind, const mp_type *type, const void *value)
{
    if (!mp__is_plain(type) || !out->data || out->capacity - out->size < MP__FRAME_NUMBER_MAX)
        return false;
    uint8_t *end = mp__frame_put_number(out->data + out->size, kind, type, value);
    if (end)
        out->size = (size_t)(end - out->data);
    return end;
}

/* False: it is not plain, or not in the usual form; what is in `value` is of no account. */
static inline bool mp__decode_quickly(const mp_type *type, const mp__frame *frame, void *value)
{
    const uint8_t *end = frame->data + frame->size;
    return mp__is_plain(type) && frame->control == frame->size && mp__read_number(frame->data, end, type, value) == end;
}

#endif
