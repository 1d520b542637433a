/* Where the connections between root and agents come from when a launcher has started the program. A plugin for each MPI
 * (libmillpond itself knows none) carries byte streams between the ranks of a job; above this seam a connection is a stream socket,
 * whether TCP or a tunnel is behind it.
 *
 * A *door* is a SOCK_SEQPACKET Unix socket through which connections pass: each message on it carries one descriptor (SCM_RIGHTS), a
 * connected stream socket, and four bytes, the rank at the other end. An agent (rank 1 and up) puts one end of a socketpair
 * into its door and keeps the other; the root takes the far end out of its own. What is written at one end is read at the other, in
 * order; if the other side closes, or its rank is lost, end of file follows all that had arrived. */
#ifndef MP__POOL_CLUSTER_TUNNEL_H
#define MP__POOL_CLUSTER_TUNNEL_H
#include <millpond/error.h>
#include <stdbool.h>
#include <stdint.h>

#define MP__TUNNEL_ABI 2u

typedef struct mp__tunnel {
    uint32_t abi; /* MP__TUNNEL_ABI */
    const char *name;
    /* Begins on a thread of its own, which makes every MPI call from MPI_Init_thread on. `comm`: NULL, or a pointer to an MPI_Comm of a
     * program that has initialized MPI itself; it is borrowed for this call, which duplicates it, and makes the MPI calls for that itself:
     * the thread makes those behind it. Blocks until all ranks have come. `*door` is the caller's, who may only close it. MP_ELAUNCH (or
     * what fits): `error` says what to do; nothing is left. Of the ranks of a `comm` all fail if one does that could speak to the others:
     * they get its status. A process has one at a time, and only one ever that has no `comm`. */
    mp_status (*open)(void *comm, int *rank, int *size, int *door, mp_error *error);
    /* Ends it: all streams are drained first, and a `comm`'s duplicate is freed. `lost`: a rank has been lost, so nobody calls MPI_Finalize,
     * nor is anything freed. `verdict` is rank 0's, what came of it all: that is returned on each rank, or MP_ELOST if one was lost. */
    mp_status (*close)(bool lost, mp_status verdict);
} mp__tunnel;

/* What a plugin exports. */
extern const mp__tunnel mp__tunnel_plugin;

#endif
