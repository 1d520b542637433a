/* The clock of everything that waits: monotonic, in nanoseconds. */
#ifndef MP__POOL_CLOCK_H
#define MP__POOL_CLOCK_H
#include <stdint.h>
#include <time.h>

static inline uint64_t mp__now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* When so many seconds are over; UINT64_MAX: never. What is not a number or negative is now. */
static inline uint64_t mp__clock_deadline(double timeout)
{
    double left = timeout * 1e9;
    if (!(left > 0))
        return mp__now();
    return left < (double)(UINT64_MAX / 2) ? mp__now() + (uint64_t)left : UINT64_MAX;
}

#endif
