/* The parent's side of one worker: what goes to it, and what comes from it.
 *
 * Results are a stream of bytes with a position. They come through the pipe; and when the worker is dead, from where the pipe
 * ended, out of the buffer that it shared with us: worker and parent need not have agreed on anything for that, the parent
 * knows how many bytes it has, and the worker had written down where its buffer begins and how far it is whole. It is the same
 * while the worker lives, and runs one item while the results of others lie in its buffer: what was taken there comes through the
 * pipe once more, and is passed over.
 *
 * Nothing that comes is believed: a frame of a kind that is not a worker's, or larger than allowed, or a buffer position that
 * cannot be, ends the reading of this link (NONSENSE) and nothing else. Runs under the pool's lock; never blocks, but for an
 * orphan's last second (see read_orphan). */
#include "pool/process/link.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "serial/codec.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- open and close ------------------------------------------------------------------------------------------------------ */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A pipe, both ends above the standard descriptors. */
static bool make_pipe(int *reading, int *writing)
{
    int ends[2];
    if (mp__system.pipe2(ends, O_CLOEXEC) < 0)
        return false;
    *reading = mp__above_standard(ends[0]);
    *writing = mp__above_standard(ends[1]);
    return *reading >= 0 && *writing >= 0;
}

static bool set_up(mp__link *link, int size, int theirs[MP__CONTROL_FDS])
{
    if (!make_pipe(&theirs[0], &link->tasks_fd) || !make_pipe(&link->results_fd, &theirs[1]))
        return false;
    fcntl(link->tasks_fd, F_SETFL, O_NONBLOCK); /* of our ends only: each end of a pipe has flags of its own */
    fcntl(link->results_fd, F_SETFL, O_NONBLOCK);
    fcntl(link->tasks_fd, F_SETPIPE_SZ, size); /* asked for, not needed: what is given is taken */
    fcntl(link->results_fd, F_SETPIPE_SZ, size);
    theirs[2] = mp__above_standard(mp__system.memfd_create("millpond", MFD_CLOEXEC));
    if (theirs[2] < 0 || mp__system.ftruncate(theirs[2], sizeof(mp__shared)) < 0)
        return false;
    void *shared = mp__system.mmap(NULL, sizeof(mp__shared), PROT_READ | PROT_WRITE, MAP_SHARED, theirs[2], 0);
    link->shared = shared == MAP_FAILED ? NULL : shared;
    return link->shared;
}

bool mp__link_open(mp__link *link, const mp__terms *terms, mp__life life, int pipe_size, int theirs[MP__CONTROL_FDS])
{
    *link = (mp__link){.life = life, .terms = terms, .tasks_fd = -1, .results_fd = -1};
    for (int i = 0; i < MP__CONTROL_FDS; i++)
        theirs[i] = -1;
    mp__frame_reader_init(&link->reader, MP__FROM_WORKER, MP_ITEM_SIZE_MAX);
    if (set_up(link, pipe_size, theirs)) {
        link->state = MP__LINK_OPEN;
        return true;
    }
    mp__system_failure(&link->error, errno, "no pipes or memory for worker %u", life.place);
    for (int i = 0; i < MP__CONTROL_FDS; i++)
        close_fd(&theirs[i]);
    mp__link_close(link);
    return false;
}

/* The error and what is owed stay: they are told after the link is closed. */
void mp__link_close(mp__link *link)
{
    close_fd(&link->tasks_fd);
    close_fd(&link->results_fd);
    if (link->shared)
        munmap(link->shared, sizeof *link->shared);
    link->shared = NULL;
    mp__outbox_fini(&link->outbox);
    mp__frame_reader_fini(&link->reader);
    link->state = MP__LINK_NONE;
}

/* --- sending ------------------------------------------------------------------------------------------------------------- */

