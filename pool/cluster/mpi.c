/* The plugin for one MPI: a tunnel (tunnel.h) whose bytes travel as MPI messages. Built once with each MPI's compiler.
 *
 * Decides when MPI begins and ends, and how long its thread sleeps. Owns that thread, "mp-mpi", which makes every MPI call; who opens
 * and closes gives it orders and waits for its state. The lock guards state and order; no MPI call is made under it.
 *
 * MPI has no descriptor that one could wait for, and its calls that wait spin. So nothing here waits in MPI: the thread looks (a
 * *turn*), and between two turns sleeps in ppoll, where sockets wake it at once. How long: nothing for 100 us after something has
 * happened; then a sixteenth of the time that nothing has, which makes no answer that much later than it is anyway (a quarter, where hardly
 * anything has happened lately: or an idle rank would look as often because of its PINGs as for all else); and at most 200 us
 * while anything is under way, 1 ms for as long as much has happened lately (10 ms for each turn that moved something, a second in
 * all), else 10 ms. A ping that is answered every second is not much.
 *
 * Happy path: open, turns; close: what was written is sent, BYE to and from everybody, MPI_Finalize.
 * A rank was lost: MPI_Finalize would wait for it, so nobody calls it. What MPI's launcher makes of a process that leaves without it
 * is another matter: see leave(). Nothing here waits without a bound once it is closing. */
#include "pool/cluster/mpi_launch.h"
#include "pool/cluster/mpi_streams.h"
#include "pool/cluster/tunnel.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define US 1000ull
#define MS (1000 * US)
#define SECOND (1000 * MS)

enum {
    ROUNDS = 2, /* MPI may need several looks for one message: turns before the next sleep */
    FEW = 4,    /* turns that moved something lately: a PING and what comes with it are no more */
    SLACK_NS = 5000,
};
static const uint64_t SPIN = 100 * US, DRAIN = 10 * SECOND, DRAIN_LOST = 1 * SECOND, FINALIZE = 5 * SECOND;

/* CLOSED -> OPENING -> OPEN -> ENDING -> ENDED -> CLOSED; OPENING -> REFUSED -> CLOSED. The thread makes the steps out of OPENING, OPEN
 * and ENDING. */
typedef enum tunnel_state { CLOSED, OPENING, OPEN, REFUSED, ENDING, ENDED } tunnel_state;
typedef enum tunnel_order { CARRY, CLOSE, CLOSE_LOST, ABORT } tunnel_order;

static struct tunnel {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* `state` or `order` */
    /* guarded by lock */
    tunnel_state state;
    tunnel_order order;
    int exit_code; /* of ABORT */
    /* set before the thread begins, or by it before it leaves OPENING */
    pthread_t thread;
    MPI_Comm given; /* MPI_COMM_NULL: the world's */
    bool launched;  /* by this MPI's own launcher, which watches over its processes */
    bool ours;      /* MPI was initialized here */
    bool finalized; /* and cannot be again */
    int door, wake;
    mp_error error;
    /* the thread's own */
    MPI_Comm comm;
    mp__streams streams;
} tunnel = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void state_set(tunnel_state state)
{
    pthread_mutex_lock(&tunnel.lock);
    tunnel.state = state;
    pthread_cond_broadcast(&tunnel.changed);
    pthread_mutex_unlock(&tunnel.lock);
}

static tunnel_order order_get(void)
{
    pthread_mutex_lock(&tunnel.lock);
    tunnel_order order = tunnel.order;
    pthread_mutex_unlock(&tunnel.lock);
    return order;
}

static void order_give(tunnel_order order, int exit_code)
{
    uint64_t one = 1;
    pthread_mutex_lock(&tunnel.lock);
    tunnel.order = order;
    tunnel.exit_code = exit_code;
    pthread_cond_broadcast(&tunnel.changed);
    pthread_mutex_unlock(&tunnel.lock);
    ssize_t told = write(tunnel.wake, &one, sizeof one);
    (void)told; /* it counts far */
}

/* ---- beginning, on the thread ---- */

static mp_status refuse_mpi(const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return mp__launch_failure(&tunnel.error, MP_ELAUNCH, "%s failed: %.300s", what, text);
}

/* A program that has initialized MPI itself keeps to what it asked for: from SERIALIZED on another thread may call, and below MULTIPLE
 * not while the program does, which it then has to promise. */
static mp_status check_level(int level)
{
    if (level >= (tunnel.ours ? MPI_THREAD_FUNNELED : MPI_THREAD_SERIALIZED))
        return MP_OK;
    return mp__launch_failure(&tunnel.error, MP_ELAUNCH,
                              "MPI allows calls by the main thread only: initialize it with "
                              "MPI_Init_thread(..., MPI_THREAD_MULTIPLE, ...)");
}

static mp_status begin_mpi(void)
{
    int initialized = 0, level = 0, code = MPI_SUCCESS;
    MPI_Initialized(&initialized);
    tunnel.ours = !initialized;
    if (tunnel.ours)
        code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    else
        MPI_Query_thread(&level);
    if (code != MPI_SUCCESS)
        return refuse_mpi("MPI_Init_thread", code);
    if (tunnel.ours) {
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    }
    return check_level(level);
}

