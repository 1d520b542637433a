/* One pool of the root's, at an agent: its messages drive our own process backend, and what that says becomes messages.
 *
 * One thread each, which does nothing else and runs nothing of the user's; it owns the connection, the backend and what is on its way to
 * workers. It decides nothing but what it must: it reads always, for the root has credit for each life; it takes no events while much
 * waits to be written, so that workers wait; it says PING each second. It ends when the connection does, when nothing has come for long, or
 * when its backend is broken; then its workers are ended, whatever they do.
 *
 * The root is believed as far as it cannot hurt: numbers of slots and places are looked at, frames are the reader's. */
#include "pool/cluster/session.h"
#include "pool/chaos.h"
#include "pool/clock.h"
#include "pool/cluster/passage.h"
#include "pool/cluster/secret.h"
#include "pool/failure.h"
#include "pool/process/protocol.h"
#include "serial/codec.h"
#include "serial/memory.h"
#include "serial/row.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND (&mp__process_backend)
enum { TICK_NS = 1000000000, EVENTS_MAX = 256, SLOTS_MAX = 200000 };

/* Seconds of silence after which the root has gone. The system tells of the end of a TCP connection, but not while a child that the
 * program has forked has it open, or where a cable was pulled; and a root that is stopped, or in a debugger, says nothing either. Nobody
 * tells of the end of a rank of an MPI; a spare connection is given up after the others. */
enum { SILENT_MAX = 600, SILENT_MPI = 10, SILENT_SPARE_MPI = 20 };

/* What workers run first or last: its input comes as a frame, and is a value here. */
typedef struct told_hook {
    mp__frame_reader reader;
    mp__frame frame;
    mp__buffer scratch;
    void *value;
} told_hook;

struct mp__session {
    mp__wire wire;
    uint64_t nonce;
    bool trusted; /* the way here is: no answer is asked for */
    mp_start_method method;
    told_hook hooks[2];
    mp__opening opening;
    bool wanted, over;
    mp__task_table tasks;
    mp__chaos chaos;
    mp__workers *workers;
    uint32_t slots;
    mp__passage *passages; /* by slot */
    uint64_t ticked_at;
    unsigned silent;
    /* the value that is being sent: what of it has not been put into the wire. Borrowed until the next event is taken */
    struct {
        mp__wire_head head;
        uint64_t busy_ns;
        const uint8_t *bytes;
        size_t left;
    } value;
    bool is_taken; /* a pool has begun to tell of itself */
    bool attended; /* the root says something each second */
};

mp__session *mp__session_make(mp__wire *wire, uint64_t nonce, bool trusted, mp_start_method method)
{
    mp__session *s = mp__memory.calloc(1, sizeof *s);
    if (!s) {
        mp__wire_fini(wire);
        return NULL;
    }
    s->wire = *wire;
    s->nonce = nonce;
    s->trusted = trusted;
    s->method = method;
    s->ticked_at = mp__now();
    for (int i = 0; i < 2; i++)
        mp__frame_reader_init(&s->hooks[i].reader, 1u << MP__INIT, MP_ITEM_SIZE_MAX);
    return s;
}

void mp__session_free(mp__session *s)
{
    mp__wire_fini(&s->wire);
    for (int i = 0; i < 2; i++) {
        mp__frame_reader_fini(&s->hooks[i].reader);
        mp__buffer_fini(&s->hooks[i].scratch);
        free(s->hooks[i].value);
    }
    for (uint32_t i = 0; i < s->slots; i++)
        mp__passage_fini(&s->passages[i]);
    free(s->passages);
    mp__task_table_fini(&s->tasks);
    free(s);
}

int mp__session_fd(const mp__session *s)
{
    return s->wire.fd;
}

/* --- before it is wanted --------------------------------------------------------------------------------------------------- */

static bool take_hook_piece(mp__session *s, const mp__wire_head *head, const uint8_t *bytes)
{
    if (head->slot > 1)
        return false;
    mp__frame_reader *reader = &s->hooks[head->slot].reader;
    for (size_t left = head->size; left;) {
        uint8_t *where;
        size_t room;
        mp__frame *frame = &s->hooks[head->slot].frame;
        if (!frame->data && mp__frame_reader_next(reader, frame))
            return false; /* there is more behind it */
        if (!mp__frame_reader_space(reader, &where, &room))
            return false;
        if (room > left)
            room = left;
        memcpy(where, bytes, room);
        mp__frame_reader_filled(reader, room);
        bytes += room;
        left -= room;
    }
    return true;
}

