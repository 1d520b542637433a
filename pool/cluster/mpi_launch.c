/* Who has launched this process, and whether MPI agrees.
 *
 * A program that is started by the launcher of another MPI than its own finds itself alone: MPI says one rank, in each of N processes,
 * and each would compute everything. The environment knows better, and is asked first. Reads it only; keeps nothing; any thread. */
#include "pool/cluster/mpi_launch.h"
#include <stdlib.h>
#include <string.h>

mp_error *mp__launch_blank(mp_error *error, mp_status status)
{
    *error = (mp_error){.status = status, .item = MP_NO_ITEM, .worker = MP_NO_WORKER, .exit_code = -1};
    return error;
}

static int number_of(const char *name)
{
    const char *text = getenv(name);
    return text ? (int)strtol(text, NULL, 10) : 0;
}

static bool is_set(const char *name)
{
    return getenv(name) != NULL;
}

/* How many processes a launcher has started with this one; 0: none has. The innermost is asked first: mpirun within a Slurm job. */
static int launched_size(const char **launcher)
{
    if (is_set("OMPI_COMM_WORLD_SIZE")) {
        *launcher = "mpirun of Open MPI";
        return number_of("OMPI_COMM_WORLD_SIZE");
    }
    if (is_set("PMI_SIZE") && !is_set("SLURM_STEP_ID")) {
        *launcher = "mpirun of MPICH";
        return number_of("PMI_SIZE");
    }
    *launcher = "srun";
    return number_of(is_set("PMI_SIZE") ? "PMI_SIZE" : "SLURM_STEP_NUM_TASKS");
}

static const char *advice(void)
{
    if (strcmp(MP__MPI_NAME, "openmpi") == 0)
        return "start it with Open MPI's mpirun (mpirun.openmpi) or with srun --mpi=pmix, or set MILLPOND_MPI=mpich";
    return "start it with MPICH's mpirun (mpirun.mpich) or with srun --mpi=pmi2, or set MILLPOND_MPI=openmpi";
}

/* Open MPI ends the process itself where srun has started it without PMIx. */
mp_status mp__launch_check(mp_error *error)
{
    bool introduced = is_set("PMIX_RANK") || is_set("PMI_RANK") || is_set("OMPI_COMM_WORLD_SIZE");
    int tasks = number_of("SLURM_STEP_NUM_TASKS");
    if (introduced || tasks <= 1)
        return MP_OK;
    return mp__launch_failure(error, MP_ELAUNCH, "srun has started %d processes that do not know each other: %s", tasks,
                              advice());
}

mp_status mp__launch_check_size(int size, mp_error *error)
{
    const char *launcher;
    int launched = launched_size(&launcher);
    if (size > 1 || launched <= 1)
        return MP_OK;
    return mp__launch_failure(error, MP_ELAUNCH, "%s has started %d processes, but to %s each of them is alone: %s",
                              launcher, launched, MP__MPI_NAME, advice());
}

bool mp__launch_is_ours(void)
{
    return is_set("OMPI_COMM_WORLD_SIZE") || (is_set("PMI_RANK") && !is_set("SLURM_STEP_ID"));
}
