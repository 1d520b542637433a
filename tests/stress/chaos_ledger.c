/* What the tasks do and write down, and the judge: is what the user was told of an item possible, after what its task has written
 * down? The library's own bookkeeping is not asked. Tasks run in workers, the judge on users' threads; what they share is atomic.
 *
 * An item may begin 1 + retries times, and end once with a result that is given. An item that was told to be cancelled, or
 * refused, or in a broken pool, did not begin. A worker that was killed from outside costs one item at most, and that item's
 * error names it. What no kill and no deed explains is a complaint. */
#include "tests/stress/chaos.h"
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHAOS_VARIABLE "TESTS_CHAOS"

chaos_ledger *chaos_truth;
static int ledger_fd = -1;

/* ---- chance ---- */

uint64_t chaos_mixed(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t chaos_below(uint64_t *random, uint64_t limit)
{
    *random += 0x9e3779b97f4a7c15u;
    return chaos_mixed(*random) % limit;
}

bool chaos_one_in(uint64_t *random, uint64_t n)
{
    return chaos_below(random, n) == 0;
}

/* ---- the ledger ---- */

static bool ledger_map(int fd)
{
    void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(chaos_ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    chaos_truth = memory == MAP_FAILED ? NULL : memory;
    return chaos_truth;
}

bool chaos_ledger_open(void)
{
    char name[64];
    ledger_fd = memfd_create("chaos", MFD_CLOEXEC);
    if (ledger_fd < 0 || ftruncate(ledger_fd, sizeof(chaos_ledger)) < 0 || !ledger_map(ledger_fd))
        return false;
    snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)getpid(), ledger_fd);
    return setenv(CHAOS_VARIABLE, name, 1) == 0;
}

void chaos_ledger_close(void)
{
    unsetenv(CHAOS_VARIABLE);
    close(ledger_fd);
    munmap(chaos_truth, sizeof *chaos_truth);
    chaos_truth = NULL;
}

/* In a program that was executed by one that has a ledger: its calls fail too. After tasks, before respawn.c. */
__attribute__((constructor(102))) static void ledger_inherit(void)
{
    const char *name = getenv(CHAOS_VARIABLE);
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    if (ledger_map(fd))
        chaos_weather_begin();
    close(fd);
}

void chaos_ledger_clear(void)
{
    memset((void *)chaos_truth, 0, sizeof *chaos_truth);
}

uint64_t chaos_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t chaos_value(uint32_t line, uint32_t salt)
{
    return chaos_mixed((uint64_t)line << 32 | salt);
}

int chaos_struck(chaos_call from, chaos_call to)
{
    int sum = 0;
    for (chaos_call call = from; call < to; call++)
        sum += chaos_truth->struck[call];
    return sum;
}

/* ---- the task ---- */

static bool is_filled(const mp_bytes *bytes, size_t size, int with)
{
    const unsigned char *b = bytes->data;
    return bytes->size == size && (size == 0 || (b[0] == (unsigned char)with && !memcmp(b, b + 1, size - 1)));
}

/* 0: what the task was given is what was sent. */
static uint8_t find_wrong(const chaos_errand *in, const mp_call *call, unsigned begun)
{
    /* items of a stream that cannot be copied for lack of memory are not counted there */
    if (mp_call_item(call) != in->index && !chaos_truth->struck[CHAOS_MEMORY])
        return 1;
    if (!is_filled(&in->load, in->load.size, (int)in->line))
        return 2;
    /* an attempt may end before it comes here, so there may be more attempts than beginnings, never fewer */
    return mp_call_attempt(call) < begun ? 3 : 0;
}

static void wait_to_be_told(const chaos_errand *in, const mp_call *call)
{
    uint64_t end = chaos_now_ns() + in->pause_us * 1000ull;
    while (!mp_call_cancelled(call) && !chaos_truth->over && chaos_now_ns() < end)
        usleep(300);
}

