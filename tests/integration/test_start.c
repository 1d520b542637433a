/* Start methods: what workers have of the program that opened the pool, and what is said when they cannot be started. */
#include "pool/process/birth.h"
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/methods.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include "tests/lib/spawn.h"
#include "tests/lib/until.h"
#include <millpond.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

TestSuite(start, .timeout = 60);
TestSuite(program, .timeout = 60);
TestSuite(tasks, .timeout = 60);
TestSuite(birth, .timeout = 60);

enum { PROMPT = 20, WORKERS = 2, N = 200 };

static mp_pool *open_pool(int processes, mp_start_method method)
{
    mp_pool *pool;
    mp_error error;
    mp_status status = mp_pool_open(&pool, .processes = processes, .start_method = method, .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    return pool;
}

/* ---- what a worker is ---- */

static int set_before_main = 1; /* a test sets it to 2 */

typedef struct facts {
    mp_str name, comm, arguments, ledger;
    int32_t worker, pid, parent, set_before_main, descriptors;
    bool line_left, criterions_left, input_is_empty, interrupts, terminates;
} facts;
MP_TYPE(facts, name, comm, arguments, ledger, worker, pid, parent, set_before_main, descriptors, line_left, criterions_left,
        input_is_empty, interrupts, terminates);

static mp_str read_file(mp_call *call, const char *path)
{
    char *text = mp_call_alloc(call, 1000);
    FILE *file = fopen(path, "re");
    size_t size = file ? fread(text, 1, 999, file) : 0;
    if (file)
        fclose(file);
    return (mp_str){text, size};
}

static bool is_ignored(int signal)
{
    struct sigaction action;
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    return sigaction(signal, NULL, &action) || action.sa_handler == SIG_IGN || sigismember(&mask, signal);
}

static mp_status tell(const mp_none *in, facts *out, mp_call *call)
{
    char byte;
    (void)in;
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    UNTIL(PROMPT, tally->begun >= WORKERS); /* so that each runs one */
    *out = (facts){.name = mp_str_of(mp_call_worker_name(call)),
                   .comm = read_file(call, "/proc/self/comm"),
                   .arguments = read_file(call, "/proc/self/cmdline"),
                   .ledger = mp_str_of(getenv(LEDGER_VARIABLE)),
                   .worker = mp_call_worker(call),
                   .pid = getpid(),
                   .parent = getppid(),
                   .set_before_main = set_before_main,
                   .descriptors = proc_descriptors(getpid()),
                   .line_left = getenv(MP__BIRTH_VARIABLE),
                   .criterions_left = getenv("BXFI_MAP"),
                   .input_is_empty = read(0, &byte, 1) == 0,
                   .interrupts = !is_ignored(SIGINT),
                   .terminates = !is_ignored(SIGTERM)};
    return MP_OK;
}
MP_TASK(tell, mp_none, facts);

static bool same_text(mp_str text, const char *other)
{
    return text.size == strlen(other) && !memcmp(text.data, other, text.size);
}

static void expect_facts(const facts *f, mp_start_method method, pid_t zygote, mp_str arguments)
{
    char name[32], comm[32];
    snprintf(name, sizeof name, "a-rather-long-name_%d", f->worker);
    snprintf(comm, sizeof comm, "%.15s\n", name);
    cr_assert(same_text(f->name, name), "%s", f->name.data);
    cr_assert(same_text(f->comm, comm), "%s", f->comm.data);
    cr_assert(f->arguments.size == arguments.size && !memcmp(f->arguments.data, arguments.data, arguments.size));
    cr_assert(same_text(f->ledger, getenv(LEDGER_VARIABLE)), "the environment is inherited");
    cr_assert(eq(int, f->parent, zygote));
    cr_assert(eq(int, f->set_before_main, method == MP_FORK ? 2 : 1), "memory is inherited by a fork only");
    cr_assert(le(int, f->descriptors, 9), "0 to 2 and their copies, the directory, two pipes");
    cr_assert(zero(int, f->line_left));
    cr_assert(method == MP_FORK || !f->criterions_left);
    cr_assert(f->input_is_empty);
    cr_assert(zero(int, f->interrupts));
    cr_assert(f->terminates);
}

CHECK_METHODS(start, a_worker__is_what_the_headers_say)
{
    mp_pool *pool;
    mp_error error;
    facts found[WORKERS];
    char arguments[1000];
    FILE *file = fopen("/proc/self/cmdline", "re");
    mp_str ours = {arguments, fread(arguments, 1, 999, file)};
    fclose(file);
    cr_assert(ledger_open(WORKERS));
    set_before_main = 2;
    signal(SIGTERM, SIG_IGN);
    mp_status status = mp_pool_open(&pool, .processes = WORKERS, .start_method = method,
                                    .thread_name_prefix = "a-rather-long-name", .error = &error);
    signal(SIGTERM, SIG_DFL);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    status = mp_pool_map(pool, tell, NULL, WORKERS, found, .chunksize = 1, .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    pid_t zygote = proc_only_child();
    for (int i = 0; i < WORKERS; i++)
        expect_facts(&found[i], method, zygote, ours);
    cr_assert(eq(int, found[0].worker + found[1].worker, 1));
    mp_free(facts, found, WORKERS);
    mp_pool_free(&pool);
    ledger_close();
}

static mp_status twice(const int *in, int *out, mp_call *call)
{
    (void)call;
    if (*in < 0)
        raise(SIGSEGV);
    *out = 2 * *in;
    return MP_OK;
}
MP_TASK(twice, int, int);

/* How many items are right; those below zero crash. */
static int map_twice(mp_pool *pool, const int items[N])
{
    int results[N], right = 0;
    mp_status statuses[N];
    (void)mp_pool_map(pool, twice, items, N, results, .chunksize = 10, .statuses = statuses);
    for (int i = 0; i < N; i++)
        right += statuses[i] == (items[i] < 0 ? MP_ECRASHED : MP_OK) && results[i] == (items[i] < 0 ? 0 : 2 * items[i]);
    return right;
}

CHECK_METHODS(start, workers_crash__are_replaced)
{
    int items[N];
    mp_pool *pool = open_pool(3, method);
    for (int i = 0; i < N; i++)
        items[i] = i % 50 == 7 ? -1 : i;
    cr_assert(eq(int, map_twice(pool, items), N));
    cr_assert(eq(int, map_twice(pool, items), N));
    mp_pool_free(&pool);
}

CHECK_METHODS(start, zygote_is_killed__pool_is_broken)
{
    int items[N] = {0};
    mp_pool *pool = open_pool(2, method);
    cr_assert(proc_signal_child(getpid(), proc_only_child(), SIGKILL));
    mp_error error = {0};
    cr_assert(UNTIL(PROMPT, mp_pool_map(pool, twice, items, N, (int[N]){0}, .error = &error) == MP_EBROKEN));
    cr_assert(says(&error, "killed by SIGKILL"), "%s", error.message);
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0)); /* workers have come to us */
}

