/* mp_pool_open_comm: a pool over a communicator of a program that is an MPI program itself.
 *
 * Decides what each rank is for as long as the pool is open: rank 0 the root, as mp_main makes it under a launcher, with a hall and the
 * pool; the others agents. It ends with that pool, from pool.c: the hall is closed, which is the end for agents; the tunnel's end tells each
 * what came of it.
 *
 * Owns which plugin carries the pool. There is one such pool in a process, which the plugin sees to; so nothing here is guarded, and what
 * opens it runs before what ends it. What fails on rank 0 behind the plugin's agreement is every rank's status, told as the verdict. */
#include "pool/cluster/agent.h"
#include "pool/cluster/hall.h"
#include "pool/cluster/launcher.h"
#include "pool/cluster/node.h"
#include "pool/failure.h"
#include "pool/main.h"
#include "pool/pool.h"
#include <millpond/comm.h>
#include <pthread.h>
#include <unistd.h>

/* of the pool that is open */
static const mp__tunnel *carrier;

/* On rank 0, when nothing of the pool is left. */
static void leave(void)
{
    mp__hall_close();
    (void)carrier->close(mp__hall_has_lost(), MP_OK);
}

static mp_status check_options(const mp_pool_options *options, mp_error *error)
{
    if (options->kind && options->kind != MP_CLUSTER)
        return mp__failure(
            error, MP_EINVAL,
            ".kind is %d: a pool over a communicator is MP_CLUSTER, so leave it out, or open another pool with "
            "mp_pool_open",
            (int)options->kind);
    if (options->argc || options->argv)
        return mp__failure(error, MP_EINVAL, "a pool over a communicator cannot be another one: leave out .argc and .argv");
    return MP_OK;
}

static mp_status open_hall(int door, uint32_t agents, mp_error *error)
{
    if (!mp__hall_is_open())
        return mp__hall_open_door(door, agents, error);
    close(door);
    return mp__failure(
        error, MP_ERUNNING,
        "MILLPOND_CLUSTER has made this program the root of other agents: unset it, or open a pool over these "
        "with mp_pool_open(..., .kind = MP_CLUSTER)");
}

/* The options are looked at when all ranks are here: a failure is theirs, too. */
static mp_status lead(mp_pool **pool, mp_pool_options *options, int door, int size, mp_error *error)
{
    mp_status status = open_hall(door, (uint32_t)size - 1, error);
    bool opened = status == MP_OK;
    if (!status)
        status = check_options(options, error);
    options->kind = MP_CLUSTER;
    if (!status) /* which says what else is wrong with them */
        status = mp__pool_open(pool, options, &(mp__fragile){0});
    if (!status) {
        (*pool)->ended = leave;
        return MP_OK;
    }
    if (opened)
        mp__hall_close();
    (void)carrier->close(mp__hall_has_lost(), status);
    return status;
}

/* The verdict, if rank 0 could give it. */
static mp_status serve(int door, int rank, mp_start_method method, mp_error *error)
{
    int code = mp__agent_serve_door(door, rank, method);
    mp_status status = carrier->close(mp__hall_has_lost(), MP_OK);
    close(door);
    if (status == MP_ELOST || (status == MP_OK && code != 0))
        return mp__failure(error, MP_ELOST, "this rank does not hear of rank 0 any more, whose pool it was to serve");
    if (status)
        return mp__failure(error, status, "rank 0 could not open the pool: what the call says there is why");
    return mp__no_failure(error);
}

/* Executed workers hold nothing of MPI's. */
static mp_start_method method_of(const mp_pool_options *options)
{
    if (options->start_method)
        return options->start_method;
    return mp__main_arguments() ? MP_FORKSERVER : MP_FORK;
}

static mp_status open_comm(mp_pool **pool, void *comm, mp_pool_options *options, mp_error *error)
{
    const mp__tunnel *found = NULL;
    int rank, size, door;
    if (!comm)
        return mp__failure(error, MP_EINVAL, "no communicator: pass the address of an MPI_Comm");
    mp_status status = mp__launcher_get_tunnel(&found, error);
    if (!status)
        status = found->open(comm, &rank, &size, &door, error);
    if (status)
        return status;
    carrier = found;
    mp__hall_forget_losses();
    options->start_method = method_of(options);
    mp__node_mask mask = mp__node_widen(); /* for workers, and who starts them */
    if (rank)
        status = serve(door, rank, options->start_method, error);
    else
        status = lead(pool, options, door, size, error);
    mp__node_narrow(&mask);
    return status;
}

mp_status mp_pool_open_comm_with(mp_pool **pool, void *comm, const mp_pool_options *options)
{
    mp_pool_options told = options ? *options : (mp_pool_options){0};
    mp_error unwanted;
    told.error = told.error ? told.error : &unwanted;
    if (pool)
        *pool = NULL;
    int cancelling; /* as in mp_pool_open: half of it would be left */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    mp_status status = open_comm(pool, comm, &told, told.error);
    pthread_setcancelstate(cancelling, NULL);
    return status;
}