/* Whoever has started this agent sees it. */
static void complain(const mp__wire_head *head, const uint8_t *bytes)
{
    mp_error error;
    mp__wire_texts texts = {0};
    mp__evidence evidence;
    mp__event event;
    if (mp__wire_report_take(head, bytes, "", &texts, &error, &evidence, &event))
        fprintf(stderr, "millpond: %s\n", error.message);
}

static bool hear_early(mp__session *s, const mp__wire_head *head, const uint8_t *bytes)
{
    if (head->kind == MP__WIRE_HOOK) {
        s->is_taken = true;
        return take_hook_piece(s, head, bytes);
    }
    if (head->kind == MP__WIRE_PING) {
        s->attended = head->flag;
        return true;
    }
    if (head->kind == MP__WIRE_REFUSED)
        complain(head, bytes);
    if (head->kind != MP__WIRE_OPEN || head->size != sizeof s->opening)
        return false;
    memcpy(&s->opening, bytes, sizeof s->opening);
    s->wanted = s->trusted || s->opening.proof == mp__secret_answer(s->nonce, MP__SECRET_ROOT);
    return s->wanted;
}

/* A second has passed, by our own clock: one that was stopped for an hour counts as one. True: it was silent in so many. */
static bool tick(mp__session *s, unsigned most)
{
    uint64_t now = mp__now();
    if (now - s->ticked_at < TICK_NS)
        return false;
    s->ticked_at = now;
    s->silent = s->wire.heard ? 0 : s->silent + 1;
    s->wire.heard = false;
    if (!s->wire.said && !mp__wire_waiting(&s->wire))
        mp__wire_put(&s->wire, &(mp__wire_head){.kind = MP__WIRE_PING}, NULL, 0);
    s->wire.said = false;
    return s->silent > most;
}

