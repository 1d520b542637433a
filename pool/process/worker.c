/* A worker process: one thread that takes frames from its tasks pipe, runs tasks, and gives results back.
 *
 * Results gather in the shared buffer, whole frames, committed one by one; they go into the pipe when the buffer is full
 * enough, when they have waited long enough, and always before the worker blocks. So whenever it dies, or is long about an item,
 * the parent finds what is finished: in the pipe, and behind that in the buffer. A result that is too large for the buffer is written past it.
 *
 * It holds five descriptors: 0 is /dev/null, 1 and 2 are the program's, then its two pipes. It leaves by _exit, always: the
 * program's atexit handlers and unflushed files belong to the parent, or, where it was executed, to no one. Whatever else goes
 * wrong here (no memory for a value, a result that cannot be encoded) is its item's failure. Only the initializer's failure is
 * its own: it is answered, and the parent ends the worker. */
#include "pool/process/worker.h"
#include "pool/call.h"
#include "pool/clock.h"
#include "pool/process/inheritance.h"
#include "pool/process/outbox.h"
#include "pool/process/protocol.h"
#include "pool/system.h"
#include "serial/codec.h"
#include "serial/frame.h"
#include "serial/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    LOOK_NS = 50000,  /* look at the clock about this often */
    WAIT_NS = 200000, /* a result waits at most this long for others, between items */
    LOOK_ITEMS = 1024,
    SCRATCH_KEEP = 1 << 20,
    PIPES_BELOW = 1024, /* numbers of our pipes; they come from the zygote as small ones */
    PIPES_ABOVE = 16,
    FORGOTTEN_MS = 1000
};

typedef struct worker {
    const mp__worker_start *start;
    int tasks_fd, results_fd;
    mp__shared *shared;
    mp__frame_reader reader;
    mp__buffer results; /* fixed, over shared->buffer */
    uint64_t base;      /* offset of its beginning in the stream of results */
    uint64_t result_count;
    uint64_t received; /* bytes of tasks */
    mp__outbox large;  /* results that do not fit it */
    mp__blobs blobs;
    uint64_t epoch, started; /* of shared->claim, as we know it */
    bool recalled;           /* there is a newer epoch: what comes is thrown away until RESUME names it */
    const mp_task *task;     /* of the items that come */
    size_t next_item;
    void *input, *output; /* room for one value each */
    size_t room;
    mp__buffer scratch; /* what the input points to */
    bool past_hooks; /* items have begun: what looks like a hook now is what is left of a pipe that a task has read from */
    const mp_task *finalizer;
    void *last_input; /* of the finalizer */
    char name[MP_NAME_MAX];
    mp_call call;
    uint64_t looked_at, flushed_at; /* ns */
    unsigned until_look, looked_items;
} worker;

/* A task that forks and lets the child come back to us would have two of us on one pipe: the child's copy leaves. */
static bool is_copy;

static void become_copy(void)
{
    is_copy = true;
}

_Noreturn static void leave(int code)
{
    fflush(stdout);
    _exit(code);
}

/* --- results ------------------------------------------------------------------------------------------------------------- */

/* The buffer is empty, and the stream has come this far. `base` first: the parent, which may look at any moment, must not find that
 * the buffer has all up to here, when what went past it was written into the pipe. And before the buffer is written again: what
 * the parent was copying meanwhile is then seen not to count. */
static void begin_buffer(worker *w, uint64_t base)
{
    w->base = base;
    w->results.size = 0;
    atomic_store_explicit(&w->shared->base, base, memory_order_release);
    atomic_store_explicit(&w->shared->committed, base, memory_order_release);
    atomic_thread_fence(memory_order_release);
}

static void commit(worker *w)
{
    w->result_count++;
    atomic_store_explicit(&w->shared->committed, w->base + w->results.size, memory_order_release);
}

/* Before bytes go into the pipe. In this order: who still finds the old `announced` finds the old `results` with it. */
static void announce(worker *w, uint64_t size)
{
    atomic_store_explicit(&w->shared->announced, w->base + size, memory_order_release);
    atomic_store_explicit(&w->shared->results, w->result_count, memory_order_release);
}

