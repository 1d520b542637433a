/* How a rank hears that the root has gone, and the root that an agent has: a TCP connection from each agent to the root. MPI does not tell,
 * but the system does, at once, of the end of a process and of its connections, whatever that was doing; and one that is stopped, or in a
 * debugger, keeps them. And how a rank hears that a message is on its way to it: MPI has no descriptor that one could wait for, but here is
 * one, on which whoever has sent something to a rank that may be asleep rings. */
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
    int *held;   /* by rank: the connection, as soon as both sides have proved to be there; -1: none */
    int missing; /* ranks that may send something and hold none */
    int met;     /* those that have come to mp__lifeline_meet */
} mp__lifeline;

/* All ranks of `comm` come here. */
void mp__lifeline_begin(mp__lifeline *line, MPI_Comm comm);
void mp__lifeline_fini(mp__lifeline *line);

/* Never blocks. Calls `cut` for each rank that has gone since, once for each. */
void mp__lifeline_turn(mp__lifeline *line, void (*cut)(void *of, int rank), void *of);

/* Whoever may send something to this rank can ring: it need not look. */
bool mp__lifeline_is_whole(const mp__lifeline *line);

/* At this rank, if it has a connection. Never blocks. */
void mp__lifeline_ring(const mp__lifeline *line, int rank);

/* All ranks have come here when it returns, or `ms` are over, or not all have connections. False: one has gone. Makes no MPI call. */
bool mp__lifeline_meet(mp__lifeline *line, int ms);

/* Agent, any thread while none is in a turn: the root has gone. */
bool mp__lifeline_is_cut(const mp__lifeline *line);
/* The same, or `ms` are over, or there is no connection that could tell, when it returns. */
void mp__lifeline_await_cut(const mp__lifeline *line, int ms);
#endif
