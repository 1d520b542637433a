/* A process that serves the pools of a root on another host (or this one): what mp_main makes of a program that is told to be one. */
#ifndef MP__POOL_CLUSTER_AGENT_H
#define MP__POOL_CLUSTER_AGENT_H
#include <millpond/pool.h>

/* Serves whoever listens at HOST:PORT, or at PORT on this host (and ,wait=SECONDS: so long for one to come), until that one has gone:
 * the exit code. Blocks. */
int mp__agent_serve(const char *address);
/* The same through a door (tunnel.h), which is borrowed; workers are started like that. Again, when it has returned, is fine: it leaves
 * nothing behind. */
int mp__agent_serve_door(int door, int rank, mp_start_method method);

#endif
