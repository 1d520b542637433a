/* Waiting for a condition, with a deadline that is far beyond what it takes: a test that waits in vain says so instead of
 * hanging, and none is right only because it slept long enough. */
#ifndef TESTS_LIB_UNTIL_H
#define TESTS_LIB_UNTIL_H
#include <stdbool.h>
#include <time.h>

static inline double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline void nap_us(long us)
{
    nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, NULL);
}

/* True as soon as the condition is; false when `seconds` have passed without. */
#define UNTIL(seconds, condition)                                                                                          \
    __extension__({                                                                                                        \
        double until_deadline = seconds_now() + (seconds);                                                                 \
        bool until_met;                                                                                                    \
        while (!(until_met = (condition)) && seconds_now() < until_deadline)                                               \
            nap_us(200);                                                                                                   \
        until_met;                                                                                                         \
    })

#endif
