/* Pools: multiprocessing.Pool and ThreadPool. Open one, use it (map.h, async.h, iter.h), close, join, free.
 *
 *     MP_WITH_POOL (pool, .processes = 4)
 *         mp_pool_map(pool, integrate, items, 10000, areas, .chunksize = 100);
 *
 * Options are keyword arguments: designated initializers after the last positional argument; zero means "choose for me".
 * All calls may be made from any thread, several at once. None may be made from a signal handler, but for mp_interrupt; none is a
 * cancellation point. Signals come in at any moment, and we raise none. A handler that runs on a thread that is in a call holds the
 * pool's work up while it runs, and may not leave by longjmp. A pool belongs to the process that opened it: elsewhere every call
 * answers MP_EFOREIGN, so also in its own worker processes. The program has one child process more for each open pool of processes,
 * from which workers are forked: waits for any child may see its end, which does no harm. Time-outs are double seconds on the
 * monotonic clock; MP_FOREVER, and 0 for a look; one that is not a number or negative is 0.
 *
 * A task may open pools of its own. A task on a thread that waits for its own pool keeps a thread from working: when it would be
 * the last one, the call is refused with MP_EDEADLK. A program may end without freeing its pools: workers end with it.
 *
 *              open                     close                  the last worker left
 *     (nothing) ----> RUNNING ------------------> CLOSED ----------------------------> ENDED
 *                        |  no worker can start      | terminate                         ^
 *                        |-----------> BROKEN ----.  |                                   |
 *                        |  terminate             v  v                                   |
 *                        `---------------------> TERMINATED -----------------------------'
 */
#ifndef MILLPOND_POOL_H
#define MILLPOND_POOL_H
#include <millpond/error.h>
#include <millpond/policy.h>
#include <millpond/task.h>

MP__BEGIN
typedef struct mp_pool mp_pool;

/* What workers are. MP_SERIAL is for debuggers and valgrind: there is one worker, and it has no thread. Whoever hands items in runs
 * them, one after the other, before that call returns: below the task the stack shows the line that submitted it, and each run of the
 * program does the same in the same order. So
 * - map and apply run their items; async calls and futures are done when the call returns that submits them, retries and the time
 *   between them included. A stream has run as many items as there is room for when it is opened; reading makes room, and runs what
 *   fills it. A generator's items run on the thread that reads, or on the generator's own while nobody waits for one.
 * - when several threads use the pool, one at a time runs items, others' too; these wait only for what they ask for.
 * - what a task hands in to its own pool runs behind it; to wait for that there is MP_EDEADLK, as on a pool of one thread.
 * - a task that waits for what its submitter does next waits for ever.
 * - time-outs and cancel are as for threads: the task can see them (mp_call_cancelled), and the item ends when it returns. How long a
 *   call may wait is looked at between items. Callbacks run on a thread of their own, as always.
 * - tasks, initializer and finalizer run with the signals of the thread that calls, and cancellation off. Close, terminate, resize,
 *   join and whatever else makes a worker begin or leave may run these two. A task that crashes is where the debugger stops; one that
 *   calls pthread_exit ends the program (SIGABRT).
 * - `.processes` and mp_pool_resize are taken, and there is one worker.
 *
 * MP_CLUSTER spans hosts: beside this program, the *root*, an *agent* runs on each other host, which is the same build of the same program,
 * has called mp_main, and drives worker processes there as a pool drives them here. Calls, options, order, statuses and errors are those of
 * MP_PROCESSES; mp_error.host names the host. Without agents it is such a pool. What starts them is not the library's business:
 *
 *     MILLPOND_CLUSTER=[HOST:]PORT[,agents=N][,local=N][,wait=SECONDS]     makes the program a root: agents are let in at this address. A
 *             pool that is opened waits until `agents` are there (0), and fails with MP_ESYSTEM when they are not in so long (60). `local`
 *             workers are on its own host (as many as it has CPUs)
 *     MILLPOND_AGENT=HOST:PORT[,wait=SECONDS]     makes it an agent of the root there, which may come so much later (60): mp_main does not
 *             return, and the process ends with the root. Exit code 0; 1: it never served, and standard error says why
 *     MILLPOND_SECRET=TEXT     has to be the same for both, and has to be there to be reached from other hosts. It keeps out mistakes and
 *             strangers, not attackers: what is sent is neither encrypted nor signed
 *     MILLPOND_MPI=openmpi|mpich|PATH|none     which plugin, where an MPI's launcher has started the program; else that is found out
 *
 * - `.processes` is how many workers there are in all, spread by hosts' CPUs; 0: one for each CPU of all hosts, and more when an agent comes
 *   later. `.start_method` is that of workers here; those of agents are executed (MP_FORKSERVER), with what environment and directory the
 *   agent has. A build that differs is MP_EMISMATCH, with the first task that does.
 * - an agent that is lost (its connection ends, or it is silent for 5 seconds) takes what its workers had been given with it: MP_ELOST, with
 *   the host and the reason, and run again if `.retries` are for that. Nobody knows which of these had run. The pool goes on with the rest.
 *   A root may be stopped (Ctrl-Z, a debugger) for 10 minutes; under an MPI, which does not tell of its end, for 10 seconds.
 * - calls that ask how far an item is (mp_future_cancel, mp_future_running) wait for the agent's answer, a quarter of a second at most.
 * - a program that is an MPI program itself opens it over one of its communicators, and does not call mp_main: comm.h. */
