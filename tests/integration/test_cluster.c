/* What is peculiar to pools that span hosts: how they come together, who is let in, where workers are, what large values do on their way.
 * That they do what pools do is in the programs of suite `cluster`. */
#include "pool/cluster/agent.h"
#include "pool/cluster/secret.h"
#include "pool/cluster/wire.h"
#include "pool/process/protocol.h"
#include "tests/lib/cluster.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

TestSuite(together, .timeout = 60);
TestSuite(admission, .timeout = 60);
TestSuite(values, .timeout = 60);
TestSuite(wire, .timeout = 60);

/* ---- a task that only some agents have ---- */

/* In the order of constructors behind the others, and before what makes this an agent. */
__attribute__((constructor(102))) static void register_odd_one(void)
{
    static mp_task odd_one;
    static mp_task_entry entry = {.task = &odd_one};
    const mp_task *known = getenv("TEST_ODD") ? mp_task_find("add_one") : NULL;
    if (!known)
        return;
    odd_one = *known;
    odd_one.name = "odd_one";
    (void)mp_task_register(&entry, NULL);
}

static mp_status mind(const int *one, mp_none *nothing, mp_call *call)
{
    (void)one;
    (void)nothing;
    (void)call;
    the_board()->lives++;
    return MP_OK;
}
MP_TASK(mind, int, mp_none);

enum { MANY = 2000 };
static int in[MANY], out[MANY];

static int families(mp_pool *pool, int found[8])
{
    int each[64], count = 0, n = spanning_stats(pool).processes, nothing = 0;
    mp_error error;
    cr_assert(eq(int, mp_pool_broadcast(pool, tell_family, &nothing, each, (size_t)n, .error = &error), MP_OK), "%s",
              error.message);
    for (int i = 0; i < n; i++) {
        int k = 0;
        while (k < count && found[k] != each[i])
            k++;
        if (k == count)
            found[count++] = each[i];
    }
    return count;
}

static void expect_right(mp_pool *pool)
{
    for (int i = 0; i < MANY; i++)
        in[i] = i;
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, add_one, in, MANY, out, .error = &error), MP_OK), "%s", error.message);
    for (int i = 0; i < MANY; i++)
        cr_assert(eq(int, out[i], i + 1));
}

/* ---- together ---- */

CHECK(together, without_agents__it_is_a_local_pool)
{
    mp_pool *pool = SPANNING(.processes = 2);
    expect_right(pool);
    cr_assert(eq(int, spanning_stats(pool).processes, 2));
    spanning_end(&pool);
}

/* True: for a while hardly any thread of this process has run. */
static bool is_idle(void)
{
    long long before = proc_cpu_ns(getpid());
    nap_us(50000);
    return proc_cpu_ns(getpid()) - before < 2000000;
}

CHECK(together, a_root_that_waits_for_agents__sleeps)
{
    span("0,local=1", 0);
    mp_pool *pools[2] = {SPANNING(.spin = 0), SPANNING(.processes = 2)};
    for (int i = 0; i < 2; i++) {
        expect_right(pools[i]);
        cr_assert(SOON(is_idle()), "somebody is busy for ever");
    }
    agent_add(NULL);
    cr_assert(SOON(spanning_stats(pools[0]).processes == 3));
    cr_assert(SOON(is_idle()), "somebody is busy for ever");
    for (int i = 0; i < 2; i++)
        spanning_end(&pools[i]);
    span_end();
}

CHECK(together, workers__are_as_many_as_all_have_cpus)
{
    int found[8];
    span("0,agents=2,local=1", 2);
    mp_pool *pool = SPANNING(.spin = 0);
    cr_assert(eq(int, spanning_stats(pool).processes, 5));
    cr_assert(eq(int, families(pool, found), 3));
    expect_right(pool);
    spanning_end(&pool);
    span_end();
}

CHECK(together, a_number_of_workers__is_spread)
{
    int found[8];
    span("0,agents=2,local=2", 2);
    mp_pool *pool = SPANNING(.processes = 3);
    cr_assert(eq(int, spanning_stats(pool).processes, 3));
    cr_assert(eq(int, families(pool, found), 3));
    spanning_end(&pool);
    span_end();
}

CHECK(together, several_pools_at_a_time__have_a_connection_each)
{
    mp_pool *pools[3];
    span("0,agents=1,local=0", 1);
    for (int i = 0; i < 3; i++)
        pools[i] = SPANNING(.processes = 1);
    for (int i = 0; i < 3; i++)
        expect_right(pools[i]);
    for (int i = 0; i < 3; i++)
        spanning_end(&pools[i]);
    span_end();
}

