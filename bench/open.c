/* open [fork|forkserver|spawn [MIB]]: from opening a pool to its first result, in a program that has so much memory. */
#include "bench/pool.h"
#include <sys/mman.h>

enum { ROUNDS = 9 };

static mp_start_method method_of(const char *name)
{
    return strcmp(name, "forkserver") == 0 ? MP_FORKSERVER : strcmp(name, "spawn") == 0 ? MP_SPAWN : MP_FORK;
}

/* Memory in small pages, each of which a fork has to note down. */
static void grow(size_t size)
{
    void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        give_up("mmap");
    (void)madvise(block, size, MADV_NOHUGEPAGE);
    memset(block, 1, size);
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    mp_start_method method = method_of(word(argc, argv, 1, "fork"));
    size_t mib = (size_t)number(argc, argv, 2, 0);
    if (mib > 0)
        grow(mib << 20);
    double opened[ROUNDS], ended[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        int64_t one = 1, out;
        mp_pool *pool;
        mp_error error;
        double begin = now();
        must(mp_pool_open(&pool, .processes = WORKERS, .start_method = method, .error = &error), &error);
        must(mp_pool_apply(pool, nothing, &one, &out, .error = &error), &error);
        opened[round] = now() - begin;
        begin = now();
        (void)mp_pool_close(pool);
        (void)mp_pool_join(pool);
        mp_pool_free(&pool);
        ended[round] = now() - begin;
    }
    report("first-result", median(opened, ROUNDS) * 1e6, "us");
    report("close-join-free", median(ended, ROUNDS) * 1e6, "us");
}
