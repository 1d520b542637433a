/* Processes of a pool that die in the middle of a system call, at every one of them; and calls that do only a part of what they
 * were asked, or are interrupted. The oracle is that of strikes.h: each item has a status, none ran twice, nothing is left. */
#include "tests/fault/strikes.h"
#include "tests/lib/proc.h"

TestSuite(die, .timeout = 60);
TestSuite(half, .timeout = 60);

enum { PROMPT = 20 };

/* ---- processes that die in the middle of a call ---- */

enum { BEFORE, HALFWAY, AFTER };
static _Atomic int *moment;

static size_t first_half(const struct iovec *pieces, int count, struct iovec *half)
{
    for (int i = 0; i < count; i++)
        if (pieces[i].iov_len) {
            *half = (struct iovec){pieces[i].iov_base, (pieces[i].iov_len + 1) / 2};
            return half->iov_len;
        }
    return 0;
}

/* The pieces are cut so that large results take many calls. */
static ssize_t deadly_writev(int fd, const struct iovec *pieces, int count)
{
    struct iovec piece;
    if (getpid() == test_process)
        return real.writev(fd, pieces, count);
    for (int i = 0; i < count; i++)
        if (pieces[i].iov_len) {
            piece = pieces[i];
            break;
        }
    piece.iov_len = piece.iov_len < 300000 ? piece.iov_len : 300000;
    bool now = strikes();
    if (now && *moment == BEFORE)
        raise(SIGKILL);
    if (now && *moment == HALFWAY)
        first_half(&piece, 1, &piece);
    ssize_t written = real.writev(fd, &piece, 1);
    if (now)
        raise(SIGKILL);
    return written;
}

/* The same where a pipe gets the pages of a large result. */
static ssize_t deadly_vmsplice(int fd, const struct iovec *pieces, size_t count, unsigned flags)
{
    struct iovec piece = pieces[0];
    if (getpid() == test_process)
        return real.vmsplice(fd, pieces, count, flags);
    piece.iov_len = piece.iov_len < 300000 ? piece.iov_len : 300000;
    bool now = strikes();
    if (now && *moment == BEFORE)
        raise(SIGKILL);
    if (now && *moment == HALFWAY)
        piece.iov_len = (piece.iov_len + 1) / 2;
    ssize_t spliced = real.vmsplice(fd, &piece, 1, flags);
    if (now)
        raise(SIGKILL);
    return spliced;
}

static ssize_t deadly_read(int fd, void *bytes, size_t size)
{
    if (getpid() == test_process)
        return real.read(fd, bytes, size);
    bool now = strikes();
    if (now && *moment == BEFORE)
        raise(SIGKILL);
    ssize_t got = real.read(fd, bytes, now && *moment == HALFWAY ? size / 2 + 1 : size);
    if (now)
        raise(SIGKILL);
    return got;
}

/* One worker, killed at its k-th call; its results are of every size. Each moment has calls of its own. */
static void sweep_death(const char *name, int most_failed)
{
    trial *t = make_trial();
    t->items[20].size = 70000;
    t->items[21].size = 8 << 20;
    t->items[40].size = 20000;
    t->items[41].size = 300000;
    int step = ROUNDS_SLOWER == 1 ? 3 : 7;
    for (*moment = BEFORE; *moment <= AFTER; ++*moment) {
        int first = *moment % step, total = 0;
        for (;; first += step) {
            char when[64];
            mp_pool *pool;
            snprintf(when, sizeof when, "%s %d, moment %d", name, first, *moment);
            disarm();
            cr_assert(eq(int, mp_pool_open(&pool, .processes = 1), MP_OK));
            arm(first, 1);
            run_map(pool, t);
            int hit = plot->failed;
            disarm();
            int failed = expect_sound(t, when);
            cr_assert(le(int, failed, hit ? most_failed : 0), "%s: %s", when, t->error.message);
            mp_pool_free(&pool);
            total += hit;
            if (!hit)
                break;
        }
        cr_assert(gt(int, total, 0), "%s is never called", name);
    }
    free(t);
}

/* Only the item whose result was not whole yet can be lost; what had been written must not come twice. */
CHECK(die, while_results_are_written__costs_one_item_at_most)
{
    begin_faults(N);
    plot->only = 2;
    moment = &tally->word[0];
    mp__system.writev = deadly_writev;
    sweep_death("writev", 1);
    end_faults();
}

