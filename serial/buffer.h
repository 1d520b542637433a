/* A byte buffer that grows, or one of fixed size over somebody's memory. */
#ifndef MP__SERIAL_BUFFER_H
#define MP__SERIAL_BUFFER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp__buffer {
    uint8_t *data; /* owned unless `fixed` */
    size_t size, capacity;
    bool fixed; /* never grows: what does not fit is refused */
} mp__buffer;

/* Room for `more` bytes after `size`. False: no memory, or fixed and full; nothing has changed. */
bool mp__buffer_grow(mp__buffer *buffer, size_t more);
static inline bool mp__buffer_reserve(mp__buffer *buffer, size_t more)
{
    return (buffer->data && more <= buffer->capacity - buffer->size) || mp__buffer_grow(buffer, more);
}

/* Forgets what is in it and keeps the memory, or gives the memory back. */
void mp__buffer_fini(mp__buffer *buffer);

#endif