/* The order of results must have no hole: the worker sends this back in the item's place. */
static bool refuse(mp__link *link, const mp__fault *fault)
{
    char text[sizeof fault->path + sizeof fault->message + 32], message[MP_MESSAGE_MAX];
    mp__fault_text(fault, text, sizeof text);
    snprintf(message, sizeof message, "the item cannot be sent: %s", text);
    mp__refusal refusal = {.status = (int32_t)fault->status, .message = {message, strlen(message)}};
    mp__fault again = {0};
    return mp__outbox_value(&link->outbox, MP__REFUSED, &mp__refusal_type, &refusal, &again) == MP_OK;
}

void mp__link_send(mp__link *link, const mp__item *item)
{
    bool ok = true;
    if (item->job != link->job || item->task != link->task || item->index != link->next_item) {
        mp__run run = {.task = item->task, .item = item->index};
        ok = mp__outbox_raw(&link->outbox, MP__RUN, &run, sizeof run);
    }
    link->job = item->job;
    link->task = item->task;
    link->next_item = item->index + 1;
    link->items++;
    mp__fault fault = {0};
    if (ok && mp__outbox_value(&link->outbox, MP__ITEM, link->terms->tasks->rows[item->task].task->input, item->value,
                               &fault) != MP_OK)
        ok = refuse(link, &fault);
    if (!ok) { /* no memory even to say so: this life must end, and the item comes back unstarted */
        mp__failure(&link->error, MP_ENOMEM, "no memory to send worker %u its items", link->life.place);
        link->distrusted = link->deaf = true;
    }
}

/* --- what comes ---------------------------------------------------------------------------------------------------------- */

/* Items' results that have come. */
static uint64_t results(const mp__link *link)
{
    return link->frames - link->opening;
}

static void name_worker(const mp__link *link, mp_error *error)
{
    error->worker = (int)link->life.place;
    error->pid = link->pid;
}

static bool distrust(mp__link *link, mp__event *event)
{
    link->distrusted = link->deaf = true;
    name_worker(link, &link->error);
    *event = (mp__event){
        .kind = MP__EV_NONSENSE, .slot = link->life.slot, .generation = link->life.generation, .error = &link->error};
    return true;
}

static bool nonsense(mp__link *link, mp__event *event, const char *what)
{
    mp__failure(&link->error, MP_ECRASHED,
                "the worker was ended, for it wrote nonsense into its results (%s): has a task "
                "written to a descriptor or to memory that is not its own?",
                what);
    return distrust(link, event);
}

/* Not the worker's fault, but without its results it is of no use. */
static bool unreadable(mp__link *link, mp__event *event, int os_error)
{
    if (os_error == ENOMEM)
        mp__failure(&link->error, MP_ENOMEM, "there is no memory for what worker %u sends", link->life.place);
    else
        mp__system_failure(&link->error, os_error, "what worker %u sends cannot be read", link->life.place);
    return distrust(link, event);
}

/* `what` comes before the message. */
static bool take_failure(mp__link *link, mp__event *event, const char *what)
{
    mp__refusal refusal;
    mp__fault fault = {0};
    mp__buffer scratch = {0};
    bool ok = mp__decode_input(&mp__refusal_type, &link->frame, &refusal, &scratch, &fault) == MP_OK && refusal.status != 0;
    if (ok)
        mp__failure(&link->error, (mp_status)refusal.status, "%s%.*s", what,
                    refusal.message.size < MP_MESSAGE_MAX ? (int)refusal.message.size : MP_MESSAGE_MAX,
                    refusal.message.size ? (const char *)refusal.message.data : "");
    mp__buffer_fini(&scratch);
    name_worker(link, &link->error);
    event->frame = NULL;
    if (!ok)
        nonsense(link, event, "a failure that is none");
    return ok;
}

bool mp__link_refuse(mp__link *link)
{
    name_worker(link, &link->error);
    link->refused = link->distrusted = link->deaf = true;
    return false;
}

static void name_hook(mp__link *link, const mp__hook *hook)
{
    strcpy(link->error.task, hook->task->name); /* its length was checked when it was registered */
}

