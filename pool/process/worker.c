/* A worker process: one thread that takes frames from its tasks pipe, runs tasks, and gives results back.
 *
 * Results gather in the shared buffer, whole frames, committed one by one; they go into the pipe when the buffer is full
 * enough, when they have waited long enough, and always before the worker blocks. So whenever it dies, or is long about an item,
 * the parent finds what is finished: in the pipe, and behind that in the buffer. A result that is too large for the buffer is written past it.
 *
 * How it comes to this is in worker_begin.c, what it holds and stands on in footing.c. It leaves by _exit, always: the
 * program's atexit handlers and unflushed files belong to the parent, or, where it was executed, to no one. Whatever else goes
 * wrong here (no memory for a value, a result that cannot be encoded) is its item's failure. Only the initializer's failure is
 * its own: it is answered, and the parent ends the worker. */
#include "pool/clock.h"
#include "pool/core.h"
#include "pool/process/letter.h"
#include "pool/process/worker_state.h"
#include "pool/system.h"
#include "serial/clear.h"
#include "serial/codec.h"
#include "serial/frame.h"
#include "serial/memory.h"
#include "serial/quick.h"
#include "serial/row.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { SCRATCH_KEEP = 1 << 20 };

/* What small items do not need is not to be part of what runs for each: that would save registers and make room for it. */
#define COLD __attribute__((noinline))
#define ALWAYS __attribute__((always_inline))

typedef mp__process_worker worker;

_Noreturn void mp__worker_leave(int code)
{
    fflush(stdout);
    _exit(code);
}

/* --- items --------------------------------------------------------------------------------------------------------------- */

/* The swap has found something else. True: the parent has not done it. */
static bool is_wild(const worker *w, uint64_t found)
{
    uint16_t recalled = atomic_load_explicit(&w->shared->recalled, memory_order_acquire);
    uint64_t claim = atomic_load_explicit(&w->shared->claim, memory_order_acquire);
    uint16_t recalling = atomic_load_explicit(&w->shared->recalling, memory_order_acquire);
    bool counted = found / MP__EPOCH_ONE == w->claim / MP__EPOCH_ONE; /* then it is the count */
    return counted || (uint16_t)(claim / MP__EPOCH_ONE - recalled) > (uint16_t)(recalling - recalled);
}

/* The parent has taken back what comes until it says so. */
static COLD bool is_recalled(worker *w, uint64_t found)
{
    if (is_wild(w, found))
        mp__worker_leave(MP__EXIT_PROTOCOL);
    w->recalled = true;
    return false;
}

/* The next item behind those of `*claim`, which is w->claim or a copy that will be put there. False: it is not to be run. See mp__shared. */
static inline ALWAYS bool claim_next(worker *w, uint64_t *claim)
{
    uint64_t found = *claim;
    if (!atomic_compare_exchange_strong_explicit(&w->shared->claim, &found, found + 1, memory_order_acq_rel,
                                                 memory_order_acquire))
        return is_recalled(w, found);
    *claim = found + 1;
    atomic_store_explicit(&w->shared->started_too, *claim & MP__STARTED_MASK, memory_order_relaxed);
    return true;
}

static inline bool claim(worker *w)
{
    return claim_next(w, &w->claim);
}

/* A wild task has changed the count: the sooner it is seen, the fewer items will seem to have been started. */
static bool count_is_wrong(const worker *w)
{
    uint64_t claim = atomic_load_explicit(&w->shared->claim, memory_order_relaxed);
    return (claim & MP__STARTED_MASK) != mp__worker_started(w);
}

static inline bool make_room(worker *w, const mp_task *task)
{
    size_t need = task->input->size > task->output->size ? task->input->size : task->output->size;
    if (need <= w->room)
        return true;
    size_t size = (need + 63) / 64 * 64;
    void *input = mp__memory.aligned_alloc(64, size), *output = mp__memory.aligned_alloc(64, size);
    if (!input || !output) {
        free(input);
        free(output);
        return false;
    }
    if (w->room > MP__LITTLE) {
        free(w->input);
        free(w->output);
    }
    w->input = input;
    w->output = output;
    w->room = size;
    return true;
}

/* Runs it, on w->output, of so many bytes. */
static inline ALWAYS mp_status run_task(worker *w, const mp_task *task, const void *input, size_t out, size_t item,
                                        uint64_t ordinal)
{
    mp__clear(w->output, out);
    mp__call_begin(&w->call, item, w->attempt, ordinal);
    mp_status status = mp__call_run(&w->call, task, input, w->output);
    if (mp__forks.role == MP__COPY)
        _exit(MP__EXIT_GONE);
    if (!w->footing.captures)
        mp__results_print();
    return status;
}

