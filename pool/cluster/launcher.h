/* What the environment makes of a program in mp_main: a root, an agent, or neither. And which plugin is for it. */
#ifndef MP__POOL_CLUSTER_LAUNCHER_H
#define MP__POOL_CLUSTER_LAUNCHER_H
#include "pool/cluster/tunnel.h"

/* Once. Does not return where this process is to be an agent. */
void mp__launcher_in_main(void);
/* The same for a program that is an MPI program itself: it is neither. */
void mp__launcher_in_main_mpi(void);

/* The plugin for the MPI that the program has loaded, or else for the launcher; MILLPOND_MPI overrules both. MP_ELAUNCH: there is none;
 * MP_ESYSTEM, MP_EMISMATCH: it cannot be used. */
mp_status mp__launcher_get_tunnel(const mp__tunnel **tunnel, mp_error *error);

#endif