/* True: there is a result. */
static bool do_deed(const chaos_errand *in, const mp_call *call)
{
    bool first = mp_call_attempt(call) == 1;
    switch ((chaos_deed)in->deed) {
    case CHAOS_PASS: return true;
    case CHAOS_FAIL: return false;
    case CHAOS_FAIL_FIRST: return !first;
    case CHAOS_CRASH: raise(SIGSEGV); break;
    case CHAOS_CRASH_FIRST:
        if (first)
            raise(SIGABRT);
        return true;
    case CHAOS_EXIT: _exit(3);
    case CHAOS_HANG:
        for (;;)
            pause();
    case CHAOS_HEED: wait_to_be_told(in, call); return true;
    case CHAOS_HEED_BADLY: wait_to_be_told(in, call); return false;
    }
    return false;
}

static mp_status give(const chaos_errand *in, chaos_yield *out, mp_call *call)
{
    uint64_t value = chaos_value(in->line, in->salt);
    *out = (chaos_yield){.line = in->line, .value = value};
    if (in->size) {
        unsigned char *bytes = mp_call_alloc(call, in->size);
        if (!bytes)
            return mp_fail(call, MP_ENOMEM, "no memory for the load");
        memset(bytes, (int)(value & 0xff), in->size);
        out->load = (mp_bytes){bytes, in->size};
    }
    chaos_truth->lines[in->line].value = value;
    chaos_truth->lines[in->line].ended++;
    return MP_OK;
}

static mp_status run_errand(const chaos_errand *in, chaos_yield *out, mp_call *call)
{
    chaos_line *line = &chaos_truth->lines[in->line];
    int worker = mp_call_worker(call), pid = (int)getpid();
    if (chaos_truth->pids[worker % CHAOS_PIDS] != pid)
        chaos_truth->pids[worker % CHAOS_PIDS] = pid;
    line->pid = pid;
    line->began_ns = chaos_now_ns();
    uint8_t wrong = find_wrong(in, call, ++line->begun);
    chaos_truth->begun++;
    if (wrong)
        line->wrong = wrong;
    if (in->pause_us && in->deed < CHAOS_HEED)
        usleep(in->pause_us);
    if (!do_deed(in, call))
        return mp_fail(call, (mp_status)(MP_EUSER + in->line % 7), "line %u, as it was told", in->line);
    return give(in, out, call);
}

mp_status chaos_do(const chaos_errand *in, chaos_yield *out, mp_call *call)
{
    static _Thread_local uint64_t free_ns;
    chaos_truth->lines[in->line].free_ns = free_ns;
    mp_status status = run_errand(in, out, call);
    chaos_truth->lines[in->line].left++;
    free_ns = chaos_now_ns();
    return status;
}
MP_TASK(chaos_do, chaos_errand, chaos_yield);

/* ---- complaints ---- */

void chaos_complain(chaos_round *round, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&round->lock);
    if (!*round->complaint)
        vsnprintf(round->complaint, sizeof round->complaint, format, arguments);
    pthread_mutex_unlock(&round->lock);
    va_end(arguments);
    round->stop = true;
}

/* What is looked at to judge one item. */
typedef struct trial {
    chaos_round *round;
    const chaos_deal *deal;
    const chaos_errand *errand;
    const mp_error *error; /* may be NULL */
    mp_status status;
    unsigned begun, ended, most;
} trial;

static void accuse(const trial *t, const char *what)
{
    const chaos_deal *d = t->deal;
    chaos_complain(
        t->round,
        "line %u, item %u of %u, deed %u, chunksize %td, retries %u on %#x, time-out %g, deadline %g, stop_at %td%s%s: %s, "
        "began %u times, ended %u: %s (pid %d, the ledger has %d; %s)",
        t->errand->line, t->errand->index, d->n, t->errand->deed, d->chunksize, d->retries, d->retry_on, d->timeout,
        d->deadline, d->stop_at, d->cancelled ? ", cancelled" : "", d->forced ? " by force" : "", mp_status_name(t->status),
        t->begun, t->ended, what, t->error ? t->error->pid : 0, chaos_truth->lines[t->errand->line].pid,
        t->error ? t->error->message : "no error was given");
}

