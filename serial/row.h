/* Rows: numbers of one type (or mp_none) that follow each other, in one frame, as they stand in memory. FORMAT.md, section "Rows".
 *
 *     short header, u32: bytes of a value, then the values
 *
 * What a small item costs is not its bytes but what is done for each: in a row that is a copy of them all. */
#ifndef MP__SERIAL_ROW_H
#define MP__SERIAL_ROW_H
#include "serial/frame.h"
#include "serial/wire.h"

enum {
    MP__ROW_HEAD = MP__FRAME_SHORT + 4, /* bytes before the first value */
    MP__ROW_MAX = 1024                  /* values: a row is taken in one go, and others wait meanwhile */
};

/* Appends a row of the first ones of `count` values that stand `step` bytes apart: of how many. 0, and nothing has changed: they are
 * no numbers, the first is a bool that is none, or there is no memory; mp__frame_write finds out. */
size_t mp__row_write(mp__buffer *out, unsigned kind, const mp_type *type, const void *values, size_t step, size_t count);

/* Makes of the frame of a row its first value; mp__frame_follow goes to the next. How many there are; 0: it is no row. */
size_t mp__row_open(mp__frame *frame);

/* The first ones of `count` values of a row, from `*frame` on, into values `step` bytes apart: how many; `*frame` is the last of these
 * then. 0: they are not of this type. */
size_t mp__row_read(const mp_type *type, mp__frame *frame, size_t count, void *values, size_t step);

/* The head of a row of `count` values of `size` bytes. */
static inline void mp__row_store_head(uint8_t *at, unsigned kind, uint32_t size, size_t count)
{
    uint32_t header = (kind & 15u) | (uint32_t)(sizeof size + count * size) << 4;
    memcpy(at, &header, sizeof header);
    memcpy(at + MP__FRAME_SHORT, &size, sizeof size);
}

/* A single number, of 1, 2, 4 or 8 bytes. */
static inline void mp__row_copy_one(void *to, const void *from, size_t size)
{
    switch (size) {
    case 8: memcpy(to, from, 8); break;
    case 4: memcpy(to, from, 4); break;
    case 2: memcpy(to, from, 2); break;
    default: memcpy(to, from, 1);
    }
}

#endif
