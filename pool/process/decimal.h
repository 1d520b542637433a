/* A number in decimal, put down by hand: between fork and exec printf(3) may not be called, and in a process that has just been forked it
 * is in memory that would have to be given to it page by page. */
#ifndef MP__PROCESS_DECIMAL_H
#define MP__PROCESS_DECIMAL_H
#include <stdint.h>

enum { MP__DECIMAL_MAX = 20 /* digits of the longest */ };

/* Where it ends. */
static inline char *mp__decimal_put(char *at, uint64_t number)
{
    char digits[MP__DECIMAL_MAX];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

#endif
