/* What a program's own MPI has to be for a tunnel over one of its communicators.
 *
 * Decides by asking MPI, in the order in which asking is allowed: which library it is and whether it has begun may be asked always, the rest
 * only then. Everything that one rank finds wrong is told to the others, who would wait for it in MPI_Comm_dup else, if this rank may say
 * anything: below MPI_THREAD_SERIALIZED that is the main thread's alone. Keeps nothing; no lock. */
#include "pool/cluster/mpi_comm.h"
#include "pool/cluster/mpi_launch.h"
#include <string.h>

mp_status mp__comm_failure(const char *what, int code, mp_error *error)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return mp__launch_failure(error, MP_ELAUNCH, "%s failed: %.300s", what, text);
}

/* Where the program has loaded one MPI and this was built with another, the functions are that one's, and the handles mean nothing to it. */
static mp_status check_library(mp_error *error)
{
    enum { TEXT = 8192 }; /* MPICH's; this one's MPI_MAX_LIBRARY_VERSION_STRING may be shorter than what the other writes */
    char text[TEXT] = "";
    int length = 0;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, "\n")] = 0;
    bool is_openmpi = strstr(text, "Open MPI") != NULL, wants_openmpi = strcmp(MP__MPI_NAME, "openmpi") == 0;
    if (is_openmpi == wants_openmpi)
        return MP_OK;
    return mp__launch_failure(error, MP_ELAUNCH,
                              "MILLPOND_MPI or the launcher says %s, but the program's MPI is '%.60s': unset MILLPOND_MPI, "
                              "or name that one's plugin there",
                              MP__MPI_NAME, text);
}

static mp_status check_begun(mp_error *error)
{
    int begun = 0, ended = 0;
    MPI_Initialized(&begun);
    MPI_Finalized(&ended);
    if (begun && !ended)
        return MP_OK;
    return ended ? mp__launch_failure(error, MP_ELAUNCH, "MPI has been finalized: open the pool before that")
                 : mp__launch_failure(error, MP_ELAUNCH,
                                      "MPI is not initialized: call MPI_Init_thread(..., MPI_THREAD_MULTIPLE, ...) first");
}

static mp_status check_kind(MPI_Comm comm, mp_error *error)
{
    int between = 0;
    if (comm == MPI_COMM_NULL)
        return mp__launch_failure(error, MP_EINVAL, "the communicator is MPI_COMM_NULL: this process is none of its ranks");
    MPI_Comm_test_inter(comm, &between);
    if (!between)
        return MP_OK;
    return mp__launch_failure(
        error, MP_EINVAL, "this is an intercommunicator, which has no rank 0 of its own: use MPI_Intercomm_merge first");
}

mp_status mp__comm_check(MPI_Comm comm, bool *speaks, bool *many, mp_error *error)
{
    int level = 0, is_main = 0;
    *speaks = *many = false;
    mp_status status = check_library(error);
    if (!status)
        status = check_begun(error);
    if (!status)
        status = check_kind(comm, error);
    if (status)
        return status;
    MPI_Query_thread(&level);
    MPI_Is_thread_main(&is_main);
    *many = level >= MPI_THREAD_MULTIPLE;
    *speaks = level >= MPI_THREAD_SERIALIZED || is_main;
    if (level >= MPI_THREAD_SERIALIZED)
        return MP_OK;
    return mp__launch_failure(error, MP_ELAUNCH,
                              "MPI allows calls by the main thread only: initialize it with "
                              "MPI_Init_thread(..., MPI_THREAD_MULTIPLE, ...)");
}

mp_status mp__comm_agree(MPI_Comm comm, mp_status own, mp_error *error)
{
    int mine = (int)own, worst = (int)own;
    int code = MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, comm);
    if (own)
        return own;
    if (code != MPI_SUCCESS)
        return mp__comm_failure("MPI_Allreduce", code, error);
    if (worst == MP_OK)
        return MP_OK;
    return mp__launch_failure(error, (mp_status)worst,
                              "another rank of the communicator cannot: what the call says there is why");
}
