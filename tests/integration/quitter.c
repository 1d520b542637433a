/* A program that ends without freeing its executor, while tasks run and wait: test_executor_exit looks for what it left. Its argument:
 * the kind. It prints "ready" when a task runs, and nothing else. */
#include <millpond.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CODE = 42, TASKS = 10 };

static mp_status stay(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    for (;;)
        pause();
    return MP_OK;
}
MP_TASK(stay, int, int);

static void never(mp_future *future, void *user)
{
    (void)future, (void)user;
    printf("a callback ran\n");
}

static bool open_executor(mp_executor **executor, const char *kind)
{
    mp_executor_options options = {.max_workers = 2};
    if (!strcmp(kind, "threads"))
        options.kind = MP_THREADS;
    else
        options.start_method = !strcmp(kind, "fork") ? MP_FORK : !strcmp(kind, "spawn") ? MP_SPAWN : MP_FORKSERVER;
    return mp_executor_open_with(executor, &options) == MP_OK;
}

int main(int argc, char **argv)
{
    static mp_executor *executor;
    static mp_future *futures[TASKS];
    mp_main(argc, argv);
    if (argc < 2 || !open_executor(&executor, argv[1]))
        return 1;
    for (int i = 0; i < TASKS; i++) {
        futures[i] = mp_submit(executor, stay, &i);
        (void)mp_future_add_done_callback(futures[i], never, NULL);
    }
    while (!mp_future_running(futures[0]))
        usleep(200);
    (void)mp_executor_shutdown(executor, false, false);
    printf("ready\n");
    return CODE;
}
