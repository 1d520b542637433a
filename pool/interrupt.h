/* Ctrl-C: how it comes to pools. */
#ifndef MP__POOL_INTERRUPT_H
#define MP__POOL_INTERRUPT_H
#include <millpond/error.h>
#include <stdbool.h>

/* A pool that minds begins to be there; the first one takes SIGINT, if the program leaves it alone. MP_ESYSTEM. And it is there no
 * more; the last one gives it back. */
mp_status mp__interrupt_enter(mp_error *error);
void mp__interrupt_leave(void);

/* Gets an edge (EPOLLET) with each interruption, before mp__interrupt_count changes. The same for all pools. */
int mp__interrupt_fd(void);
/* How many there have been so far. */
unsigned mp__interrupt_count(void);

/* So many calls more (or fewer) are under way in pools that mind: with none Ctrl-C does what it does anywhere. */
void mp__interrupt_busy(int more);

#endif
