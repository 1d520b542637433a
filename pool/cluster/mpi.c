/* The plugin for one MPI: a tunnel (tunnel.h) whose bytes travel as MPI messages. Built once with each MPI's compiler.
 *
 * Decides when MPI begins and ends, and how long its thread sleeps. Owns that thread, "mp-mpi", which makes every MPI call; who opens
 * and closes gives it orders and waits for its state. The lock guards state and order; no MPI call is made under it. Over a communicator of
 * the program's, whoever opens makes the first calls, with the thread on hold: those are collective, and a failure must be everybody's.
 *
 * MPI has no descriptor that one could wait for, and its calls that wait spin. So nothing here waits in MPI: the thread looks (a
 * *turn*), and between two turns sleeps in ppoll, where sockets wake it at once. How long: nothing for 100 us after something has
 * happened; then a sixteenth of the time that nothing has, which makes no answer that much later than it is anyway (a quarter, where hardly
 * anything has happened lately: or an idle rank would look as often because of its PINGs as for all else); and at most 200 us
 * while anything is under way, 1 ms for as long as much has happened lately (10 ms for each turn that moved something, a second in
 * all), else 10 ms. A ping that is answered every second is not much. Where every rank that may send something has a lifeline
 * (mpi_lifeline.h), it rings on that what this one might sleep through: then a nap is as long as it has been quiet, up to 100 ms.
 *
 * Happy path: open, turns; close: what was written is sent, BYE to and from everybody, MPI_Finalize. That is begun when all ranks have ended
 * their turns: in MPICH's, over TCP, a rank asks its peers a last time, and may go deaf as soon as they have answered. If one answers that has
 * not asked yet, its own question finds nobody (5 jobs of 12 hung so). Who has not begun must not answer: nobody calls MPI in between.
 * A rank was lost: MPI_Finalize would wait for it, so nobody calls it. What MPI's launcher makes of a process that leaves without it
 * is another matter: see leave(). Nothing here waits without a bound once it is closing. */
#include "pool/clock.h"
#include "pool/cluster/mpi_comm.h"
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
    MEET_MS = 5000,
};
static const uint64_t SPIN = 100 * US, NAP_RUNG = 100 * MS, DRAIN = 10 * SECOND, DRAIN_LOST = 1 * SECOND,
                      FINALIZE = 5 * SECOND;

/* CLOSED -> OPENING -> OPEN -> ENDING -> ENDED -> CLOSED; OPENING -> REFUSED -> CLOSED; OPENING -> CLOSED before there is a thread. The
 * thread makes the steps out of OPENING, OPEN and ENDING. */
typedef enum tunnel_state { CLOSED, OPENING, OPEN, REFUSED, ENDING, ENDED } tunnel_state;
typedef enum tunnel_order { HOLD, GIVE_UP, CARRY, CLOSE, CLOSE_LOST, ABORT } tunnel_order;

static struct tunnel {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* `state` or `order` */
    /* guarded by lock */
    tunnel_state state;
    tunnel_order order;
    int number; /* of ABORT: the exit code; of CLOSE: the verdict */
    /* set before the thread begins, or by it before it leaves OPENING */
    pthread_t thread;
    MPI_Comm comm;  /* a duplicate; of the program's communicator it is there before the thread begins */
    bool given;     /* that is the program's */
    bool launched;  /* by this MPI's own launcher, which watches over its processes */
    bool ours;      /* MPI was initialized here */
    bool finalized; /* and cannot be again */
    int door, wake;
    mp_error error;
    mp__lifeline line; /* from OPENING to CLOSED; the thread's own, but while it is ENDING */
    /* the thread's own, from CARRY to ENDED */
    mp__streams streams;
    mp_status outcome;
} tunnel = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void state_set(tunnel_state state)
{
    pthread_mutex_lock(&tunnel.lock);
    tunnel.state = state;
    pthread_cond_broadcast(&tunnel.changed);
    pthread_mutex_unlock(&tunnel.lock);
}

