/* Processes that a task has started: those beside its worker end with it, in whatever way it ends; daemons with the pool. */
#include "tests/fault/process_rig.h"
#include "tests/lib/board.h"
#include "tests/lib/methods.h"
#include "tests/lib/proc.h"
#include "tests/lib/until.h"
#include <signal.h>

TestSuite(descendants, .timeout = 60);

enum { BESIDE, DAEMON, SELF, KINDS }; /* words of the board */

_Noreturn static void stay(int which)
{
    signal(SIGTERM, SIG_IGN);
    if (which == DAEMON) {
        setsid();
        if (fork())
            _exit(0);
    }
    the_board()->word[which] = getpid();
    for (;;)
        pause();
}

/* Then it ends by that signal; 0: it does not. */
static mp_status breed(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    for (int i = BESIDE; i <= DAEMON; i++)
        if (!fork())
            stay(i);
    the_board()->word[SELF] = getpid();
    while (!the_board()->word[BESIDE] || !the_board()->word[DAEMON])
        nap_us(200);
    if (*in)
        raise(*in);
    *out = 1;
    return MP_OK;
}
MP_TASK(breed, int, int);

/* The worker itself goes to the group of its child: it is found there. */
static mp_status change_group(const int *in, int *out, mp_call *call)
{
    pid_t child = fork();
    if (!child)
        for (;;)
            pause();
    setpgid(child, child);
    *out = setpgid(0, child);
    board_begin(call);
    while (*in)
        pause();
    return MP_OK;
}
MP_TASK(change_group, int, int);

static bool is_gone(int which)
{
    return board_here->word[which] > 1 && !proc_lives(board_here->word[which]);
}

static void begin(rig *r, mp_start_method method, const mp_task *task, const int *value)
{
    board_open();
    rig_open(r, method, (mp__backend_config){0});
    rig_start(r);
    rig_run(r, task, value);
}

static void finish(rig *r)
{
    rig_close(r);
    cr_assert(is_gone(BESIDE));
    cr_assert(is_gone(DAEMON));
    board_close();
}

CHECK_METHODS(descendants, worker_that_leaves__its_group_ends_and_daemons_with_the_pool)
{
    rig r;
    static const int no_signal;
    begin(&r, method, &mp__task_breed, &no_signal);
    rig_await_kind(&r, MP__EV_RESULT);
    cr_assert(proc_lives(board_here->word[BESIDE]) && proc_lives(board_here->word[DAEMON]));
    kind->stop(r.workers, 0);
    mp__event event = rig_await_kind(&r, MP__EV_LOST);
    cr_assert_eq(event.error->exit_code, 0, "%s", event.error->message);
    cr_assert(SOON(is_gone(BESIDE)));
    cr_assert(proc_lives(board_here->word[DAEMON]), "the pool is still open");
    finish(&r);
}

CHECK_METHODS(descendants, worker_that_crashes__its_group_ends_and_daemons_with_the_pool)
{
    static const int signals[] = {SIGSEGV, SIGKILL};
    for (int i = 0; i < 2; i++) {
        rig r;
        begin(&r, method, &mp__task_breed, &signals[i]);
        mp__event event = rig_await_kind(&r, MP__EV_LOST);
        cr_assert_eq(event.error->signal, signals[i], "%s", event.error->message);
        cr_assert(SOON(is_gone(BESIDE)));
        finish(&r);
    }
}

CHECK_METHODS(descendants, worker_that_is_killed__its_group_ends_and_daemons_with_the_pool)
{
    for (int hard = 0; hard < 2; hard++) {
        rig r;
        static const int no_signal;
        begin(&r, method, &mp__task_breed, &no_signal);
        rig_await_kind(&r, MP__EV_RESULT);
        kind->kill(r.workers, 0, hard);
        rig_await_kind(&r, MP__EV_LOST);
        cr_assert(SOON(is_gone(BESIDE)));
        finish(&r);
    }
}

/* As when a pool is freed: nobody stops it first. */
CHECK_METHODS(descendants, pool_that_is_closed_at_once__nothing_is_left)
{
    rig r;
    static const int no_signal;
    begin(&r, method, &mp__task_breed, &no_signal);
    rig_await_kind(&r, MP__EV_RESULT);
    finish(&r);
}

CHECK_METHODS(descendants, worker_that_has_left_its_group__is_killed_all_the_same)
{
    rig r;
    static const int wait = 1;
    begin(&r, method, &mp__task_change_group, &wait);
    cr_assert(SOON(board_here->begun == 1));
    kind->kill(r.workers, 0, true);
    mp__event event = rig_await_kind(&r, MP__EV_LOST);
    cr_assert_eq(event.error->signal, SIGKILL);
    rig_close(&r);
    board_close();
}

/* The terminal's stop signals do not stop a worker, which is in no foreground group. */
static mp_status stop_by_terminal(const int *in, int *out, mp_call *call)
{
    (void)in, (void)call;
    *out = raise(SIGTTOU) || raise(SIGTTIN);
    return MP_OK;
}
MP_TASK(stop_by_terminal, int, int);

CHECK_METHODS(descendants, worker__is_not_stopped_for_having_no_terminal)
{
    rig r;
    static const int nothing;
    begin(&r, method, &mp__task_stop_by_terminal, &nothing);
    rig_await_kind(&r, MP__EV_RESULT);
    kind->stop(r.workers, 0);
    rig_await_kind(&r, MP__EV_LOST);
    rig_close(&r);
    board_close();
}