typedef enum mp_kind {
    MP_DEFAULT_KIND = 0, /* as MILLPOND says, see below; else MP_PROCESSES */
    MP_PROCESSES,        /* multiprocessing.Pool: a task that crashes costs its item */
    MP_THREADS,          /* ThreadPool: nothing is serialized; a task that crashes takes the program with it */
    MP_SERIAL,           /* as threads, but on the thread that calls; see above */
    MP_CLUSTER,          /* as processes, on all hosts of a job; on one host the same as MP_PROCESSES: see below */
} mp_kind;

/* How worker processes come to be. MP_FORK: from a copy of this program, made when the pool opens: they see its memory as it was
 * then, need no preparation, and start in half a millisecond. The copy has one thread; a lock that another thread of the program
 * held at that moment stays locked in it. MP_FORKSERVER, MP_SPAWN: the program is executed afresh, once for the pool or once for
 * each worker: nothing is inherited but the environment and the working directory, whatever threads there are. Both need
 * mp_main (main.h). Default: MP_FORK. Python went from fork to forkserver in 3.14 because its pools fork again and again from a
 * threaded process, for each replacement; here that happens once, when you open the pool. */
typedef enum mp_start_method { MP_DEFAULT_START = 0, MP_FORK, MP_SPAWN, MP_FORKSERVER } mp_start_method;

/* A task without result and its input, for `.initializer` and `.finalizer`: MP_HOOK(load_model, &path). */
typedef struct mp_hook {
    const mp_task *task;
    const void *input; /* copied when the pool opens */
} mp_hook;

/* What worker processes may use, each for itself, over its whole life: setrlimit(2) in it. 0: as much as the program may; more than
 * that cannot be given (opening fails). Threads: must be zero. */
typedef struct mp_limits {
    uint64_t address_space; /* bytes of memory it may map: then malloc fails, and what does not mind that crashes */
    uint64_t cpu_time;      /* seconds of CPU: then it is ended (SIGXCPU), and the item that it runs is MP_ECRASHED */
    uint64_t file_size;     /* bytes of each file that it writes: SIGXFSZ */
    uint64_t core;          /* bytes of a core file; MP_NO_CORE: none is written */
} mp_limits;
#define MP_NO_CORE UINT64_MAX

#define MP_NO_SPIN (-1.0) /* for `.spin` */

/* What workers write to standard output and error. MP_OUTPUT_INHERIT: goes where the program's goes, as it comes;
 * what an item has left in stdout's buffer is written before its result is there.
 * MP_OUTPUT_CAPTURE: is kept until its item has ended, and written soon after that by the program, in one piece: what two items
 * write never mixes, not even within a line; all of it has been written when mp_pool_join returns. The last of it is in the record
 * of an item that fails (record.h). Of more than 64 KiB the middle is left out; what an item writes behind 1 MiB is dropped. */