mp__offer mp__session_hear_offer(mp__session *s)
{
    mp__wire_head head;
    const uint8_t *bytes;
    (void)mp__wire_read(&s->wire);
    while (!s->wanted && mp__wire_next(&s->wire, &head, &bytes))
        if (!hear_early(s, &head, bytes))
            return MP__OFFER_OVER;
    if (s->wanted)
        return MP__OFFER_WANTED;
    if (s->wire.over)
        return s->is_taken && !s->wire.bad ? MP__OFFER_AGAIN : MP__OFFER_OVER;
    bool silent = tick(s, s->trusted ? SILENT_SPARE_MPI : SILENT_MAX);
    (void)mp__wire_write(&s->wire);
    return silent && s->attended ? MP__OFFER_SILENT : MP__OFFER_WAITS;
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

static void report(mp__session *s, mp__wire_kind kind, const mp_error *error)
{
    mp_error copy = *error;
    mp__event event = {.error = &copy};
    mp__wire_report_put(&s->wire, (mp__wire_head){.kind = (uint16_t)kind}, &event);
}

/* What there is here: the root finds what differs. As much as a message holds. */
static void show_tasks(mp__session *s)
{
    enum { LINES = MP__WIRE_MAX / sizeof(mp__task_line) };
    size_t count = s->tasks.count < LINES ? s->tasks.count : LINES;
    uint8_t *where = mp__wire_reserve(&s->wire, count * sizeof(mp__task_line));
    if (!where)
        return;
    for (size_t i = 0; i < count; i++) {
        mp__task_line line = {.hash = s->tasks.rows[i].hash};
        memcpy(line.name, s->tasks.rows[i].name, sizeof line.name);
        memcpy(where + i * sizeof line, &line, sizeof line);
    }
    mp__wire_commit(&s->wire, &(mp__wire_head){.kind = MP__WIRE_OTHER}, count * sizeof(mp__task_line));
}

static mp_status take_hook(mp__session *s, told_hook *told, uint32_t task, mp__hook *hook, mp_error *error)
{
    mp__fault fault = {0};
    if (!task)
        return MP_OK;
    if (task > s->tasks.count || !mp__frame_reader_next(&told->reader, &told->frame))
        return mp__failure(error, MP_EFORMAT, "what its workers are to run first did not arrive");
    hook->index = task - 1;
    hook->task = s->tasks.rows[task - 1].task;
    told->value = mp__memory.calloc(1, hook->task->input->size);
    if (!told->value)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool");
    hook->value = told->value;
    if (mp__decode_input(hook->task->input, &told->frame, told->value, &told->scratch, &fault) != MP_OK)
        return mp__failure(error, fault.status, "what its workers are to run first cannot be read: %.200s", fault.message);
    return MP_OK;
}

static mp_status make_passages(mp__session *s, uint32_t slots, mp_error *error)
{
    mp__passage *passages = slots && slots <= SLOTS_MAX ? mp__memory.realloc(s->passages, slots * sizeof *passages) : NULL;
    if (!passages)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool");
    s->passages = passages;
    if (slots > s->slots)
        memset(passages + s->slots, 0, (slots - s->slots) * sizeof *passages);
    s->slots = slots;
    return MP_OK;
}

static mp_status open_backend(mp__session *s, const sigset_t *mask, mp_error *error)
{
    sigset_t before;
    const mp__opening *told = &s->opening;
    s->opening.prefix[sizeof told->prefix - 1] = 0;
    mp__backend_config config = {.slots = told->slots,
                                 .workers = told->workers,
                                 .tasks = &s->tasks,
                                 .start_method = s->method,
                                 .name_prefix = told->named ? told->prefix : NULL,
                                 .limits = told->limits,
                                 .capture = told->capture};
    mp_status status = mp__chaos_read(&s->chaos, error);
    config.chaos = s->chaos.any ? &s->chaos : NULL;
    if (!status)
        status = take_hook(s, &s->hooks[0], told->initializer, &config.initializer, error);
    if (!status)
        status = take_hook(s, &s->hooks[1], told->finalizer, &config.finalizer, error);
    if (!status)
        status = make_passages(s, told->slots, error);
    if (status)
        return status;
    pthread_sigmask(SIG_SETMASK, mask, &before); /* what is executed inherits it */
    status = KIND->open(&s->workers, &config, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

static bool begin(mp__session *s, const sigset_t *mask)
{
    mp_error error;
    if (mp__task_table_take(&s->tasks) != MP_OK)
        return false;
    if (mp__task_table_hash(&s->tasks) != s->opening.hash)
        show_tasks(s);
    else if (open_backend(s, mask, &error) != MP_OK)
        report(s, MP__WIRE_REFUSED, &error);
    else
        mp__wire_put(&s->wire, &(mp__wire_head){.kind = MP__WIRE_OPENED}, NULL, 0);
    return s->workers;
}

/* --- what the root says ---------------------------------------------------------------------------------------------------- */

static void tell(mp__session *s, const mp__wire_head *asked, mp__wire_kind kind, uint64_t number, unsigned flag)
{
    mp__wire_head head = {.kind = (uint16_t)kind,
                          .flag = (uint16_t)flag,
                          .slot = asked->slot,
                          .generation = asked->generation,
                          .number = number};
    mp__wire_put(&s->wire, &head, NULL, 0);
}

static void start(mp__session *s, const mp__wire_head *head)
{
    if (head->number >= s->slots) {
        s->over = true;
        return;
    }
    mp__passage_begin(&s->passages[head->slot], head->generation);
    KIND->start(s->workers, head->slot, head->generation, (uint32_t)head->number);
}

static void grow(mp__session *s, uint32_t slots)
{
    mp_error error;
    if (slots > s->slots && (make_passages(s, slots, &error) != MP_OK || KIND->grow(s->workers, slots) != MP_OK))
        s->over = true;
}

/* What is starved is looked at in pump_all. */
static void take_data(mp__session *s, mp__passage *passage, const mp__wire_head *head, const uint8_t *bytes)
{
    if (mp__passage_add(passage, bytes, head->size))
        mp__passage_pump(passage, KIND, s->workers, head->slot);
}

/* First the link, which may borrow what is thrown away then. */
static void recall(mp__session *s, mp__passage *passage, uint32_t slot)
{
    KIND->recall(s->workers, slot);
    mp__passage_reset(passage);
}

static void end_item(mp__session *s, const mp__wire_head *head)
{
    bool ended = KIND->end(s->workers, head->slot, head->number) == MP__END_YES;
    s->passages[head->slot].ending |= ended;
    tell(s, head, MP__WIRE_ENDED, head->number, ended);
}

static void end_life(mp__session *s, mp__passage *passage, const mp__wire_head *head)
{
    passage->ending = true;
    KIND->kill(s->workers, head->slot, head->number);
}

static void say_progress(mp__session *s, const mp__wire_head *head)
{
    uint64_t started = KIND->started(s->workers, head->slot);
    tell(s, head, MP__WIRE_PROGRESS, started, KIND->heeds(s->workers, head->slot));
}

/* Of a life that is over the root did not know it yet. */
static void hear_life(mp__session *s, const mp__wire_head *head, const uint8_t *bytes)
{
    mp__passage *passage = &s->passages[head->slot];
    if (!passage->open || passage->generation != head->generation)
        return;
    switch (head->kind) {
    case MP__WIRE_DATA: take_data(s, passage, head, bytes); break;
    case MP__WIRE_RECALL: recall(s, passage, head->slot); break;
    case MP__WIRE_CANCEL: KIND->cancel(s->workers, head->slot); break;
    case MP__WIRE_WATCH: say_progress(s, head); break;
    case MP__WIRE_END: end_item(s, head); break;
    case MP__WIRE_STOP: passage->stopping = true; break; /* pump_all: at once, if nothing is on its way */
    case MP__WIRE_KILL: end_life(s, passage, head); break;
    case MP__WIRE_LOOK: KIND->look(s->workers); break;
    default: s->over = true;
    }
}

static void hear(mp__session *s, const mp__wire_head *head, const uint8_t *bytes)
{
    if (head->kind == MP__WIRE_PING)
        return;
    if (head->kind == MP__WIRE_GROW)
        grow(s, head->slot);
    else if (head->slot >= s->slots)
        s->over = true;
    else if (head->kind == MP__WIRE_START)
        start(s, head);
    else
        hear_life(s, head, bytes);
}

/* --- what workers say ------------------------------------------------------------------------------------------------------ */

static mp__wire_head head_of(const mp__event *event, mp__wire_kind kind)
{
    return (mp__wire_head){
        .kind = (uint16_t)kind, .slot = event->slot, .generation = event->generation, .number = event->started};
}

/* As much of a value as the wire takes now: there need not be memory for all of it twice. */
static void put_value(mp__session *s)
{
    enum { PIECE = MP__WIRE_MAX - sizeof(uint64_t) };
    while (s->value.left && !s->wire.over && mp__wire_waiting(&s->wire) < MP__WIRE_FULL) {
        size_t size = s->value.left < PIECE ? s->value.left : PIECE;
        mp__wire_put_long(&s->wire, &s->value.head, &s->value.busy_ns, sizeof s->value.busy_ns, s->value.bytes, size);
        s->value.bytes += size;
        s->value.left -= size;
    }
}

/* As frames again. A row may have been taken apart; of others the bytes stand where they were read. */
static void put_results(mp__session *s, const mp__event *event)
{
    const mp__frame *frame = event->frame;
    const mp__wire_head head = head_of(event, MP__WIRE_RESULTS);
    const void *busy = &event->busy_ns;
    uint8_t row[MP__ROW_HEAD], word[MP__FRAME_LONG];
    if (frame->row) {
        mp__row_store_head(row, MP__VALUES, (uint32_t)frame->row, event->count);
        mp__wire_put_long(&s->wire, &head, busy, sizeof(uint64_t), row, sizeof row);
        mp__wire_put_long(&s->wire, &head, busy, sizeof(uint64_t), frame->data, event->count * frame->row);
    } else if (frame->block) {
        mp__passed passed = mp__passed_large(frame, word);
        mp__wire_put_long(&s->wire, &head, busy, sizeof(uint64_t), passed.bytes, passed.size);
        s->value.head = head;
        s->value.busy_ns = event->busy_ns;
        s->value.bytes = passed.blob;
        s->value.left = passed.blob_size;
    } else {
        const uint8_t *first = frame->data - MP__FRAME_SHORT;
        const uint8_t *end = frame->reader->buffer + frame->reader->begin;
        mp__wire_put_long(&s->wire, &head, busy, sizeof(uint64_t), first, (size_t)(end - first));
    }
}

static void put_report(mp__session *s, const mp__event *event, mp__wire_kind kind)
{
    mp__wire_report_put(&s->wire, head_of(event, kind), event);
}

/* It "goes on" where there was no memory to tell it, but what was on its way to it is gone: what it has left to run is not what the root
 * believes, and its results would be taken for those of other items. */
static void tell_recalled(mp__session *s, const mp__event *event)
{
    const mp__wire_head head = head_of(event, MP__WIRE_RECALLED);
    if (event->started == UINT64_MAX && !s->passages[event->slot].ending)
        KIND->kill(s->workers, event->slot, true);
    tell(s, &head, MP__WIRE_RECALLED, event->started, false);
}

/* Who was killed for want of memory is not said to have been killed by somebody. */
static void lose(mp__session *s, const mp__event *event, mp__wire_kind kind)
{
    mp__passage *passage = &s->passages[event->slot];
    if (passage->starved) {
        event->error->status = MP_ENOMEM;
        snprintf(event->error->message, sizeof event->error->message, "there is no memory for what worker %d is sent",
                 event->error->worker);
    }
    put_report(s, event, kind);
    mp__passage_fini(passage);
}

static void tell_event(mp__session *s, const mp__event *event)
{
    const mp__wire_head head = head_of(event, MP__WIRE_RECALLED);
    switch (event->kind) {
    case MP__EV_GREETED: tell(s, &head, MP__WIRE_GREETED, 0, false); break;
    case MP__EV_READY: tell(s, &head, MP__WIRE_READY, 0, false); break;
    case MP__EV_START_FAILED: lose(s, event, MP__WIRE_START_FAILED); break;
    case MP__EV_RESULT:
        if (event->frame)
            put_results(s, event);
        else
            put_report(s, event, MP__WIRE_FAILED);
        break;
    case MP__EV_WRITABLE: break; /* it is pumped behind this */
    case MP__EV_RECALLED: tell_recalled(s, event); break;
    case MP__EV_LOST: lose(s, event, MP__WIRE_LOST); break;
    case MP__EV_NONSENSE: put_report(s, event, MP__WIRE_NONSENSE); break;
    case MP__EV_SPENT: put_report(s, event, MP__WIRE_SPENT); break;
    case MP__EV_OUTPUT: put_report(s, event, MP__WIRE_OUTPUT); break;
    case MP__EV_BROKEN:
        put_report(s, event, MP__WIRE_BROKEN);
        s->over = true;
        break;
    default: break;
    }
}

/* True: there may be more. */
static bool take_events(mp__session *s)
{
    mp__event event;
    for (int i = 0; i < EVENTS_MAX; i++) {
        put_value(s);
        if (mp__wire_waiting(&s->wire) >= MP__WIRE_FULL || s->wire.over)
            return true;
        if (!KIND->next(s->workers, &event))
            return false;
        tell_event(s, &event);
    }
    return true;
}

/* --- the loop -------------------------------------------------------------------------------------------------------------- */

/* A quarter of the window at once: what is held back is less, so the root goes on, and hears of none that it does not need. */
static void give_credit(mp__session *s, mp__passage *passage, uint32_t slot)
{
    const mp__wire_head head = {.slot = slot, .generation = passage->generation};
    if (passage->credit < MP__WIRE_WINDOW / 4)
        return;
    tell(s, &head, MP__WIRE_CREDIT, passage->credit, false);
    passage->credit = 0;
}

static void pump_all(mp__session *s)
{
    for (uint32_t i = 0; i < s->slots; i++) {
        mp__passage *passage = &s->passages[i];
        if (!passage->open)
            continue;
        mp__passage_pump(passage, KIND, s->workers, i);
        give_credit(s, passage, i);
        if (passage->bad)
            s->over = true;
        if (passage->starved && !passage->ending) {
            passage->ending = true;
            KIND->kill(s->workers, i, true);
        }
        if (passage->stopping && mp__passage_is_through(passage)) {
            passage->stopping = false;
            KIND->stop(s->workers, i);
        }
    }
}

static void sleep_until_something(mp__session *s, bool more)
{
    bool full = mp__wire_waiting(&s->wire) >= MP__WIRE_FULL, writes = mp__wire_waiting(&s->wire);
    struct pollfd fds[2] = {{.fd = s->wire.fd, .events = (short)(writes ? POLLIN | POLLOUT : POLLIN)},
                            {.fd = full ? -1 : KIND->descriptor(s->workers), .events = POLLIN}};
    int wait = more && !full ? 0 : 1000;
    if (poll(fds, 2, wait) > 0 && fds[0].revents & ~POLLOUT)
        (void)mp__wire_read(&s->wire);
}

static void serve(mp__session *s)
{
    s->silent = 0;
    while (!s->over) {
        mp__wire_head head;
        const uint8_t *bytes;
        while (!s->over && mp__wire_next(&s->wire, &head, &bytes))
            hear(s, &head, bytes);
        bool more = take_events(s);
        pump_all(s);
        (void)mp__wire_write(&s->wire);
        if (s->wire.over)
            return;
        sleep_until_something(s, more);
        s->over |= tick(s, s->trusted ? SILENT_MPI : SILENT_MAX);
    }
    (void)mp__wire_write(&s->wire);
}

void mp__session_run(mp__session *s, const sigset_t *mask)
{
    if (begin(s, mask)) {
        serve(s);
        KIND->close(s->workers);
    } else {
        (void)mp__wire_write(&s->wire);
    }
}
