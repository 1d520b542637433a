// tbb submit|round-trip [ITEMS]: tasks that do nothing, enqueued in a oneTBB arena of two threads beside the caller's.
#include "bench/measure.h"
#include <atomic>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <semaphore.h>
#include <vector>

enum { ROUNDS = 3 };

static std::atomic<long> left;
static sem_t all_done;

static double submit(tbb::task_arena &arena, long n)
{
    double begin = now();
    left = n;
    for (long i = 0; i < n; i++)
        arena.enqueue([] {
            if (--left == 0)
                sem_post(&all_done);
        });
    sem_wait(&all_done);
    return now() - begin;
}

int main(int argc, char **argv)
{
    bool alone = strcmp(word(argc, argv, 1, "submit"), "round-trip") == 0;
    long n = number(argc, argv, 2, alone ? 10000 : 200000);
    long count = alone ? n : (long)ROUNDS, each = alone ? 1 : n;
    sem_init(&all_done, 0, 0);
    // One more than workers: the caller counts too, though it runs nothing.
    tbb::global_control most(tbb::global_control::max_allowed_parallelism, WORKERS + 1);
    tbb::task_arena arena(WORKERS, 0);
    std::vector<double> took;
    for (long k = 0; k < count; k++)
        took.push_back(submit(arena, each));
    report("item", median(took.data(), took.size()) / (double)each * 1e9, "ns");
    report_usage((double)(count * each));
}
