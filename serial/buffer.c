/* A growing buffer of bytes, and one that stands in somebody's memory and never grows.
 *
 * Decides how fast it grows: by doubling, from 256 bytes, so that appending n bytes copies at most 2 n. Owns `data`, unless
 * `fixed`. No threads of its own and no lock: whoever has the buffer has it alone. Happy path: reserve, write behind `size`,
 * add to `size`. It fails when there is no memory, when a fixed buffer is full, and when the sum would pass the address
 * space; then nothing has changed, and what `data` points to is still there. */
#include "serial/buffer.h"
#include "serial/memory.h"

enum { FIRST_CAPACITY = 256 };

bool mp__buffer_grow(mp__buffer *buffer, size_t more)
{
    if (buffer->fixed || more > PTRDIFF_MAX - buffer->size)
        return false;
    size_t need = buffer->size + more;
    size_t capacity = buffer->capacity < FIRST_CAPACITY ? FIRST_CAPACITY : buffer->capacity;
    while (capacity < need)
        capacity = capacity > PTRDIFF_MAX / 2 ? need : capacity * 2;
    uint8_t *data = mp__memory.realloc(buffer->data, capacity);
    if (!data)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void mp__buffer_fini(mp__buffer *buffer)
{
    if (!buffer->fixed)
        free(buffer->data);
    *buffer = (mp__buffer){0};
}
