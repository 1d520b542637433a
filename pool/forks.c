/* Fork handlers of ours: one set for all files, registered when the library is loaded. Whoever forks has the locks that are kept, and
 * both sides let them go. */
#include "pool/forks.h"
#include <time.h>

enum { LINE = 512 };
_Static_assert(sizeof(mp__forked) <= LINE, "on one page");

_Alignas(LINE) mp__forked mp__forks = {
    .kept = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER},
    .symbols = PTHREAD_MUTEX_INITIALIZER,
    .loader = PTHREAD_MUTEX_INITIALIZER,
};

static bool take_loader(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    return pthread_mutex_timedlock(&mp__forks.loader, &until) == 0;
}

static void take(void)
{
    if (mp__forks.role == MP__ZYGOTE)
        return;
    for (int i = 0; i < MP__KEPT_LOCKS; i++)
        pthread_mutex_lock(&mp__forks.kept[i]);
    mp__forks.loader_taken = take_loader();
}

static void drop(void)
{
    if (mp__forks.loader_taken)
        pthread_mutex_unlock(&mp__forks.loader);
    mp__forks.loader_taken = false;
    for (int i = 0; i < MP__KEPT_LOCKS && mp__forks.role != MP__ZYGOTE; i++)
        pthread_mutex_unlock(&mp__forks.kept[i]);
}

static void begin_child(void)
{
    if (mp__forks.role == MP__ZYGOTE)
        return;
    drop();
    mp__forks.loader = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    mp__forks.symbols = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    if (mp__forks.role == MP__WORKER)
        mp__forks.role = MP__COPY;
}

__attribute__((constructor(101))) static void watch_forks(void)
{
    (void)pthread_atfork(take, drop, begin_child); /* fails for no memory only, before main: then as without */
}
