/* memcpy [KIB]: so many bytes are copied once, between memory that was used before. */
#include "bench/measure.h"

int main(int argc, char **argv)
{
    size_t size = (size_t)number(argc, argv, 1, 1024) * 1024;
    size_t rounds = ((size_t)512 << 20) / size + 3;
    char *from = memory(size, 1), *to = memory(size, 1);
    double *took = memory(rounds, sizeof *took);
    for (size_t round = 0; round < rounds; round++) {
        double begin = now();
        memcpy(to, from, size);
        __asm__ volatile("" ::"r"(to) : "memory"); /* each of them is really made */
        took[round] = now() - begin;
    }
    report("copy", median(took, rounds) * 1e6, "us");
    free(from);
    free(to);
    free(took);
}