static void flush_results(worker *w)
{
    size_t size = w->results.size, done = 0;
    if (!size)
        return;
    announce(w, size);
    while (done < size) {
        struct iovec rest = {w->results.data + done, size - done};
        ssize_t written = mp__system.writev(w->results_fd, &rest, 1);
        if (written >= 0)
            done += (size_t)written;
        else if (errno != EINTR)
            leave(MP__EXIT_GONE);
    }
    begin_buffer(w, w->base + size);
}

/* A frame of bytes. It fits when the buffer is empty: messages are bounded. */
static void put_raw(worker *w, unsigned kind, const void *bytes, size_t size)
{
    if (!mp__frame_write_raw(&w->results, kind, bytes, size)) {
        flush_results(w);
        if (!mp__frame_write_raw(&w->results, kind, bytes, size))
            leave(MP__EXIT_PROTOCOL);
    }
    commit(w);
}

static void put_failure(worker *w, mp_status status, const char *message)
{
    mp__refusal refusal = {.status = (int32_t)status, .message = {message, strlen(message)}};
    mp__fault fault = {0};
    if (mp__frame_write(&w->results, MP__FAILURE, &mp__refusal_type, &refusal, &w->blobs, &fault) != MP_OK) {
        flush_results(w);
        fault = (mp__fault){0};
        if (mp__frame_write(&w->results, MP__FAILURE, &mp__refusal_type, &refusal, &w->blobs, &fault) != MP_OK)
            leave(MP__EXIT_PROTOCOL);
    }
    commit(w);
}

static void put_fault(worker *w, const char *what, const mp__fault *fault)
{
    char text[sizeof fault->path + sizeof fault->message + 32], message[MP_MESSAGE_MAX];
    mp__fault_text(fault, text, sizeof text);
    snprintf(message, sizeof message, "%s: %s", what, text);
    put_failure(w, fault->status, message);
}

/* Past the buffer: blobs are written from where the task left them. Until the last byte is out the item is not finished. */
static void put_large(worker *w, const mp_type *type, const void *value)
{
    mp__fault fault = {0};
    flush_results(w);
    if (mp__outbox_value(&w->large, MP__VALUE, type, value, &fault) != MP_OK) {
        put_fault(w, "the result cannot be sent", &fault);
        return;
    }
    uint64_t size = mp__outbox_size(&w->large);
    w->result_count++;
    announce(w, size);
    if (mp__outbox_write(&w->large, w->results_fd) != 0)
        leave(MP__EXIT_GONE);
    begin_buffer(w, w->base + size);
}

static void put_value(worker *w, const mp_type *type, const void *value)
{
    mp__fault fault = {0};
    size_t before = w->results.size;
    w->blobs.count = 0;
    mp_status status = mp__frame_write(&w->results, MP__VALUE, type, value, &w->blobs, &fault);
    if (status == MP_OK && !w->blobs.count) {
        commit(w);
        return;
    }
    w->results.size = before;
    if (status == MP_OK || status == MP_ENOMEM)
        put_large(w, type, value);
    else
        put_fault(w, "the result cannot be sent", &fault);
}

/* --- items --------------------------------------------------------------------------------------------------------------- */

/* False: the parent has taken it back, and all that follows until it says so. See mp__shared. */
static bool claim(worker *w)
{
    uint64_t known = w->epoch * MP__EPOCH_ONE + w->started;
    w->recalled = !atomic_compare_exchange_strong_explicit(&w->shared->claim, &known, known + 1, memory_order_acq_rel,
                                                           memory_order_acquire);
    if (w->recalled && known / MP__EPOCH_ONE == w->epoch)
        leave(MP__EXIT_PROTOCOL); /* nobody but a wild task has changed the count */
    if (w->recalled)
        return false;
    w->started++;
    atomic_store_explicit(&w->shared->started_too, w->started, memory_order_relaxed);
    return true;
}

/* A wild task has changed the count: the sooner it is seen, the fewer items will seem to have been started. */
static bool count_is_wrong(const worker *w)
{
    uint64_t claim = atomic_load_explicit(&w->shared->claim, memory_order_relaxed);
    return (claim & MP__STARTED_MASK) != w->started;
}

