/* A program as users write them, with things that a pool must leave alone: buffered output, files half written, atexit
 * handlers, closed standard descriptors. test_isolation runs it, argument by argument, and counts what it prints. */
#include <errno.h>
#include <fcntl.h>
#include <millpond.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 200 };

static mp_status speak(const int *in, int *out, mp_call *call)
{
    printf("<task %zu>\n", mp_call_item(call));
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(speak, int, int);

/* Item 100 is killed. */
static mp_status speak_or_fall(const int *in, int *out, mp_call *call)
{
    if (mp_call_item(call) == 100)
        raise(SIGKILL);
    return speak(in, out, call);
}
MP_TASK(speak_or_fall, int, int);

/* Item 7 leaves by exit, item 9 by _exit. */
static mp_status leave(const int *in, int *out, mp_call *call)
{
    if (mp_call_item(call) == 7)
        exit(0);
    if (mp_call_item(call) == 9)
        _exit(0);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(leave, int, int);

static mp_status close_and_read(const int *in, int *out, mp_call *call)
{
    char byte;
    *out = *in + 1;
    return read(0, &byte, 1) == 0 ? MP_OK : mp_fail(call, MP_EUSER, "standard input is not empty: %s", strerror(errno));
}
MP_TASK(close_and_read, int, int);

static int items[N], results[N];

/* Maps over 0 to N - 1; how many items have their result. */
static int map(mp_pool *pool, const mp_task *task)
{
    int good = 0;
    for (int i = 0; i < N; i++)
        items[i] = i;
    (void)mp_pool_map_task(pool, task, items, N, results, &(mp_map_options){.chunksize = 10});
    for (int i = 0; i < N; i++)
        good += results[i] == i + 1;
    return good;
}

static int run(const mp_task *task)
{
    int good = 0;
    MP_WITH_POOL (pool, .processes = 3)
        good = map(pool, task);
    return good;
}

static void say_goodbye(void)
{
    printf("<atexit>\n");
}

static int run_print(void)
{
    printf("<before>"); /* stays in the buffer, for want of a newline */
    int good = run(&mp__task_speak);
    printf("<after>");
    return good == N ? 5 : 1;
}

static int run_killed(void)
{
    return run(&mp__task_speak_or_fall) == N - 1 ? 9 : 1;
}

static int run_exit(void)
{
    atexit(say_goodbye);
    printf("<before>");
    return run(&mp__task_leave) == N - 2 ? 6 : 1;
}

/* A file of which some is in the buffer while the pool is open. */
static int run_file(const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return 1;
    fprintf(file, "<one>");
    if (run(&mp__task_leave) != N - 2)
        return 2;
    fprintf(file, "<two>");
    return fclose(file) ? 3 : 0;
}

static int still_closed(const char *which)
{
    for (const char *digit = which; *digit; digit++)
        if (fcntl(*digit - '0', F_GETFD) >= 0)
            return 0;
    return 1;
}

/* `which`: "0", "12", "012": closed before the pool is opened. What is closed stays so while a pool is open: or what this program
 * writes to standard output would go into something of the pool's. */
static int run_closed(const char *which)
{
    int code = 1;
    for (const char *digit = which; *digit; digit++)
        close(*digit - '0');
    MP_WITH_POOL (pool, .processes = 3)
        code = map(pool, &mp__task_close_and_read) != N ? 2 : still_closed(which) ? 0 : 3;
    return code ? code : still_closed(which) ? 0 : 4;
}

/* A program that ends without having freed its pool. */
static int run_unfreed(const char *how)
{
    static mp_pool *pool;
    if (mp_pool_open(&pool, .processes = 3) != MP_OK || map(pool, &mp__task_speak) != N)
        return 1;
    printf("<after>\n");
    if (!strcmp(how, "exit"))
        exit(8);
    if (!strcmp(how, "_exit")) {
        fflush(stdout);
        _exit(8);
    }
    return 8;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "", *more = argc > 2 ? argv[2] : "";
    if (!strcmp(what, "print"))
        return run_print();
    if (!strcmp(what, "killed"))
        return run_killed();
    if (!strcmp(what, "exit"))
        return run_exit();
    if (!strcmp(what, "file"))
        return run_file(more);
    if (!strcmp(what, "closed"))
        return run_closed(more);
    if (!strcmp(what, "unfreed"))
        return run_unfreed(more);
    fprintf(stderr, "usage: bystander print|killed|exit|file PATH|closed DIGITS|unfreed exit|_exit|return\n");
    return 2;
}
