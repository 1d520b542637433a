/* A task that changes its process: the next item finds it as it was. And what a worker may use, and has used. */
#include "serial/row.h"
#include "tests/fault/process_rig.h"
#include "tests/lib/board.h"
#include "tests/lib/methods.h"
#include "tests/lib/proc.h"
#include "tests/lib/until.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

TestSuite(footing, .timeout = 60);
TestSuite(limits, .timeout = 60);
TestSuite(used, .timeout = 60);

/* --- what is changed ------------------------------------------------------------------------------------------------------- */

enum { DIRECTORY, UMASK, MASK, TERM, INPUT, OUTPUT, ERROR, REPLACED, CHANGES };

static void change(int what)
{
    sigset_t all;
    int fd;
    switch (what) {
    case DIRECTORY: (void)!chdir("/"); break;
    case UMASK: umask(0777); break;
    case MASK:
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        break;
    case TERM: signal(SIGTERM, SIG_IGN); break;
    case INPUT: close(0); break;
    case OUTPUT: close(1); break;
    case ERROR: close(2); break;
    case REPLACED:
        fd = open("/dev/full", O_RDWR | O_CLOEXEC);
        for (int i = 0; i <= 2; i++)
            dup2(fd, i);
        close(fd);
        break;
    default: break;
    }
}

/* All of it in a number: equal if nothing is different. */
static uint64_t mix(uint64_t sum, uint64_t more)
{
    return (sum ^ more) * 0x9e3779b97f4a7c15u + (sum >> 29);
}

static uint64_t look(void)
{
    struct stat found = {0};
    struct sigaction term;
    sigset_t mask;
    mode_t creation = umask(0);
    umask(creation);
    uint64_t sum = mix(1, creation);
    sum = mix(sum, stat(".", &found) == 0 ? found.st_ino : 0);
    for (int fd = 0; fd <= 2; fd++)
        sum = mix(sum, fstat(fd, &found) == 0 ? found.st_ino : 0);
    sigaction(SIGTERM, NULL, &term);
    sum = mix(sum, (uintptr_t)term.sa_handler);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int number = 1; number < 32; number++)
        sum = mix(sum, sigismember(&mask, number) == 1);
    return sum;
}

/* Tells what it finds, then changes that, and takes long enough for the worker to look at the clock. */
static mp_status look_and_change(const int *in, uint64_t *out, mp_call *call)
{
    (void)call;
    *out = look();
    change(*in);
    nap_us(600);
    return MP_OK;
}
MP_TASK(look_and_change, int, uint64_t);

/* The same, and takes no time. */
static mp_status look_and_change_at_once(const int *in, uint64_t *out, mp_call *call)
{
    (void)call;
    *out = look();
    change(*in);
    return MP_OK;
}
MP_TASK(look_and_change_at_once, int, uint64_t);

static mp_status arrange(const int *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    dup2(fd, 0);
    close(fd);
    umask(027);
    signal(SIGTERM, SIG_IGN);
    return chdir("/tmp") ? MP_EFAILED : MP_OK;
}
MP_TASK(arrange, int, mp_none);

static uint64_t next_value(rig *r)
{
    uint64_t value = 0;
    mp__event event = rig_await_kind(r, MP__EV_RESULT);
    cr_assert(event.frame && mp__row_read(&mp__type_uint64_t, event.frame, 1, &value, sizeof value) == 1);
    return value;
}

static void expect_mended(mp_start_method method, mp__backend_config config, const int *changes, int count)
{
    rig r;
    rig_open(&r, method, config);
    rig_begin(&r);
    if (config.initializer.task)
        rig_await_kind(&r, MP__EV_GREETED);
    rig_await_kind(&r, MP__EV_READY);
    for (int i = 0; i < count; i++)
        rig_send(&r, &mp__task_look_and_change, (size_t)i, 1, &changes[i]);
    kind->flush(r.workers, 0);
    uint64_t first = next_value(&r);
    for (int i = 1; i < count; i++)
        cr_assert_eq(next_value(&r), first, "behind change %d, of kind %d", i, changes[i - 1]);
    kind->kill(r.workers, 0, true);
    rig_await_kind(&r, MP__EV_LOST);
    rig_close(&r);
}

CHECK_METHODS(footing, changed_by_a_task__is_mended_before_the_next)
{
    static const int changes[] = {CHANGES, DIRECTORY, CHANGES, UMASK,   CHANGES, MASK,    CHANGES,  TERM,   CHANGES,
                                  INPUT,   CHANGES,   OUTPUT,  CHANGES, ERROR,   CHANGES, REPLACED, CHANGES};
    expect_mended(method, (mp__backend_config){0}, changes, sizeof changes / sizeof *changes);
}

