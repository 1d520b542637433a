/* Fork handlers of ours: one set for all files, registered when the library is loaded. Whoever forks has the locks that are kept, and
 * both sides let them go. */
#include "pool/forks.h"

enum { LINE = 512 };
_Static_assert(sizeof(mp__forked) <= LINE, "on one page");

_Alignas(LINE) mp__forked mp__forks = {
    .kept = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER},
    .symbols = PTHREAD_MUTEX_INITIALIZER,
};

static void take(void)
{
    for (int i = 0; i < MP__KEPT_LOCKS && mp__forks.role != MP__ZYGOTE; i++)
        pthread_mutex_lock(&mp__forks.kept[i]);
}

static void drop(void)
{
    for (int i = 0; i < MP__KEPT_LOCKS && mp__forks.role != MP__ZYGOTE; i++)
        pthread_mutex_unlock(&mp__forks.kept[i]);
}

static void begin_child(void)
{
    if (mp__forks.role == MP__ZYGOTE)
        return;
    drop();
    mp__forks.symbols = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    if (mp__forks.role == MP__WORKER)
        mp__forks.role = MP__COPY;
}

__attribute__((constructor(101))) static void watch_forks(void)
{
    (void)pthread_atfork(take, drop, begin_child); /* fails for no memory only, before main: then as without */
}