/* Its parent is what workers are forked from. */
static mp_status stop_parent(const int *how, int *out, mp_call *call)
{
    *out = 1;
    if (kill(getppid(), SIGSTOP) != 0)
        return mp_fail(call, MP_EFAILED, "its parent cannot be stopped");
    if (*how)
        raise(SIGKILL);
    return MP_OK;
}
MP_TASK(stop_parent, int, int);

CHECK_METHODS(start, zygote_is_stopped_by_a_task__holds_nothing_up)
{
    for (int how = 0; how < 2; how++) {
        int out, in = 3;
        mp_pool *pool = open_pool(1, method);
        cr_assert(eq(int, mp_pool_apply(pool, stop_parent, &how, &out), how ? MP_ECRASHED : MP_OK));
        cr_assert(eq(int, mp_pool_apply(pool, twice, &in, &out), MP_OK), "by another worker, where the first one died");
        cr_assert(eq(int, out, 6));
        cr_assert(eq(int, mp_pool_apply(pool, stop_parent, &(int){0}, &out), MP_OK));
        mp_pool_free(&pool);
    }
}

static atomic_int *copies; /* that were made of the program, and of what was forked from it */

static void count_copy(void)
{
    ++*copies;
}

/* However large it is: a copy is only made where workers are to have its memory, and one for all workers then. */
CHECK_METHODS(start, the_program__is_copied_once_or_not_at_all, .disabled = CHECK_ASAN || CHECK_TSAN)
{
    int items[N];
    copies = shared_memory(sizeof *copies);
    cr_assert(ne(ptr, copies, NULL));
    cr_assert(zero(int, pthread_atfork(count_copy, NULL, NULL)));
    mp_pool *pool = open_pool(2, method);
    cr_assert(eq(int, *copies, method == MP_FORK ? 3 : method == MP_SPAWN ? 1 : 0));
    for (int i = 0; i < N; i++)
        items[i] = i == 7 ? -1 : i;
    cr_assert(eq(int, map_twice(pool, items), N));
    mp_pool_free(&pool);
    cr_assert(le(int, *copies, method == MP_FORK ? 4 : method == MP_SPAWN ? 1 : 0));
    munmap(copies, sizeof *copies);
}