/* ---- the judge ---- */

static bool is_own_crash(chaos_deed deed)
{
    return deed == CHAOS_CRASH || deed == CHAOS_CRASH_FIRST || deed == CHAOS_EXIT;
}

static const char *judge_success(const trial *t, const chaos_yield *yield)
{
    chaos_deed deed = (chaos_deed)t->errand->deed;
    uint64_t value = chaos_value(t->errand->line, t->errand->salt);
    if (!t->begun || !t->ended)
        return "success, but it did not run to its end";
    if (chaos_truth->lines[t->errand->line].value != value)
        return "another value stands in the ledger";
    if (deed == CHAOS_FAIL || deed == CHAOS_CRASH || deed == CHAOS_EXIT || deed == CHAOS_HANG || deed == CHAOS_HEED_BADLY)
        return "success of what cannot succeed";
    if ((deed == CHAOS_FAIL_FIRST || deed == CHAOS_CRASH_FIRST) && t->most < 2)
        return "success at a second attempt that was not allowed";
    if (yield && (yield->line != t->errand->line || yield->value != value))
        return "the result of another item";
    if (yield && !is_filled(&yield->load, t->errand->size, (int)(value & 0xff)))
        return "a result that is not whole";
    return NULL;
}

/* A death that this item is not to blame for is a kill's, and each kill has one item at most. */
static const char *judge_kill(const trial *t)
{
    chaos_round *round = t->round;
    const char *wrong = NULL;
    int crashed = ++round->crashed;
    if (round->zygote_killed)
        return NULL;
    if (crashed > round->kills + chaos_struck(0, CHAOS_CALLS))
        return "more innocent items crashed than workers were killed";
    if (!t->error || chaos_struck(0, CHAOS_CALLS))
        return NULL;
    pthread_mutex_lock(&round->lock);
    int i = 0;
    while (i < round->killed_count && (round->killed[i].pid != t->error->pid || round->killed[i].blamed))
        i++;
    if (i == round->killed_count && i < CHAOS_KILLS)
        wrong = "it crashed, and nobody has killed that worker, or its death has had its item";
    else if (i < CHAOS_KILLS)
        round->killed[i].blamed = true;
    pthread_mutex_unlock(&round->lock);
    return wrong;
}

static const char *judge_crash(const trial *t)
{
    const chaos_line *line = &chaos_truth->lines[t->errand->line];
    if (t->round->kind == MP_THREADS)
        return "threads do not crash";
    if (is_own_crash((chaos_deed)t->errand->deed) && t->begun && (!t->error || t->error->pid == line->pid)) {
        t->round->crashes++;
        return t->ended ? "it ran to its end" : NULL;
    }
    return judge_kill(t);
}

/* An item's time begins when its worker takes it up, and one that then has no CPU may not come to its first line before it is over. Such a
 * worker has left all that it has begun. */
static bool came_to_no_line(const trial *t)
{
    if (t->round->kind != MP_PROCESSES || !t->error)
        return false;
    if (!t->error->pid) /* of which there is no room for a word */
        return chaos_truth->struck[CHAOS_MEMORY];
    for (size_t i = 0; i < CHAOS_LINES; i++)
        if (chaos_truth->lines[i].pid == t->error->pid && chaos_truth->lines[i].begun > chaos_truth->lines[i].left)
            return false;
    return true;
}

static const char *judge_time(const trial *t)
{
    const chaos_deal *d = t->deal;
    const chaos_line *line = &chaos_truth->lines[t->errand->line];
    if (d->timeout <= 0 && d->deadline <= 0)
        return "it had all the time it liked";
    t->round->overtime++;
    if (d->deadline > 0)
        return NULL;
    if (!t->begun && !t->round->stops && !t->round->kills && !came_to_no_line(t))
        return "its time was up before it began";
    if (t->begun && (double)(chaos_now_ns() - line->free_ns) < d->timeout * 1e9)
        return "its time was not up yet";
    return NULL;
}

