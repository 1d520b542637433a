/* Who has launched this process, as its environment says, and whether MPI agrees. */
#ifndef MP__POOL_CLUSTER_MPI_LAUNCH_H
#define MP__POOL_CLUSTER_MPI_LAUNCH_H
#include <millpond/error.h>
#include <stdbool.h>
#include <stdio.h>

/* Of the MPI that this is built with: the build says its name, "openmpi" or "mpich"; and whether its launcher must be told to abort
 * where a rank was lost. */
#ifndef MP__MPI_NAME
#error "the build says -DMP__MPI_NAME and -DMP__MPI_ABORTS"
#endif

/* Before MPI is begun: MP_ELAUNCH where beginning it would end the process, or make it one of many that know nothing of each other. */
mp_status mp__launch_check(mp_error *error);

/* When it has begun and says that there are `size` ranks: MP_ELAUNCH if the launcher has started more. */
mp_status mp__launch_check_size(int size, mp_error *error);

/* mpirun of this MPI, which ends the job by what its processes do. Before MPI is begun, for it may write into the environment. */
bool mp__launch_is_ours(void);

/* As mp_error_set, which a plugin has not: fills in an error that is there, with a text as by printf(3). Is `status`. */
#define mp__launch_failure(error, status, ...)                                                                             \
    ((void)snprintf(mp__launch_blank((error), (status))->message, MP_MESSAGE_MAX, __VA_ARGS__), (status))

/* Nothing but a status; returns `error`. */
mp_error *mp__launch_blank(mp_error *error, mp_status status);
#endif