static bool make_room(worker *w, const mp_task *task)
{
    size_t need = task->input->size > task->output->size ? task->input->size : task->output->size;
    if (need <= w->room)
        return true;
    free(w->input);
    free(w->output);
    w->room = 0;
    size_t size = (need + 63) / 64 * 64;
    w->input = mp__memory.aligned_alloc(64, size);
    w->output = mp__memory.aligned_alloc(64, size);
    if (w->input && w->output)
        w->room = size;
    return w->room;
}

/* Runs it, on w->output. */
static mp_status run_task(worker *w, const mp_task *task, const void *input, size_t item, uint64_t ordinal)
{
    memset(w->output, 0, task->output->size);
    mp__call_begin(&w->call, item, ordinal);
    mp_status status = mp__call_status(&w->call, task->run(input, w->output, &w->call));
    if (is_copy)
        _exit(MP__EXIT_GONE);
    return status;
}

/* The input in a frame into w->input, and room for the output; false: what is wrong has been put in the result's place. */
static bool take_input(worker *w, mp__frame *frame, const mp_task *task, const char *what)
{
    mp__fault fault = {0};
    if (!make_room(w, task)) {
        put_failure(w, MP_ENOMEM, "no memory for the task's input and output");
        return false;
    }
    if (mp__decode_input(task->input, frame, w->input, &w->scratch, &fault) == MP_OK)
        return true;
    put_fault(w, what, &fault);
    return false;
}

static void run_item(worker *w, mp__frame *frame)
{
    w->past_hooks = true;
    size_t item = w->next_item++;
    if (!w->task)
        leave(MP__EXIT_PROTOCOL);
    if (!claim(w))
        return;
    const mp_task *task = w->task;
    if (!take_input(w, frame, task, "the item cannot be read"))
        return;
    mp_status status = run_task(w, task, w->input, item, w->started);
    if (status == MP_OK)
        put_value(w, task->output, w->output);
    else
        put_failure(w, status, w->call.message);
    if (count_is_wrong(w))
        leave(MP__EXIT_PROTOCOL);
}

/* --- first and last ------------------------------------------------------------------------------------------------------ */

/* No item: it has no ordinal that could be cancelled. If it fails, what it printed comes before what it answers, for then this
 * process is ended. */
static void initialize(worker *w, mp__frame *frame)
{
    const mp_task *task = w->task;
    if (!task || w->past_hooks)
        leave(MP__EXIT_PROTOCOL);
    w->past_hooks = true;
    if (take_input(w, frame, task, "its input cannot be read")) {
        mp_status status = run_task(w, task, w->input, MP_NO_ITEM, UINT64_MAX);
        fflush(stdout);
        if (status == MP_OK)
            put_value(w, task->output, w->output);
        else
            put_failure(w, status, w->call.message);
    }
    flush_results(w);
    w->looked_at = w->flushed_at = mp__now(); /* its time is not the items' */
}

/* The frame is gone by then: its value owns its memory. */
static void keep_last_input(worker *w, mp__frame *frame)
{
    mp__fault fault = {0};
    if (!w->task || w->finalizer || w->past_hooks)
        leave(MP__EXIT_PROTOCOL);
    w->finalizer = w->task;
    const mp_type *type = w->finalizer->input;
    w->last_input = mp__memory.aligned_alloc(64, (type->size + 63) / 64 * 64);
    if (!w->last_input || mp__decode_result(type, frame, w->last_input, &fault) != MP_OK)
        leave(MP__EXIT_SETUP);
}

/* What becomes of it is nobody's concern. */
_Noreturn static void stop(worker *w)
{
    flush_results(w);
    if (w->finalizer && make_room(w, w->finalizer))
        run_task(w, w->finalizer, w->last_input, MP_NO_ITEM, UINT64_MAX);
    leave(MP__EXIT_GONE);
}

/* --- orders that are no items -------------------------------------------------------------------------------------------- */