static const char *judge_cancelled(const trial *t)
{
    const chaos_deal *d = t->deal;
    if (!d->cancelled && !d->stop_at)
        return "nobody has cancelled it";
    t->round->forced += d->forced && t->begun;
    if (d->forced || d->deadline > 0) /* a deadline ends what runs, also of a call that is cancelled already */
        return NULL;
    if (t->most > 1) /* it may have waited for its next attempt, also one that ended when its time was up already */
        return NULL;
    return t->ended ? "cancelled, but it ran to its end" : t->begun ? "cancelled, but it had begun" : NULL;
}

/* The task has said so. */
static const char *judge_failure(const trial *t)
{
    const chaos_deal *d = t->deal;
    chaos_deed deed = (chaos_deed)t->errand->deed;
    bool again = d->retries && d->retry_on & MP_ON_FAILED;
    if (deed != CHAOS_FAIL && deed != CHAOS_FAIL_FIRST && deed != CHAOS_HEED_BADLY)
        return "it had no reason to fail";
    if (t->status != (mp_status)(MP_EUSER + t->errand->line % 7))
        return "another item's failure";
    if (!t->begun || t->ended)
        return "it failed without being run";
    if (deed == CHAOS_FAIL && again && t->error && t->error->attempt != (int)t->most && !d->cancelled && !d->stop_at &&
        d->deadline <= 0 && !t->round->terminated && !t->round->zygote_killed && !chaos_struck(0, CHAOS_CALLS))
        return "there were attempts left";
    return NULL;
}

bool chaos_may_be_broken(chaos_round *round)
{
    return round->zygote_killed || chaos_struck(CHAOS_FORK, CHAOS_CALLS) >= 6;
}

static const char *judge_status(const trial *t, const chaos_yield *yield)
{
    chaos_round *round = t->round;
    bool memory = chaos_truth->struck[CHAOS_MEMORY] > 0;
    if (t->status >= MP_EUSER)
        return judge_failure(t);
    switch ((int)t->status) {
    case MP_OK: return judge_success(t, yield);
    case MP_ECRASHED: return judge_crash(t);
    case MP_ELOST:
        if (!t->ended && !memory && t->errand->deed != CHAOS_FAIL)
            return "its result was lost, but it had none";
        return memory || chaos_struck(CHAOS_READ, CHAOS_CALLS) ? NULL : "no kill loses results";
    case MP_ETIMEDOUT:
    case MP_EOVERTIME: return judge_time(t);
    case MP_ECANCELLED: return judge_cancelled(t);
    case MP_ETERMINATED: return round->terminated ? NULL : "nobody has terminated the pool";
    case MP_ECLOSED: return !round->terminated ? "nobody has closed the pool" : t->begun ? "refused, but it began" : NULL;
    case MP_EBROKEN:
        return !chaos_may_be_broken(round) ? "nothing has broken the pool"
               : t->begun && t->most < 2   ? "no worker, but it began"
                                           : NULL;
    case MP_ENOMEM: return memory ? NULL : "there was memory";
    case MP_ESYSTEM: return chaos_struck(0, CHAOS_CALLS) ? NULL : "no system call has failed";
    default: return "no item can end so";
    }
}

static void write_fate(chaos_actor *actor, const trial *t)
{
    chaos_fate *fate = &actor->round->fates[t->errand->line];
    fate->status = t->status;
    fate->begun = (uint8_t)t->begun;
    fate->ended = (uint8_t)t->ended;
    /* a future that is cancelled by force is so at once, and what runs for it is ended a moment later */
    fate->final = t->status != MP_ETERMINATED && !(t->deal->forced && t->begun);
    fate->taken = t->deal->forced && t->round->kind == MP_PROCESSES;
    if (t->status == MP_ECANCELLED && chaos_truth->struck[CHAOS_MEMORY])
        fate->final = false; /* a recall needs a few bytes; without, a cancelled future may start all the same */
    if (++fate->ends > 1)
        accuse(t, "its end was told twice");
}