typedef enum mp_output { MP_OUTPUT_INHERIT = 0, MP_OUTPUT_CAPTURE } mp_output;

/* What Ctrl-C (SIGINT) does. MP_INTERRUPT_STOP: while calls are under way nothing more is started: what has not started is
 * MP_EINTERRUPTED, what runs is told (mp_call_cancelled) and waited for, the calls return what is done, and new ones are refused
 * with that status (interrupt.h). A second Ctrl-C ends the program and everything it has started, as the first does where no call
 * is under way. Only where the program leaves SIGINT alone when the pool opens: a handler of its own stays, and may call
 * mp_interrupt. With MP_INTERRUPT_LEAVE the pool does nothing about it. Workers never get it: each is in a process group of its
 * own. */
typedef enum mp_interrupt_action { MP_INTERRUPT_STOP = 0, MP_INTERRUPT_LEAVE } mp_interrupt_action;

typedef struct mp_pool_options {
    mp_kind kind;                   /* 0: the environment says it, else MP_PROCESSES */
    int processes;                  /* how many workers, threads too; no more items run at a time, but those that are being ended, and
                                       those that mp_pool_resize lets end; 0: the environment says it, else mp_cpu_count() */
    mp_start_method start_method;   /* 0: MP_FORK. Threads, serial: must be 0, and so `.limits`, `.maxrss`, `.output` */
    mp_hook initializer;            /* every worker runs it before its first item, replacements too. If it fails while the pool
                                       opens, opening fails with its status and message; later, after six failures in a row
                                       with no worker left, the pool is broken with that message */
    mp_hook finalizer;              /* a worker that leaves in good order (close, maxtasksperchild, resize) runs it last; a
                                       thread always, for what it has is the program's. A process has a second for it, and is
                                       killed then */
    ptrdiff_t maxtasksperchild;     /* a worker is replaced after so many items; its replacement is started before it leaves, and
                                       gets items when it is through with its own; 0: never. Python counts chunks, we items */
    const char *thread_name_prefix; /* workers, processes too, are called PREFIX_0, PREFIX_1, ... (the system shows 15 bytes of
                                       it); at most 40 bytes, copied; NULL: "mp-worker", "mp-thread", "mp-serial" */
    double timeout;                 /* these four: for every item whose call does not say otherwise; see policy.h */
    int retries;
    unsigned retry_on;
    double retry_delay;
    double grace;                   /* seconds for a task to return once it is told, and from SIGTERM to SIGKILL; 0: 1 second */
    mp_limits limits;               /* of each worker */
    uint64_t maxrss;                /* bytes of memory: a worker that has more when an item ends is replaced, as by
                                       maxtasksperchild, and mp_pool_stats.recycled counts it; 0: no limit. Threads: must be 0 */
    mp_output output;               /* 0: MP_OUTPUT_INHERIT. Threads: must be 0 */
    mp_interrupt_action interrupt;  /* 0: MP_INTERRUPT_STOP */
    double spin;                    /* seconds for which a call that waits for a short item stays awake, and its worker for the
                                       next one, as long as there are CPUs for both: sleeping and waking takes ten times what the
                                       call does. 0: 50 us; MP_NO_SPIN: never */
    int *argc;                      /* these two: the program's arguments, which may say what workers are; see
                                       mp_pool_from_args. Borrowed; NULL: they say nothing */
    char **argv;
    mp_error *error;                /* filled when opening fails, and zeroed when not; borrowed; NULL: not wanted */
    char mp__end;
} mp_pool_options;

/* One program, every kind. What options leave open, the environment says, for pools and executors alike:
 *
 *     MILLPOND=serial   MILLPOND=threads   MILLPOND=threads:8   MILLPOND=processes   MILLPOND=processes:4   MILLPOND=cluster:64
 *
 * The kind counts where `.kind` is 0; the number where there is none in the options either, and the kind is that one. Options that
 * only processes have (`.start_method`, `.limits`, `.maxrss`, `.output`) mean nothing then where the kind is another. Anything else in
 * it is MP_EINVAL, with a message that says what there can be, when a pool is opened that asks it. Empty: as if it was not set. */