static bool send_hook(mp__link *link, unsigned kind, const mp__hook *hook, const char *what)
{
    mp__run run = {.task = hook->index, .item = MP_NO_ITEM};
    mp__fault fault = {0};
    if (!hook->task)
        return true;
    if (!mp__outbox_raw(&link->outbox, MP__RUN, &run, sizeof run))
        mp__fault_set(&fault, MP_ENOMEM, 0, "no memory");
    else if (mp__outbox_value(&link->outbox, kind, hook->task->input, hook->value, &fault) == MP_OK)
        return true;
    char text[sizeof fault.path + sizeof fault.message + 32];
    mp__fault_text(&fault, text, sizeof text);
    mp__failure(&link->error, fault.status, "the input of the %s cannot be sent: %s", what, text);
    name_hook(link, hook);
    return mp__link_refuse(link);
}

/* It has begun: now it is told what to do first, and what to do last. */
static bool admit(mp__link *link, mp__event *event)
{
    const mp__terms *terms = link->terms;
    link->stage = terms->initializer.task ? MP__LINK_GREETED : MP__LINK_READY;
    event->kind = terms->initializer.task ? MP__EV_GREETED : MP__EV_READY;
    event->frame = NULL;
    return send_hook(link, MP__FINI, &terms->finalizer, "finalizer") &&
           send_hook(link, MP__INIT, &terms->initializer, "initializer");
}

static bool take_initialized(mp__link *link, mp__event *event)
{
    if (link->frame.kind == MP__FAILURE) {
        if (!take_failure(link, event, "the initializer failed: "))
            return true; /* nonsense */
        name_hook(link, &link->terms->initializer);
        return mp__link_refuse(link);
    }
    link->stage = MP__LINK_READY;
    event->kind = MP__EV_READY;
    event->frame = NULL;
    return true;
}

#define LOAD_FIRST "load what registers tasks before mp_main, or use MP_FORK"

/* All that it has is ours too: it lacks one. */
static bool refuse_lacking(mp__link *link)
{
    const mp__task_table *tasks = link->terms->tasks;
    if (link->lines_come < tasks->count)
        mp__failure(&link->error, MP_EMISMATCH, "a worker was executed, but task '%s' is not known to it: " LOAD_FIRST,
                    tasks->rows[link->lines_come].name);
    else
        mp__failure(&link->error, MP_EMISMATCH,
                    "a worker was executed, but does not have this program's tasks: " LOAD_FIRST);
    return mp__link_refuse(link);
}

/* Both tables are sorted, so the first line that differs says what it is. */
static bool take_line(mp__link *link, mp__event *event)
{
    const mp__task_table *tasks = link->terms->tasks;
    mp__task_line line;
    if (link->frame.kind != MP__TASK || link->frame.size != sizeof line)
        return nonsense(link, event, "a task that is none");
    memcpy(&line, link->frame.data, sizeof line);
    line.name[sizeof line.name - 1] = 0;
    const mp__task_row *row = link->lines_come < tasks->count ? &tasks->rows[link->lines_come] : NULL;
    int order = row ? strcmp(line.name, row->name) : -1;
    if (order > 0)
        return refuse_lacking(link);
    if (order == 0 && line.hash == row->hash)
        return ++link->lines_come == link->lines && refuse_lacking(link);
    if (order < 0)
        mp__failure(
            &link->error, MP_EMISMATCH,
            "a worker was executed, but has a task '%s', which this program had not when the pool was opened: " LOAD_FIRST,
            line.name);
    else
        mp__failure(&link->error, MP_EMISMATCH,
                    "a worker was executed, but task '%s' has other types there than in this program: " LOAD_FIRST,
                    line.name);
    return mp__link_refuse(link);
}