CHECK(together, an_agent_that_comes_late__brings_workers)
{
    int found[8];
    span("0,local=1", 0);
    mp_pool *pool = SPANNING(.spin = 0);
    cr_assert(eq(int, spanning_stats(pool).processes, 1));
    agent_add(NULL);
    cr_assert(SOON(spanning_stats(pool).processes == 3));
    cr_assert(SOON(spanning_stats(pool).workers == 3));
    cr_assert(eq(int, families(pool, found), 2));
    spanning_end(&pool);
    span_end();
}

CHECK(together, an_executor__has_its_part_of_the_workers_when_an_agent_has_gone)
{
    mp_executor *executor;
    int one = 1;
    mp_future *futures[8];
    span("0,agents=1,local=2", 1);
    cr_assert(eq(int, mp_executor_open(&executor, .kind = MP_CLUSTER, .max_workers = 4), MP_OK));
    for (int i = 0; i < 8; i++)
        futures[i] = mp_submit(executor, hold, &one);
    cr_assert(SOON(the_board()->begun == 4));
    agent_kill(0);
    cr_assert(SOON(spanning_stats(mp_executor_pool(executor)).processes == 2));
    mp_iter *more = mp_executor_map(executor, add_one, in, 8); /* as much as it may have is there already */
    cr_assert(eq(int, spanning_stats(mp_executor_pool(executor)).processes, 2));
    mp_iter_free(&more);
    the_board()->gate = 1;
    for (int i = 0; i < 8; i++)
        cr_assert(ne(int, mp_future_exception(futures[i], PROMPT)->status, MP_ETIMEDOUT));
    mp_futures_free(futures, 8);
    mp_executor_free(&executor);
    span_end();
    cr_assert(ge(int, leftovers_reap(PROMPT), 0), "what the agent had lives on");
}

CHECK(together, an_executor_that_says_no_number__has_workers_everywhere)
{
    mp_executor *executor;
    int one = 1;
    span("0,agents=1,local=2", 1);
    cr_assert(eq(int, mp_executor_open(&executor, .kind = MP_CLUSTER), MP_OK));
    cr_assert(SOON(mp_executor_max_workers(executor) == 4));
    mp_future *future = mp_submit(executor, add_one, &one);
    cr_assert(eq(int, mp_future_exception(future, PROMPT)->status, MP_OK));
    mp_future_free(&future);
    mp_executor_free(&executor);
    span_end();
}

static mp_status tell_role(const int *nothing, int *role, mp_call *call)
{
    (void)nothing;
    (void)call;
    *role = (getenv("MILLPOND_AGENT") != NULL) + 2 * (getenv("MILLPOND_CLUSTER") != NULL);
    return MP_OK;
}
MP_TASK(tell_role, int, int);

/* They would become agents of this root, and never end. */
CHECK(together, what_tasks_start__is_not_told_to_be_an_agent)
{
    int nothing = 0, role = -1;
    span("0,agents=1,local=0", 0);
    agent_add("MILLPOND_CLUSTER=1");
    mp_pool *pool = SPANNING(.processes = 1);
    cr_assert(eq(int, mp_pool_apply(pool, tell_role, &nothing, &role), MP_OK));
    cr_assert(zero(int, role));
    spanning_end(&pool);
    span_end();
}

/* It has all connections that were there when it was forked. */
CHECK(together, a_child_of_the_program__keeps_no_agent)
{
    span("0,agents=1,local=1", 1);
    mp_pool *pool = SPANNING(.spin = 0);
    expect_right(pool);
    pid_t child = proc_fork();
    if (child == 0)
        for (;;)
            pause();
    spanning_end(&pool);
    span_end();
    cr_assert(proc_lives(child));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static bool nobody(uint64_t id, const void *of)
{
    (void)id;
    (void)of;
    return false;
}

/* It was being told of that pool: the root is there still. */
CHECK(together, an_agent_whose_pool_is_gone_before_it_is_open__serves_the_next)
{
    mp__guest *guest = NULL;
    span("0,agents=1,local=0", 1);
    for (int i = 0; i < 3; i++) {
        cr_assert(SOON((mp__hall_turn(), (guest = mp__hall_take(nobody, NULL)))));
        mp__wire_put(&guest->wire, &(mp__wire_head){.kind = MP__WIRE_HOOK}, "abc", 3);
        mp__wire_write(&guest->wire);
        mp__guest_free(guest);
    }
    mp_pool *pool = SPANNING(.processes = 1);
    expect_right(pool);
    spanning_end(&pool);
    span_end();
}

/* As a launcher's plugin has it: connections come through a door, from a process that was told its rank. */
CHECK(together, connections_through_a_door__are_as_good)
{
    int ends[2];
    mp_error error;
    board_open();
    cr_assert(zero(int, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)));
    pid_t agent = proc_fork();
    if (agent == 0) {
        close(ends[0]);
        _exit(mp__agent_serve_door(ends[1], 1, MP_FORKSERVER));
    }
    close(ends[1]);
    cr_assert(eq(int, mp__hall_open_door(ends[0], 1, &error), MP_OK));
    mp_pool *pools[2] = {SPANNING(.processes = 4), SPANNING(.processes = 4)};
    int found[8];
    cr_assert(eq(int, families(pools[0], found), 2));
    expect_right(pools[0]);
    expect_right(pools[1]);
    spanning_end(&pools[0]);
    spanning_end(&pools[1]);
    mp__hall_close();
    cr_assert(exited(agent_end(agent), 0));
    board_close();
}

