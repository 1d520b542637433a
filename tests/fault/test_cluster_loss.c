/* Agents, and roots, that go: which items are lost, which are run again, and that nobody is left. */
#include "pool/cluster/agent.h"
#include "tests/lib/cluster.h"
#include <sys/resource.h>
#include <sys/socket.h>

TestSuite(loss, .timeout = 120);

enum { ITEMS = 400 };
static int in[20000], out[20000];
static mp_status statuses[20000];

/* Each waits a little, until the gate is open: so that many are left when somebody dies. */
static mp_status linger(const int *item, int *result, mp_call *call)
{
    board_begin(call);
    for (int i = 0; i < 10 && !the_board()->gate; i++)
        nap_us(500);
    *result = *item + 1;
    the_board()->ended++;
    return MP_OK;
}
MP_TASK(linger, int, int);

static mp_async *begin_map(mp_pool *pool, int retries)
{
    for (int i = 0; i < ITEMS; i++)
        in[i] = i;
    mp_async *async = mp_pool_map_async(pool, linger, in, ITEMS, .retries = retries, .chunksize = 1);
    cr_assert(SOON(the_board()->ended >= 20));
    return async;
}

static void end_all(mp_pool **pool)
{
    spanning_end(pool);
    span_end();
    cr_assert(ge(int, leftovers_reap(PROMPT), 0), "what an agent had lives on");
}

CHECK(loss, agent_killed__its_items_are_lost_and_name_it)
{
    char host[MP_NAME_MAX];
    gethostname(host, sizeof host);
    span("0,agents=1,local=1", 1);
    mp_pool *pool = SPANNING(.spin = 0);
    cr_assert(eq(int, spanning_stats(pool).processes, 3));
    mp_async *async = begin_map(pool, 0);
    agent_kill(0);
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, out, PROMPT), MP_ELOST));
    const mp_error *error = mp_async_error(async);
    cr_assert(eq(str, (char *)error->host, host));
    cr_assert(strstr(error->message, "the agent on ") != NULL, "it says: %s", error->message);
    int lost = 0;
    memcpy(statuses, mp_async_statuses(async), ITEMS * sizeof *statuses);
    for (int i = 0; i < ITEMS; i++) {
        cr_assert(statuses[i] == MP_OK || statuses[i] == MP_ELOST, "item %d: %s", i, mp_status_name(statuses[i]));
        lost += statuses[i] == MP_ELOST;
        if (statuses[i] == MP_OK)
            cr_assert(eq(int, out[i], i + 1));
        cr_assert(le(int, the_board()->times[i], 1));
    }
    cr_assert(gt(int, lost, 0));
    cr_assert(SOON(spanning_stats(pool).processes == 1));
    mp_async_free(&async);
    end_all(&pool);
}

CHECK(loss, agents_that_come_and_go__leave_as_many_workers_as_there_were)
{
    span("0,agents=1,local=1", 1);
    mp_pool *pools[] = {SPANNING(.processes = 6), SPANNING(.spin = 0)}; /* of the user's number, and one for each CPU */
    for (int round = 0; round < 3; round++) {
        cr_assert(SOON(spanning_stats(pools[0]).processes == 6));
        cr_assert(SOON(spanning_stats(pools[1]).processes == 3));
        agent_kill(round);
        cr_assert(SOON(spanning_stats(pools[0]).processes == 2), "the part of the CPUs that is left");
        cr_assert(SOON(spanning_stats(pools[1]).processes == 1));
        agent_add(NULL);
    }
    cr_assert(SOON(spanning_stats(pools[1]).workers == 3));
    for (int i = 0; i < 2; i++)
        spanning_end(&pools[i]);
    span_end();
    cr_assert(ge(int, leftovers_reap(PROMPT), 0), "what an agent had lives on");
}

CHECK(loss, agent_killed_with_retries__all_results_arrive)
{
    span("0,agents=2,local=1", 2);
    mp_pool *pool = SPANNING(.spin = 0);
    mp_async *async = begin_map(pool, 1);
    agent_kill(1);
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, out, PROMPT), MP_OK));
    for (int i = 0; i < ITEMS; i++)
        cr_assert(eq(int, out[i], i + 1));
    mp_async_free(&async);
    end_all(&pool);
}

CHECK(loss, of_the_only_host__the_pool_goes_on_here)
{
    span("0,agents=1,local=0", 1);
    mp_pool *pool = SPANNING(.processes = 2);
    mp_async *async = begin_map(pool, 3);
    agent_kill(0);
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, out, PROMPT), MP_OK));
    mp_async_free(&async);
    end_all(&pool);
}

/* Silence is not told from a cable that was pulled. */
CHECK(loss, agent_stopped__is_lost)
{
    span("0,agents=1,local=1", 1);
    mp_pool *pool = SPANNING(.spin = 0);
    mp_async *async = begin_map(pool, 1);
    cr_assert(zero(int, kill(agents[0], SIGSTOP)));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, out, PROMPT), MP_OK));
    for (int i = 0; i < ITEMS; i++)
        cr_assert(eq(int, out[i], i + 1));
    mp_async_free(&async);
    agent_kill(0);
    end_all(&pool);
}