/* No item: it has no ordinal that could be cancelled, and nothing goes wrong with it on purpose. */
static mp_status run_hook(worker *w, const mp_task *task, const void *input)
{
    w->call.chaos = NULL;
    mp_status status = run_task(w, task, input, task->output->size, MP_NO_ITEM, UINT64_MAX);
    w->call.chaos = w->chaos;
    return status;
}

COLD static void refuse_for_room(worker *w)
{
    mp__results_failure(&w->results, MP_ENOMEM, false, "no memory for the task's input and output");
}

/* The input in a frame into w->input, and room for the output; false: what is wrong has been put in the result's place. */
static inline bool take_input(worker *w, mp__frame *frame, const mp_task *task, const char *what)
{
    mp__fault fault;
    if (!make_room(w, task))
        refuse_for_room(w);
    else if (mp__decode_quickly(task->input, frame, w->input) ||
             mp__decode_input(task->input, frame, w->input, &w->scratch, &fault) == MP_OK)
        return true;
    else if (fault.status == MP_EFORMAT)
        mp__worker_leave(
            MP__EXIT_PROTOCOL); /* it was written from this very type: a task has taken some of what was sent */
    else
        mp__results_fault(&w->results, what, &fault);
    return false;
}

static inline void put_result(worker *w, const mp_task *task, mp_status status)
{
    if (w->footing.captures)
        mp__results_output(&w->results, w->footing.output_fds, mp__worker_started(w) + 1);
    if (status == MP_OK)
        mp__results_value(&w->results, task->output, w->output);
    else
        mp__results_failure(&w->results, status, true, w->call.message);
    w->urgent |= status != MP_OK;
    if (w->footing.captures)
        mp__results_forget_output(&w->results, w->footing.output_fds);
}

static inline void run_item(worker *w, mp__frame *frame)
{
    w->past_hooks = true;
    size_t item = w->next_item;
    w->next_item += w->item_step;
    if (!w->task)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    if (!claim(w))
        return;
    const mp_task *task = w->task;
    if (!take_input(w, frame, task, "the item cannot be read"))
        return;
    mp_status status = run_task(w, task, w->input, task->output->size, item, mp__worker_started(w));
    put_result(w, task, status);
    if (count_is_wrong(w))
        mp__worker_leave(MP__EXIT_PROTOCOL);
}

/* An item of a row of numbers, for which there is room. 0: it has been taken back. */
static size_t run_number(worker *w, const mp_task *task, const uint8_t *input)
{
    size_t item = w->next_item;
    w->next_item += w->item_step;
    if (!claim(w))
        return 0;
    mp__row_copy_one(w->input, input, task->input->size);
    put_result(w, task, run_task(w, task, w->input, task->output->size, item, mp__worker_started(w)));
    return 1;
}

/* Some that follow each other, whose results go on the open row, where there is room for them; until one fails. How many. The swap
 * waits for every store before it: what nobody looks at meanwhile is stored at the end. */
static inline ALWAYS size_t run_alike(worker *w, const mp_task *task, const uint8_t *input, size_t count, size_t in,
                                      size_t out)
{
    mp__row_end end = mp__results_row_end(&w->results);
    const bool flags = task->output->kind == MP__BOOL;
    uint64_t claim = w->claim;
    size_t done = 0, item = w->next_item;
    mp_status status = MP_OK;
    bool fails = false;
    for (; done < count && claim_next(w, &claim); done++, item += w->item_step) {
        mp__row_copy_one(w->input, input + done * in, in);
        status = run_task(w, task, w->input, out, item, claim & MP__STARTED_MASK);
        fails = status || (flags && *(const uint8_t *)w->output > 1);
        if (fails)
            break;
        mp__row_put(&end, w->results.shared, w->output, out);
    }
    w->claim = claim;
    w->next_item = item + fails * w->item_step;
    mp__results_row_went_on(&w->results, done);
    if (fails)
        put_result(w, task, status);
    return done + fails;
}

/* Some items of a row of numbers, for which there is room. How many. What depends on the sizes that most have is settled beforehand. */
static size_t run_numbers(worker *w, const mp_task *task, const uint8_t *input, size_t count)
{
    const size_t in = task->input->size, out = task->output->size;
    size_t room = w->footing.captures ? 0 : mp__results_row_room(&w->results, task->output);
    count = count < room ? count : room;
    if (!count)
        return run_number(w, task, input);
    if (in == 8 && out == 8)
        return run_alike(w, task, input, count, 8, 8);
    if (in == 4 && out == 4)
        return run_alike(w, task, input, count, 4, 4);
    return run_alike(w, task, input, count, in, out);
}