/* Only what stands first in it is the same in every version. */
static bool take_hello(mp__link *link, mp__event *event)
{
    mp__hello hello = {.protocol = 0};
    const size_t least = offsetof(mp__hello, hash);
    if (link->frame.size < least || link->stage != MP__LINK_UNHEARD)
        return nonsense(link, event, "a greeting that is none");
    memcpy(&hello, link->frame.data, link->frame.size < sizeof hello ? link->frame.size : sizeof hello);
    if (hello.pid <= 0)
        return nonsense(link, event, "a greeting that is none");
    link->pid = link->pid ? link->pid : hello.pid; /* the zygote knows better, if it has told */
    char version[sizeof hello.version + 1] = {0};
    memcpy(version, hello.version, sizeof hello.version);
    if (hello.protocol != MP__PROTOCOL || strcmp(version, mp_version()) != 0) {
        mp__failure(&link->error, MP_EMISMATCH, "a worker was executed with another version of millpond (%.8s) than %s",
                    version, mp_version());
        return mp__link_refuse(link);
    }
    if (hello.hash == link->terms->hash)
        return admit(link, event);
    link->stage = MP__LINK_OTHER;
    link->lines = hello.tasks;
    return !link->lines && refuse_lacking(link);
}

/* What was found in the buffer, before it came through the pipe, is worth no more than `committed`, which a wild task may have set
 * to where old results lie. So it is held against the count as well, in both places: it is behind neither. */
static bool has_begun(const mp__link *link, uint64_t item)
{
    return item <= (atomic_load_explicit(&link->shared->claim, memory_order_acquire) & MP__STARTED_MASK) ||
           item <= atomic_load_explicit(&link->shared->started_too, memory_order_relaxed);
}

/* False: there is no event of it. */
static bool take_frame(mp__link *link, mp__event *event)
{
    link->frames++;
    link->opening += link->stage != MP__LINK_READY;
    link->error.status = MP_OK;
    name_worker(link, &link->error);
    *event = (mp__event){.kind = MP__EV_RESULT,
                         .slot = link->life.slot,
                         .generation = link->life.generation,
                         .frame = &link->frame,
                         .error = &link->error,
                         .busy_ns = atomic_load_explicit(&link->shared->busy_ns, memory_order_relaxed)};
    if (link->frame.kind == MP__HELLO)
        return take_hello(link, event);
    if (link->stage == MP__LINK_UNHEARD)
        return nonsense(link, event, "results before a greeting");
    if (link->stage == MP__LINK_OTHER)
        return take_line(link, event);
    if (link->frame.kind == MP__TASK)
        return nonsense(link, event, "a task that nobody asked for");
    if (link->stage == MP__LINK_GREETED)
        return take_initialized(link, event);
    if (results(link) > link->items - mp__outbox_borrows(&link->outbox))
        return nonsense(link, event, "the result of an item that it has not got whole");
    if (link->received > link->piped && !has_begun(link, results(link)))
        return nonsense(link, event, "the result of an item that it has not begun");
    if (link->frame.kind == MP__FAILURE)
        take_failure(link, event, "");
    return true;
}

/* More bytes from its pipe; 0: it has ended; < 0: there are none now, or no memory for them. Those that we have already are left
 * in the reader's room, which does not count them. */
static ssize_t read_pipe(mp__link *link)
{
    uint8_t *where;
    size_t room;
    if (!mp__frame_reader_space(&link->reader, &where, &room)) {
        errno = ENOMEM;
        return -1;
    }
    uint64_t ahead = link->received > link->piped ? link->received - link->piped : 0;
    ssize_t got = mp__system.read(link->results_fd, where, ahead && ahead < room ? (size_t)ahead : room);
    if (got <= 0)
        return got;
    link->piped += (uint64_t)got;
    if (!ahead) {
        mp__frame_reader_filled(&link->reader, (size_t)got);
        link->received += (uint64_t)got;
    }
    return got;
}

/* The zygote is gone and its workers with it, but nobody tells when: they die with it, by PR_SET_PDEATHSIG, which takes the
 * kernel a moment. So its pipe is waited for, a second at most: a child of a task's may hold it open. */
static ssize_t read_orphan(mp__link *link)
{
    struct pollfd fd = {.fd = link->results_fd, .events = POLLIN};
    return poll(&fd, 1, 1000) > 0 ? read_pipe(link) : 0;
}

/* More bytes from the shared buffer; false: that was all. A worker that lives may begin its buffer again at any moment:
 *
 *     worker: base = 900;  writes over what stood there        we: base is 700;  copy;  base is 900 now: what we have copied may
 *                                                              be of the old or the new. It does not count, and comes through
 *                                                              the pipe: the worker begins again when it is written */
