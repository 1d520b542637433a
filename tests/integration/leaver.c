/* A program that ends without freeing its pool: test_pool_life looks for what it left. Its arguments: the kind of pool, and how
 * it ends. It prints "ready" when its workers are where the test wants them,
 * and then "interrupted" if it was waiting and that has come. */
#include <millpond.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 2, CODE = 42 };

static bool says_ready(void)
{
    static const char ready[] = "ready\n";
    return write(STDOUT_FILENO, ready, sizeof ready - 1) > 0;
}

/* The item that is 1 says that it runs. */
static mp_status stay(const int *in, int *out, mp_call *call)
{
    if (*in && !says_ready())
        return mp_fail(call, MP_EFAILED, "nobody listens");
    for (;;)
        pause();
    *out = *in;
    return MP_OK;
}
MP_TASK(stay, int, int);

static mp_status pass(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(pass, int, int);

static void leave(const int *result, void *user)
{
    (void)result, (void)user;
    exit(CODE);
}

static bool never(int *item, void *user)
{
    (void)item, (void)user;
    for (;;)
        pause();
    return false;
}

static bool open_pool(mp_pool **pool, const char *kind)
{
    mp_pool_options options = {.processes = WORKERS};
    if (!strcmp(kind, "threads"))
        options.kind = MP_THREADS;
    else
        options.start_method = !strcmp(kind, "fork") ? MP_FORK : !strcmp(kind, "spawn") ? MP_SPAWN : MP_FORKSERVER;
    return mp_pool_open_with(pool, &options) == MP_OK;
}

static int end(mp_pool *pool, const char *manner)
{
    static int items[10];
    static mp_async *async;
    static mp_iter *iter;
    bool waits = !strcmp(manner, "wait");
    items[0] = waits;
    if (strcmp(manner, "idle") != 0)
        async = mp_pool_map_async(pool, stay, items, strcmp(manner, "callback") ? 10 : 1);
    if (!strcmp(manner, "stream"))
        iter = mp_pool_imap_from(pool, pass, never, NULL);
    if (!waits && !says_ready())
        return 1;
    if (!strcmp(manner, "callback")) {
        mp_async *last = mp_pool_apply_async(pool, pass, items, .callback = leave);
        (void)mp_async_wait(last, MP_FOREVER);
    }
    if (waits) {
        while (!mp_interrupted())
            (void)mp_async_wait(async, 0.01);
        printf("interrupted\n");
        fflush(stdout);
        (void)mp_async_wait(async, MP_FOREVER);
    }
    (void)iter;
    return CODE;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    mp_pool *pool;
    signal(SIGINT, SIG_DFL); /* whoever runs the tests may ignore it */
    setsid();
    return argc > 2 && open_pool(&pool, argv[1]) ? end(pool, argv[2]) : 1;
}
