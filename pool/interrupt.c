/* Ctrl-C: the one handler of the process, and what it tells pools.
 *
 * The first one sets a flag and rings a descriptor that every pool's driver sleeps on; pools do the rest, each under its own lock
 * (dispatch.c). A second one, or one that comes when no pool has anything to do, does what Ctrl-C does anywhere: the program ends,
 * and its zygotes and workers with it. The handler is there while there are pools, and only where SIGINT was left to its default;
 * a program that sets its own, before or after, keeps it.
 *
 * `lock` guards who installs and removes, and is taken over forks; the handler takes no lock. It runs on any thread of the program, also on one that holds
 * nothing of ours (those that hold a pool's lock have signals blocked). In a child that the program forked the copy of it does what
 * the default does: that child's pools are not its parent's. */
#include "pool/interrupt.h"
#include "pool/failure.h"
#include "pool/forks.h"
#include "pool/system.h"
#include <errno.h>
#include <millpond/interrupt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

static pthread_mutex_t *const lock = &mp__forks.kept[MP__INTERRUPTS_LOCK];
/* guarded by lock */
static unsigned pools;
static bool installed;
static pid_t owner;
/* atomic: the handler looks at these */
static atomic_int bell = -1;
static atomic_uint ringing; /* threads that may be about to write into it */
static atomic_uint count;
static atomic_bool stopped; /* by an interruption that nobody has cleared */
static atomic_int busy;

/* The descriptor first: who sees the new count finds its edge there already. `ringing` keeps it from being closed, and its number
 * from becoming a stranger's, between the two lines that look at it. */
void mp_interrupt(void)
{
    int before = errno;
    atomic_store(&stopped, true);
    atomic_fetch_add(&ringing, 1);
    int fd = atomic_load(&bell);
    ssize_t written = fd < 0 ? 0 : write(fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* it would have to come 2^64 times to be full */
    atomic_fetch_sub(&ringing, 1);
    atomic_fetch_add(&count, 1);
    errno = before;
}

bool mp_interrupted(void)
{
    return atomic_load_explicit(&stopped, memory_order_relaxed);
}

void mp_interrupt_clear(void)
{
    atomic_store(&stopped, false);
}

/* The signal is blocked while its handler runs: it comes when this returns. */
static void on_sigint(int signal_number)
{
    if (getpid() == owner && atomic_load(&busy) > 0 && !mp_interrupted()) {
        mp_interrupt();
        return;
    }
    int before = errno;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
    errno = before;
}

/* With the lock. A system call of the program's goes on after it. */
static void install(void)
{
    struct sigaction action;
    if (installed || sigaction(SIGINT, NULL, &action) != 0 || action.sa_flags & SA_SIGINFO || action.sa_handler != SIG_DFL)
        return;
    action = (struct sigaction){.sa_handler = on_sigint, .sa_flags = SA_RESTART};
    installed = sigaction(SIGINT, &action, NULL) == 0;
}

/* With the lock. If it is not ours any more, somebody has set another one since. */
static void remove_handler(void)
{
    struct sigaction action;
    if (installed && sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler == on_sigint)
        signal(SIGINT, SIG_DFL);
    installed = false;
}

/* With the lock. A child that was forked has a copy of all this, which is not its own. */
static void begin_process(void)
{
    if (owner == getpid())
        return;
    int fd = atomic_exchange(&bell, -1);
    if (fd >= 0)
        close(fd);
    owner = getpid();
    pools = 0;
    installed = false;
    atomic_store(&busy, 0);
    atomic_store(&ringing, 0);
    atomic_store(&stopped, false);
}

/* A handler may be on top of a thread that holds the lock, and the other way round would wait for ever. */
static void enter_lock(sigset_t *mask)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, mask);
    pthread_mutex_lock(lock);
}

static void leave_lock(const sigset_t *mask)
{
    pthread_mutex_unlock(lock);
    pthread_sigmask(SIG_SETMASK, mask, NULL);
}

mp_status mp__interrupt_enter(mp_error *error)
{
    sigset_t mask;
    mp_status status = MP_OK;
    enter_lock(&mask);
    begin_process();
    if (!pools) {
        int fd = mp__above_standard(mp__system.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (fd < 0)
            status = mp__system_failure(error, errno, "no descriptor for a pool");
        else
            atomic_store(&bell, fd);
    }
    if (!status) {
        pools++;
        install();
    }
    leave_lock(&mask);
    return status;
}

void mp__interrupt_leave(void)
{
    sigset_t mask;
    enter_lock(&mask);
    if (owner == getpid() && !--pools) {
        remove_handler();
        int fd = atomic_exchange(&bell, -1);
        while (atomic_load(&ringing)) /* a write into an eventfd */
            sched_yield();
        close(fd);
    }
    leave_lock(&mask);
}

int mp__interrupt_fd(void)
{
    return atomic_load(&bell);
}

unsigned mp__interrupt_count(void)
{
    return atomic_load_explicit(&count, memory_order_acquire);
}

void mp__interrupt_busy(int more)
{
    atomic_fetch_add_explicit(&busy, more, memory_order_relaxed);
}
