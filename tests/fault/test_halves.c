/* An input that does not go into the pipe as a whole, to a worker that stays awake for what comes: the end of it, and what follows. */
#include "pool/process/link.h"
#include "tests/fault/process_rig.h"
#include "tests/lib/board.h"
#include <fcntl.h>

TestSuite(halves, .timeout = 60);

static mp_status count_bytes(const mp_span_mp_str *in, size_t *out, mp_call *call)
{
    (void)call;
    for (size_t i = 0; i < in->count; i++)
        *out += in->items[i].size;
    return MP_OK;
}
MP_TASK(count_bytes, mp_span_mp_str, size_t);

/* What a pipe of the link takes. */
static size_t pipe_holds(void)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    (void)fcntl(ends[0], F_SETPIPE_SZ, mp__link_pipe_size(1));
    int size = fcntl(ends[0], F_GETPIPE_SZ);
    close(ends[0]);
    close(ends[1]);
    return (size_t)size;
}

/* Strings of so many bytes together, none of which is large enough to travel as a blob. */
static mp_span_mp_str strings_of(size_t bytes)
{
    static char text[MP__BLOB_MIN];
    static mp_str strings[1000];
    const size_t most = MP__BLOB_MIN - 1;
    mp_span_mp_str span = {.items = strings};
    memset(text, 's', sizeof text);
    for (; bytes; bytes -= strings[span.count++].size)
        strings[span.count] = (mp_str){text, bytes < most ? bytes : most};
    return span;
}

/* The worker has taken all that was in its pipe and waits for the end of the first item, awake. Then that comes, and the second item. */
static void run_two(rig *r, size_t bytes)
{
    const mp_span_mp_str first = strings_of(bytes), second = {0};
    mp__event event = {0};
    int results = 0;
    kind->expect(r->workers, 10000000);
    rig_send(r, &mp__task_count_bytes, 0, 1, &first);
    kind->flush(r->workers, 0);
    rig_send(r, &mp__task_count_bytes, 1, 1, &second);
    nap_us(2000);                                 /* for it to be there; if it is not, it finds both in the pipe */
    while (next_singly(kind, r->workers, &event)) /* there is room in the pipe */
        results += event.kind == MP__EV_RESULT;
    kind->flush(r->workers, 0);
    kind->awake(r->workers);
    while (results < 2) {
        event = rig_await(r);
        cr_assert(event.kind == MP__EV_RESULT || event.kind == MP__EV_WRITABLE, "%zu bytes: event %d", bytes, event.kind);
        results += event.kind == MP__EV_RESULT;
    }
}

CHECK(halves, end_of_an_item_and_one_behind_it__come_whole_to_a_worker_that_is_awake)
{
    const size_t holds = pipe_holds(), around = holds / 2000 + 200; /* what a text adds, and frames and arrays */
    rig r;
    rig_open(&r, MP_FORK, (mp__backend_config){0});
    rig_start(&r);
    for (size_t bytes = holds - around; bytes < holds; bytes += 7)
        run_two(&r, bytes);
    rig_close(&r);
}

static mp_status hold_texts(const mp_span_mp_str *in, size_t *out, mp_call *call)
{
    board_begin(call);
    while (!the_board()->gate)
        nap_us(200);
    return count_bytes(in, out, call);
}
MP_TASK(hold_texts, mp_span_mp_str, size_t);

/* What says that its items were taken back stands behind an item that is half on its way; and the parent, which may be stopped, or busy
 * with another caller's large value, does not send the rest for a while. */
CHECK(halves, worker_that_waits_for_the_rest_of_what_was_taken_back__waits)
{
    const mp_span_mp_str large = strings_of(2 * pipe_holds()), small = {0};
    mp__event event;
    rig r;
    board_open();
    rig_open(&r, MP_FORK, (mp__backend_config){0});
    rig_start(&r);
    rig_send(&r, &mp__task_hold_texts, 0, 1, &small);
    rig_send(&r, &mp__task_hold_texts, 1, 1, &small);
    rig_send(&r, &mp__task_hold_texts, 2, 1, &large);
    kind->flush(r.workers, 0);
    cr_assert(SOON(board_here->begun == 1));
    kind->recall(r.workers, 0);
    board_here->gate = 1;
    nap_us(1500000); /* it has read what there is long ago */
    rig_send(&r, &mp__task_count_bytes, 3, 1, &small);
    kind->flush(r.workers, 0);
    for (int results = 0; results < 2; results += event.kind == MP__EV_RESULT) {
        event = rig_await(&r);
        cr_assert(event.kind == MP__EV_RESULT || event.kind == MP__EV_WRITABLE || event.kind == MP__EV_RECALLED, "event %d",
                  event.kind);
    }
    rig_close(&r);
    board_close();
}