void chaos_judge(chaos_actor *actor, const chaos_deal *deal, size_t index, mp_status status, const mp_error *error,
                 const chaos_yield *yield)
{
    const chaos_errand *errand = &deal->errands[index];
    const chaos_line *line = &chaos_truth->lines[errand->line];
    trial t = {actor->round, deal,        errand,           error, status == MP_EOVERTIME ? MP_ETIMEDOUT : status,
               line->begun,  line->ended, 1 + deal->retries};
    const char *wrong = judge_status(&t, yield);
    if (wrong)
        accuse(&t, wrong);
    if (line->wrong)
        accuse(&t, line->wrong == 1   ? "its task was told another index"
                   : line->wrong == 2 ? "its task was given other bytes"
                                      : "its task was told too small an attempt");
    if (t.begun > t.most)
        accuse(&t, "it began too often");
    if (t.ended > 1 && !(deal->retries && deal->retry_on & (MP_ON_CRASHED | MP_ON_TIMEDOUT | MP_ON_LOST)))
        accuse(&t, "it was run again though it had ended");
    write_fate(actor, &t);
    actor->round->retried += t.begun > 1 ? (int)t.begun - 1 : 0;
    if (status == MP_OK)
        actor->round->succeeded++;
    else
        actor->round->failed++;
}

void chaos_judge_refused(chaos_actor *actor, const chaos_deal *deal, mp_status status)
{
    chaos_round *round = actor->round;
    bool memory = chaos_truth->struck[CHAOS_MEMORY] > 0 || chaos_truth->struck[CHAOS_THREAD] > 0;
    bool possible = status == MP_ECLOSED   ? round->terminated
                    : status == MP_EBROKEN ? chaos_may_be_broken(round)
                    : status == MP_ENOMEM  ? memory
                    : status == MP_ESYSTEM ? memory
                                           : status == MP_ETERMINATED && round->terminated;
    if (!possible)
        chaos_complain(round, "a call of %u items was refused with %s", deal->n, mp_status_name(status));
    for (size_t i = 0; i < deal->n; i++) {
        chaos_fate *fate = &round->fates[deal->first + i];
        *fate = (chaos_fate){.status = status, .ends = 1, .most = 1, .asked = true, .final = true};
        if (chaos_truth->lines[deal->first + i].begun)
            chaos_complain(round, "line %zu ran, though its call was refused with %s", deal->first + i,
                           mp_status_name(status));
    }
    round->refused += deal->n;
}

/* Its worker has begun nothing after it. */
static bool was_last_of(const chaos_line *line)
{
    for (size_t i = 0; i < CHAOS_LINES; i++)
        if (chaos_truth->lines[i].pid == line->pid && chaos_truth->lines[i].began_ns > line->began_ns)
            return false;
    return true;
}

void chaos_judge_round(chaos_round *round)
{
    for (size_t i = 0; i < CHAOS_LINES; i++) {
        const chaos_fate *fate = &round->fates[i];
        unsigned begun = chaos_truth->lines[i].begun, ended = chaos_truth->lines[i].ended;
        if (!fate->asked) {
            if (begun)
                chaos_complain(round, "line %zu ran, and nobody has asked for it", i);
            continue;
        }
        if (!fate->left && fate->ends != 1)
            chaos_complain(round, "line %zu: its end was told %u times", i, fate->ends);
        if (begun > fate->most)
            chaos_complain(round, "line %zu began %u times, and may %u times", i, begun, fate->most);
        if (fate->final && fate->ends && (begun != fate->begun || ended != fate->ended) &&
            !(fate->taken && was_last_of(&chaos_truth->lines[i])))
            chaos_complain(round, "line %zu was %s%s, and ran on: began %u times, ended %u; then %u and %u", i,
                           mp_status_name(fate->status), fate->taken ? " by force" : "", fate->begun, fate->ended, begun,
                           ended);
    }
}
