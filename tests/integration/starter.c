/* A program with a main of its own, for what a Criterion program cannot be: one that calls mp_main rightly, wrongly, or not at
 * all. Arguments: what to do, and a start method. It says "it works", or why not. Linked to the library's objects, to the archive,
 * and to the shared library; its task stands in a file of its own, which is a shared library there. Public headers only. */
#include "tests/integration/starter_task.h"
#include <millpond.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 2, N = 100, THREADS = 10 };

static mp_start_method method;

static int end_with(const mp_error *error)
{
    char text[1024];
    mp_error_format(error, text, sizeof text);
    printf("%s: %s\n", mp_status_name(error->status), text);
    return 1;
}

static int work(void)
{
    mp_pool *pool;
    mp_error error;
    int items[N], results[N];
    for (int i = 0; i < N; i++)
        items[i] = i;
    if (mp_pool_open(&pool, .processes = WORKERS, .start_method = method, .error = &error) != MP_OK)
        return end_with(&error);
    mp_status status = mp_pool_map_task(pool, starter_task(), items, N, results, &(mp_map_options){.error = &error});
    for (int i = 0; i < N && !status; i++)
        if (results[i] != 3 * i)
            return printf("item %d: %d\n", i, results[i]), 1;
    mp_pool_free(&pool);
    if (status)
        return end_with(&error);
    printf("it works\n");
    return 0;
}

/* --- other tasks in workers ---------------------------------------------------------------------------------------------- */

static mp_status succeed(const void *in, void *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}

static void register_task(const char *name, const mp_type *input)
{
    static mp_task tasks[8];
    static mp_task_entry entries[8];
    static int count;
    mp_task *task = &tasks[count];
    *task = (mp_task){.layout = sizeof *task, .file = __FILE__, .input = input, .output = &mp__type_double, .run = succeed};
    task->name = name;
    entries[count].task = task;
    if (mp_task_register(&entries[count++], NULL) != MP_OK)
        exit(2);
}

/* `how`, in the program and in what it executes. */
static void register_differently(const char *how, bool executed)
{
    if (!strcmp(how, "lacks") && !executed)
        register_task("only_here", &mp__type_int);
    if (!strcmp(how, "lacks-last") && !executed)
        register_task("zzz", &mp__type_int);
    if (!strcmp(how, "extra") && executed)
        register_task("only_there", &mp__type_int);
    if (!strcmp(how, "types"))
        register_task("changed", executed ? &mp__type_int : &mp__type_long);
}

/* --- what goes on while a pool opens -------------------------------------------------------------------------------------- */

static _Atomic int enough, running;

static void *allocate(void *unused)
{
    running++;
    while (!enough)
        free(malloc(1 + (size_t)(running % 1000)));
    return unused;
}

static int work_among_threads(void)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, allocate, NULL))
            return 2;
    while (running < THREADS)
        usleep(100);
    int result = work();
    enough = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return result;
}

/* Its file is gone, and another stands in its place. */
static int work_replaced(const char *path)
{
    FILE *file = unlink(path) ? NULL : fopen(path, "we");
    if (!file)
        return 2;
    fprintf(file, "#!/bin/sh\necho this is another program\n");
    fclose(file);
    return work();
}

/* A terminal's Ctrl-C, over and over, while workers are being executed. */
static void *interrupt(void *unused)
{
    while (!enough) {
        kill(0, SIGINT);
        usleep(100);
    }
    return unused;
}

static void ignore(int signal)
{
    (void)signal;
}

static int work_interrupted(void)
{
    pthread_t thread;
    if (setpgid(0, 0) || getpgrp() != getpid()) /* a group of its own, or others would be hit */
        return 2;
    signal(SIGINT, ignore); /* a handler: what is executed would die of it, if it were not ignored there */
    if (pthread_create(&thread, NULL, interrupt, NULL))
        return 2;
    int result = work();
    enough = 1;
    pthread_join(thread, NULL);
    return result;
}

/* A line that is another process's, or of another version of ours. */
static int be_told(const char *how, int argc, char **argv)
{
    char line[100];
    int other = !strcmp(how, "stale"), version = other ? 2 : 99;
    snprintf(line, sizeof line, "%d %d 2 1 0 3 4 5 0 x", version, (int)getpid() + other);
    setenv("MILLPOND_START", line, 1);
    mp_main(argc, argv);
    if (getenv("MILLPOND_START"))
        return 2;
    return work();
}

/* Should the library not refuse what would be a fork bomb, it ends here. */
static void count_generations(void)
{
    char text[12];
    const char *before = getenv("STARTER_GENERATION");
    int generation = before ? atoi(before) + 1 : 0;
    if (generation > 2)
        _exit(9);
    snprintf(text, sizeof text, "%d", generation);
    setenv("STARTER_GENERATION", text, 1);
}

int main(int argc, char **argv)
{
    count_generations();
    const char *how = argc > 1 ? argv[1] : "";
    bool executed = getenv("MILLPOND_START");
    method = argc > 2 ? (mp_start_method)atoi(argv[2]) : MP_FORK;
    setvbuf(stdout, NULL, _IOLBF, 0);
    register_differently(how, executed);
    if (!executed && (!strcmp(how, "stale") || !strcmp(how, "strange")))
        return be_told(how, argc, argv);
    if (!strcmp(how, "exits-before") && executed)
        return 7;
    if (strcmp(how, "without-main") != 0 && !(executed && !strcmp(how, "main-too-late")))
        mp_main(argc, argv);
    if (executed)
        method = MP_FORK; /* the fork bomb would need no executing */
    if (!strcmp(how, "threads"))
        return work_among_threads();
    if (!strcmp(how, "replaced"))
        return work_replaced(argv[0]);
    if (!strcmp(how, "interrupted"))
        return work_interrupted();
    return work();
}
