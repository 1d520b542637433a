/* comm MODE: an MPI program that opens pools over its communicators, started on every rank. Rank 0 of the job says one line, "ok comm MODE
 * ...", if all is well on all ranks; else whoever finds something says what.
 *
 *   twice      over the world, and over a part of it, with MPI before, between and behind: 20 of 20 000 items crash
 *   forked     the same with workers that are forked, for mp_main_mpi is not called
 *   serial     the same with MPI_THREAD_SERIALIZED
 *   again      ROUNDS (20) pools, over the world and with each rank as rank 0: nothing is left of any
 *   forever    items that do not end, and which process has begun them: that is to be killed
 *   funneled   refused, on all ranks
 *   refused    ROUNDS times what rank 0 refuses, or one of the others, when all have come: the next call is none the wiser
 *   errors     all that is refused, with the same status on all ranks; and then it works */
#include <dirent.h>
#include <millpond.h>
#include <mpi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Without MPI calls in between, all ranks begin MPI_Finalize together: else MPICH's may hang there (docs/cluster.md). */
enum { ITEMS = 20000, EACH = 1000, FINALIZE_US = 200000 };

static mp_status crash_some(const int32_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    if (*in % EACH == EACH / 2)
        (void)raise(SIGSEGV);
    *out = 2 * (int64_t)*in;
    return MP_OK;
}
MP_TASK(crash_some, int32_t, int64_t);

/* Workers that are executed do not; nobody needs it there. */
static mp_status holds_mpi(const mp_none *in, int32_t *out, mp_call *call)
{
    (void)call;
    (void)in;
    return MPI_Initialized(out) == MPI_SUCCESS ? MP_OK : MP_EFAILED;
}
MP_TASK(holds_mpi, mp_none, int32_t);

static mp_status forever(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in;
    (void)out;
    (void)call;
    (void)sleep(1000);
    return MP_OK;
}
MP_TASK(forever, mp_none, mp_none);

/* One rank comes to be without it. */
static mp_status extra(const int32_t *in, int32_t *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(extra, int32_t, int32_t);

static int rank, size, faults;
static bool forked;

static void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fault(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "not ok: rank %d: ", rank);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    faults++;
}

/* ---- what a program does with MPI itself ---- */

static int sum_of(MPI_Comm comm, int mine)
{
    int sum = -1;
    if (MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, comm) != MPI_SUCCESS)
        fault("MPI_Allreduce");
    return sum;
}

static void use_mpi(const char *when)
{
    int sum = sum_of(MPI_COMM_WORLD, rank + 1);
    if (sum != size * (size + 1) / 2)
        fault("%s: the sum of ranks is %d", when, sum);
}

/* ---- what is left of a pool: nothing ---- */

static int count_in(const char *directory)
{
    int count = 0;
    DIR *opened = opendir(directory);
    while (opened && readdir(opened))
        count++;
    if (opened)
        closedir(opened);
    return count;
}

/* Those of all threads. A singleton of Open MPI has a daemon among them. */
static int count_children(void)
{
    int count = 0;
    char path[300], child[32];
    DIR *opened = opendir("/proc/self/task");
    for (struct dirent *entry; opened && (entry = readdir(opened));) {
        snprintf(path, sizeof path, "/proc/self/task/%s/children", entry->d_name);
        FILE *file = fopen(path, "re");
        while (file && fscanf(file, "%31s", child) == 1)
            count++;
        if (file)
            fclose(file);
    }
    if (opened)
        closedir(opened);
    return count;
}

typedef struct leftovers {
    int descriptors, threads, children;
} leftovers;

static leftovers look(void)
{
    return (leftovers){
        .descriptors = count_in("/proc/self/fd"), .threads = count_in("/proc/self/task"), .children = count_children()};
}

/* MPI itself opens what it needs when ranks speak to each other first: so look when they have. A thread that has been joined may be seen
 * for a moment yet. */
static void compare(leftovers before, const char *when)
{
    leftovers now = look();
    for (int tries = 0; tries < 2000 && now.threads > before.threads; tries++) {
        (void)usleep(1000);
        now = look();
    }
    if (now.descriptors != before.descriptors)
        fault("%s: %d descriptors, there were %d", when, now.descriptors, before.descriptors);
    if (now.threads != before.threads)
        fault("%s: %d threads, there were %d", when, now.threads, before.threads);
    if (now.children != before.children)
        fault("%s: %d children, there were %d", when, now.children, before.children);
}

/* ---- a pool ---- */

static int32_t items[ITEMS];
static int64_t results[ITEMS];
static mp_status statuses[ITEMS];

static void map_crashes(mp_pool *pool, const char *when)
{
    int crashed = 0, wrong = 0;
    (void)mp_pool_map(pool, crash_some, items, ITEMS, results, .statuses = statuses);
    for (int i = 0; i < ITEMS; i++) {
        crashed += statuses[i] == MP_ECRASHED;
        wrong += statuses[i] ? statuses[i] != MP_ECRASHED : results[i] != 2 * (int64_t)items[i];
    }
    if (crashed != ITEMS / EACH || wrong)
        fault("%s: %d of %d crashed, %d wrong", when, crashed, ITEMS, wrong);
}

