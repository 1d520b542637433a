/* Rows of results between a worker's side (results.c, as the worker runs it) and the parent's (link_values.c): the parent looks, reads
 * the pipe, or finds the worker dead at any moment; every value comes once, in its order. */
#include "pool/process/link.h"
#include "pool/process/results.h"
#include "tests/lib/check.h"
#include "tests/lib/proc.h"
#include <millpond.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

TestSuite(link_rows, .timeout = 120);

static mp_status negate(const int64_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = -*in;
    return MP_OK;
}
MP_TASK(negate, int64_t, int64_t);

enum { ITEMS = 100000 };

static mp__task_table tasks;
static mp__terms terms;
static mp__link worker;
static int theirs[MP__CONTROL_FDS];
static mp__results results;
static uint64_t begun; /* items that the worker has started, the k-th of which gives k, or fails */
static uint64_t told;  /* results that the parent has had */
static bool captures;  /* what it prints */

static void open_worker(void)
{
    static int64_t inputs[ITEMS];
    uint32_t task;
    mp__event event;
    begun = told = 0;
    cr_assert_eq(mp__task_table_take(&tasks), MP_OK);
    cr_assert_eq(mp__task_table_find(&tasks, &mp__task_negate, &task, NULL), MP_OK);
    terms = (mp__terms){.tasks = &tasks, .hash = mp__task_table_hash(&tasks), .capture = captures};
    cr_assert(mp__link_open(&worker, &terms, (mp__life){0}, 1 << 20, theirs));
    results =
        (mp__results){.shared = worker.shared,
                      .fd = theirs[1],
                      .bytes = {.data = worker.shared->buffer, .capacity = sizeof worker.shared->buffer, .fixed = true}};
    mp__hello hello = {.protocol = MP__PROTOCOL, .pid = 1, .hash = terms.hash, .tasks = tasks.count};
    strcpy(hello.version, mp_version());
    mp__results_raw(&results, MP__HELLO, &hello, sizeof hello);
    mp__results_flush(&results);
    worker.budget = MP__READS;
    cr_assert(mp__link_next(&worker, &event) && event.kind == MP__EV_READY);
    mp__items items = {.job = &worker, .task = task, .attempt = 1, .count = ITEMS, .value_step = 8, .value = inputs};
    while (items.count) {
        size_t sent = mp__link_send(&worker, &items);
        items.index += sent;
        items.count -= sent;
        worker.outbox.sent = worker.outbox.bytes.size; /* it is written, in a way */
    }
    cr_assert_eq(worker.items, ITEMS);
}

static void close_worker(void)
{
    mp__link_close(&worker);
    for (int i = 1; i < MP__CONTROL_FDS; i++)
        close(theirs[i]);
    mp__buffer_fini(&results.large.bytes);
    mp__blobs_fini(&results.blobs);
    mp__task_table_fini(&tasks);
}

static void begin_item(void)
{
    begun++;
    atomic_store(&worker.shared->claim, begun);
    atomic_store(&worker.shared->started_too, begun);
}

static void give_number(void)
{
    begin_item();
    int64_t value = (int64_t)begun;
    mp__results_number(&results, &mp__type_int64_t, &value);
}

static void give_numbers(int count)
{
    while (count--)
        give_number();
}

static void fail_item(void)
{
    begin_item();
    mp__results_failure(&results, MP_EUSER, true, "as it was told");
}

static void take_numbers(const mp__event *event)
{
    int64_t values[MP__ROW_MAX];
    cr_assert(event->count && event->count <= MP__ROW_MAX);
    cr_assert_eq(mp__row_read(&mp__type_int64_t, event->frame, event->count, values, sizeof *values), event->count);
    for (size_t i = 0; i < event->count; i++)
        cr_assert_eq((uint64_t)values[i], ++told);
}

/* What there is now; the event that is no result, or RESULT. */
static mp__event_kind take(bool looks, unsigned reads)
{
    mp__event event;
    worker.budget = reads;
    if (looks)
        mp__link_look(&worker);
    worker.budget = reads;
    while (mp__link_next(&worker, &event)) {
        if (event.kind != MP__EV_RESULT)
            return event.kind;
        if (event.frame)
            take_numbers(&event);
        else
            told++;
    }
    return MP__EV_RESULT;
}

static bool nonsense_says(const char *what)
{
    return worker.distrusted && strstr(worker.error.message, what);
}

