/* Locks that are kept through a fork: a child that is forked while another thread holds one would wait for it for ever. */
#ifndef MP__POOL_FORKS_H
#define MP__POOL_FORKS_H
#include <pthread.h>

/* For a file's `lock`, a pthread_mutex_t, below which no other kept lock is taken: whoever forks has it, and both sides let it go. */
#define MP__KEEP_THROUGH_FORKS(lock)                                                                                       \
    static void take_before_fork(void)                                                                                     \
    {                                                                                                                      \
        pthread_mutex_lock(&(lock));                                                                                       \
    }                                                                                                                      \
    static void drop_after_fork(void)                                                                                      \
    {                                                                                                                      \
        pthread_mutex_unlock(&(lock));                                                                                     \
    }                                                                                                                      \
    __attribute__((constructor)) static void keep_through_forks(void)                                                      \
    {                                                                                                                      \
        (void)pthread_atfork(take_before_fork, drop_after_fork,                                                            \
                             drop_after_fork); /* fails for no memory only, before main: then as without */                \
    }                                                                                                                      \
    _Static_assert(sizeof(lock) == sizeof(pthread_mutex_t), "a mutex")
#endif
