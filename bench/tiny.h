/* A function that takes about 10 ns: what thread_map and its peers run ten million times. */
#ifndef BENCH_TINY_H
#define BENCH_TINY_H
#include <stdint.h>

static inline int64_t tiny(int64_t in)
{
    uint64_t x = (uint64_t)in;
    for (int i = 0; i < 16; i++)
        x = x * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)x;
}
#endif