CHECK(link_rows, open__are_looked_at_and_come_once)
{
    open_worker();
    give_numbers(3);
    cr_assert_eq(take(false, MP__READS), MP__EV_RESULT);
    cr_assert_eq(told, 0, "it has said nothing");
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    cr_assert_eq(told, 3);
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    cr_assert_eq(told, 3, "nothing is new");
    give_numbers(2);
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    cr_assert_eq(told, 5);
    give_number();
    mp__results_flush(&results);
    cr_assert_eq(take(false, MP__READS), MP__EV_RESULT);
    cr_assert_eq(told, 6);
    give_numbers(2);
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    mp__results_flush(&results);
    cr_assert_eq(take(false, MP__READS), MP__EV_RESULT);
    cr_assert_eq(told, 8, "a row that brings nothing new");
    close_worker();
}

CHECK(link_rows, ended_by_a_failure__go_on_behind_it)
{
    open_worker();
    give_numbers(3);
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    fail_item();
    give_numbers(3);
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    cr_assert_eq(told, 7);
    mp__results_flush(&results);
    cr_assert_eq(take(false, MP__READS), MP__EV_RESULT);
    cr_assert_eq(told, 7);
    close_worker();
}

static uint64_t state;

static uint64_t below(uint64_t limit)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % limit;
}

static void worker_moves(void)
{
    switch (below(16)) {
    case 0: fail_item(); break;
    case 1: mp__results_flush(&results); break;
    case 2: mp__results_end_row(&results); break;
    case 3: give_numbers((int)below(1500)); break;
    default: give_numbers((int)below(4));
    }
}

static void parent_moves(void)
{
    if (below(3))
        return;
    unsigned reads = below(2) ? MP__READS : 0;
    cr_assert_eq(take(below(2), reads), MP__EV_RESULT, "%s", worker.error.message);
    cr_assert(told <= begun);
}

/* At the end it dies, in the middle of an item: what it had finished is there. */
CHECK(link_rows, looked_at_whenever__come_once_and_in_their_order_and_when_it_is_dead)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        state = seed;
        open_worker();
        for (uint64_t moves = below(120); moves; moves--) {
            worker_moves();
            parent_moves();
        }
        uint64_t finished = begun;
        begin_item();
        worker.state = MP__LINK_DEAD;
        close(theirs[1]);
        theirs[1] = dup(theirs[0]); /* to be closed in its place */
        cr_assert_eq(take(false, MP__READS), MP__EV_LOST, "seed %d: %s", (int)seed, worker.error.message);
        cr_assert_eq(told, finished, "seed %d", (int)seed);
        close_worker();
    }
}

/* ---- what cannot be ---- */

CHECK(link_rows, shorter_than_it_was_when_it_was_open__is_nonsense)
{
    open_worker();
    give_numbers(5);
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    results.row_count = 3;
    results.bytes.size -= 16;
    mp__results_flush(&results);
    cr_assert_eq(take(false, MP__READS), MP__EV_NONSENSE);
    cr_assert(nonsense_says("a row that is none"), "%s", worker.error.message);
    close_worker();
}

CHECK(link_rows, something_else_where_one_was_open__is_nonsense)
{
    open_worker();
    give_numbers(5);
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    results.row_size = 0;
    results.bytes.size = results.row; /* it is forgotten */
    fail_item();
    mp__results_flush(&results);
    cr_assert_eq(take(false, MP__READS), MP__EV_NONSENSE);
    cr_assert(nonsense_says("no row where one was open"), "%s", worker.error.message);
    close_worker();
}

CHECK(link_rows, of_more_than_it_has_begun__is_nonsense)
{
    open_worker();
    give_numbers(5);
    atomic_store(&worker.shared->claim, 4);
    atomic_store(&worker.shared->started_too, 4);
    cr_assert_eq(take(true, 0), MP__EV_NONSENSE);
    cr_assert(nonsense_says("has not begun"), "%s", worker.error.message);
    cr_assert_eq(mp__link_count_started(&worker), 4, "what is not believed is no reason to blame others");
    close_worker();
}

