/* Zeros into a value of any size, inline: most values are small, and a call of memset(3) costs more than a few stores. */
#ifndef MP__SERIAL_CLEAR_H
#define MP__SERIAL_CLEAR_H
#include <string.h>

/* As memset(to, 0, size). The stores may overlap. */
static inline void mp__clear(void *to, size_t size)
{
    static const char zero[16];
    char *first = to, *last = first + size;
    if (size - 1 > 63) {
        memset(to, 0, size);
    } else if (size < 4) {
        *first = first[size / 2] = last[-1] = 0;
    } else if (size < 8) {
        memcpy(first, zero, 4);
        memcpy(last - 4, zero, 4);
    } else if (size < 16) {
        memcpy(first, zero, 8);
        memcpy(last - 8, zero, 8);
    } else {
        memcpy(first, zero, 16);
        memcpy(last - 16, zero, 16);
        if (size > 32) {
            memcpy(first + 16, zero, 16);
            memcpy(last - 32, zero, 16);
        }
    }
}

#endif