CHECK(die, while_pages_of_a_large_result_are_given__costs_one_item_at_most)
{
    begin_faults(N);
    plot->only = 2;
    moment = &tally->word[0];
    mp__system.vmsplice = deadly_vmsplice;
    sweep_death("vmsplice", 1);
    end_faults();
}

/* Between items: none is lost. */
CHECK(die, while_items_are_read__costs_nothing)
{
    begin_faults(N);
    plot->only = 2;
    moment = &tally->word[0];
    mp__system.read = deadly_read;
    sweep_death("read", 0);
    end_faults();
}

static ssize_t deadly_recvmsg(int fd, struct msghdr *message, int flags)
{
    bool now = getpid() != test_process && strikes();
    if (now && *moment == BEFORE)
        raise(SIGKILL);
    ssize_t got = real.recvmsg(fd, message, flags);
    if (now)
        raise(SIGKILL);
    return got;
}

CHECK(die, zygote_at_each_command_of_open__says_so_and_leaves_nothing)
{
    begin_faults(N);
    plot->only = 2;
    moment = &tally->word[0];
    mp__system.recvmsg = deadly_recvmsg;
    for (*moment = BEFORE; *moment <= AFTER; *moment += AFTER)
        for (int first = 0;; first++) {
            mp_pool *pool;
            mp_error error;
            arm(first, 1);
            mp_status status = mp_pool_open(&pool, .processes = 3, .error = &error);
            int hit = plot->failed;
            disarm();
            if (status == MP_OK) {
                /* the last command may be the one that kills: then the pool is found out to be broken later */
                mp_pool_free(&pool);
            } else {
                cr_assert(status == MP_ESYSTEM || status == MP_EBROKEN, "status %d: %s", status, error.message);
                cr_assert(zero(ptr, pool));
                cr_assert(gt(sz, strlen(error.message), 10));
            }
            cr_assert(ge(int, leftovers_reap(PROMPT), 0));
            if (!hit)
                break;
            cr_assert(lt(int, first, 50));
        }
    end_faults();
}

/* ---- reads and writes that do only a part, and calls that are interrupted ---- */

static uint64_t dice(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u + (uint64_t)getpid();
    return state >> 33;
}

static ssize_t short_read(int fd, void *bytes, size_t size)
{
    if (dice() % 8 == 0) {
        errno = EINTR;
        return -1;
    }
    size_t most = dice() % 4 ? 1 + dice() % 9 : 1 + dice() % 20000;
    return real.read(fd, bytes, size < most ? size : most);
}

static ssize_t short_writev(int fd, const struct iovec *pieces, int count)
{
    if (dice() % 8 == 0) {
        errno = EINTR;
        return -1;
    }
    struct iovec cut[2];
    int taken = 0;
    for (int i = 0; i < count && taken < 2; i++)
        if (pieces[i].iov_len)
            cut[taken++] = pieces[i];
    if (!taken)
        return real.writev(fd, pieces, count);
    size_t most = dice() % 4 ? 1 + dice() % 9 : 1 + dice() % 20000, last = (size_t)taken - 1;
    cut[last].iov_len = cut[last].iov_len < most ? cut[last].iov_len : most;
    return real.writev(fd, cut, taken);
}

CHECK(half, reads_and_writes__everything_arrives_all_the_same)
{
    begin_faults(N);
    mp__system.read = short_read;
    mp__system.writev = short_writev;
    trial *t = make_trial();
    unsigned char *load = malloc(100000);
    memset(load, 9, 100000);
    for (size_t i = 0; i < N; i++) {
        t->items[i].size = i % 20 == 4 ? 300000 : (uint32_t)(i * 37 % 3000);
        t->items[i].load = (mp_bytes){load, i % 17 == 5 ? 100000 : i * 11 % 5000};
    }
    for (int round = 0; round < ROUNDS(20); round++) {
        mp_pool *pool;
        cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
        run_map(pool, t);
        cr_assert(zero(int, expect_sound(t, "short reads and writes")), "%s", t->error.message);
        t->items[13].crash = true;
        run_map(pool, t);
        cr_assert(eq(int, expect_sound(t, "short reads and writes"), 1), "%s", t->error.message);
        t->items[13].crash = false;
        mp_pool_free(&pool);
    }
    free(load);
    free(t);
    end_faults();
}