/* The same through the pipe, of more items than it was sent. */
CHECK(link_rows, of_more_than_it_was_sent__is_nonsense_and_blames_nobody)
{
    open_worker();
    give_numbers(5);
    worker.items = 3;
    atomic_store(&worker.shared->claim, 2);
    atomic_store(&worker.shared->started_too, 2);
    mp__results_flush(&results);
    cr_assert_eq(take(false, MP__READS), MP__EV_NONSENSE);
    cr_assert(nonsense_says("has not got whole"), "%s", worker.error.message);
    cr_assert_eq(mp__link_count_started(&worker), 2);
    close_worker();
}

/* One that is sent out of its owner's memory is the last one sent, until all of it has gone. */
CHECK(link_rows, worker_is_killed_for_want_of_memory__what_it_was_being_sent_is_to_blame)
{
    static mp__outbox_blob half[1];
    open_worker();
    give_numbers(5);
    cr_assert_eq(take(true, 0), MP__EV_RESULT);
    worker.items = 6;
    cr_assert_eq(mp__link_count_started(&worker), 5);
    worker.evidence.by_oom = true;
    cr_assert_eq(mp__link_count_started(&worker), 5, "nothing was on its way");
    mp__outbox before = worker.outbox;
    worker.outbox.blobs = half;
    worker.outbox.blob_count = worker.outbox.blob_next + 1;
    half[worker.outbox.blob_next] = (mp__outbox_blob){.data = "half", .size = 4};
    cr_assert_eq(mp__link_count_started(&worker), 6);
    worker.evidence.by_oom = false;
    cr_assert_eq(mp__link_count_started(&worker), 5, "somebody has killed it: it had not begun");
    worker.outbox = before;
    close_worker();
}

/* A word that a wild task has written: what does not fit the buffer is not copied, and what is of another place is no row. */
CHECK(link_rows, whose_word_is_wild__are_not_read_beyond_the_buffer)
{
    static const uint64_t sizes[] = {1, 8, 255, 4096, 65535}, counts[] = {1, 1024, 1025, 65535};
    open_worker();
    give_number();
    uint64_t committed = atomic_load(&worker.shared->committed);
    for (size_t i = 0; i < 20; i++) {
        uint64_t size = sizes[i / 4], count = counts[i % 4];
        atomic_store(&worker.shared->row, mp__row_word(committed + 1, size, count));
        cr_assert_eq(take(true, 0), MP__EV_RESULT, "of another place");
        if (MP__ROW_HEAD + size * count <= MP__SHARED_BUFFER && count <= MP__ROW_MAX)
            continue;
        atomic_store(&worker.shared->row, mp__row_word(committed, size, count));
        cr_assert_eq(take(true, 0), MP__EV_RESULT);
    }
    atomic_store(&worker.shared->row, mp__row_word(committed, 0, 1));
    cr_assert_eq(take(true, 0), MP__EV_RESULT,
                 "a value of no bytes would be read as a frame, and what follows it anywhere");
    cr_assert_eq(told, 0);
    close_worker();
}

/* The worker dies when its third item's result is there; before it has forgotten what that printed, or behind that. */
static void die_behind_text(bool forgets, mp__event *event)
{
    captures = true;
    open_worker();
    give_numbers(2);
    cr_assert_eq(write(theirs[3], "text", 4), 4);
    begin_item();
    mp__results_output(&results, &theirs[3], begun + 1);
    int64_t value = (int64_t)begun;
    mp__results_number(&results, &mp__type_int64_t, &value);
    if (forgets)
        mp__results_forget_output(&results, &theirs[3]);
    mp__results_flush(&results);
    cr_assert_eq(take(false, MP__READS), MP__EV_OUTPUT);
    cr_assert_eq(take(false, MP__READS), MP__EV_RESULT);
    cr_assert_eq(told, 3);
    if (forgets)
        cr_assert_eq(write(theirs[3], "more", 4), 4);
    close(theirs[1]);
    theirs[1] = -1;
    worker.state = MP__LINK_DEAD;
    cr_assert(mp__link_next(&worker, event));
    cr_assert_eq(event->kind, MP__EV_LOST);
    captures = false;
}

CHECK(link_rows, text_of_an_item_that_has_its_result__is_not_told_again)
{
    mp__event event;
    die_behind_text(false, &event);
    cr_assert_null(event.evidence->out);
    mp__link_fini(&worker);
    close_worker();
    die_behind_text(true, &event);
    cr_assert_eq(event.evidence->out_size, 4);
    cr_assert_eq(memcmp(event.evidence->out, "more", 4), 0);
    mp__link_fini(&worker);
    close_worker();
}
