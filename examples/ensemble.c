/* An MPI program that has a pool for a while: many small jobs, some of which crash, between what its ranks compute together.
 *
 *     mpirun -n 4 ./ensemble */
#include <math.h>
#include <millpond.h>
#include <mpi.h>
#include <signal.h>
#include <stdio.h>

enum { PLACES = 10000 };

static mp_status sample(const double *place, double *value, mp_call *call)
{
    (void)call;
    if (*place >= 0.999)
        raise(SIGSEGV); /* one place is lost, and no rank */
    *value = sin(*place) * sin(*place);
    return MP_OK;
}
MP_TASK(sample, double, double);

static double mean(mp_pool *pool)
{
    static double places[PLACES], values[PLACES];
    static mp_status statuses[PLACES];
    double sum = 0;
    int good = 0;
    for (int i = 0; i < PLACES; i++)
        places[i] = (double)i / PLACES;
    (void)mp_pool_map(pool, sample, places, PLACES, values, .statuses = statuses);
    for (int i = 0; i < PLACES; i++)
        if (statuses[i] == MP_OK)
            sum += values[i], good++;
    printf("%d places, %d crashed\n", PLACES, PLACES - good);
    return sum / good;
}

int main(int argc, char **argv)
{
    int level, rank;
    double result = 0;
    mp_pool *pool;
    mp_error error;
    MPI_Comm comm = MPI_COMM_WORLD;

    mp_main_mpi(argc, argv); /* first: a process that is to be a worker is no rank */
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
    MPI_Comm_rank(comm, &rank);
    if (mp_pool_open_comm(&pool, &comm, .error = &error) != MP_OK) /* all ranks */
        return mp_perror(&error), MPI_Abort(comm, 2);
    if (pool) /* rank 0: the others have workers in the call above, until the pool is freed */
        result = mean(pool);
    mp_pool_free(&pool);
    MPI_Bcast(&result, 1, MPI_DOUBLE, 0, comm); /* and MPI goes on on all ranks */
    printf("rank %d: the mean is %.4f\n", rank, result);
    MPI_Finalize();
    return 0;
}