CHECK_METHODS(footing, each_change__is_mended_by_itself)
{
    for (int what = 0; what < CHANGES; what++) {
        const int changes[] = {what, CHANGES, CHANGES};
        expect_mended(method, (mp__backend_config){0}, changes, 3);
    }
}

CHECK_METHODS(footing, arranged_by_the_initializer__stays)
{
    static const int nothing, changes[] = {CHANGES, DIRECTORY, UMASK, TERM, INPUT, CHANGES, REPLACED, CHANGES};
    struct stat before, after;
    cr_assert_eq(stat(".", &before), 0);
    expect_mended(method, (mp__backend_config){.initializer = {.task = &mp__task_arrange, .value = &nothing}}, changes, 8);
    cr_assert(stat(".", &after) == 0 && after.st_ino == before.st_ino);
}

/* Once it was seen, each item is looked behind, however short: from the third on, none finds anything. */
CHECK_METHODS(footing, changed_again_and_again__is_mended_behind_each_item)
{
    enum { MANY = 200 };
    static int changes[MANY];
    rig r;
    rig_open(&r, method, (mp__backend_config){0});
    rig_start(&r);
    changes[0] = changes[1] = UMASK;
    rig_send(&r, &mp__task_look_and_change, 0, 1, &changes[0]);
    for (int i = 2; i < MANY; i++) {
        changes[i] = i % CHANGES;
        rig_send(&r, &mp__task_look_and_change_at_once, (size_t)i, 1, &changes[i]);
    }
    kind->flush(r.workers, 0);
    uint64_t first = next_value(&r);
    for (int i = 2; i < MANY; i++)
        cr_assert_eq(next_value(&r), first, "item %d", i);
    kind->kill(r.workers, 0, true);
    rig_await_kind(&r, MP__EV_LOST);
    rig_close(&r);
}

/* --- limits ---------------------------------------------------------------------------------------------------------------- */

static mp_status burn(const int *in, int *out, mp_call *call)
{
    (void)in, (void)call;
    for (volatile unsigned x = 0; x < UINT_MAX; x += 0)
        *out = (int)x;
    return MP_OK;
}
MP_TASK(burn, int, int);

static mp_status write_much(const int *in, int *out, mp_call *call)
{
    char text[4096] = {0};
    int fd = memfd_create("much", MFD_CLOEXEC);
    (void)call;
    for (int i = 0; i < *in; i++)
        *out += (int)write(fd, text, sizeof text);
    return MP_OK;
}
MP_TASK(write_much, int, int);

static mp_status want_memory(const int *in, int *out, mp_call *call)
{
    (void)call;
    void *memory = malloc((size_t)*in << 20);
    *out = memory != NULL;
    free(memory);
    return MP_OK;
}
MP_TASK(want_memory, int, int);

static mp_status tell_limit(const int *in, uint64_t *out, mp_call *call)
{
    struct rlimit limit;
    (void)call;
    getrlimit((__rlimit_resource_t)*in, &limit);
    *out = limit.rlim_cur;
    return MP_OK;
}
MP_TASK(tell_limit, int, uint64_t);

static char *volatile sink;

static mp_status keep_memory(const int *in, int *out, mp_call *call)
{
    (void)call;
    char *memory = malloc((size_t)*in << 20);
    if (!memory)
        return MP_ENOMEM;
    memset(memory, 1, (size_t)*in << 20);
    *out = memory[*in] == 1;
    sink = memory;
    nap_us(100);
    return MP_OK;
}
MP_TASK(keep_memory, int, int);

static void open_limited(rig *r, mp_start_method method, mp__worker_limits limits)
{
    rig_open(r, method, (mp__backend_config){.limits = limits});
    rig_start(r);
}

static void leave(rig *r)
{
    kind->stop(r->workers, 0);
    rig_await_kind(r, MP__EV_LOST);
    rig_close(r);
}

static int value_of(mp__event event, const mp_task *task)
{
    int value = 0;
    cr_assert(event.frame && mp__row_read(task->output, event.frame, 1, &value, sizeof value) == 1);
    return value;
}

CHECK_METHODS(limits, cpu_seconds__end_the_worker_and_it_is_said)
{
    rig r;
    static const int nothing;
    open_limited(&r, method, (mp__worker_limits){.cpu_seconds = 1});
    rig_run(&r, &mp__task_burn, &nothing);
    mp__event event = rig_await_kind(&r, MP__EV_LOST);
    cr_assert_eq(event.error->signal, SIGXCPU, "%s", event.error->message);
    cr_assert(strstr(event.error->message, ".limits.cpu_time") != NULL, "%s", event.error->message);
    cr_assert_gt(event.evidence->cpu_ns, 0u);
    cr_assert_not(event.evidence->by_oom);
    rig_close(&r);
}

