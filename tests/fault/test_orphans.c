/* Whoever dies, and however: no process is left a second later. The test process is a subreaper (CHECK sees to that), so what
 * a dead owner leaves comes to it, and is waited for by its death, not by its pid. */
#include "tests/lib/check.h"
#include "tests/lib/methods.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/spawn.h"
#include "tests/lib/until.h"
#include <sys/resource.h>

TestSuite(orphans, .timeout = 60);

enum { WORKERS = 3, READY = 20 };
#define A_SECOND (1.0 * (ROUNDS_SLOWER > 1 ? 10 : 1))

static char said[4096];

static spawned start_owner(const char *how, mp_start_method method)
{
    char number[12];
    snprintf(number, sizeof number, "%d", (int)method);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    *said = 0;
    spawned owner = spawn("HELPER_OWNER", how, number);
    cr_assert(gt(int, owner.pid, 0));
    cr_assert(spawn_read_until(&owner, "ready\n", said, sizeof said, READY), "owner %s is not ready: %s", how, said);
    return owner;
}

typedef struct family {
    pid_t zygote, workers[WORKERS];
    int count; /* of workers */
} family;

static family family_of(const spawned *owner)
{
    family found = {.zygote = 0};
    pid_t children[2] = {0, 0};
    cr_assert(ge(int, proc_children(owner->pid, children, 2), 1));
    found.zygote = children[0]; /* forked first */
    found.count = proc_children(found.zygote, found.workers, WORKERS);
    cr_assert(eq(int, found.count, WORKERS), "it is ready, but its workers are not there");
    return found;
}

static bool all_gone(const family *members)
{
    bool gone = !proc_lives(members->zygote);
    for (int i = 0; i < members->count; i++)
        gone = gone && !proc_lives(members->workers[i]);
    return gone;
}

/* Nothing of what the owner began: a zygote reaps its workers before it goes, and if it cannot, they come to us. */
static void expect_nothing_left(spawned *owner)
{
    int reaped = leftovers_reap(A_SECOND);
    close(owner->output);
    cr_assert(ge(int, reaped, 1), "a process is left after a second");
}

static void expect_gone_after_kill(const char *how, int signal, mp_start_method method)
{
    spawned owner = start_owner(how, method);
    family members = family_of(&owner);
    cr_assert(zero(int, kill(owner.pid, signal)));
    expect_nothing_left(&owner);
    cr_assert(all_gone(&members));
}

CHECK_METHODS(orphans, owner_killed_while_workers_are_idle__none_is_left)
{
    for (int round = 0; round < ROUNDS(10); round++)
        expect_gone_after_kill("idle", SIGKILL, method);
}

CHECK_METHODS(orphans, owner_killed_while_workers_compute__none_is_left)
{
    for (int round = 0; round < ROUNDS(10); round++)
        expect_gone_after_kill("busy", SIGKILL, method);
}

CHECK_METHODS(orphans, owner_killed_while_workers_write_8_mib__none_is_left)
{
    for (int round = 0; round < ROUNDS(10); round++) {
        spawned owner = start_owner("giving", method);
        family members = family_of(&owner);
        nap_us(1000L * (round * 7 % 20));
        cr_assert(zero(int, kill(owner.pid, SIGKILL)));
        expect_nothing_left(&owner);
        cr_assert(all_gone(&members));
    }
}

/* At any moment of opening and freeing: how many processes there were is not known. */
CHECK_METHODS(orphans, owner_killed_while_it_opens_and_frees_pools__none_is_left)
{
    for (int round = 0; round < ROUNDS(40); round++) {
        spawned owner = start_owner("opening", method);
        nap_us(37L * round);
        cr_assert(zero(int, kill(owner.pid, SIGKILL)));
        expect_nothing_left(&owner);
    }
}

CHECK_METHODS(orphans, owner_killed_after_close__none_is_left)
{
    for (int round = 0; round < ROUNDS(10); round++) {
        spawned owner = start_owner("closed", method);
        cr_assert(zero(int, kill(owner.pid, SIGKILL)));
        expect_nothing_left(&owner);
    }
}

CHECK_METHODS(orphans, owner_terminated__none_is_left)
{
    expect_gone_after_kill("idle", SIGTERM, method);
    expect_gone_after_kill("busy", SIGTERM, method);
}

CHECK_METHODS(orphans, owner_interrupted__none_is_left)
{
    expect_gone_after_kill("idle", SIGINT, method);
}

CHECK_METHODS(orphans, owner_exits_without_freeing_its_pool__none_is_left)
{
    spawned owner = start_owner("exit", method);
    expect_nothing_left(&owner);
}

CHECK_METHODS(orphans, owner_exits_while_a_map_runs__none_is_left)
{
    spawned owner = start_owner("busy-exit", method);
    expect_nothing_left(&owner);
}

CHECK_METHODS(orphans, owner_aborts_while_a_map_runs__none_is_left)
{
    spawned owner = start_owner("busy-abort", method);
    expect_nothing_left(&owner);
}

/* What tasks have started goes too: a child beside its worker, and a daemon. */
CHECK_METHODS(orphans, owner_killed_while_tasks_have_children__none_is_left)
{
    for (int round = 0; round < ROUNDS(10); round++) {
        spawned owner = start_owner("breeding", method);
        cr_assert(zero(int, kill(owner.pid, SIGKILL)));
        expect_nothing_left(&owner);
    }
}

CHECK_METHODS(orphans, owner_exits_while_tasks_have_children__none_is_left)
{
    spawned owner = start_owner("breeding-exit", method);
    expect_nothing_left(&owner);
    owner = start_owner("breeding-free", method);
    expect_nothing_left(&owner);
}

/* A child of the owner's lives on with copies of its descriptors: their end never comes. */
CHECK_METHODS(orphans, owner_killed_but_its_child_lives__workers_go_and_the_child_stays)
{
    int child = 0, status;
    spawned owner = start_owner("child", method);
    cr_assert(eq(int, sscanf(said, "child %d", &child), 1), "%s", said);
    family members = family_of(&owner);
    cr_assert(zero(int, kill(owner.pid, SIGKILL)));
    cr_assert(UNTIL(A_SECOND, all_gone(&members)), "a process is left after a second");
    cr_assert(proc_lives(child));
    kill(child, SIGKILL);
    waitpid(owner.pid, &status, 0);
    expect_nothing_left(&owner);
}

/* Workers that are stopped cannot leave by themselves. */
CHECK_METHODS(orphans, owner_killed_while_workers_are_stopped__none_is_left)
{
    spawned owner = start_owner("idle", method);
    family members = family_of(&owner);
    for (int i = 0; i < WORKERS; i++)
        cr_assert(proc_signal_child(members.zygote, members.workers[i], SIGSTOP));
    cr_assert(zero(int, kill(owner.pid, SIGKILL)));
    expect_nothing_left(&owner);
    cr_assert(all_gone(&members));
}

/* The zygote dies, and then the owner: nobody is left who could tell the workers. */
CHECK_METHODS(orphans, zygote_and_owner_killed__none_is_left)
{
    for (int round = 0; round < ROUNDS(10); round++) {
        spawned owner = start_owner(round % 2 ? "busy" : "idle", method);
        family members = family_of(&owner);
        cr_assert(proc_signal_child(owner.pid, members.zygote, SIGKILL));
        cr_assert(zero(int, kill(owner.pid, SIGKILL)));
        expect_nothing_left(&owner);
        cr_assert(all_gone(&members));
    }
}