/* What follows may be another caller's: what is finished does not wait for it. */
static void begin_run(worker *w, const mp__frame *frame)
{
    flush_results(w);
    mp__run run;
    if (frame->size != sizeof run)
        leave(MP__EXIT_PROTOCOL);
    memcpy(&run, frame->data, sizeof run);
    if (run.task >= w->start->tasks->count)
        leave(MP__EXIT_PROTOCOL);
    w->task = w->start->tasks->rows[run.task].task;
    w->next_item = (size_t)run.item;
}

static void resume(worker *w, const mp__frame *frame)
{
    if (frame->size != sizeof w->epoch)
        leave(MP__EXIT_PROTOCOL);
    memcpy(&w->epoch, frame->data, sizeof w->epoch);
    w->recalled = false; /* or the next item says so again */
}

/* --- time ---------------------------------------------------------------------------------------------------------------- */

static void account(worker *w)
{
    uint64_t now = mp__now(), spent = now - w->looked_at;
    atomic_fetch_add_explicit(&w->shared->busy_ns, spent, memory_order_relaxed);
    uint64_t items = spent ? (uint64_t)w->looked_items * LOOK_NS / spent : LOOK_ITEMS;
    w->until_look = items < 1 ? 1 : items > LOOK_ITEMS ? LOOK_ITEMS : (unsigned)items;
    w->looked_items = 0;
    w->looked_at = now;
}

/* After an item. Clocks cost more than small items: looked at once in LOOK_NS worth of them. */
static void between_items(worker *w)
{
    w->looked_items++;
    if (w->looked_items >= w->until_look)
        account(w);
    if (w->results.size < MP__FLUSH_AT && w->looked_at - w->flushed_at < WAIT_NS)
        return;
    flush_results(w);
    w->flushed_at = w->looked_at;
}

/* --- the loop ------------------------------------------------------------------------------------------------------------ */

/* Not all that was sent has come, and nothing is on its way: a task has read from our pipe. */
static bool robbed(const worker *w)
{
    int waiting;
    return atomic_load_explicit(&w->shared->sent, memory_order_acquire) > w->received &&
           ioctl(w->tasks_fd, FIONREAD, &waiting) == 0 && waiting == 0;
}

/* A RESUME follows each recall at once. If none comes, there was no recall, but a wild task wrote over the epoch. */
static bool forgotten(const worker *w)
{
    struct pollfd fd = {.fd = w->tasks_fd, .events = POLLIN};
    return w->recalled && poll(&fd, 1, FORGOTTEN_MS) == 0;
}

/* There is nothing to run: what is finished goes out, and the worker sleeps until something comes. */
static void wait_for_frames(worker *w)
{
    uint8_t *where;
    size_t room;
    account(w);
    flush_results(w);
    fflush(stdout);
    if (w->scratch.capacity > SCRATCH_KEEP) /* one huge item does not mean that all are */
        mp__buffer_fini(&w->scratch);
    if (!mp__frame_reader_space(&w->reader, &where, &room))
        leave(w->reader.status == MP_ENOMEM ? MP__EXIT_SETUP : MP__EXIT_PROTOCOL);
    if (robbed(w) || forgotten(w))
        leave(MP__EXIT_PROTOCOL);
    ssize_t got = mp__system.read(w->tasks_fd, where, room);
    if (got == 0 || (got < 0 && errno != EINTR))
        leave(MP__EXIT_GONE);
    if (got > 0) {
        mp__frame_reader_filled(&w->reader, (size_t)got);
        w->received += (uint64_t)got;
    }
    w->looked_at = w->flushed_at = mp__now();
}

_Noreturn static void serve(worker *w)
{
    mp__frame frame;
    for (;;) {
        while (!mp__frame_reader_next(&w->reader, &frame))
            wait_for_frames(w);
        switch (frame.kind) {
        case MP__RUN: begin_run(w, &frame); break;
        case MP__ITEM:
            run_item(w, &frame);
            between_items(w);
            break;
        case MP__REFUSED:
            w->next_item++;
            if (claim(w))
                put_raw(w, MP__FAILURE, frame.data, frame.size);
            break;
        case MP__RESUME: resume(w, &frame); break;
        case MP__INIT: initialize(w, &frame); break;
        case MP__FINI: keep_last_input(w, &frame); break;
        default: stop(w);
        }
    }
}