/* --- first and last ------------------------------------------------------------------------------------------------------ */

static void initialize(worker *w, mp__frame *frame)
{
    const mp_task *task = w->task;
    if (!task || w->past_hooks)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    w->past_hooks = true;
    if (take_input(w, frame, task, "its input cannot be read")) {
        mp_status status = run_hook(w, task, w->input);
        put_result(w, task, status);
        mp__footing_note(&w->footing);
    }
    mp__results_flush(&w->results);
    w->looked_at = w->flushed_at = mp__now(); /* its time is not the items' */
}

/* The frame is gone by then: its value owns its memory. */
static void keep_last_input(worker *w, mp__frame *frame)
{
    mp__fault fault = {0};
    if (!w->task || w->finalizer || w->past_hooks)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    w->finalizer = w->task;
    const mp_type *type = w->finalizer->input;
    w->last_input = mp__memory.aligned_alloc(64, (type->size + 63) / 64 * 64);
    if (!w->last_input || mp__decode_result(type, frame, w->last_input, &fault) != MP_OK)
        mp__worker_leave(MP__EXIT_SETUP);
}

/* What becomes of it is nobody's concern. */
_Noreturn static void stop(worker *w)
{
    mp__results_flush(&w->results);
    w->attempt = 1;
    if (w->finalizer && make_room(w, w->finalizer))
        (void)run_hook(w, w->finalizer, w->last_input);
    if (w->footing.captures) {
        mp__results_output(&w->results, w->footing.output_fds, 0);
        mp__results_forget_output(&w->results, w->footing.output_fds);
        mp__results_flush(&w->results);
    }
    mp__worker_leave(MP__EXIT_GONE);
}

/* --- orders that are no items -------------------------------------------------------------------------------------------- */

static uint64_t is_watched(const worker *w)
{
    uint64_t ns = atomic_load_explicit(&w->shared->watched, memory_order_acquire);
    if (ns > MP__SPIN_MOST)
        mp__worker_leave(MP__EXIT_PROTOCOL); /* a wild task has written there: we would keep what is waited for as long */
    return ns;
}

/* What follows may be another caller's, and of another task nobody knows how long it takes: what is finished does not wait for it. */
static void begin_run(worker *w, const mp__frame *frame)
{
    mp__run run;
    if (frame->size != sizeof run)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    memcpy(&run, frame->data, sizeof run);
    if (run.task >= w->start->tasks->count)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    const mp_task *task = w->start->tasks->rows[run.task].task;
    if (task != w->task)
        mp__results_flush(&w->results);
    w->task = task;
    w->attempt = run.attempt;
    w->next_item = (size_t)run.item;
    w->item_step = !run.lone;
    w->patience_ns = run.patience_us * (uint64_t)1000;
    if (run.expected) {
        w->results.expected = run.expected;
        w->expected_ns = is_watched(w);
    }
}

static void resume(worker *w, const mp__frame *frame)
{
    uint64_t epoch;
    if (frame->size != sizeof epoch)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    memcpy(&epoch, frame->data, sizeof epoch);
    w->claim = epoch * MP__EPOCH_ONE + mp__worker_started(w);
    w->recalled = false; /* or the next item says so again */
}

/* --- time ---------------------------------------------------------------------------------------------------------------- */

/* How many bytes of tasks we have begun, */
static uint64_t begun(const worker *w)
{
    return w->received - (w->reader.end - w->reader.begin) - w->row_left;
}

/* and how many the parent has sent beyond. It says so when it has sent them: what we have is more than that while it is about to. */
static uint64_t left_to_do(const worker *w)
{
    uint64_t sent = atomic_load_explicit(&w->shared->sent, memory_order_relaxed);
    return (sent > w->received ? sent : w->received) - begun(w);
}

/* Results go out when they are many, have waited, or when half of what we had to do is done: then the parent, which is woken by
 * them, has time to send more before we have none. What would be said more often wakes it in vain. */
static bool is_time(worker *w)
{
    if (!w->row_left && w->reader.begin == w->reader.end)
        return false; /* nothing is left: it is said at once, in the way in which it is waited for */
    uint64_t left = left_to_do(w), done = begun(w) - w->begun_before;
    return (left && left <= done) || w->results.bytes.size >= MP__FLUSH_AT || w->urgent ||
           w->looked_at - w->flushed_at >= w->patience_ns;
}

