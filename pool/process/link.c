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
#include "pool/chaos.h"
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

/* How long finished results wait for others, if no look finds them before. */
enum { EAGER_US = 200, PATIENT_US = 20000 };

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

/* Says whose items come, where that does not follow from what was sent last. */
static bool send_run(mp__link *link, const mp__items *items)
{
    mp__run run = {.task = items->task,
                   .attempt = items->attempt,
                   .item = items->index,
                   .patience_us = items->patient ? PATIENT_US : EAGER_US,
                   .lone = items->lone,
                   .expected = link->expected};
    if (link->has_run && memcmp(&run, &link->run, sizeof run) == 0)
        return true;
    link->expected = 0;
    link->has_run = true;
    link->run = run;
    link->run.expected = 0;
    return mp__outbox_raw(&link->outbox, MP__RUN, &run, sizeof run);
}

static bool send_value(mp__link *link, const mp_type *type, const void *value)
{
    mp__fault fault;
    return mp__outbox_value(&link->outbox, MP__ITEM, type, value, &fault) == MP_OK || refuse(link, &fault);
}

/* Not even to say so: this life must end, and the item comes back unstarted. */
static void out_of_memory(mp__link *link)
{
    mp__failure(&link->error, MP_ENOMEM, "no memory to send worker %u its items", link->life.place);
    link->distrusted = link->deaf = true;
}

/* What was written for a worker elsewhere: a RUN may be among it. */
static size_t pass(mp__link *link, const mp__items *items)
{
    link->has_run = false;
    link->items += items->count;
    if (!mp__outbox_pass(&link->outbox, items->passed))
        out_of_memory(link);
    return items->count;
}

/* Numbers that stand in a row go as one, anything else one by one. */
size_t mp__link_send(mp__link *link, const mp__items *items)
{
    if (items->passed)
        return pass(link, items);
    const mp_type *type = link->terms->tasks->rows[items->task].task->input;
    bool ok = send_run(link, items);
    size_t sent = 0;
    do {
        const void *value = mp__items_value(items, sent);
        size_t left = items->count - sent;
        size_t numbers =
            ok && left > 1 ? mp__outbox_row(&link->outbox, MP__ITEMS, type, value, items->value_step, left) : 0;
        ok = ok && (numbers || send_value(link, type, value));
        sent += numbers ? numbers : 1;
    } while (ok && sent < items->count && mp__link_has_room(link));
    link->items += sent;
    link->run.item = mp__items_index(items, sent);
    if (!ok)
        out_of_memory(link);
    return sent;
}

/* --- what comes ---------------------------------------------------------------------------------------------------------- */

static bool distrust(mp__link *link, mp__event *event)
{
    link->distrusted = link->deaf = true;
    mp__link_name(link, &link->error);
    *event = (mp__event){
        .kind = MP__EV_NONSENSE, .slot = link->life.slot, .generation = link->life.generation, .error = &link->error};
    return true;
}

bool mp__link_nonsense(mp__link *link, mp__event *event, const char *what)
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

/* As the worker's own side sees to it: there is a text, and no status that who waits would take for an answer to itself, such as
 * that its stream has ended. */
static bool can_be_a_tasks(const mp__refusal *refusal)
{
    return refusal->status != MP_OK && refusal->status != MP_END && refusal->status != MP_ETIMEDOUT &&
           refusal->message.size > 0 && *(const char *)refusal->message.data != 0;
}

/* `what` comes before the message. */
static bool take_failure(mp__link *link, mp__event *event, const char *what)
{
    mp__refusal refusal;
    mp__fault fault = {0};
    mp__buffer scratch = {0};
    bool ok =
        mp__decode_input(&mp__refusal_type, &link->frame, &refusal, &scratch, &fault) == MP_OK && can_be_a_tasks(&refusal);
    if (ok)
        mp__failure(&link->error, (mp_status)refusal.status, "%s%.*s", what,
                    refusal.message.size < MP_MESSAGE_MAX ? (int)refusal.message.size : MP_MESSAGE_MAX,
                    (const char *)refusal.message.data);
    event->by_task = ok && refusal.by_task;
    mp__buffer_fini(&scratch);
    mp__link_name(link, &link->error);
    event->frame = NULL;
    if (ok) {
        link->said.cpu_ns = refusal.cpu_ns;
        link->said.rss_bytes = refusal.rss_bytes;
        event->evidence = &link->said;
    }
    if (!ok)
        mp__link_nonsense(link, event, "a failure that is none");
    return ok;
}

bool mp__link_refuse(mp__link *link)
{
    mp__link_name(link, &link->error);
    link->refused = link->distrusted = link->deaf = true;
    return false;
}