/* A task that calls exit ends here: the first of the handlers, for it was registered last, and the last, for it does not
 * return. */
static void left_by_exit(int status, void *unused)
{
    (void)unused;
    leave(status);
}

/* The zygote's death is ours, also in the middle of a task; if it died before we asked, we have another parent already. */
static void follow(const mp__worker_start *start)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != start->parent)
        _exit(MP__EXIT_GONE);
}

static void take_name(worker *w)
{
    snprintf(w->name, sizeof w->name, "%s_%u", w->start->name_prefix, w->start->place);
    prctl(PR_SET_NAME, w->name); /* it takes 15 bytes */
    w->call = (mp_call){.worker = (int)w->start->place, .name = w->name, .cancelled = &w->shared->cancelled};
}

/* The program's descriptors are closed here, but a task may still hold one's number, in a FILE say. So our pipes do not take
 * the low numbers, which are the likeliest: what is written to a number of old must fail, and not be taken for a result. */
static int pipe_numbers(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > PIPES_BELOW)
        return PIPES_BELOW - 2;
    if (limit.rlim_cur < PIPES_ABOVE + 2)
        _exit(MP__EXIT_SETUP);
    return (int)limit.rlim_cur - 2;
}

static void take_descriptors(worker *w)
{
    const mp__worker_start *start = w->start;
    w->shared = mp__system.mmap(NULL, sizeof *w->shared, PROT_READ | PROT_WRITE, MAP_SHARED, start->shared_fd, 0);
    if (w->shared == MAP_FAILED)
        _exit(MP__EXIT_SETUP);
    w->tasks_fd = pipe_numbers();
    w->results_fd = w->tasks_fd + 1;
    if (dup3(start->tasks_fd, w->tasks_fd, O_CLOEXEC) < 0 || dup3(start->results_fd, w->results_fd, O_CLOEXEC) < 0)
        _exit(MP__EXIT_SETUP);
    mp__close_between(3, w->tasks_fd - 1);
    mp__close_between(w->results_fd + 1, INT_MAX);
}

/* Where the parent will find that this is not its table, it is shown ours. */
static void greet(worker *w)
{
    const mp__task_table *tasks = w->start->tasks;
    uint64_t hash = w->start->executed ? mp__task_table_hash(tasks) : w->start->wanted_hash;
    mp__hello hello = {.protocol = MP__PROTOCOL, .pid = getpid(), .hash = hash, .tasks = tasks->count};
    memcpy(hello.version, mp_version(), strnlen(mp_version(), sizeof hello.version));
    put_raw(w, MP__HELLO, &hello, sizeof hello);
    for (size_t i = 0; hash != w->start->wanted_hash && i < tasks->count; i++) {
        mp__task_line line = {.hash = tasks->rows[i].hash};
        strcpy(line.name, tasks->rows[i].name);
        put_raw(w, MP__TASK, &line, sizeof line);
    }
}

_Noreturn void mp__worker_run(const mp__worker_start *start)
{
    follow(start);
    if (start->executed)
        mp__inherit_signals(); /* its constructors may have set some */
    is_copy = false;           /* we are one of a pool that a worker opened, perhaps, but nobody's copy */
    worker w = {.start = start, .until_look = 1};
    take_descriptors(&w);
    take_name(&w);
    w.results = (mp__buffer){.data = w.shared->buffer, .capacity = sizeof w.shared->buffer, .fixed = true};
    mp__frame_reader_init(&w.reader, MP__TO_WORKER, MP_ITEM_SIZE_MAX);
    uint8_t *where;
    size_t room; /* its memory is taken now: whatever goes wrong with that goes wrong before it is said to be ready */
    if (!mp__frame_reader_space(&w.reader, &where, &room))
        _exit(MP__EXIT_SETUP);
    on_exit(left_by_exit, NULL);
    pthread_atfork(NULL, NULL, become_copy);
    greet(&w);
    w.looked_at = w.flushed_at = mp__now();
    sigset_t mask = start->mask;
    sigdelset(&mask, SIGTERM); /* which is how it is asked to end, whatever the program does with it itself */
    sigprocmask(SIG_SETMASK, &mask, NULL);
    serve(&w);
}