static bool read_buffer(mp__link *link)
{
    uint64_t base = atomic_load_explicit(&link->shared->base, memory_order_acquire);
    uint64_t committed = atomic_load_explicit(&link->shared->committed, memory_order_acquire);
    if (base > link->received || committed <= link->received || committed - base > MP__SHARED_BUFFER)
        return false;
    uint8_t *where;
    size_t room, left = (size_t)(committed - link->received);
    if (!mp__frame_reader_space(&link->reader, &where, &room))
        return false;
    if (room > left)
        room = left;
    memcpy(where, link->shared->buffer + (link->received - base), room);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&link->shared->base, memory_order_relaxed) != base)
        return false;
    mp__frame_reader_filled(&link->reader, room);
    link->received += room;
    return true;
}

/* One that has a single item left says what it has finished when that ends. */
bool mp__link_look(mp__link *link)
{
    if (link->state != MP__LINK_OPEN || link->distrusted || link->stage != MP__LINK_READY ||
        results(link) + 1 >= link->items)
        return false;
    link->looks = MP__READS;
    link->budget = 0; /* its pipe has its turn when it is readable */
    return true;
}

/* --- its end ------------------------------------------------------------------------------------------------------------- */

static void describe_end(mp__link *link)
{
    mp_error *error = &link->error;
    bool known = link->distrusted; /* then the error says it already */
    int signal = link->has_status && WIFSIGNALED(link->status) ? WTERMSIG(link->status) : 0;
    int code = link->has_status && WIFEXITED(link->status) ? WEXITSTATUS(link->status) : -1;
    const char *early = link->stage == MP__LINK_READY     ? ""
                        : link->stage == MP__LINK_GREETED ? " in its initializer"
                                                          : " before it was ready";
    const char *hint = link->stage == MP__LINK_UNHEARD && link->terms->executed ? "; is mp_main called first in main?" : "";
    const char *ours = code == MP__EXIT_SETUP ? ": it could not get the memory or the descriptors that it needs"
                       : code == MP__EXIT_PROTOCOL
                           ? ": its pipes or its memory were not as they should be; has a task written "
                             "to what is not its own?"
                           : "";
    if (!known && signal) {
        const char *name = sigabbrev_np(signal), *text = sigdescr_np(signal);
        mp__failure(error, MP_ECRASHED, "the worker was killed by SIG%s (%s)%s%s%s", name ? name : "?",
                    text ? text : "unknown", early,
                    signal == SIGKILL ? ": by somebody, or by the kernel when memory ran out" : "", hint);
    } else if (!known && code == MP__EXIT_MISMATCH && link->stage == MP__LINK_UNHEARD) {
        mp__failure(error, MP_EMISMATCH, "a worker was executed with another version of millpond than %s", mp_version());
    } else if (!known && code >= 0) {
        mp__failure(error, MP_ECRASHED, "the worker exited with code %d%s%s%s", code,
                    *early ? early : " in the middle of its work", ours, hint);
    } else if (!known) {
        mp__failure(error, MP_ECRASHED, "the worker died with the process that it was forked from");
    }
    error->signal = signal;
    error->exit_code = code;
    name_worker(link, error);
    if (link->stage == MP__LINK_GREETED)
        name_hook(link, &link->terms->initializer);
}

/* True if it was ended, or left, for what a task had done to its pipes or its memory. */
static bool ran_wild(const mp__link *link)
{
    bool left = link->has_status && WIFEXITED(link->status) && WEXITSTATUS(link->status) == MP__EXIT_PROTOCOL;
    return left || (link->distrusted && link->error.status == MP_ECRASHED);
}

/* How many items this life has started. It stands in two places, the second written just after the first; a wild task may have
 * written over either. One that lies between the results that came and the items that were sent can be true. Where there is
 * none, or it says that nothing was started though somebody ran wild, the next item is taken for the culprit: run again, it
 * would do it again. */
