/* The process backend by itself, without the engine: what its hooks promise in backend.h. */
#include "pool/backend.h"
#include "serial/row.h"
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/methods.h"
#include "tests/lib/says.h"
#include "tests/lib/singly.h"
#include "tests/lib/until.h"
#include <millpond.h>
#include <poll.h>

TestSuite(workers, .timeout = 60);

enum { PROMPT = 20, MANY = 50 };

typedef enum deed { DOUBLE, WAIT_FOR_GATE, WAIT_FOR_CANCEL, LOOK_IF_CANCELLED, SAY_NO, SAY_ATTEMPT } deed;

static mp_status act(const int *in, int *out, mp_call *call)
{
    tally->begun++;
    *out = mp_call_worker(call);
    switch ((deed)*in) {
    case DOUBLE: *out = 2 * (int)mp_call_item(call); break;
    case WAIT_FOR_GATE: UNTIL(PROMPT, tally->gate); break;
    case WAIT_FOR_CANCEL: *out = UNTIL(PROMPT, mp_call_cancelled(call)); break;
    case LOOK_IF_CANCELLED: *out = mp_call_cancelled(call); break;
    case SAY_NO: return mp_fail(call, MP_EUSER, "no");
    case SAY_ATTEMPT: *out = (int)mp_call_attempt(call); break;
    }
    return MP_OK;
}
MP_TASK(act, int, int);

static const mp__backend *const backend = &mp__process_backend;
static mp__workers *workers;
static mp__task_table tasks;
static uint32_t act_index;

static void open_workers(uint32_t slots, mp_start_method method)
{
    mp_error error;
    cr_assert(ledger_open(1));
    cr_assert(eq(int, mp__task_table_take(&tasks), MP_OK));
    cr_assert(eq(int, mp__task_table_find(&tasks, &mp__task_act, &act_index, &error), MP_OK));
    mp__backend_config config = {.slots = slots, .workers = slots, .tasks = &tasks, .start_method = method};
    cr_assert(eq(int, backend->open(&workers, &config, &error), MP_OK), "%s", error.message);
}

static void close_workers(void)
{
    backend->close(workers);
    mp__task_table_fini(&tasks);
    ledger_close();
}

static mp__event next_event(void)
{
    mp__event event;
    struct pollfd fd = {.fd = backend->descriptor(workers), .events = POLLIN};
    double deadline = seconds_now() + PROMPT;
    while (!next_singly(backend, workers, &event)) {
        cr_assert(lt(dbl, seconds_now(), deadline), "no event came");
        poll(&fd, 1, 1000);
    }
    return event;
}

/* The next event is of this kind and slot. */
static mp__event expect(mp__event_kind kind, uint32_t slot)
{
    mp__event event = next_event();
    cr_assert(eq(int, event.kind, kind), "%s", event.error ? event.error->message : "");
    cr_assert(eq(u32, event.slot, slot));
    return event;
}

static int expect_value(uint32_t slot)
{
    int value = -1;
    mp__event event = expect(MP__EV_RESULT, slot);
    cr_assert(ne(ptr, event.frame, NULL), "%s", event.error->message);
    cr_assert_eq(mp__row_read(&mp__type_int, event.frame, 1, &value, sizeof value), 1);
    return value;
}

static void send_attempt(uint32_t slot, size_t index, uint32_t attempt, deed what)
{
    static int values[] = {DOUBLE, WAIT_FOR_GATE, WAIT_FOR_CANCEL, LOOK_IF_CANCELLED, SAY_NO, SAY_ATTEMPT};
    static int out;
    mp__items item = {.count = 1,
                      .job = values,
                      .task = act_index,
                      .index = index,
                      .attempt = attempt,
                      .value = &values[what],
                      .out = &out};
    backend->send(workers, slot, &item);
    backend->flush(workers, slot);
}

static void send_item(uint32_t slot, size_t index, deed what)
{
    send_attempt(slot, index, 1, what);
}

static void begin(uint32_t slot, uint32_t generation, uint32_t place)
{
    backend->start(workers, slot, generation, place);
    mp__event event = expect(MP__EV_READY, slot);
    cr_assert(eq(u32, event.generation, generation));
}

static void end(uint32_t slot, uint64_t started)
{
    backend->stop(workers, slot);
    mp__event event = expect(MP__EV_LOST, slot);
    cr_assert(eq(u64, event.started, started));
    cr_assert(zero(int, event.error->exit_code), "%s", event.error->message);
}

CHECK_METHODS(workers, grow__gives_slots_that_work_and_leaves_the_others_alone)
{
    open_workers(1, method);
    begin(0, 1, 0);
    send_item(0, 0, WAIT_FOR_GATE);
    for (uint32_t slots = 2; slots < 3000; slots *= 3)
        cr_assert(eq(int, backend->grow(workers, slots), MP_OK));
    begin(1457, 1, 7);
    send_item(1457, 4, DOUBLE);
    cr_assert(eq(int, expect_value(1457), 8));
    tally->gate = 1;
    cr_assert(zero(int, expect_value(0)));
    end(1457, 1);
    begin(1457, 2, 7);
    end(1457, 0);
    end(0, 1);
    close_workers();
}