static bool send_hook(mp__link *link, unsigned kind, const mp__hook *hook, const char *what)
{
    mp__run run = {.task = hook->index, .attempt = 1, .item = MP_NO_ITEM};
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
    mp__link_name_hook(link, hook);
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
        mp__link_name_hook(link, &link->terms->initializer);
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
        return mp__link_nonsense(link, event, "a task that is none");
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
        return mp__link_nonsense(link, event, "a greeting that is none");
    memcpy(&hello, link->frame.data, link->frame.size < sizeof hello ? link->frame.size : sizeof hello);
    if (hello.pid <= 0)
        return mp__link_nonsense(link, event, "a greeting that is none");
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

static bool take_output(mp__link *link, mp__event *event)
{
    mp__printed head;
    size_t size = link->frame.size;
    if (!link->terms->capture || size < MP__PRINTED_HEAD || size > sizeof head)
        return mp__link_nonsense(link, event, "output that is none");
    memcpy(&head, link->frame.data, MP__PRINTED_HEAD);
    if (head.which >= MP__CAPTURED)
        return mp__link_nonsense(link, event, "output that is none");
    if (link->outputs & 1u << head.which) /* it could go on without end, and all of it waits to be printed */
        return mp__link_nonsense(link, event, "more output than an item has");
    if (!link->outputs)
        link->said = (mp__evidence){0};
    link->outputs |= 1u << head.which;
    link->asides += link->stage == MP__LINK_READY;
    link->printed = (mp__evidence){0};
    mp__remains_show(&link->printed, (int)head.which, (const char *)link->frame.data + MP__PRINTED_HEAD,
                     size - MP__PRINTED_HEAD, head.cut);
    mp__remains_keep(&link->remains, (int)head.which, link->printed.out ? link->printed.out : link->printed.err,
                     size - MP__PRINTED_HEAD, head.cut, &link->said);
    event->kind = MP__EV_OUTPUT;
    event->frame = NULL;
    event->evidence = &link->printed;
    return true;
}

/* False: there is no event of it. */
static bool take_frame(mp__link *link, mp__event *event)
{
    link->frames++;
    link->asides += link->stage != MP__LINK_READY;
    mp__link_begin_event(link, event);
    if (link->frame.kind == MP__HELLO)
        return take_hello(link, event);
    if (link->stage == MP__LINK_UNHEARD && link->frame.kind == MP__FAILURE)
        return !take_failure(link, event, "") || mp__link_refuse(link);
    if (link->stage == MP__LINK_UNHEARD)
        return mp__link_nonsense(link, event, "results before a greeting");
    if (link->stage == MP__LINK_OTHER)
        return take_line(link, event);
    if (link->frame.kind == MP__TASK)
        return mp__link_nonsense(link, event, "a task that nobody asked for");
    if (link->frame.kind == MP__OUTPUT)
        return take_output(link, event);
    mp__link_forget_outputs(link);
    if (link->stage == MP__LINK_GREETED)
        return take_initialized(link, event);
    if (link->frame.kind == MP__VALUES)
        return mp__link_take_row(link, event);
    if (mp__link_has_too_many(link, event, 0))
        return true;
    if (link->frame.kind == MP__FAILURE)
        take_failure(link, event, "");
    else
        mp__link_take_values(link, event);
    return true;
}

/* More bytes from its pipe; 0: it has ended; < 0: there are none now, or no memory for them. Those that we have already are left
 * in the reader's room, which does not count them. Fewer than it was asked for: there are no more. */
static ssize_t read_pipe(mp__link *link)
{
    uint8_t *where;
    size_t room;
    if (!mp__frame_reader_space(&link->reader, &where, &room)) {
        errno = ENOMEM;
        return -1;
    }
    uint64_t ahead = link->received > link->piped ? link->received - link->piped : 0;
    if (ahead && ahead < room)
        room = (size_t)ahead;
    ssize_t got = mp__system.read(link->results_fd, where, room);
    if (got <= 0)
        return got;
    if ((size_t)got < room)
        link->budget = 0;
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
static bool copy_buffer(mp__link *link)
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
    atomic_store_explicit(&link->shared->got, link->received, memory_order_release);
    return true;
}

/* Not watched any more, but not before that is got: a worker that found it neither watched nor got in between would go to sleep. */
static bool read_buffer(mp__link *link)
{
    bool copied = copy_buffer(link);
    if (atomic_load_explicit(&link->shared->watched, memory_order_relaxed))
        atomic_store(&link->shared->watched, 0);
    return copied;
}

/* --- its end ------------------------------------------------------------------------------------------------------------- */

/* Decided by the word by which the worker starts items: it runs this one and can start no other, or has gone on.
 *
 *     worker: cas (e, 7) -> (e, 8)     before our swap for item 7: it fails, the count is 8, and nobody is hurt
 *                                      after it: the worker's fails, and item 8 is not its own
 *
 * It may be just through with the item when it is ended: then its result is there, and nothing was running. No RESUME names the
 * new epoch. A count that cannot be, for so many were not sent or have answered already, was written by a wild task: that one is
 * ended too, whatever it says it runs. */
bool mp__link_end(mp__link *link, uint64_t ordinal)
{
    if (!mp__link_lives(link) || link->distrusted || mp__link_results(link) >= ordinal)
        return false;
    uint64_t known = atomic_load_explicit(&link->shared->claim, memory_order_acquire);
    do {
        uint64_t count = known & MP__STARTED_MASK;
        if (count != ordinal && count >= mp__link_results(link) && count <= link->items)
            return false;
        atomic_store_explicit(&link->shared->recalling, (uint16_t)(link->epoch + 1), memory_order_release);
    } while (!atomic_compare_exchange_weak_explicit(&link->shared->claim, &known, known + MP__EPOCH_ONE,
                                                    memory_order_acq_rel, memory_order_acquire));
    return true;
}

/* Of what it has printed: it died when it had given that item's result, or the initializer's, and before it forgot. */
static bool was_told(const mp__link *link)
{
    uint64_t printed = atomic_load_explicit(&link->shared->printed, memory_order_acquire);
    return printed && link->stage == MP__LINK_READY && printed - 1 <= mp__link_results(link);
}

static bool lost(mp__link *link, mp__event *event)
{
    int signal = link->has_status && WIFSIGNALED(link->status) ? WTERMSIG(link->status) : 0;
    if (!was_told(link))
        mp__remains_of_output(&link->remains, link->output_fds, &link->evidence);
    link->evidence.out_told = link->outputs & 1u; /* it had not forgotten that yet */
    link->evidence.err_told = link->outputs & 2u;
    mp__remains_of_crash(&link->remains, &link->shared->crash, signal, &link->evidence);
    if (!link->refused)
        mp__link_describe_end(link);
    *event = (mp__event){.kind = link->refused ? MP__EV_START_FAILED : MP__EV_LOST,
                         .slot = link->life.slot,
                         .generation = link->life.generation,
                         .started = mp__link_count_started(link),
                         .error = &link->error,
                         .evidence = &link->evidence};
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
    return mp__frame_reader_whole(&link->reader) && results == link->frames - link->ahead;
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
        if (link->told && mp__link_has_in_buffer(link)) {
            link->told = false;
            link->looks = MP__READS;
        }
        if (link->looks) {
            link->looks = read_buffer(link) ? link->looks - 1 : 0;
            link->looks_at_row = !link->looks;
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

/* A wild task may have written there: then its life ends a little early. */
static bool is_spent(const mp__link *link)
{
    return link->terms->limits.rss && !link->spent && link->state == MP__LINK_OPEN && link->stage == MP__LINK_READY &&
           atomic_load_explicit(&link->shared->rss, memory_order_relaxed);
}

static bool tell_spent(mp__link *link, mp__event *event)
{
    const double mib = 1 << 20;
    link->spent = true;
    mp__failure(&link->error, MP_ENOMEM, "worker %u (pid %d) uses %.0f MiB, more than .maxrss of %.0f MiB",
                link->life.place, (int)link->pid,
                (double)atomic_load_explicit(&link->shared->rss, memory_order_relaxed) / mib,
                (double)link->terms->limits.rss / mib);
    mp__link_name(link, &link->error);
    *event = (mp__event){
        .kind = MP__EV_SPENT, .slot = link->life.slot, .generation = link->life.generation, .error = &link->error};
    return true;
}

bool mp__link_next(mp__link *link, mp__event *event)
{
    while (!link->distrusted) {
        if (link->state == MP__LINK_NONE)
            return false;
        if (is_spent(link))
            return tell_spent(link, event);
        const char *wrong = went_too_far(link); /* looked at before what has come is taken for frames */
        if (wrong)
            return mp__link_nonsense(link, event, wrong);
        if (mp__frame_reader_next(&link->reader, &link->frame)) {
            if (take_frame(link, event))
                return true;
            continue;
        }
        if (link->reader.status == MP_ENOMEM)
            return unreadable(link, event, ENOMEM);
        if (link->reader.status != MP_OK)
            return mp__link_nonsense(link, event, mp_status_text(link->reader.status));
        if (link->received && !adds_up(link))
            return mp__link_nonsense(link, event, "fewer whole frames than it announced");
        if (link->read_error)
            return unreadable(link, event, link->read_error);
        if ((link->looks_at_row || link->state == MP__LINK_TAIL) && mp__link_take_open_row(link, event))
            return true;
        if (!advance(link))
            break;
    }
    bool over = link->state == MP__LINK_TAIL || (link->distrusted && link->state == MP__LINK_DEAD);
    return over && lost(link, event);
}