static void flush_between(worker *w)
{
    mp__results_flush(&w->results);
    w->begun_before = begun(w);
    w->flushed_at = w->looked_at;
    w->urgent = false;
}

/* After some items. Clocks cost more than small items: looked at once in LOOK_NS worth of them. */
static void between_items(worker *w, size_t items)
{
    w->looked_items += (unsigned)items;
    if (w->looked_items >= w->until_look)
        mp__worker_look_round(w, mp__worker_account(w));
    else if (w->restless)
        mp__worker_look_round(w, true);
    if (is_time(w))
        flush_between(w);
}

/* How many items of a row, of `size` bytes and with `count` left, can be run before there is something to be done between them. The
 * last of their results may go a little beyond what is to be flushed. */
static size_t stretch(worker *w, const mp_task *task, size_t size, size_t count)
{
    uint64_t left = left_to_do(w), half = (left + begun(w) - w->begun_before) / 2;
    size_t until_look = w->until_look > w->looked_items ? w->until_look - w->looked_items : 1;
    size_t until_half = left > half ? (size_t)(left - half + size - 1) / size : count;
    size_t until_full = w->results.bytes.size < MP__FLUSH_AT ? (MP__FLUSH_AT - w->results.bytes.size) / 8 + 1 : 1;
    if (w->restless || w->footing.captures || !mp__is_plain(task->output))
        return 1;
    count = until_look < count ? until_look : count;
    count = until_half < count ? until_half : count;
    return until_full < count ? until_full : count;
}

/* --- the loop ------------------------------------------------------------------------------------------------------------ */

/* What was sent and has not come is not in our pipe: a task has read from it. What follows may look sound, and belongs to other items
 * than it would be taken for. */
static bool robbed(const worker *w)
{
    int waiting;
    uint64_t sent = atomic_load_explicit(&w->shared->sent, memory_order_acquire);
    return sent > w->received && ioctl(w->footing.tasks_fd, FIONREAD, &waiting) == 0 &&
           (uint64_t)waiting < sent - w->received;
}

/* Who waits for our results is watching them, and is likely to send the next item soon: see mp__shared. How many bytes of it are in
 * the letter. */
static size_t wait_awake(const worker *w, uint64_t ns)
{
    uint64_t began = mp__now();
    bool sound = mp__letter_want(w->shared, w->received);
    while (sound && !mp__letter_is_there(w->shared, w->received) &&
           atomic_load_explicit(&w->shared->sent, memory_order_acquire) <= w->received &&
           (is_watched(w) || mp__results_are_got(&w->results)) && mp__clock_spin(began, began + ns))
        ;
    size_t size = mp__letter_take(w->shared, w->received);
    if (!sound || size > sizeof w->shared->letter)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    return size;
}

/* What is finished goes out, unless the parent has it, or is told where it is. */
static void say(worker *w)
{
    if (!mp__results_are_got(&w->results) && !mp__results_tell(&w->results))
        mp__results_flush(&w->results);
}

/* It was put there at the beginning of a frame, so there is room. */
static size_t take_letter(const worker *w, uint8_t *where, size_t room, size_t size)
{
    if (size > room)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    memcpy(where, w->shared->letter, size);
    return size;
}

static size_t read_pipe(const worker *w, uint8_t *where, size_t room)
{
    if (robbed(w))
        mp__worker_leave(MP__EXIT_PROTOCOL);
    ssize_t got = mp__system.read(w->footing.tasks_fd, where, room);
    if (got == 0 || (got < 0 && errno != EINTR))
        mp__worker_leave(MP__EXIT_GONE);
    return got > 0 ? (size_t)got : 0;
}