static void look_for_mpi(mp_pool *pool, const char *when)
{
    enum { LOOKS = 200 };
    int32_t found[LOOKS];
    static const mp_none nothing[LOOKS];
    mp_error error;
    if (mp_pool_map(pool, holds_mpi, nothing, LOOKS, found, .chunksize = 1, .error = &error))
        fault("%s: %s", when, error.message);
    for (int i = 0; i < LOOKS; i++)
        if (!found[i] != !forked) {
            fault("%s: a worker %s", when, forked ? "was not forked" : "holds what MPI had");
            return;
        }
}

/* All ranks of it. How many workers there were; elsewhere 0. */
static int use_pool(MPI_Comm comm, const char *when)
{
    int rank_there, workers = 0;
    mp_pool *pool;
    mp_error error;
    mp_pool_stats stats;
    MPI_Comm_rank(comm, &rank_there);
    if (mp_pool_open_comm(&pool, &comm, .error = &error)) {
        fault("%s: %s", when, error.message);
        return 0;
    }
    if (!pool != (rank_there != 0))
        fault("%s: rank %d has %s pool", when, rank_there, pool ? "a" : "no");
    if (pool && mp_pool_get_stats(pool, &stats) == MP_OK) {
        workers = stats.workers;
        look_for_mpi(pool, when);
        map_crashes(pool, when);
    }
    mp_pool_free(&pool);
    return workers;
}

/* ---- modes ---- */

/* Over the world, and over every second rank. */
static int twice(void)
{
    MPI_Comm part;
    int workers = use_pool(MPI_COMM_WORLD, "the world");
    use_mpi("between");
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &part);
    use_mpi("with a part");
    leftovers before = look();
    (void)use_pool(part, "a part");
    compare(before, "behind the second pool");
    MPI_Comm_free(&part);
    return workers;
}

static int rounds_wanted(void)
{
    const char *text = getenv("ROUNDS");
    return text ? (int)strtol(text, NULL, 10) : 20;
}

static int again(void)
{
    int rounds = rounds_wanted();
    MPI_Comm turned;
    leftovers before = {0, 0, 0};
    for (int i = 0; i < rounds; i++) {
        MPI_Comm_split(MPI_COMM_WORLD, 0, (rank + i) % size, &turned);
        mp_pool *pool;
        mp_error error;
        int32_t one = 1;
        int64_t two = 0;
        if (mp_pool_open_comm(&pool, &turned, .processes = size, .error = &error))
            fault("pool %d: %s", i, error.message);
        else if (pool && (mp_pool_apply(pool, crash_some, &one, &two) || two != 2))
            fault("pool %d: a wrong result", i);
        mp_pool_free(&pool);
        MPI_Comm_free(&turned);
        use_mpi("behind a pool");
        if (i < size) /* everybody has been everything once */
            before = look();
        else
            compare(before, "behind a pool");
    }
    return rounds;
}

static int run_forever(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    static const mp_none nothing[100];
    mp_pool *pool;
    mp_error error;
    if (mp_pool_open_comm(&pool, &comm, .error = &error)) {
        fault("forever: %s", error.message);
    } else if (pool) {
        printf("ok begun %d\n", (int)getpid());
        fflush(stdout);
        (void)mp_pool_map(pool, forever, nothing, 100, NULL);
    }
    mp_pool_free(&pool);
    return 0;
}

/* A call that fails on all ranks, with this status, and says that on one of them at least; `where` has the others' ranks, too. */
static void expect(const char *what, mp_status got, mp_status wanted, const mp_error *error, const char *says)
{
    int said = strstr(error->message, says) != NULL;
    if (got != wanted || error->status != wanted)
        fault("%s: %s (%s)", what, mp_status_name(got), error->message);
    if (sum_of(MPI_COMM_WORLD, said) < 1)
        fault("%s: nobody says '%s', here: %s", what, says, error->message);
}

static int funneled(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    mp_pool *pool;
    mp_error error;
    mp_status status = mp_pool_open_comm(&pool, &comm, .error = &error);
    expect("MPI_THREAD_FUNNELED", status, MP_ELAUNCH, &error, "MPI_THREAD_MULTIPLE");
    if (pool)
        fault("there is a pool");
    return 0;
}

static void refuse_comms(void)
{
    MPI_Comm comm = MPI_COMM_NULL, half, between;
    mp_pool *pool;
    mp_error error;
    mp_status status = mp_pool_open_comm_with(&pool, NULL, &(mp_pool_options){.error = &error});
    expect("NULL", status, MP_EINVAL, &error, "no communicator");
    status = mp_pool_open_comm(&pool, &comm, .error = &error);
    expect("MPI_COMM_NULL", status, MP_EINVAL, &error, "MPI_COMM_NULL");
    if (size < 2)
        return;
    MPI_Comm_split(MPI_COMM_WORLD, rank > 0, 0, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, rank > 0 ? 0 : 1, 1, &between);
    status = mp_pool_open_comm(&pool, &between, .error = &error);
    expect("an intercommunicator", status, MP_EINVAL, &error, "MPI_Intercomm_merge");
    MPI_Comm_free(&between);
    MPI_Comm_free(&half);
}