/* Under srun, Open MPI 4.1 lets some ranks out of MPI_Init while others are in it, where the first message that comes by TCP makes them
 * call a function that is not there yet (1 job of 16). Nothing tells when they are through, so the first message waits a little. */
static void let_others_begin(void)
{
    struct timespec time = {.tv_nsec = (long)(300 * MS)};
    if (tunnel.ours && !tunnel.launched && MP__MPI_ABORTS)
        (void)nanosleep(&time, NULL);
}

/* All ranks come here, or wait for those that have not. */
static mp_status begin_comm(void)
{
    MPI_Comm from = tunnel.given == MPI_COMM_NULL ? MPI_COMM_WORLD : tunnel.given;
    int size = 0, code = MPI_Comm_size(from, &size);
    if (code != MPI_SUCCESS)
        return refuse_mpi("MPI_Comm_size", code);
    if (tunnel.given == MPI_COMM_NULL && mp__launch_check_size(size, &tunnel.error) != MP_OK)
        return tunnel.error.status;
    if (size > 1)
        let_others_begin();
    if ((code = MPI_Comm_dup(from, &tunnel.comm)) != MPI_SUCCESS)
        return refuse_mpi("MPI_Comm_dup", code);
    MPI_Comm_set_errhandler(tunnel.comm, MPI_ERRORS_RETURN);
    return MP_OK;
}

static void end_mpi(void)
{
    if (tunnel.comm != MPI_COMM_NULL && !tunnel.ours)
        MPI_Comm_free(&tunnel.comm);
    if (tunnel.ours)
        MPI_Finalize();
    tunnel.finalized = tunnel.ours;
}

static mp_status begin(void)
{
    tunnel.comm = MPI_COMM_NULL;
    mp_status status = begin_mpi();
    if (status == MP_OK)
        status = begin_comm();
    if (status == MP_OK && !mp__streams_init(&tunnel.streams, tunnel.comm, tunnel.door, tunnel.wake))
        status = mp__launch_failure(&tunnel.error, MP_ESYSTEM, "cannot carry streams: %s", strerror(errno));
    if (status != MP_OK)
        end_mpi();
    return status;
}

/* ---- carrying ---- */

/* When something moved last, and until when it counts as much. */
typedef struct activity {
    uint64_t last, lively;
} activity;

static void activity_note(activity *of, uint64_t now)
{
    uint64_t lively = (of->lively > now ? of->lively : now) + 10 * MS;
    of->last = now;
    of->lively = lively < now + SECOND ? lively : now + SECOND;
}

static uint64_t nap_of(const activity *of, uint64_t now)
{
    uint64_t idle = now - of->last, most = now < of->lively ? MS : 10 * MS;
    uint64_t part = of->lively > of->last + FEW * 10 * MS ? idle / 16 : idle / 4;
    if (idle < SECOND && mp__streams_awaits(&tunnel.streams))
        most = 200 * US;
    return idle < SPIN ? 0 : part < most ? part : most;
}

static void rest(uint64_t nap)
{
    struct pollfd sockets = {.fd = tunnel.streams.epoll, .events = POLLIN};
    struct timespec time = {.tv_sec = 0, .tv_nsec = (long)nap};
    if (nap == 0)
        sched_yield(); /* somebody may have been woken by what we did */
    else
        (void)ppoll(&sockets, 1, &time, NULL);
}

/* Turns until `done`, or until it has been `limit` (0: for ever). */
static void carry(bool (*done)(void), uint64_t limit)
{
    uint64_t start = now_ns();
    activity recent = {.last = start};
    for (unsigned still = 0; !done();) {
        bool moved = mp__streams_turn(&tunnel.streams);
        uint64_t now = now_ns();
        still = moved ? 0 : still + 1;
        if (moved)
            activity_note(&recent, now);
        else if (still % ROUNDS == 0 || now - recent.last < SPIN)
            rest(nap_of(&recent, now));
        if (limit && now - start > limit)
            return;
    }
}

static bool ordered(void)
{
    return order_get() != CARRY;
}

static bool all_closed(void)
{
    return mp__streams_closed(&tunnel.streams);
}

/* ---- end, on the thread ---- */

/* Aborted by the thread that has made all other calls. Nothing else of MPI is called any more. */
static void wait_for_abort(void)
{
    pthread_mutex_lock(&tunnel.lock);
    while (tunnel.order != ABORT)
        pthread_cond_wait(&tunnel.changed, &tunnel.lock);
    int exit_code = tunnel.exit_code;
    pthread_mutex_unlock(&tunnel.lock);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}

