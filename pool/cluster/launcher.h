/* What the environment makes of a program in mp_main: a root, an agent, or neither. */
#ifndef MP__POOL_CLUSTER_LAUNCHER_H
#define MP__POOL_CLUSTER_LAUNCHER_H
#include <millpond/error.h>

/* Once. Does not return where this process is to be an agent. */
void mp__launcher_in_main(void);

#endif
