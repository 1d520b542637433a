/* System calls that fail: by functions of our own in mp__system, put there before a pool opens, so that zygote and workers have
 * them too.
 *
 * Each scenario is swept: the k-th call fails, k = 0, 1, 2 ... until none does. What is asked each time: the call ends with
 * a status and a text, every item has a status and none ran twice, and nothing is left behind (CHECK). */
#include "tests/fault/strikes.h"
#include "tests/lib/proc.h"
#include "tests/lib/until.h"
#include <fcntl.h>

TestSuite(open, .timeout = 60);
TestSuite(map, .timeout = 60);
TestSuite(start, .timeout = 60);

enum { PROMPT = 20 };

/* By which pools are opened. What is executed has its system calls from the system. */
static mp_start_method start_method = MP_FORK;

#define FAILING(T, call, parameters, arguments, error, failure)                                                            \
    static T failing_##call parameters                                                                                     \
    {                                                                                                                      \
        if (strikes()) {                                                                                                   \
            errno = error;                                                                                                 \
            return failure;                                                                                                \
        }                                                                                                                  \
        return real.call arguments;                                                                                        \
    }
FAILING(pid_t, fork, (void), (), EAGAIN, -1)
static int failing_clone(int (*run)(void *of), void *stack, int flags, void *of, ...)
{
    if (strikes()) {
        errno = EAGAIN;
        return -1;
    }
    return real.clone(run, stack, flags, of);
}
FAILING(int, execve, (const char *path, char *const argv[], char *const environment[]), (path, argv, environment), ENOEXEC,
        -1)
FAILING(int, pipe2, (int ends[2], int flags), (ends, flags), EMFILE, -1)
FAILING(int, socketpair, (int domain, int type, int protocol, int ends[2]), (domain, type, protocol, ends), EMFILE, -1)
FAILING(int, memfd_create, (const char *name, unsigned flags), (name, flags), EMFILE, -1)
FAILING(int, ftruncate, (int fd, off_t size), (fd, size), ENOSPC, -1)
FAILING(void *, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
        (at, size, protection, flags, fd, offset), ENOMEM, MAP_FAILED)
FAILING(int, epoll_create1, (int flags), (flags), EMFILE, -1)
FAILING(int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event), (epoll, operation, fd, event),
        ENOSPC, -1)
FAILING(ssize_t, read, (int fd, void *bytes, size_t size), (fd, bytes, size), EINTR, -1)
FAILING(ssize_t, writev, (int fd, const struct iovec *pieces, int count), (fd, pieces, count), ENOMEM, -1)
FAILING(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), ENOBUFS, -1)
FAILING(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), ENOMEM, -1)

/* ---- opening ---- */

/* `os_error`: what the call sets errno to, where it is made by the program itself; 0: by a process of the pool's. */
static void sweep_open(const char *name, int os_error)
{
    int first = 0;
    for (;; first++) {
        mp_pool *pool = (mp_pool *)&first;
        mp_error error;
        spoil(&error, sizeof error);
        arm(first, 1);
        mp_status status = mp_pool_open(&pool, .processes = 3, .start_method = start_method, .error = &error);
        disarm();
        if (!plot->failed) {
            cr_assert(eq(int, status, MP_OK), "%s", error.message);
            mp_pool_free(&pool);
            break;
        }
        if (status == MP_OK) { /* it could do without: it must be a whole pool */
            trial *t = make_trial();
            run_map(pool, t);
            cr_assert(zero(int, expect_sound(t, name)), "%s, call %d: %s", name, first, t->error.message);
            free(t);
            mp_pool_free(&pool);
            continue;
        }
        cr_assert(zero(ptr, pool), "%s, call %d", name, first);
        cr_assert(eq(int, status, error.status));
        cr_assert(status == MP_ESYSTEM || status == MP_EBROKEN, "%s, call %d: status %d: %s", name, first, status,
                  error.message);
        if (os_error)
            cr_assert(eq(int, error.os_error, os_error), "%s, call %d: %s", name, first, error.message);
        cr_assert(gt(sz, strlen(error.message), 10));
        cr_assert(eq(sz, error.item, MP_NO_ITEM));
        cr_assert(zero(int, proc_children(getpid(), NULL, 0)), "%s, call %d: a child is left", name, first);
    }
    cr_assert(gt(int, first, 0), "%s is never called", name);
}