CHECK(together, errors__name_the_host)
{
    mp_error error;
    char host[MP_NAME_MAX];
    gethostname(host, sizeof host);
    int one = -3, result;
    span("0,agents=1,local=0", 1);
    mp_pool *pool = SPANNING(.processes = 1);
    cr_assert(eq(int, mp_pool_apply(pool, fail_some, &one, &result, .error = &error), MP_EUSER + 3));
    cr_assert(eq(str, error.host, host));
    cr_assert(eq(str, error.message, (char *)"minus 3"));
    spanning_end(&pool);
    span_end();
}

/* Prints, and fails or crashes. */
static mp_status last_words(const int *how, int *result, mp_call *call)
{
    *result = 0;
    printf("last words %d\n", *how);
    fflush(stdout);
    if (*how == 2)
        raise(SIGSEGV);
    return *how ? mp_fail(call, MP_EFAILED, "as it was told") : MP_OK;
}
MP_TASK(last_words, int, int);

CHECK(together, records__have_host_output_and_death)
{
    char host[MP_NAME_MAX], expected[32];
    gethostname(host, sizeof host);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    span("0,agents=1,local=0", 1);
    mp_pool *pool = SPANNING(.processes = 1, .output = MP_OUTPUT_CAPTURE);
    for (int how = 1; how <= 2; how++) {
        int result;
        mp_error error;
        cr_assert(
            eq(int, mp_pool_apply(pool, last_words, &how, &result, .error = &error), how == 1 ? MP_EFAILED : MP_ECRASHED));
        const mp_record *record = mp_error_record(&error);
        cr_assert(record != NULL);
        snprintf(expected, sizeof expected, "last words %d\n", how);
        cr_assert(eq(str, (char *)record->output, expected));
        cr_assert(eq(str, (char *)record->host, host));
        cr_assert(eq(int, error.signal, how == 1 ? 0 : SIGSEGV));
        mp_record_free(&record);
    }
    spanning_end(&pool);
    span_end();
}

/* ---- who is let in ---- */

static mp_status open_says(const char *what)
{
    mp_pool *pool;
    mp_error error;
    mp_status status = mp_pool_open(&pool, .kind = MP_CLUSTER, .error = &error);
    cr_assert(zero(ptr, pool));
    cr_assert(strstr(error.message, what) != NULL, "it says: %s", error.message);
    return status;
}

CHECK(admission, nobody_comes__says_what_to_do)
{
    span("0,agents=1,wait=0", 0);
    cr_assert(eq(int, open_says("MILLPOND_AGENT="), MP_ESYSTEM));
    span_end();
}

CHECK(admission, terms_that_cannot_be_read__are_refused)
{
    mp_error error;
    cr_assert(eq(int, mp__hall_open("0,agents=x", &error), MP_EINVAL));
    cr_assert(eq(int, mp__hall_open("", &error), MP_EINVAL));
    cr_assert(eq(int, mp__hall_open("0.0.0.0:0", &error), MP_EINVAL));
    cr_assert(strstr(error.message, "MILLPOND_SECRET") != NULL, "%s", error.message);
}

CHECK(admission, with_another_secret__is_sent_away)
{
    setenv("MILLPOND_SECRET", "open sesame", 1);
    mp__secret_take();
    span("0,agents=1,wait=2", 0);
    agent_add("MILLPOND_SECRET=open sesam");
    cr_assert(eq(int, open_says("does not know the secret"), MP_ESYSTEM));
    cr_assert(exited(agent_end(agents[0]), 1));
    agents[0] = 0;
    span_end();
}

