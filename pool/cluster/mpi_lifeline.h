/* How a rank hears that the root has gone, and the root that an agent has: a TCP connection from each agent to the root, over which nothing
 * is said. MPI does not tell, but the system does, at once, of the end of a process and of its connections, whatever that was doing; and one
 * that is stopped, or in a debugger, keeps them. */
#ifndef MP__POOL_CLUSTER_MPI_LIFELINE_H
#define MP__POOL_CLUSTER_MPI_LIFELINE_H
#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/* One thread's, but for what says otherwise. May be moved. */
typedef struct mp__lifeline {
    int epoll; /* readable: there is something to do for mp__lifeline_turn; -1: there is no lifeline, which is no error */
    int rank, size;
    uint64_t asked, answered; /* what an agent says first, and the root then */
    int listener;             /* root */
    bool looks_away;          /* there are no descriptors for who else comes */
    struct mp__lifeline_end *ends;
    uint32_t places;
    int held; /* agent: the connection, as soon as the root has proved to be there */
} mp__lifeline;

/* All ranks of `comm` come here. */
void mp__lifeline_begin(mp__lifeline *line, MPI_Comm comm);
void mp__lifeline_fini(mp__lifeline *line);

/* Never blocks. Calls `cut` for each rank that has gone since, once for each. */
void mp__lifeline_turn(mp__lifeline *line, void (*cut)(void *of, int rank), void *of);

/* Agent, any thread while none is in a turn: the root has gone. */
bool mp__lifeline_is_cut(const mp__lifeline *line);
#endif