CHECK(loss, crashes__cost_an_item_each_and_no_agent)
{
    enum { MANY = 20000, CRASHES = 20 };
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    span("0,agents=1,local=0", 1);
    mp_pool *pool = SPANNING(.processes = 2);
    for (int i = 0; i < MANY; i++)
        in[i] = i % (MANY / CRASHES) == 7 ? -1 : i;
    cr_assert(eq(int, mp_pool_map(pool, crash_some, in, MANY, out, .statuses = statuses), MP_ECRASHED));
    int failed = 0;
    for (int i = 0; i < MANY; i++) {
        failed += statuses[i] != MP_OK;
        cr_assert(eq(int, statuses[i] == MP_OK, in[i] >= 0), "item %d: %s", i, mp_status_name(statuses[i]));
        if (statuses[i] == MP_OK)
            cr_assert(eq(int, out[i], i + 1));
    }
    cr_assert(eq(int, failed, CRASHES));
    cr_assert(proc_lives(agents[0]));
    end_all(&pool);
}

/* Writes the port, and computes for ever. */
static void be_root(int port_to)
{
    mp_pool *pool;
    mp_error error;
    if (mp__hall_open("0,agents=2,local=1", &error))
        _exit(2);
    int port = mp__hall_port();
    (void)!write(port_to, &port, sizeof port);
    if (mp_pool_open(&pool, .kind = MP_CLUSTER))
        _exit(3);
    for (int i = 0; i < ITEMS; i++)
        in[i] = i;
    (void)mp_pool_map(pool, hold, in, ITEMS, out);
    _exit(4);
}

static pid_t agent_at(int port)
{
    char address[64];
    snprintf(address, sizeof address, "MILLPOND_AGENT=127.0.0.1:%d", port);
    pid_t pid = proc_fork();
    if (pid)
        return pid;
    putenv(address);
    unsetenv("BXFI_MAP");
    execl("/proc/self/exe", "agent", NULL);
    _exit(127);
}

CHECK(loss, root_killed__nobody_is_left)
{
    int port, ends[2];
    board_open();
    setenv("MILLPOND_CPU_COUNT", "2", 1);
    cr_assert(zero(int, pipe(ends)));
    pid_t root = proc_fork();
    if (root == 0)
        be_root(ends[1]);
    cr_assert(eq(sz, (size_t)read(ends[0], &port, sizeof port), sizeof port));
    pid_t both[2] = {agent_at(port), agent_at(port)};
    cr_assert(SOON(the_board()->begun >= 5));
    kill(root, SIGKILL);
    waitpid(root, NULL, 0);
    cr_assert(eq(int, agent_end(both[0]), 0));
    cr_assert(eq(int, agent_end(both[1]), 0));
    cr_assert(ge(int, leftovers_reap(2), 0), "a process is left after two seconds");
    close(ends[0]);
    close(ends[1]);
    board_close();
}

/* Has a pool, and a child that has all its connections, too. */
static void be_root_with_child(int door, int says, int ends_child)
{
    mp_pool *pool;
    mp_error error;
    char ended;
    if (mp__hall_open_door(door, 1, &error) || mp_pool_open(&pool, .kind = MP_CLUSTER))
        _exit(2);
    pid_t child = fork();
    if (child == 0) {
        (void)!read(ends_child, &ended, 1);
        _exit(0);
    }
    close(ends_child);
    mp_async *async = mp_pool_map_async(pool, hold, in, ITEMS);
    (void)!write(says, &async, 1);
    for (;;)
        pause();
}

/* Nothing ends: as under an MPI that does not tell that a rank is gone. The agent takes silence for it. */
CHECK(loss, root_killed_and_its_connections_stay__nobody_is_left)
{
    int says[2], child[2], door[2], status = -1;
    char began;
    board_open();
    setenv("MILLPOND_CPU_COUNT", "2", 1);
    cr_assert(zero(int, pipe(says)));
    cr_assert(zero(int, pipe(child)));
    cr_assert(zero(int, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, door)));
    pid_t agent = proc_fork();
    if (agent == 0) {
        close(door[0]);
        close(child[1]);
        _exit(mp__agent_serve_door(door[1], 1, MP_FORKSERVER));
    }
    close(door[1]);
    pid_t root = proc_fork();
    if (root == 0) {
        close(child[1]);
        be_root_with_child(door[0], says[1], child[0]);
    }
    close(door[0]);
    cr_assert(eq(sz, (size_t)read(says[0], &began, 1), 1));
    cr_assert(SOON(the_board()->begun >= 3));
    kill(root, SIGKILL);
    waitpid(root, NULL, 0);
    cr_assert(UNTIL(60, waitpid(agent, &status, WNOHANG) == agent), "the agent stays");
    cr_assert(exited(status, 0));
    close(child[1]);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0), "a process is left");
    close(child[0]);
    close(says[0]);
    close(says[1]);
    board_close();
}
