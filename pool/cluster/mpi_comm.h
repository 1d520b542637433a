/* A communicator of a program that has initialized MPI itself: whether a tunnel over it can be, and whether all ranks are of that mind. On
 * the thread that calls, which is the program's. */
#ifndef MP__POOL_CLUSTER_MPI_COMM_H
#define MP__POOL_CLUSTER_MPI_COMM_H
#include <millpond/error.h>
#include <mpi.h>
#include <stdbool.h>

/* What this rank can know: MP_ELAUNCH, there is no MPI, or another one, or it allows calls by one thread only; MP_EINVAL, that is nothing
 * that has a rank 0. `*speaks`: this thread may call what all ranks call. `*many`: any thread, at any time. */
mp_status mp__comm_check(MPI_Comm comm, bool *speaks, bool *many, mp_error *error);

/* All ranks come here with a status of their own; MP_OK if that is everybody's. `error` is left alone where `own` is not MP_OK. */
mp_status mp__comm_agree(MPI_Comm comm, mp_status own, mp_error *error);

/* MP_ELAUNCH, with what MPI says of this code. */
mp_status mp__comm_failure(const char *what, int code, mp_error *error);
#endif