static void *tunnel_run(void *unused)
{
    (void)unused;
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS);
    if (begin() != MP_OK) {
        state_set(REFUSED);
        return NULL;
    }
    state_set(OPEN);
    carry(ordered, 0);
    bool lost = order_get() == CLOSE_LOST;
    mp__streams_close(&tunnel.streams);
    carry(all_closed, lost ? DRAIN_LOST : DRAIN);
    lost |= tunnel.streams.mail.troubled || !all_closed();
    mp__streams_fini(&tunnel.streams);
    state_set(ENDING);
    if (!lost)
        end_mpi();
    bool left = lost && tunnel.ours;
    state_set(ENDED);
    if (left)
        wait_for_abort();
    return NULL;
}

/* ---- what the library calls ---- */

/* The process ends, MPI has not been finalized, and must not be: what else is to be done at exit of MPI's own would wait for ranks that
 * are lost. Open MPI's launcher takes the end of a root for an abnormal one, or waits for a host that is gone; when told to abort, it
 * ends what is left, and itself, with this exit code. Others take the code from the process. */
static void leave(int exit_code, void *root)
{
    struct timespec most = {.tv_sec = 2};
    fflush(NULL);
    if (root && tunnel.launched && MP__MPI_ABORTS) {
        order_give(ABORT, exit_code);
        (void)nanosleep(&most, NULL);
    }
    _exit(exit_code);
}

static bool descriptors_make(int *door)
{
    int doors[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, doors) != 0)
        return false;
    tunnel.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    tunnel.door = doors[0];
    *door = doors[1];
    if (tunnel.wake >= 0)
        return true;
    close(doors[0]);
    close(doors[1]);
    return false;
}

static void descriptors_close(void)
{
    close(tunnel.door);
    close(tunnel.wake);
}

/* With all signals blocked: they are the program's. */
static bool thread_start(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&tunnel.thread, NULL, tunnel_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed)
        (void)pthread_setname_np(tunnel.thread, "mp-mpi");
    errno = failed;
    return !failed;
}

/* The state that it has come to: another one, unless `limit` (0: none) is over. */
static tunnel_state state_await(tunnel_state while_it_is, uint64_t limit)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(limit / SECOND);
    int failed = 0;
    pthread_mutex_lock(&tunnel.lock);
    while (tunnel.state == while_it_is && !failed)
        failed = limit ? pthread_cond_timedwait(&tunnel.changed, &tunnel.lock, &until)
                       : pthread_cond_wait(&tunnel.changed, &tunnel.lock);
    tunnel_state now = tunnel.state;
    pthread_mutex_unlock(&tunnel.lock);
    return now;
}

static mp_status tunnel_open(void *comm, int *rank, int *size, int *door, mp_error *error)
{
    mp_error unwanted;
    *rank = *size = 0;
    *door = -1;
    error = error ? error : &unwanted;
    if (tunnel.state != CLOSED || tunnel.finalized)
        return mp__launch_failure(error, MP_EINVAL, "MPI begins once in a process, and has begun or ended already");
    mp_status status = mp__launch_check(error);
    if (status != MP_OK)
        return status;
    int other;
    if (!descriptors_make(&other))
        return mp__launch_failure(error, MP_ESYSTEM, "no descriptors for MPI's thread: %s", strerror(errno));
    tunnel.given = comm ? *(MPI_Comm *)comm : MPI_COMM_NULL;
    tunnel.launched = mp__launch_is_ours();
    tunnel.order = CARRY;
    tunnel.state = OPENING;
    bool started = thread_start();
    if (!started)
        status = mp__launch_failure(error, MP_ESYSTEM, "cannot start MPI's thread: %s", strerror(errno));
    else if (state_await(OPENING, 0) == REFUSED)
        status = (*error = tunnel.error).status;
    if (status == MP_OK) {
        *rank = tunnel.streams.mail.rank;
        *size = tunnel.streams.mail.size;
        *door = other;
        return MP_OK;
    }
    if (started)
        pthread_join(tunnel.thread, NULL);
    tunnel.state = CLOSED;
    descriptors_close();
    close(other);
    return status;
}

static void tunnel_close(bool lost)
{
    if (tunnel.state != OPEN)
        return;
    bool root = tunnel.streams.mail.rank == 0;
    order_give(lost ? CLOSE_LOST : CLOSE, 0);
    (void)state_await(OPEN, 2 * DRAIN);
    /* With everybody in MPI_Finalize it takes moments, but MPICH's can wait for ever there: one rank is in its last barrier, where it is
     * deaf, and another needs an answer of it to end their connection. Then the root leaves first: its exit code counts, and where an
     * agent does, the launcher may end the root. */
    if (state_await(ENDING, root ? FINALIZE : 3 * FINALIZE) == ENDED && (tunnel.finalized || !tunnel.ours)) {
        pthread_join(tunnel.thread, NULL);
        descriptors_close();
        tunnel.state = CLOSED;
    } else {
        on_exit(leave, root ? &tunnel : NULL); /* called next where this is called at exit itself */
    }
}

__attribute__((visibility("default"))) const mp__tunnel mp__tunnel_plugin = {
    .abi = MP__TUNNEL_ABI,
    .name = MP__MPI_NAME,
    .open = tunnel_open,
    .close = tunnel_close,
};