static void heed(int signal)
{
    (void)signal;
}

/* A child that is executed has the program's memory until then, but not its signals and descriptors. */
CHECK_METHODS(start, the_program__keeps_its_signals_and_descriptors)
{
    struct stat before, after;
    struct sigaction action;
    sigset_t mask, found;
    int cancelling, descriptors = proc_descriptors(getpid());
    signal(SIGUSR1, heed);
    signal(SIGINT, heed);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    fstat(0, &before);
    mp_pool *pool = open_pool(2, method);
    sigprocmask(SIG_BLOCK, NULL, &found);
    cr_assert(sigismember(&found, SIGUSR2) && !sigismember(&found, SIGUSR1) && !sigismember(&found, SIGTERM));
    for (int *number = (int[]){SIGUSR1, SIGINT, 0}; *number; number++)
        cr_assert(sigaction(*number, NULL, &action) == 0 && action.sa_handler == heed, "signal %d", *number);
    fstat(0, &after);
    cr_assert(before.st_ino == after.st_ino && before.st_dev == after.st_dev);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancelling);
    cr_assert(eq(int, cancelling, PTHREAD_CANCEL_ENABLE));
    mp_pool_free(&pool);
    cr_assert(eq(int, proc_descriptors(getpid()), descriptors));
    signal(SIGUSR1, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
}

/* A task that opens a pool of its own, by the method it is told. */
static mp_status nest(const int *in, int *out, mp_call *call)
{
    mp_pool *pool;
    mp_error error;
    int items[3] = {1, 2, 3}, results[3];
    if (mp_pool_open(&pool, .processes = 2, .start_method = (mp_start_method)*in, .error = &error) != MP_OK)
        return mp_fail(call, error.status, "%s", error.message);
    mp_status status = mp_pool_map(pool, twice, items, 3, results, .error = &error);
    *out = results[0] + results[1] + results[2];
    mp_pool_free(&pool);
    return status ? mp_fail(call, status, "%s", error.message) : MP_OK;
}
MP_TASK(nest, int, int);

CHECK_METHODS(start, task_opens_a_pool__by_any_method)
{
    int methods[3] = {MP_FORK, MP_SPAWN, MP_FORKSERVER}, results[3];
    mp_error error;
    mp_pool *pool = open_pool(1, method);
    cr_assert(eq(int, mp_pool_map(pool, nest, methods, 3, results, .error = &error), MP_OK), "%s", error.message);
    for (int i = 0; i < 3; i++)
        cr_assert(eq(int, results[i], 12));
    mp_pool_free(&pool);
}

/* As a program does that becomes a daemon; another file then has the number. */
CHECK_METHODS(start, program_has_closed_all_descriptors__works)
{
    int items[N] = {0}, status;
    pid_t daemon = proc_fork();
    if (daemon == 0) {
        mp_pool *pool;
        close_range(3, ~0u, 0);
        for (int i = 0; i < 20; i++)
            dup(2);
        _exit(mp_pool_open(&pool, .processes = 1, .start_method = method) || map_twice(pool, items) != N);
    }
    waitpid(daemon, &status, 0);
    cr_assert(exited(status, 0));
    cr_assert(ge(int, leftovers_reap(PROMPT), 1)); /* it has not freed its pool */
}

CHECK(start, unknown_method__is_refused)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .start_method = (mp_start_method)9, .error = &error), MP_EINVAL));
    cr_assert(says(&error, ".start_method is 9"), "%s", error.message);
}