/* There is nothing to run: the worker sleeps until something comes. */
static void wait_for_frames(worker *w)
{
    uint8_t *where;
    size_t room;
    bool long_ones = mp__worker_account(w);
    size_t letter = 0;
    uint64_t watched = is_watched(w);
    mp__results_end_row(&w->results);
    if (!watched) /* he may have seen it by now */
        watched = w->expected_ns;
    if (!mp__frame_reader_whole(&w->reader)) /* the end of a frame may come with another one, for which there is no room */
        watched = 0;
    w->expected_ns = 0;
    if (!watched)
        say(w);
    mp__results_print();                 /* what a thread has that a task left behind */
    mp__worker_look_round(w, long_ones); /* now it keeps nobody waiting */
    if (watched) {
        letter = wait_awake(w, watched);
        say(w);
    }
    if (w->scratch.capacity > SCRATCH_KEEP) /* one huge item does not mean that all are */
        mp__buffer_fini(&w->scratch);
    if (!mp__frame_reader_space(&w->reader, &where, &room))
        mp__worker_leave(w->reader.status == MP_ENOMEM ? MP__EXIT_SETUP : MP__EXIT_PROTOCOL);
    size_t got = letter ? take_letter(w, where, room, letter) : read_pipe(w, where, room);
    w->begun_before = begun(w);
    mp__frame_reader_filled(&w->reader, got);
    w->received += got;
    w->urgent = false;
    w->looked_at = w->flushed_at = mp__now();
}

/* Without memory for a single number nothing can be said of its items but that. */
static size_t refuse_number(worker *w)
{
    w->next_item += w->item_step;
    if (!claim(w))
        return 0;
    refuse_for_room(w);
    return 1;
}

static void run_row(worker *w, mp__frame *frame)
{
    const mp_task *task = w->task;
    size_t left = mp__row_open(frame), size = frame->row;
    if (!task || !left || !mp__is_plain(task->input) || size != task->input->size)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    w->past_hooks = true;
    while (left && !w->recalled) {
        w->row_left = left * size;
        size_t some = stretch(w, task, size, left);
        size_t done = make_room(w, task) ? run_numbers(w, task, frame->data, some) : refuse_number(w);
        if (done && count_is_wrong(w))
            mp__worker_leave(MP__EXIT_PROTOCOL);
        frame->data += done * size;
        left -= done;
        w->row_left = left * size;
        between_items(w, done);
    }
    w->row_left = 0;
}

/* Those that have come in frames that follow each other: the frame is of the first one. If they are taken back meanwhile, so are all behind it. */
static void run_items(worker *w, mp__frame *frame)
{
    size_t more = mp__frame_reader_more(&w->reader, frame, SIZE_MAX);
    const uint8_t *end = more ? w->reader.buffer + w->reader.begin : NULL;
    for (;; mp__frame_follow(frame)) {
        w->row_left = more ? (uint64_t)(end - (frame->data + frame->size)) : 0;
        run_item(w, frame);
        between_items(w, 1);
        if (!more-- || w->recalled)
            break;
    }
    w->row_left = 0;
}

/* True: all of an item has come for which there was no memory. It is said no sooner: what is still to come is sent out of memory that its
 * owner has lent, and takes back when it has failed. */
static inline bool has_passed_over(const worker *w)
{
    return w->passes_over && w->reader.state != MP__READER_PASSED_OVER;
}

COLD static void refuse_large(worker *w)
{
    mp__fault fault = {0};
    mp__fault_set(&fault, MP_ENOMEM, 0, "there is no memory for its %zu bytes", w->reader.large.size);
    w->passes_over = false;
    w->next_item += w->item_step;
    if (!w->task)
        mp__worker_leave(MP__EXIT_PROTOCOL);
    if (!claim(w))
        return;
    w->urgent = true;
    mp__results_fault(&w->results, "the item cannot be read", &fault);
}

/* There is no frame. It may be there, and be too large: then it costs its item, and we go on behind it. */
static void get_frames(worker *w)
{
    mp__frame frame;
    bool large = mp__frame_reader_pass_over(&w->reader, &frame);
    if (large && frame.kind != MP__ITEM)
        mp__worker_leave(MP__EXIT_SETUP);
    w->passes_over |= large;
    if (!has_passed_over(w))
        wait_for_frames(w);
}

_Noreturn void mp__worker_serve(worker *w)
{
    mp__frame frame;
    for (;;) {
        if (has_passed_over(w))
            refuse_large(w);
        if (!mp__frame_reader_next(&w->reader, &frame)) {
            get_frames(w);
            continue;
        }
        switch (frame.kind) {
        case MP__RUN: begin_run(w, &frame); break;
        case MP__ITEM: run_items(w, &frame); break;
        case MP__ITEMS: run_row(w, &frame); break;
        case MP__REFUSED:
            w->next_item += w->item_step;
            if (claim(w))
                mp__results_raw(&w->results, MP__FAILURE, frame.data, frame.size);
            break;
        case MP__RESUME: resume(w, &frame); break;
        case MP__INIT: initialize(w, &frame); break;
        case MP__FINI: keep_last_input(w, &frame); break;
        default: stop(w);
        }
    }
}
