/* libuv submit|round-trip [ITEMS]: tasks that do nothing on libuv's pool of two threads, from its loop. */
#include "bench/measure.h"
#include <uv.h>

enum { ROUNDS = 3 };

static void nothing(uv_work_t *work)
{
    (void)work;
}

static void after(uv_work_t *work, int status)
{
    (void)work, (void)status;
}

static double submit(uv_loop_t *loop, uv_work_t *works, int n)
{
    double begin = now();
    for (int i = 0; i < n; i++)
        (void)uv_queue_work(loop, &works[i], nothing, after);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    return now() - begin;
}

int main(int argc, char **argv)
{
    int alone = strcmp(word(argc, argv, 1, "submit"), "round-trip") == 0;
    int n = (int)number(argc, argv, 2, alone ? 10000 : 200000);
    int count = alone ? n : ROUNDS, each = alone ? 1 : n;
    double *took = memory((size_t)count, sizeof *took);
    uv_work_t *works = memory((size_t)each, sizeof *works);
    (void)setenv("UV_THREADPOOL_SIZE", "2", 1);
    uv_loop_t *loop = uv_default_loop();
    for (int k = 0; k < count; k++)
        took[k] = submit(loop, works, each);
    report("item", median(took, (size_t)count) / each * 1e9, "ns");
    report_usage((double)count * each);
    free(works);
    free(took);
}