/* How many workers a pool gets by default: CPUs in the affinity mask, at most the cgroup's CPU quota rounded up, at least 1;
 * the environment variable MILLPOND_CPU_COUNT (1 to 100000) overrules both. Python: os.process_cpu_count, plus the quota. */
MP__API int mp_cpu_count(void);

/* mp_pool_open(&pool, .processes = 4, .error = &error): starts a pool and its workers, and waits until they run and their
 * initializers are through. `pool` is given: end it with mp_pool_free. On failure it is NULL and nothing is left behind.
 * With MP_FORK open a pool after loading large read-only data, which workers then share, and, if you can, before starting threads.
 * MP_EINVAL: processes below 0 or above 100000, or MILLPOND_CPU_COUNT is no such number, MILLPOND cannot be read, another option that
 * cannot be, a start method without mp_main; MP_EUNREGISTERED: a hook's task; MP_ENOMEM; MP_ESYSTEM: no process, thread or descriptor
 * to be had; MP_EBROKEN: workers were started, but did not live; MP_EMISMATCH: what was executed is not this program, or does not have the
 * same tasks; what the initializer failed with. Blocks for about a millisecond, and while initializers run. Python: Pool(). */
MP__API mp_status mp_pool_open_with(mp_pool **pool, const mp_pool_options *options) __attribute__((warn_unused_result));

/* mp_pool_from_args(&pool, &argc, argv, .error = &error, ...): mp_pool_open, where the command line may say what MILLPOND says:
 *
 *     ./program --millpond=threads:8 input.csv            ./program --millpond serial input.csv
 *
 * It goes before the options that stand here, and these before MILLPOND: who hands over his arguments leaves it to them, and what he
 * says beside is for when they say nothing. The same as `.argc = &argc, .argv = argv` among the options of mp_pool_open, MP_WITH_POOL,
 * mp_executor_open or MP_WITH_EXECUTOR. `--millpond` and its value are taken out of `argv`, the rest stays in order, argv[argc] is NULL;
 * all of them are, and the last one counts; "--" and what stands behind it is left alone. Behind mp_main, and before the program
 * reads its own options. For pools that are opened later it stands in the place of MILLPOND. Statuses, thread and ownership as
 * mp_pool_open; MP_EINVAL also for a value that is missing or cannot be read: then the arguments are as they were, else they are without
 * it, even if the pool cannot be opened. `argc` and `argv` are borrowed for the call. MPI_Init(&argc, &argv) takes out its own alike. */

/* Refuses new work from now on; what was accepted still runs. Then workers leave. Never blocks; again is fine.
 * MP_EINVAL: no pool; MP_EFOREIGN. Python: Pool.close. */
MP__API mp_status mp_pool_close(mp_pool *pool);

/* Close, and ends what waits or runs: every item that has no status yet gets MP_ETERMINATED at once, so that calls which
 * wait return. Worker processes get SIGTERM, and a second later SIGKILL. A thread cannot be ended: an item that runs ends as its
 * task returns (which mp_call_cancelled may hasten), and a worker that runs its initializer leaves behind it. Does not wait for
 * workers (it takes about 20 ns for each item that gets its status); again is fine; from anywhere, callbacks included.
 * MP_EINVAL, MP_EFOREIGN as close. Python: Pool.terminate, which leaves outstanding results waiting for ever. */
MP__API mp_status mp_pool_terminate(mp_pool *pool);

/* Waits until every worker of a closed or terminated pool has left and been reaped, callbacks have run, and calls of other threads
 * that waited for items are through with the pool. Streams that nobody has read to their end are run to their end now, without
 * bound, and can still be read; so read them first. MP_ERUNNING: neither closed nor terminated; MP_ETIMEDOUT: not within
 * `timeout` seconds (MP_FOREVER; 0: a look), again is fine; MP_EDEADLK: from a task of this pool, its callback, or the generator of
 * one of its streams.
 * Python: Pool.join, which has no time-out. */