CHECK_METHODS(workers, place__is_the_workers_index)
{
    open_workers(4, method);
    begin(3, 1, 1);
    send_item(3, 0, WAIT_FOR_GATE);
    send_item(3, 1, SAY_NO);
    begin(2, 1, 1); /* its successor, beside it */
    tally->gate = 1;
    cr_assert(eq(int, expect_value(3), 1));
    mp__event event = expect(MP__EV_RESULT, 3);
    cr_assert(zero(ptr, event.frame));
    cr_assert(eq(int, event.error->worker, 1));
    end(3, 2);
    end(2, 0);
    close_workers();
}

CHECK_METHODS(workers, cancel__is_seen_by_what_runs_and_by_nothing_else)
{
    open_workers(1, method);
    begin(0, 1, 0);
    backend->cancel(workers, 0); /* nothing runs */
    send_item(0, 0, LOOK_IF_CANCELLED);
    cr_assert(zero(int, expect_value(0)));
    send_item(0, 1, WAIT_FOR_CANCEL);
    send_item(0, 2, LOOK_IF_CANCELLED);
    cr_assert(UNTIL(PROMPT, tally->begun == 2));
    backend->cancel(workers, 0);
    send_item(0, 3, LOOK_IF_CANCELLED);
    cr_assert(eq(int, expect_value(0), 1), "it was not told");
    cr_assert(zero(int, expect_value(0)), "it had not started");
    cr_assert(zero(int, expect_value(0)), "it had not been sent");
    end(0, 4);
    backend->cancel(workers, 0); /* nobody is there */
    close_workers();
}

CHECK_METHODS(workers, stop__lets_it_do_what_it_has)
{
    open_workers(1, method);
    begin(0, 1, 0);
    send_item(0, 0, WAIT_FOR_GATE);
    for (size_t i = 1; i < MANY; i++)
        send_item(0, i, DOUBLE);
    backend->stop(workers, 0);
    tally->gate = 1;
    cr_assert(zero(int, expect_value(0)));
    for (int i = 1; i < MANY; i++)
        cr_assert(eq(int, expect_value(0), 2 * i));
    mp__event event = expect(MP__EV_LOST, 0);
    cr_assert(eq(u64, event.started, MANY));
    close_workers();
}

CHECK_METHODS(workers, recall_after_stop__gives_back_what_has_not_started)
{
    open_workers(1, method);
    begin(0, 1, 0);
    send_item(0, 0, WAIT_FOR_GATE);
    for (size_t i = 1; i < MANY; i++)
        send_item(0, i, DOUBLE);
    cr_assert(UNTIL(PROMPT, tally->begun == 1));
    backend->stop(workers, 0);
    backend->recall(workers, 0);
    cr_assert(eq(u64, expect(MP__EV_RECALLED, 0).started, 1));
    backend->recall(workers, 0);
    cr_assert(eq(u64, expect(MP__EV_RECALLED, 0).started, 1));
    tally->gate = 1;
    cr_assert(zero(int, expect_value(0)));
    cr_assert(eq(u64, expect(MP__EV_LOST, 0).started, 1));
    cr_assert(eq(int, tally->begun, 1));
    close_workers();
}

/* Its pipe has no reader any more: that is how it was to be. */
CHECK_METHODS(workers, recall_when_it_has_left__loses_nothing)
{
    open_workers(1, method);
    begin(0, 1, 0);
    for (size_t i = 0; i < MANY; i++)
        send_item(0, i, DOUBLE);
    backend->stop(workers, 0);
    cr_assert(UNTIL(PROMPT, tally->begun == MANY));
    nap_us(5000); /* it is likely to have gone: right either way */
    backend->recall(workers, 0);
    int results = 0, recalled = 0;
    mp__event event = next_event();
    for (; event.kind != MP__EV_LOST; event = next_event()) {
        if (event.kind == MP__EV_RECALLED)
            cr_assert(event.started == MANY || event.started == UINT64_MAX);
        recalled += event.kind == MP__EV_RECALLED;
        results += event.kind == MP__EV_RESULT;
    }
    cr_assert(eq(int, results, MANY));
    cr_assert(eq(int, recalled, 1));
    cr_assert(eq(u64, event.started, MANY));
    close_workers();
}

CHECK_METHODS(workers, attempt__is_each_items_own)
{
    static const uint32_t attempts[] = {1, 1, 2, 2, 1, 7, 1u << 31, 1};
    const size_t count = sizeof attempts / sizeof *attempts;
    open_workers(1, method);
    begin(0, 1, 0);
    for (size_t i = 0; i < count; i++)
        send_attempt(0, i, attempts[i], SAY_ATTEMPT);
    for (size_t i = 0; i < count; i++)
        cr_assert(eq(int, expect_value(0), (int)attempts[i]));
    end(0, count);
    close_workers();
}