/* ---- programs with a main of their own ---- */

static char said[8192];

/* What a helper program said, and its exit code. */
static int run(const char *variable, const char *how, mp_start_method method)
{
    char number[8];
    snprintf(number, sizeof number, "%d", (int)method);
    int status = spawn_run(variable, how, number, said, sizeof said);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_works(const char *variable, const char *how, mp_start_method method)
{
    cr_assert(zero(int, run(variable, how, method)), "%s", said);
    cr_assert(eq(str, said, "it works\n"));
}

CHECK_METHODS(program, calls_mp_main__works)
{
    expect_works("HELPER_STARTER", "work", method);
}

CHECK_METHODS(program, has_its_task_in_a_shared_library__works)
{
    if (getenv("HELPER_STARTER_SHARED")) /* not in sanitizer builds */
        expect_works("HELPER_STARTER_SHARED", "work", method);
}

CHECK_METHODS(program, is_linked_to_the_archive__works)
{
    if (getenv("HELPER_STARTER_STATIC"))
        expect_works("HELPER_STARTER_STATIC", "work", method);
}

CHECK_METHODS(program, has_many_threads__works)
{
    for (int round = 0; round < ROUNDS(5); round++)
        expect_works("HELPER_STARTER", "threads", method);
}

CHECK_METHODS(program, is_interrupted_while_workers_start__works)
{
    for (int round = 0; round < ROUNDS(5); round++)
        expect_works("HELPER_STARTER", "interrupted", method);
}

/* A copy of it, which it replaces by something else before it opens a pool. */
CHECK_METHODS(program, is_replaced_on_disk__works)
{
    char path[] = "/tmp/millpond-starter-XXXXXX", command[600];
    int fd = mkstemp(path);
    cr_assert(ge(int, fd, 0));
    close(fd);
    snprintf(command, sizeof command, "cp '%s' '%s' && chmod u+x '%s'", getenv("HELPER_STARTER"), path, path);
    int copied = system(command);
    setenv("HELPER_COPY", path, 1);
    int code = copied ? -1 : run("HELPER_COPY", "replaced", method);
    unlink(path);
    cr_assert(zero(int, code), "%s", said);
    cr_assert(eq(str, said, "it works\n"));
}

CHECK(program, does_not_call_mp_main__is_refused_but_for_fork)
{
    expect_works("HELPER_STARTER", "without-main", MP_FORK);
    for (mp_start_method method = MP_SPAWN; method <= MP_FORKSERVER; method++) {
        cr_assert(eq(int, run("HELPER_STARTER", "without-main", method), 1));
        cr_assert(ne(ptr, strstr(said, "MP_EINVAL"), NULL), "%s", said);
        cr_assert(ne(ptr, strstr(said, "must call mp_main(argc, argv) first in main"), NULL), "%s", said);
    }
}

/* A program that exits forks a leak checker in sanitizer builds; if it is killed meanwhile, that comes to us. Nothing else does. */
static void reap_leak_checkers(void)
{
    int reaped = leftovers_reap(PROMPT);
    cr_assert(CHECK_ASAN ? reaped >= 0 : reaped == 0, "%d processes were left", reaped);
}

/* What is executed does not come to mp_main, and opens a pool itself: each does so once, and is refused. */
CHECK(program, calls_mp_main_but_not_when_executed__is_no_fork_bomb)
{
    for (mp_start_method method = MP_SPAWN; method <= MP_FORKSERVER; method++) {
        cr_assert(eq(int, run("HELPER_STARTER", "main-too-late", method), 1));
        int refused = count_of(said, "was executed to be a pool's worker, but opens a pool itself: call mp_main");
        cr_assert(refused >= 1 && refused <= 2 * WORKERS, "%s", said);
        cr_assert(eq(int, count_of(said, "MP_EBROKEN"), 1), "%s", said);
        cr_assert(eq(int, count_of(said, "is mp_main called first in main?"), 1), "%s", said);
        reap_leak_checkers();
    }
}

CHECK(program, exits_before_mp_main_when_executed__is_said)
{
    for (mp_start_method method = MP_SPAWN; method <= MP_FORKSERVER; method++) {
        cr_assert(eq(int, run("HELPER_STARTER", "exits-before", method), 1));
        cr_assert(eq(int, count_of(said, "exited with code 7 before it"), 1), "%s", said);
        reap_leak_checkers();
    }
}

/* ---- other tasks in workers than in the program ---- */

static void expect_mismatch(const char *how, const char *text)
{
    for (mp_start_method method = MP_SPAWN; method <= MP_FORKSERVER; method++) {
        cr_assert(eq(int, run("HELPER_STARTER", how, method), 1), "%s", said);
        cr_assert(eq(int, count_of(said, "MP_EMISMATCH"), 1), "%s", said);
        cr_assert(eq(int, count_of(said, text), 1), "%s", said);
        cr_assert(eq(int, count_of(said, "load what registers tasks before mp_main, or use MP_FORK"), 1), "%s", said);
    }
    expect_works("HELPER_STARTER", how, MP_FORK);
}

CHECK(tasks, worker_lacks_one__is_named)
{
    expect_mismatch("lacks", "task 'only_here' is not known to it");
    expect_mismatch("lacks-last", "task 'zzz' is not known to it");
}

CHECK(tasks, worker_has_one_more__is_named)
{
    expect_mismatch("extra", "has a task 'only_there', which this program had not");
}

CHECK(tasks, worker_has_other_types__is_named)
{
    expect_mismatch("types", "task 'changed' has other types");
}

/* ---- the line in the environment ---- */

CHECK(birth, line_of_another_process__is_removed_and_means_nothing)
{
    expect_works("HELPER_STARTER", "stale", MP_SPAWN);
}

CHECK(birth, line_of_another_version__ends_the_process)
{
    cr_assert(eq(int, run("HELPER_STARTER", "strange", MP_SPAWN), MP__EXIT_MISMATCH), "%s", said);
}

CHECK(birth, write_and_read__agree)
{
    char line[MP__BIRTH_MAX];
    mp__birth read, wrote = {.kind = MP__BIRTH_WORKER,
                             .pid = getpid(),
                             .parent = 4194304,
                             .place = UINT32_MAX,
                             .fds = {INT32_MAX, 0, 17},
                             .hash = UINT64_MAX,
                             .prefix = "a name 12 = \xc3\xa9"};
    mp__birth_write(&wrote, line);
    cr_assert(zero(int, strncmp(line, MP__BIRTH_VARIABLE "=", sizeof MP__BIRTH_VARIABLE)));
    cr_assert(eq(int, mp__birth_read(line + sizeof MP__BIRTH_VARIABLE, &read), MP__BIRTH_OURS));
    cr_assert(eq(int, read.kind, wrote.kind));
    cr_assert(eq(int, read.pid, wrote.pid));
    cr_assert(eq(int, read.parent, wrote.parent));
    cr_assert(eq(u32, read.place, wrote.place));
    cr_assert(zero(int, memcmp(read.fds, wrote.fds, sizeof read.fds)));
    cr_assert(eq(u64, read.hash, wrote.hash));
    cr_assert(eq(str, read.prefix, wrote.prefix));
    memset(wrote.prefix, 'x', sizeof wrote.prefix - 1);
    mp__birth_write(&wrote, line);
    cr_assert(lt(sz, strlen(line), MP__BIRTH_MAX));
    cr_assert(eq(int, mp__birth_read(line + sizeof MP__BIRTH_VARIABLE, &read), MP__BIRTH_OURS));
    cr_assert(eq(str, read.prefix, wrote.prefix));
}

CHECK(birth, read_of_nonsense__is_not_ours)
{
    mp__birth birth;
    char line[64];
    cr_assert(eq(int, mp__birth_read("", &birth), MP__BIRTH_OTHERS));
    cr_assert(eq(int, mp__birth_read("2", &birth), MP__BIRTH_OTHERS));
    cr_assert(eq(int, mp__birth_read("2 1 2 3 4 5 6 7 8 x", &birth), MP__BIRTH_OTHERS));
    snprintf(line, sizeof line, "2 %d 2 3", (int)getpid());
    cr_assert(eq(int, mp__birth_read(line, &birth), MP__BIRTH_STRANGE));
}
