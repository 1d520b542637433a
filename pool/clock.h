/* The clock of everything that waits: monotonic, in nanoseconds. */
#ifndef MP__POOL_CLOCK_H
#define MP__POOL_CLOCK_H
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
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

/* So many nanoseconds, or that time on this clock, as system calls want it. */
static inline struct timespec mp__clock_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

/* In a loop that waits for another core: lets that have its turn. */
static inline void mp__clock_pause(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

/* A turn of a loop that has waited awake since `began`: false when `until` has come. What it waits for may want this very CPU, so who
 * has waited for longer than another one takes to answer lets others have it. */
static inline bool mp__clock_spin(uint64_t began, uint64_t until)
{
    uint64_t now = mp__now();
    if (now - began < 20000)
        mp__clock_pause();
    else
        sched_yield();
    return now < until;
}

/* Sleeps on a condition variable (mp__dispatch_cond_init), at most until the deadline. As pthread_cond_wait it may return early: the
 * caller looks again, at what it waits for and at the clock. */
static inline void mp__clock_wait(pthread_cond_t *changed, pthread_mutex_t *lock, uint64_t deadline)
{
    struct timespec until = mp__clock_timespec(deadline);
    if (deadline == UINT64_MAX)
        pthread_cond_wait(changed, lock);
    else
        pthread_cond_timedwait(changed, lock, &until);
}

#endif