CHECK(admission, with_the_secret__is_let_in)
{
    setenv("MILLPOND_SECRET", "open sesame", 1);
    mp__secret_take();
    span("0,agents=1,local=0", 0);
    agent_add("MILLPOND_SECRET=open sesame");
    mp_pool *pool = SPANNING(.processes = 1);
    expect_right(pool);
    spanning_end(&pool);
    span_end();
}

CHECK(admission, of_another_build__is_refused_with_the_first_difference)
{
    span("0,agents=1,local=0", 0);
    agent_add("TEST_ODD=1");
    cr_assert(eq(int, open_says("it has a task 'odd_one', which this program has not"), MP_EMISMATCH));
    span_end();
}

/* ---- strangers ---- */

static int call_in(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)mp__hall_port()), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert(zero(int, connect(fd, (struct sockaddr *)&to, sizeof to)));
    return fd;
}

static void say(int fd, unsigned kind, const void *bytes, size_t size, mp__wire_head head)
{
    head.kind = (uint16_t)kind;
    head.size = (uint32_t)size;
    cr_assert(eq(sz, (size_t)send(fd, &head, sizeof head, MSG_NOSIGNAL), sizeof head));
    if (size)
        cr_assert(eq(sz, (size_t)send(fd, bytes, size, MSG_NOSIGNAL), size));
}

CHECK(admission, garbage__is_no_guest)
{
    char garbage[4096];
    span("0,agents=1,local=0", 1);
    int strangers[8];
    for (int i = 0; i < 8; i++) {
        for (size_t k = 0; k < sizeof garbage; k++)
            garbage[k] = (char)(i == 0 ? 'A' : rand());
        strangers[i] = call_in();
        (void)!send(strangers[i], garbage, sizeof garbage, MSG_NOSIGNAL);
    }
    mp_pool *pool = SPANNING(.processes = 1);
    expect_right(pool);
    spanning_end(&pool);
    for (int i = 0; i < 8; i++)
        close(strangers[i]);
    span_end();
}

/* The challenge, when the hall has had its turn. */
static uint64_t asked(int fd)
{
    struct {
        mp__wire_head head;
        mp__challenge challenge;
    } come;
    cr_assert(SOON((mp__hall_turn(), recv(fd, &come, sizeof come, MSG_DONTWAIT | MSG_PEEK) == sizeof come)));
    cr_assert(eq(sz, (size_t)recv(fd, &come, sizeof come, 0), sizeof come));
    return come.challenge.nonce;
}

/* One that greets as it should, opens, and then says this. */
static void expect_survived(unsigned kind, const void *bytes, size_t size, mp__wire_head head)
{
    mp__greeting hello = {.protocol = MP__WIRE_PROTOCOL,
                          .worker_protocol = MP__PROTOCOL,
                          .error_size = sizeof(mp_error),
                          .cpus = 3,
                          .id = 77,
                          .host = "evil"};
    char rest[4096];
    strncpy(hello.version, mp_version(), sizeof hello.version - 1);
    span("0,local=1", 0);
    int fd = call_in();
    hello.proof = mp__secret_answer(asked(fd), MP__SECRET_AGENT);
    say(fd, MP__WIRE_HELLO, &hello, sizeof hello, (mp__wire_head){.slot = 0});
    say(fd, MP__WIRE_OPENED, NULL, 0, (mp__wire_head){.slot = 0});
    say(fd, kind, bytes, size, head);
    mp_pool *pool = SPANNING(.initializer = MP_HOOK(mind, &(int){1}));
    while (recv(fd, rest, sizeof rest, 0) > 0) /* until it is put out */
        continue;
    expect_right(pool);
    cr_assert(SOON(spanning_stats(pool).processes == 1));
    spanning_end(&pool);
    close(fd);
    span_end();
}

CHECK(admission, of_another_version__is_sent_away)
{
    mp__greeting hello = {.protocol = MP__WIRE_PROTOCOL, .host = "evil"};
    span("0,agents=1,wait=1,local=1", 0);
    int fd = call_in();
    say(fd, MP__WIRE_HELLO, &hello, sizeof hello, (mp__wire_head){.slot = 0});
    cr_assert(eq(int, open_says("it has version"), MP_EMISMATCH));
    close(fd);
    span_end();
}