#define mp_pool_join(...) MP__JOIN(__VA_ARGS__, MP_FOREVER, 0)
#define MP__JOIN(pool, timeout, ...) mp_pool_join_for((pool), (timeout))
MP__API mp_status mp_pool_join_for(mp_pool *pool, double timeout);

/* Frees the pool and sets `*pool` to NULL. A pool that was not joined is terminated and joined first. NULL is fine. No other
 * thread may begin to use the pool any more; handles and streams of it may be used, and freed, afterwards. From a callback of
 * its own, a generator, or a task on one of its threads, it is terminated, and what is left is freed when that has returned. In a
 * process that the pool does not belong to, nothing is ended or freed. */
MP__API void mp_pool_free(mp_pool **pool);

/* Changes how many workers there are, from 1 to 100000. More start at once; those that are too many leave when they are
 * through with what they run, and what they had not started runs elsewhere. Does not wait. MP_EINVAL; MP_EFOREIGN; MP_ECLOSED;
 * MP_EBROKEN; MP_ENOMEM; MP_EDEADLK: so many tasks wait for this very pool that none would be left to do the work. */
MP__API mp_status mp_pool_resize(mp_pool *pool, int processes);

/* What has happened to a pool so far; written to `stats` (borrowed). MP_EINVAL: no pool or nowhere to write; MP_EFOREIGN. Does
 * not block. */
typedef struct mp_pool_stats {
    uint64_t accepted, succeeded, failed, pending; /* items; accepted == succeeded + failed + pending, always */
    uint64_t started, lost;                        /* workers: processes started; those that died unasked */
    uint64_t stale;                                /* replies for items that were not running: dropped */
    uint64_t retried;                              /* failures behind which the item was to be run again */
    uint64_t recycled;                             /* workers replaced for `.maxrss` or `.maxtasksperchild` */
    int workers;                                   /* that run now */
    int processes;                                 /* that are wanted */
} mp_pool_stats;
MP__API mp_status mp_pool_get_stats(mp_pool *pool, mp_pool_stats *stats);

/* What MP_WITH_POOL is made of. */
MP__API mp_pool *mp__pool_enter(const mp_pool_options *options);
MP__API void mp__pool_leave(mp_pool **pool);
MP__END

#ifndef __cplusplus

/* MP_HOOK(task, &input): the compiler checks the input. For a task that takes mp_none: MP_HOOK(task, NULL). */
#define MP_HOOK(f, ...)                                                                                                    \
    ((mp_hook){((void)sizeof(mp__check_##f((__VA_ARGS__), (mp_none *)0)), &mp__task_##f), (__VA_ARGS__)})

#define mp_pool_open(...) MP__POOL_OPEN(__VA_ARGS__, .mp__end = 0)
#define MP__POOL_OPEN(pool, ...) mp_pool_open_with((pool), &(mp_pool_options){__VA_ARGS__})
#define mp_pool_from_args(pool, count, ...) MP__POOL_FROM_ARGS(pool, count, __VA_ARGS__, .mp__end = 0)
#define MP__POOL_FROM_ARGS(pool, count, arguments, ...)                                                                    \
    mp_pool_open_with((pool), &(mp_pool_options){.argc = (count), .argv = (arguments), __VA_ARGS__})

/* MP_WITH_POOL (pool, .processes = 4) { ... }: Python's `with Pool(4) as pool`: terminates and frees the pool on every way
 * out of the block (its end, break, return, goto; not exit or longjmp). If the pool cannot be opened the block is skipped,
 * and the reason is in `.error`, or on standard error if none was given. */
#define MP_WITH_POOL(...) MP__WITH_POOL(__VA_ARGS__, .mp__end = 0)
#define MP__WITH_POOL(pool, ...) MP__WITH_POOL_(pool, mp__once_##pool, __VA_ARGS__)
#define MP__WITH_POOL_(pool, once, ...)                                                                                    \
    for (mp_pool * pool __attribute__((cleanup(mp__pool_leave))) = mp__pool_enter(&(mp_pool_options){__VA_ARGS__}),        \
                   *once = pool;                                                                                           \
         once; once = NULL)

#endif /* C */
#endif
