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

#endif