CHECK(admission, of_another_version__does_no_harm_where_nobody_waits_for_it)
{
    mp__greeting hello = {.protocol = MP__WIRE_PROTOCOL, .host = "evil"};
    char rest[4096];
    span("0,agents=1,local=1", 0);
    int fd = call_in();
    say(fd, MP__WIRE_HELLO, &hello, sizeof hello, (mp__wire_head){.slot = 0});
    (void)asked(fd);
    cr_assert(SOON((mp__hall_turn(), recv(fd, rest, sizeof rest, MSG_DONTWAIT) == 0))); /* it was sent away */
    agent_add(NULL);
    mp_pool *pool = SPANNING(.processes = 2);
    expect_right(pool);
    spanning_end(&pool);
    close(fd);
    span_end();
}

CHECK(admission, an_agent_that_says_nonsense__is_lost)
{
    expect_survived(99, NULL, 0, (mp__wire_head){.slot = 0});
}

CHECK(admission, an_agent_that_claims_what_cannot_be__is_lost)
{
    static const char bytes[MP__WIRE_MAX];
    expect_survived(MP__WIRE_RESULTS, bytes, 4, (mp__wire_head){.slot = 2, .generation = 1});
    expect_survived(MP__WIRE_TEXT, bytes, 4, (mp__wire_head){.number = 17});
    expect_survived(MP__WIRE_CREDIT, NULL, 0, (mp__wire_head){.slot = 2, .generation = 1, .number = 1});
    expect_survived(MP__WIRE_BROKEN, bytes, 3, (mp__wire_head){.slot = UINT32_MAX});
}

/* ---- values ---- */

static void expect_sum(size_t size)
{
    span("0,agents=1,local=0", 1);
    mp_pool *pool = SPANNING(.processes = 1);
    unsigned char *bytes = malloc(size);
    cr_assert(bytes != NULL);
    memset(bytes, 7, size);
    for (size_t i = 0; i < size; i += 4093)
        bytes[i] = (unsigned char)(i >> 7);
    mp_bytes given = {bytes, size};
    uint64_t sum, expected;
    mp_error error;
    (void)sum_bytes(&given, &expected, NULL);
    cr_assert(eq(int, mp_pool_apply(pool, sum_bytes, &given, &sum, .error = &error), MP_OK), "%s", error.message);
    cr_assert(eq(u64, sum, expected));
    free(bytes);
    spanning_end(&pool);
    span_end();
}

CHECK(values, of_many_mebibytes__arrive)
{
    expect_sum((size_t)200 << 20);
}

CHECK(values, of_gibibytes__arrive)
{
    if (getenv("MP_STRESS_BIG"))
        expect_sum((size_t)3 << 30);
}

CHECK(values, results_of_all_sizes__come_back)
{
    static const int sizes[] = {0, 1, 100, 16383, 16384, 61440, 65536, 1 << 20, 40 << 20};
    mp_str text;
    span("0,agents=1,local=0", 1);
    mp_pool *pool = SPANNING(.processes = 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cr_assert(eq(int, mp_pool_apply(pool, tell_text, &sizes[i], &text), MP_OK));
        cr_assert(is_text(&text, (size_t)sizes[i]));
        mp_free(mp_str, &text, 1);
    }
    spanning_end(&pool);
    span_end();
}

/* ---- connections ---- */

/* The other side has died with what it had said on its way to us. */
CHECK(wire, that_cannot_be_written_to__is_read_to_its_end)
{
    int ends[2];
    mp__wire ours, theirs;
    mp__wire_head head;
    const uint8_t *bytes;
    cr_assert(zero(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)));
    mp__wire_init(&ours, ends[0]);
    mp__wire_init(&theirs, ends[1]);
    for (uint64_t i = 0; i < 3; i++)
        mp__wire_put(&theirs, &(mp__wire_head){.kind = MP__WIRE_CREDIT, .number = i}, "abc", 3);
    cr_assert(not(mp__wire_write(&theirs)));
    mp__wire_fini(&theirs);
    for (int i = 0; i < 2; i++) {
        mp__wire_put(&ours, &(mp__wire_head){.kind = MP__WIRE_PING}, NULL, 0);
        cr_assert(not(mp__wire_write(&ours)));
        cr_assert(zero(sz, mp__wire_waiting(&ours)));
    }
    cr_assert(not(ours.over));
    cr_assert(mp__wire_read(&ours));
    for (uint64_t i = 0; i < 3; i++) {
        cr_assert(mp__wire_next(&ours, &head, &bytes));
        cr_assert(eq(u64, head.number, i));
    }
    cr_assert(not(mp__wire_read(&ours)));
    cr_assert(ours.over);
    mp__wire_fini(&ours);
}