static uint64_t count_started(const mp__link *link)
{
    uint64_t least = results(link), most = link->items;
    uint64_t first = atomic_load_explicit(&link->shared->claim, memory_order_acquire) & MP__STARTED_MASK;
    uint64_t second = atomic_load_explicit(&link->shared->started_too, memory_order_relaxed);
    bool agree = first == second || first == second + 1, first_can = first >= least && first <= most;
    if (!agree && second >= least && second <= most)
        return second;
    if (first_can && !(first == 0 && ran_wild(link)))
        return first;
    return least < most ? least + 1 : least;
}

static bool lost(mp__link *link, mp__event *event)
{
    if (!link->refused)
        describe_end(link);
    *event = (mp__event){.kind = link->refused ? MP__EV_START_FAILED : MP__EV_LOST,
                         .slot = link->life.slot,
                         .generation = link->life.generation,
                         .started = count_started(link),
                         .error = &link->error};
    mp__link_close(link);
    return true;
}

/* What came through the pipe was announced before it was written; what came out of the buffer need not have been, but then it was
 * committed. Neither ever goes back. NULL: nothing is wrong; else what. */
static const char *went_too_far(const mp__link *link)
{
    uint64_t announced = atomic_load_explicit(&link->shared->announced, memory_order_acquire);
    if (link->piped > announced)
        return "more bytes than it announced";
    if (link->received > announced && link->received > atomic_load_explicit(&link->shared->committed, memory_order_acquire))
        return "fewer bytes than it had committed";
    return NULL;
}

/* At a place up to which the worker has announced: a frame ends there, and it has said how many came before. If the place is
 * not the announced one any more when we look again, `results` may belong to a later one. Where we are ahead of the pipe there is
 * nothing to be held against it yet: it is when the pipe has come as far. */
static bool adds_up(const mp__link *link)
{
    uint64_t results = atomic_load_explicit(&link->shared->results, memory_order_acquire);
    uint64_t announced = atomic_load_explicit(&link->shared->announced, memory_order_acquire);
    if (link->state != MP__LINK_OPEN || link->received != announced || link->piped != announced)
        return true;
    return mp__frame_reader_whole(&link->reader) && results == link->frames;
}

static bool again(ssize_t got)
{
    return got < 0 && errno == EINTR;
}

/* One step on: more bytes, or the next state. False: nothing to be had now. */
static bool advance(mp__link *link)
{
    ssize_t got;
    switch (link->state) {
    case MP__LINK_OPEN:
        if (link->looks) {
            link->looks = read_buffer(link) ? link->looks - 1 : 0;
            return true;
        }
        if (!link->budget)
            return false;
        link->budget--;
        got = read_pipe(link);
        if (got == 0)
            link->state = MP__LINK_ENDED;
        link->read_error = got < 0 && !again(got) && errno != EAGAIN ? errno : 0;
        return got > 0 || again(got) || link->read_error;
    case MP__LINK_DEAD:
        got = link->orphaned ? read_orphan(link) : read_pipe(link);
        if (got <= 0 && !again(got))
            link->state = MP__LINK_TAIL;
        return true;
    case MP__LINK_TAIL: return read_buffer(link);
    default: return false;
    }
}

bool mp__link_next(mp__link *link, mp__event *event)
{
    while (!link->distrusted) {
        if (link->state == MP__LINK_NONE)
            return false;
        const char *wrong = went_too_far(link); /* looked at before what has come is taken for frames */
        if (wrong)
            return nonsense(link, event, wrong);
        if (mp__frame_reader_next(&link->reader, &link->frame)) {
            if (take_frame(link, event))
                return true;
            continue;
        }
        if (link->reader.status == MP_ENOMEM)
            return unreadable(link, event, ENOMEM);
        if (link->reader.status != MP_OK)
            return nonsense(link, event, mp_status_text(link->reader.status));
        if (link->received && !adds_up(link))
            return nonsense(link, event, "fewer whole frames than it announced");
        if (link->read_error)
            return unreadable(link, event, link->read_error);
        if (!advance(link))
            break;
    }
    bool over = link->state == MP__LINK_TAIL || (link->distrusted && link->state == MP__LINK_DEAD);
    return over && lost(link, event);
}
