/* A worker that has turned against its pool: it writes what it likes into its results and into the memory that it shares. */
#ifndef TESTS_FAULT_HOSTILE_H
#define TESTS_FAULT_HOSTILE_H
#include <stdint.h>

/* Maps over pools of two workers, in each of which one item turns hostile by the next seed, from `first`, `rounds` of them. */
void hostile_items(uint64_t first, uint64_t rounds);

/* The same, where what workers print is captured. */
void hostile_printers(uint64_t first, uint64_t rounds);

/* Pools whose first worker is hostile before it is ready: in its initializer. */
void hostile_openings(uint64_t first, uint64_t rounds);

/* MP_HOSTILE_SEED, or 1. And MP_HOSTILE_ROUNDS, or so many; 0: without end. */
uint64_t hostile_seed(void);
uint64_t hostile_rounds(uint64_t otherwise);
#endif