CHECK_METHODS(limits, file_size__ends_the_worker_and_it_is_said)
{
    rig r;
    static const int fits = 2, does_not = 3;
    open_limited(&r, method, (mp__worker_limits){.file_size = 8192});
    rig_run(&r, &mp__task_write_much, &fits);
    cr_assert_eq(value_of(rig_await_kind(&r, MP__EV_RESULT), &mp__task_write_much), 8192);
    rig_run(&r, &mp__task_write_much, &does_not);
    mp__event event = rig_await_kind(&r, MP__EV_LOST);
    cr_assert_eq(event.error->signal, SIGXFSZ, "%s", event.error->message);
    cr_assert(strstr(event.error->message, ".limits.file_size") != NULL, "%s", event.error->message);
    rig_close(&r);
}

CHECK_METHODS(limits, address_space__is_refused_to_the_task_alone, .disabled = CHECK_ASAN || CHECK_TSAN)
{
    rig r;
    static const int much = 1024, little = 1;
    open_limited(&r, method, (mp__worker_limits){.address_space = 512u << 20});
    rig_run(&r, &mp__task_want_memory, &much);
    cr_assert_eq(value_of(rig_await_kind(&r, MP__EV_RESULT), &mp__task_want_memory), 0);
    rig_run(&r, &mp__task_want_memory, &little);
    cr_assert_eq(value_of(rig_await_kind(&r, MP__EV_RESULT), &mp__task_want_memory), 1);
    leave(&r);
}

CHECK_METHODS(limits, core__is_as_asked_for)
{
    static const int what = RLIMIT_CORE;
    rig r;
    open_limited(&r, method, (mp__worker_limits){.core = MP__LIMIT_NONE});
    rig_run(&r, &mp__task_tell_limit, &what);
    cr_assert_eq(next_value(&r), 0);
    leave(&r);
}

CHECK_METHODS(limits, above_the_hard_limit__is_a_start_that_fails_and_says_so)
{
    rig r;
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){1u << 30, 1u << 30});
    rig_open(&r, method, (mp__backend_config){.limits = {.file_size = (1u << 30) + 1}});
    rig_begin(&r);
    mp__event event = rig_await_kind(&r, MP__EV_START_FAILED);
    cr_assert_eq(event.error->status, MP_EINVAL, "%s", event.error->message);
    cr_assert(strstr(event.error->message, "hard limit is 1073741824") != NULL, "%s", event.error->message);
    rig_close(&r);
}

CHECK_METHODS(limits, resident_memory__makes_a_life_spent_once)
{
    rig r;
    static const int little = 1, much = 96;
    open_limited(&r, method, (mp__worker_limits){.rss = 90u << 20});
    rig_run(&r, &mp__task_keep_memory, &little);
    rig_await_kind(&r, MP__EV_RESULT);
    int spent = 0;
    for (int i = 0; i < 3; i++) {
        rig_run(&r, &mp__task_keep_memory, i ? &little : &much);
        mp__event event = rig_await(&r);
        if (event.kind == MP__EV_SPENT) {
            spent++;
            cr_assert(strstr(event.error->message, "more than .maxrss of 90 MiB") != NULL, "%s", event.error->message);
            event = rig_await(&r);
        }
        cr_assert_eq(event.kind, MP__EV_RESULT);
    }
    cr_assert_eq(spent, 1);
    leave(&r);
}

/* --- what was used --------------------------------------------------------------------------------------------------------- */

static mp_status use_and_fail(const int *in, int *out, mp_call *call)
{
    struct rusage used;
    do
        getrusage(RUSAGE_SELF, &used);
    while (used.ru_utime.tv_usec + used.ru_stime.tv_usec < *in * 1000 && !used.ru_utime.tv_sec);
    *out = 0;
    return mp_fail(call, MP_EUSER, "no");
}
MP_TASK(use_and_fail, int, int);

CHECK_METHODS(used, failed_item_and_lost_life__say_what_the_worker_has_used)
{
    rig r;
    static const int ms = 30;
    open_limited(&r, method, (mp__worker_limits){0});
    rig_run(&r, &mp__task_use_and_fail, &ms);
    mp__event event = rig_await_kind(&r, MP__EV_RESULT);
    cr_assert_eq(event.error->status, MP_EUSER);
    cr_assert(event.evidence != NULL);
    uint64_t before = event.evidence->cpu_ns;
    cr_assert_geq(before, 30000000u);
    cr_assert_geq(event.evidence->rss_bytes, 100000u);
    kind->kill(r.workers, 0, true);
    event = rig_await_kind(&r, MP__EV_LOST);
    cr_assert_geq(event.evidence->cpu_ns, before);
    cr_assert_geq(event.evidence->rss_bytes, 100000u);
    cr_assert_not(event.evidence->by_oom, "we did it");
    rig_close(&r);
}