/* The last rank has none left; the others had, and give back what they took. As many as there are may go on to be polled, for MPI. */
static void refuse_descriptors(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    mp_pool *pool;
    mp_error error;
    int lowest = dup(STDERR_FILENO);
    struct rlimit before, none = {.rlim_cur = (rlim_t)lowest};
    close(lowest);
    (void)getrlimit(RLIMIT_NOFILE, &before);
    none.rlim_max = before.rlim_max;
    if (rank == size - 1)
        (void)setrlimit(RLIMIT_NOFILE, &none);
    mp_status status = mp_pool_open_comm(&pool, &comm, .error = &error);
    (void)setrlimit(RLIMIT_NOFILE, &before);
    expect("no descriptors on one rank", status, MP_ESYSTEM, &error, "no descriptors");
}

static void refuse_options(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    mp_pool *pool;
    mp_error error;
    mp_status status = mp_pool_open_comm(&pool, &comm, .processes = rank ? 1 : -1, .error = &error);
    expect("an option of rank 0", status, MP_EINVAL, &error, ".processes is -1");
    status = mp_pool_open_comm(&pool, &comm, .kind = MP_THREADS, .error = &error);
    expect("another kind", status, MP_EINVAL, &error, "is MP_CLUSTER");
    status = mp_pool_open_comm(rank ? &pool : NULL, &comm, .error = &error);
    expect("nowhere to put it", status, MP_EINVAL, &error, "nowhere to put the pool");
    if (size < 2)
        return;
    if (rank == 1)
        mp_task_unregister(&mp__entry_extra);
    status = mp_pool_open_comm(&pool, &comm, .error = &error);
    expect("another build", status, MP_EMISMATCH, &error, "'extra'");
    if (rank == 1)
        (void)mp_task_register(&mp__entry_extra, NULL);
}

/* Over a communicator of its own: nobody else waits for it. Meanwhile rank 0 may use MPI. */
static void refuse_second(void)
{
    MPI_Comm comm = MPI_COMM_WORLD, alone = MPI_COMM_SELF;
    mp_pool *pool, *second;
    mp_error error;
    if (mp_pool_open_comm(&pool, &comm, .error = &error))
        fault("a pool: %s", error.message);
    if (pool) {
        mp_status status = mp_pool_open_comm(&second, &alone, .error = &error);
        if (status != MP_ERUNNING || second || !strstr(error.message, "free that one first"))
            fault("a second pool: %s (%s)", mp_status_name(status), error.message);
        if (sum_of(MPI_COMM_SELF, 1) != 1)
            fault("MPI while a pool is open");
        map_crashes(pool, "a pool behind one that was refused");
    }
    mp_pool_free(&pool);
}

static int errors(void)
{
    refuse_comms();
    refuse_options();
    leftovers before = look();
    refuse_options();
    refuse_descriptors();
    use_mpi("behind what was refused");
    compare(before, "behind what was refused");
    refuse_second();
    use_mpi("at the end");
    return 0;
}

static int refused(void)
{
    int rounds = rounds_wanted();
    for (int i = 0; i < rounds && !faults; i++) {
        refuse_options();
        refuse_descriptors();
    }
    return rounds;
}

static void refuse_before_init(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    mp_pool *pool;
    mp_error error;
    mp_status status = mp_pool_open_comm(&pool, &comm, .error = &error);
    if (status != MP_ELAUNCH || !strstr(error.message, "MPI is not initialized"))
        fault("before MPI_Init: %s (%s)", mp_status_name(status), error.message);
}

int main(int argc, char **argv)
{
    static const struct mode {
        const char *name;
        int level;
        int (*run)(void);
    } modes[] = {{"twice", MPI_THREAD_MULTIPLE, twice},       {"forked", MPI_THREAD_MULTIPLE, twice},
                 {"serial", MPI_THREAD_SERIALIZED, twice},    {"again", MPI_THREAD_MULTIPLE, again},
                 {"funneled", MPI_THREAD_FUNNELED, funneled}, {"errors", MPI_THREAD_MULTIPLE, errors},
                 {"refused", MPI_THREAD_MULTIPLE, refused},   {"forever", MPI_THREAD_MULTIPLE, run_forever}};
    const struct mode *mode = modes;
    while (argc > 1 && strcmp(mode->name, argv[1]) != 0)
        if (++mode == modes + sizeof modes / sizeof *modes)
            return 2;
    forked = strcmp(mode->name, "forked") == 0;
    if (!forked)
        mp_main_mpi(argc, argv);
    refuse_before_init();
    int level;
    MPI_Init_thread(&argc, &argv, mode->level, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = 0; i < ITEMS; i++)
        items[i] = i;
    use_mpi("before");
    int number = mode->run();
    int all = sum_of(MPI_COMM_WORLD, faults);
    if (rank == 0 && all == 0)
        printf("ok comm %s: %d ranks, %d\n", mode->name, size, number);
    fflush(stdout); /* what comes now is MPI's alone */
    (void)usleep(FINALIZE_US);
    MPI_Finalize();
    return all != 0;
}