#define OPEN_FAILS(call, os_error) OPEN_FAILS_BY(call, os_error, MP_FORK)
#define OPEN_FAILS_BY(call, os_error, method)                                                                              \
    CHECK(open, call##_fails__says_so_and_leaves_nothing__##method)                                                        \
    {                                                                                                                      \
        start_method = method;                                                                                             \
        begin_faults(N);                                                                                                   \
        mp__system.call = failing_##call;                                                                                  \
        sweep_open(#call, os_error);                                                                                       \
        end_faults();                                                                                                      \
    }
OPEN_FAILS(fork, EAGAIN)
OPEN_FAILS(pipe2, EMFILE)
OPEN_FAILS(socketpair, EMFILE)
OPEN_FAILS(memfd_create, EMFILE)
OPEN_FAILS(ftruncate, ENOSPC)
OPEN_FAILS(mmap, 0)
OPEN_FAILS(epoll_create1, EMFILE)
OPEN_FAILS(epoll_ctl, ENOSPC)
OPEN_FAILS(sendmsg, ENOBUFS)
OPEN_FAILS(recvmsg, 0)
OPEN_FAILS(read, 0)
OPEN_FAILS(writev, 0)
OPEN_FAILS_BY(execve, ENOEXEC, MP_SPAWN)
OPEN_FAILS_BY(execve, ENOEXEC, MP_FORKSERVER)
OPEN_FAILS_BY(fork, EAGAIN, MP_SPAWN)
OPEN_FAILS_BY(clone, EAGAIN, MP_SPAWN)
OPEN_FAILS_BY(clone, EAGAIN, MP_FORKSERVER)
OPEN_FAILS_BY(socketpair, EMFILE, MP_FORKSERVER)
OPEN_FAILS_BY(epoll_ctl, ENOSPC, MP_FORKSERVER)
OPEN_FAILS_BY(sendmsg, ENOBUFS, MP_FORKSERVER)
OPEN_FAILS_BY(mmap, 0, MP_SPAWN)
OPEN_FAILS_BY(recvmsg, 0, MP_SPAWN)

/* ---- a map, in which one item kills its worker, and the k-th call fails ---- */

static void sweep_map(const char *name, int most_failed)
{
    trial *t = make_trial();
    t->items[13].crash = true;
    t->items[30].size = t->items[31].size = 100000;
    int first = 0, struck = 0;
    for (; first < 400; first++) {
        char when[64];
        mp_pool *pool;
        disarm();
        cr_assert(eq(int, mp_pool_open(&pool, .processes = 2, .start_method = start_method), MP_OK));
        arm(first, 1);
        run_map(pool, t);
        int hit = plot->failed;
        disarm();
        snprintf(when, sizeof when, "%s, call %d", name, first);
        int failed = expect_sound(t, when);
        cr_assert(ge(int, failed, 1), "%s", when);
        cr_assert(le(int, failed, most_failed), "%s: %s", when, t->error.message);
        cr_assert(eq(int, t->statuses[13] != MP_OK, 1), "%s", when);
        mp_pool_free(&pool);
        struck += hit;
        if (!hit && first > 2)
            break;
    }
    cr_assert(gt(int, struck, 0), "%s is never called", name);
    free(t);
}

#define MAP_FAILS(call, most_failed) MAP_FAILS_BY(call, most_failed, MP_FORK)
#define MAP_FAILS_BY(call, most_failed, method)                                                                            \
    CHECK(map, call##_fails__ends_with_a_status_for_each_item__##method)                                                   \
    {                                                                                                                      \
        start_method = method;                                                                                             \
        begin_faults(N);                                                                                                   \
        mp__system.call = failing_##call;                                                                                  \
        sweep_map(#call, most_failed);                                                                                     \
        end_faults();                                                                                                      \
    }
MAP_FAILS(fork, 1)
MAP_FAILS(pipe2, 1)
MAP_FAILS(memfd_create, 1)
MAP_FAILS(ftruncate, 1)
MAP_FAILS(mmap, 1)
MAP_FAILS(epoll_ctl, 1)
MAP_FAILS(sendmsg, 1)
MAP_FAILS(recvmsg, N)
MAP_FAILS(read, 1)
MAP_FAILS(writev, 3)
MAP_FAILS_BY(execve, 1, MP_SPAWN)
MAP_FAILS_BY(clone, 1, MP_SPAWN)
MAP_FAILS_BY(sendmsg, 1, MP_FORKSERVER)

/* ---- replacements that cannot be started ---- */

/* From now on every one of these calls fails. */
static void expect_broken(int workers, const char *text)
{
    trial *t = make_trial();
    mp_pool *pool;
    mp_error error;
    disarm();
    cr_assert(eq(int, mp_pool_open(&pool, .processes = workers, .start_method = start_method), MP_OK));
    for (int i = 0; i < workers; i++)
        t->items[5 + 10 * i].crash = true;
    arm(0, 1000000);
    run_map(pool, t);
    int failed = expect_sound(t, text);
    size_t broken = 0;
    for (size_t i = 0; i < N; i++) {
        if (t->items[i].crash)
            cr_assert(t->statuses[i] == MP_ECRASHED || t->statuses[i] == MP_EBROKEN, "item %zu: %d", i, t->statuses[i]);
        if (t->statuses[i] != MP_EBROKEN)
            continue;
        broken++;
        cr_assert(says(&t->errors[i], "none can be started"), "%s", t->errors[i].message);
        cr_assert(says(&t->errors[i], text), "%s", t->errors[i].message);
    }
    cr_assert(gt(sz, broken, 0), "%d failed, none of them by MP_EBROKEN", failed);
    cr_assert(eq(int, mp_pool_map(pool, work, t->items, 1, t->results, .error = &error), MP_EBROKEN));
    cr_assert(says(&error, text), "%s", error.message);
    disarm();
    mp_pool_free(&pool);
    free(t);
}

#define START_FAILS(call, text) START_FAILS_BY(call, text, MP_FORK)
#define START_FAILS_BY(call, text, method)                                                                                 \
    CHECK(start, call##_fails_from_now_on__map_ends_broken__##method)                                                      \
    {                                                                                                                      \
        start_method = method;                                                                                             \
        begin_faults(N);                                                                                                   \
        mp__system.call = failing_##call;                                                                                  \
        expect_broken(1, text);                                                                                            \
        expect_broken(3, text);                                                                                            \
        end_faults();                                                                                                      \
    }
START_FAILS(fork, "Resource temporarily unavailable")
START_FAILS(pipe2, "Too many open files")
START_FAILS(memfd_create, "Too many open files")
START_FAILS(ftruncate, "No space left")
START_FAILS(sendmsg, "No buffer space")
START_FAILS(epoll_ctl, "No space left")
START_FAILS_BY(clone, "Resource temporarily unavailable", MP_SPAWN)
START_FAILS_BY(execve, "Exec format error", MP_SPAWN)

CHECK(start, fork_fails_and_one_worker_is_left__it_does_the_rest)
{
    begin_faults(N);
    mp__system.fork = failing_fork;
    trial *t = make_trial();
    mp_pool *pool;
    mp_pool_stats stats;
    disarm();
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
    t->items[7].crash = true;
    arm(0, 1000000);
    run_map(pool, t);
    cr_assert(eq(int, expect_sound(t, "one is left"), 1));
    cr_assert(eq(int, t->statuses[7], MP_ECRASHED));
    t->items[7].crash = false;
    run_map(pool, t);
    cr_assert(zero(int, expect_sound(t, "one is left")), "%s", t->error.message);
    disarm(); /* now one can be started again, and is */
    cr_assert(UNTIL(PROMPT, mp_pool_get_stats(pool, &stats) == MP_OK && stats.workers == 2));
    run_map(pool, t);
    cr_assert(zero(int, expect_sound(t, "both are back")));
    mp_pool_free(&pool);
    free(t);
    end_faults();
}

static mp_status tell_place(const mp_none *in, int *out, mp_call *call)
{
    (void)in;
    *out = mp_call_worker(call);
    return MP_OK;
}
MP_TASK(tell_place, mp_none, int);

CHECK(start, fork_fails_and_one_worker_is_left__broadcast_waits_for_no_other)
{
    begin_faults(N);
    mp__system.fork = failing_fork;
    trial *t = make_trial();
    mp_pool *pool;
    int out[2];
    mp_status statuses[2];
    mp_error errors[2];
    disarm();
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
    t->items[7].crash = true;
    arm(0, 1000000);
    run_map(pool, t);
    int gone = t->errors[7].worker, left = !gone;
    cr_assert(eq(int, expect_sound(t, "one is left"), 1));
    cr_assert(
        eq(int, mp_pool_broadcast(pool, tell_place, NULL, out, 2, .statuses = statuses, .errors = errors), MP_EBROKEN));
    cr_assert(eq(int, statuses[left], MP_OK));
    cr_assert(eq(int, out[left], left));
    cr_assert(eq(int, statuses[gone], MP_EBROKEN));
    cr_assert(says(&errors[gone], "its worker is gone and none can be started there"), "%s", errors[gone].message);
    disarm();
    mp_pool_free(&pool);
    free(t);
    end_faults();
}

CHECK(start, fork_fails_twice__map_is_completed_all_the_same)
{
    begin_faults(N);
    mp__system.fork = failing_fork;
    trial *t = make_trial();
    mp_pool *pool;
    disarm();
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 1), MP_OK));
    t->items[7].crash = true;
    arm(0, 2);
    run_map(pool, t);
    cr_assert(eq(int, expect_sound(t, "fork fails twice"), 1), "%s", t->errors[8].message);
    cr_assert(eq(int, plot->failed, 2));
    mp_pool_free(&pool);
    free(t);
    end_faults();
}

/* A replacement that dies before it says a word. */
static pid_t fork_stillborn(void)
{
    pid_t pid = real.fork();
    if (pid == 0 && strikes())
        raise(SIGKILL);
    return pid;
}

CHECK(start, workers_die_at_birth_during_open__says_so_and_leaves_nothing)
{
    begin_faults(N);
    plot->only = 2;
    mp__system.fork = fork_stillborn;
    for (int first = 0; first <= 3; first++) { /* the first is the zygote */
        mp_pool *pool;
        mp_error error;
        arm(first, 1000);
        mp_status status = mp_pool_open(&pool, .processes = 3, .error = &error);
        cr_assert(ne(int, status, MP_OK), "fork %d", first);
        cr_assert(zero(ptr, pool));
        cr_assert(gt(sz, strlen(error.message), 10));
        cr_assert(status == MP_ESYSTEM || status == MP_EBROKEN, "status %d: %s", status, error.message);
    }
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
    end_faults();
}

CHECK(start, replacements_die_at_birth__map_ends_broken)
{
    begin_faults(N);
    plot->only = 2;
    mp__system.fork = fork_stillborn;
    trial *t = make_trial();
    mp_pool *pool;
    disarm();
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
    t->items[3].crash = t->items[23].crash = true;
    arm(0, 1000000);
    run_map(pool, t);
    int failed = expect_sound(t, "stillborn");
    cr_assert(ge(int, failed, 2));
    int broken = 0;
    for (size_t i = 0; i < N; i++)
        broken += t->statuses[i] == MP_EBROKEN;
    cr_assert(gt(int, broken, 0), "what stood behind the second crash has no worker any more");
    disarm();
    mp_pool_free(&pool);
    free(t);
    end_faults();
}

CHECK(start, some_replacements_die_at_birth__map_is_completed)
{
    begin_faults(N);
    plot->only = 2;
    mp__system.fork = fork_stillborn;
    trial *t = make_trial();
    mp_pool *pool;
    disarm();
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
    t->items[3].crash = t->items[23].crash = true;
    arm(0, 2);
    run_map(pool, t);
    cr_assert(eq(int, expect_sound(t, "two are stillborn"), 2));
    mp_pool_free(&pool);
    free(t);
    end_faults();
}

/* No order reaches the zygote any more: then it is left alone, and it takes its workers with it. */
CHECK(start, sendmsg_fails_from_now_on__pool_can_be_freed)
{
    begin_faults(N);
    mp__system.sendmsg = failing_sendmsg;
    for (int workers = 1; workers <= 3; workers++) {
        mp_pool *pool;
        disarm();
        cr_assert(eq(int, mp_pool_open(&pool, .processes = workers), MP_OK));
        arm(0, 1000000);
        mp_pool_free(&pool);
        cr_assert(gt(int, plot->failed, 0));
        disarm();
    }
    end_faults();
}