static tunnel_order order_get(int *number)
{
    pthread_mutex_lock(&tunnel.lock);
    tunnel_order order = tunnel.order;
    *number = tunnel.number;
    pthread_mutex_unlock(&tunnel.lock);
    return order;
}

static void order_give(tunnel_order order, int number)
{
    uint64_t one = 1;
    pthread_mutex_lock(&tunnel.lock);
    tunnel.order = order;
    tunnel.number = number;
    pthread_cond_broadcast(&tunnel.changed);
    pthread_mutex_unlock(&tunnel.lock);
    ssize_t told = write(tunnel.wake, &one, sizeof one);
    (void)told; /* it counts far */
}

/* ---- beginning, on the thread ---- */

/* False: whoever opens has given it up. */
static bool may_begin(void)
{
    pthread_mutex_lock(&tunnel.lock);
    while (tunnel.order == HOLD)
        pthread_cond_wait(&tunnel.changed, &tunnel.lock);
    bool may = tunnel.order != GIVE_UP;
    pthread_mutex_unlock(&tunnel.lock);
    return may;
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
        return mp__comm_failure("MPI_Init_thread", code, &tunnel.error);
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
    int size = 0, code = MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (code != MPI_SUCCESS)
        return mp__comm_failure("MPI_Comm_size", code, &tunnel.error);
    if (mp__launch_check_size(size, &tunnel.error) != MP_OK)
        return tunnel.error.status;
    if (size > 1)
        let_others_begin();
    if ((code = MPI_Comm_dup(MPI_COMM_WORLD, &tunnel.comm)) != MPI_SUCCESS)
        return mp__comm_failure("MPI_Comm_dup", code, &tunnel.error);
    MPI_Comm_set_errhandler(tunnel.comm, MPI_ERRORS_RETURN);
    mp__lifeline_begin(&tunnel.line, tunnel.comm);
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

static mp_status streams_begin(MPI_Comm comm, mp_error *error)
{
    return mp__streams_init(&tunnel.streams, comm, &tunnel.line, tunnel.door, tunnel.wake)
               ? MP_OK
               : mp__launch_failure(error, MP_ESYSTEM, "cannot carry streams: %s", strerror(errno));
}

static mp_status begin(void)
{
    if (tunnel.given)
        return MP_OK;
    tunnel.comm = MPI_COMM_NULL;
    mp_status status = begin_mpi();
    if (status == MP_OK)
        status = begin_comm();
    if (status == MP_OK && (status = streams_begin(tunnel.comm, &tunnel.error)) != MP_OK)
        mp__lifeline_fini(&tunnel.line);
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
    bool awaits = idle < SECOND && mp__streams_awaits(&tunnel.streams);
    if (idle > 2 * MP__QUIET_NS && !awaits && mp__lifeline_is_whole(&tunnel.line))
        return idle < NAP_RUNG ? idle : NAP_RUNG;
    uint64_t part = of->lively > of->last + FEW * 10 * MS ? idle / 16 : idle / 4;
    if (awaits)
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
    uint64_t start = mp__now();
    activity recent = {.last = start};
    for (unsigned still = 0; !done();) {
        bool moved = mp__streams_turn(&tunnel.streams);
        uint64_t now = mp__now();
        if (tunnel.streams.orphaned && tunnel.ours)
            _exit(1); /* nobody is left to tell anything to; our fork servers see our end, and their workers theirs */
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
    int number;
    return order_get(&number) != CARRY;
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
    int exit_code = tunnel.number;
    pthread_mutex_unlock(&tunnel.lock);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}

static void *tunnel_run(void *unused)
{
    (void)unused;
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS);
    if (!may_begin() || begin() != MP_OK) {
        state_set(REFUSED);
        return NULL;
    }
    state_set(OPEN);
    carry(ordered, 0);
    int verdict;
    bool lost = order_get(&verdict) == CLOSE_LOST;
    mp__streams_close(&tunnel.streams, (uint32_t)verdict);
    carry(all_closed, lost ? DRAIN_LOST : DRAIN);
    lost |= tunnel.streams.mail.troubled || !all_closed();
    if (!lost && tunnel.ours)
        lost = !mp__lifeline_meet(&tunnel.line, MEET_MS);
    tunnel.outcome = lost ? MP_ELOST : (mp_status)tunnel.streams.verdict;
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
 * ends what is left, and itself, with this exit code. Others take the code from the process. The root leaves first, and agents a moment
 * later: srun forgets what a root has said last when all of the step has ended. */
static void leave(int exit_code, void *root)
{
    const struct timespec most = {.tv_sec = 2}, moment = {.tv_nsec = 500000000};
    fflush(NULL);
    if (root && tunnel.launched && MP__MPI_ABORTS) {
        order_give(ABORT, exit_code);
        (void)nanosleep(&most, NULL);
    }
    if (!root) {
        mp__lifeline_await_cut(&tunnel.line, (int)(3 * FINALIZE / MS));
        (void)nanosleep(&moment, NULL);
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

/* There is one at a time. */
static bool take(bool given)
{
    pthread_mutex_lock(&tunnel.lock);
    bool taken = tunnel.state == CLOSED && !tunnel.finalized;
    if (taken) {
        tunnel.state = OPENING;
        tunnel.order = HOLD;
        tunnel.given = given;
    }
    pthread_mutex_unlock(&tunnel.lock);
    return taken;
}

/* Descriptors, and the thread, on hold. */
static mp_status start(int *door, mp_error *error)
{
    if (!descriptors_make(door))
        return mp__launch_failure(error, MP_ESYSTEM, "no descriptors for MPI's thread: %s", strerror(errno));
    if (thread_start())
        return MP_OK;
    mp_status status = mp__launch_failure(error, MP_ESYSTEM, "cannot start MPI's thread: %s", strerror(errno));
    descriptors_close();
    close(*door);
    return status;
}

static void stop(int door)
{
    order_give(GIVE_UP, 0);
    pthread_join(tunnel.thread, NULL);
    descriptors_close();
    close(door);
}

static mp_status open_world(int *door, mp_error *error)
{
    if (!take(false))
        return mp__launch_failure(error, MP_EINVAL, "MPI begins once in a process, and has begun or ended already");
    mp_status status = mp__launch_check(error);
    tunnel.launched = mp__launch_is_ours();
    if (status == MP_OK)
        status = start(door, error);
    if (status != MP_OK) {
        state_set(CLOSED);
        return status;
    }
    order_give(CARRY, 0);
    if (state_await(OPENING, 0) != REFUSED)
        return MP_OK;
    stop(*door);
    state_set(CLOSED);
    return (*error = tunnel.error).status;
}

static mp_status refuse_second(mp_error *error)
{
    pthread_mutex_lock(&tunnel.lock);
    bool given = tunnel.given;
    pthread_mutex_unlock(&tunnel.lock);
    if (given)
        return mp__launch_failure(error, MP_ERUNNING,
                                  "this process has a pool that spans a communicator already: free that one first");
    return mp__launch_failure(error, MP_ELAUNCH,
                              "mp_main has made agents of the other ranks: a program that initializes MPI itself calls "
                              "mp_main_mpi instead");
}

/* All that can fail on this rank alone. */
static mp_status prepare_over(MPI_Comm comm, const mp__lifeline *line, int *door, mp_error *error)
{
    tunnel.ours = tunnel.launched = false;
    tunnel.line = *line;
    mp_status status = start(door, error);
    if (status == MP_OK && (status = streams_begin(comm, error)) != MP_OK)
        stop(*door);
    return status;
}

/* Who cannot for a reason of his `own` comes along until all know of it. */
static mp_status begin_over(MPI_Comm from, mp_status own, int *door, mp_error *error)
{
    MPI_Comm comm = MPI_COMM_NULL;
    mp__lifeline line;
    int code = MPI_Comm_dup(from, &comm);
    if (code != MPI_SUCCESS)
        return mp__comm_failure("MPI_Comm_dup", code, error);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    mp__lifeline_begin(&line, comm);
    if (own == MP_OK)
        own = prepare_over(comm, &line, door, error);
    mp_status all = mp__comm_agree(comm, own, error);
    if (all == MP_OK) {
        tunnel.comm = comm;
        return MP_OK;
    }
    if (own == MP_OK) {
        mp__streams_fini(&tunnel.streams);
        stop(*door);
    }
    mp__lifeline_fini(&line);
    MPI_Comm_free(&comm);
    return all;
}

static mp_status open_over(MPI_Comm from, int *door, mp_error *error)
{
    bool speaks, many;
    mp_status status = mp__comm_check(from, &speaks, &many, error);
    if (!speaks)
        return status;
    bool taken = take(true);
    if (!taken && ((status = refuse_second(error)) != MP_ERUNNING || !many))
        return status;
    status = begin_over(from, status, door, error);
    if (status == MP_OK) {
        order_give(CARRY, 0);
        (void)state_await(OPENING, 0); /* nothing of it can fail any more */
    } else if (taken) {
        state_set(CLOSED);
    }
    return status;
}

static mp_status tunnel_open(void *comm, int *rank, int *size, int *door, mp_error *error)
{
    mp_error unwanted;
    error = error ? error : &unwanted;
    int ours = -1;
    mp_status status = comm ? open_over(*(MPI_Comm *)comm, &ours, error) : open_world(&ours, error);
    *rank = status ? 0 : tunnel.streams.mail.rank;
    *size = status ? 0 : tunnel.streams.mail.size;
    *door = status ? -1 : ours;
    return status;
}

/* A root that has gone has left MPI_Finalize, or never comes to it: an agent may be in its own for a moment more. */
static tunnel_state end_await(uint64_t limit)
{
    tunnel_state state = state_await(ENDING, SECOND);
    for (uint64_t waited = SECOND; state == ENDING && waited < limit; waited += SECOND) {
        bool last = mp__lifeline_is_cut(&tunnel.line);
        state = state_await(ENDING, SECOND);
        if (last)
            break;
    }
    return state;
}

static mp_status tunnel_close(bool lost, mp_status verdict)
{
    if (tunnel.state != OPEN)
        return MP_EINVAL;
    bool root = tunnel.streams.mail.rank == 0;
    order_give(lost ? CLOSE_LOST : CLOSE, (int)verdict);
    /* Then it is known what came of it, whatever MPI makes of its own end. */
    bool drained = state_await(OPEN, 2 * DRAIN) != OPEN;
    /* With everybody in MPI_Finalize it takes moments, but MPICH's can wait for ever there: one rank is in its last barrier, where it is
     * deaf, and another needs an answer of it to end their connection. Then the root leaves first: its exit code counts, and where an
     * agent does, the launcher may end the root. */
    bool ended = end_await(root ? FINALIZE : 3 * FINALIZE) == ENDED;
    if (ended && (tunnel.finalized || !tunnel.ours)) {
        pthread_join(tunnel.thread, NULL);
        mp__lifeline_fini(&tunnel.line);
        descriptors_close();
        state_set(CLOSED);
        return tunnel.outcome;
    }
    if (tunnel.ours)
        on_exit(leave, root ? &tunnel : NULL); /* called next where this is called at exit itself */
    return drained ? tunnel.outcome : MP_ELOST;
}

__attribute__((visibility("default"))) const mp__tunnel mp__tunnel_plugin = {
    .abi = MP__TUNNEL_ABI,
    .name = MP__MPI_NAME,
    .open = tunnel_open,
    .close = tunnel_close,
};
