/* A link whose worker is the test: what it writes down in the buffer, what it writes into its pipe, and when. So each moment at which
 * the parent may look is held still; and at the end one worker that does not wait. */
#include "pool/process/link.h"
#include "serial/codec.h"
#include "serial/row.h"
#include "tests/lib/check.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include <millpond.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

TestSuite(link, .timeout = 60);

static mp_status echo(const mp_bytes *in, mp_bytes *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(echo, mp_bytes, mp_bytes);

/* ---- the worker ---- */

static mp__task_table tasks;
static mp__terms terms;
static bool captures;
static mp__link worker;
static int theirs[MP__CONTROL_FDS];
static mp__buffer buffer; /* the worker's view of the shared one */
static mp__blobs blobs;
static uint64_t base, result_count, begun;
static uint64_t told; /* results that the parent has had */

static void begin_buffer(uint64_t at)
{
    base = at;
    buffer.size = 0;
    atomic_store(&worker.shared->base, at);
    atomic_store(&worker.shared->committed, at);
}

static void commit(void)
{
    result_count++;
    atomic_store(&worker.shared->committed, base + buffer.size);
}

/* The item behind the last one, and its result: so many bytes, all of its number. */
static void finish_item(size_t size)
{
    static unsigned char bytes[MP__SHARED_BUFFER];
    mp__fault fault = {0};
    begun++;
    atomic_store(&worker.shared->claim, begun);
    atomic_store(&worker.shared->started_too, begun);
    memset(bytes, (int)begun, size);
    mp_bytes value = {bytes, size};
    cr_assert_eq(mp__frame_write(&buffer, MP__VALUE, mp__task_echo.output, &value, &blobs, &fault), MP_OK);
    commit();
}

static void announce(void)
{
    atomic_store(&worker.shared->announced, base + buffer.size);
    atomic_store(&worker.shared->results, result_count);
}

static void write_bytes(const void *bytes, size_t size)
{
    cr_assert_eq(write(theirs[1], bytes, size), (ssize_t)size);
}

static void flush_results(void)
{
    announce();
    write_bytes(buffer.data, buffer.size);
    begin_buffer(base + buffer.size);
}

/* ---- the parent ---- */

typedef enum from { PIPE, BUFFER } from;

static bool look(void)
{
    if (!mp__link_may_hide(&worker))
        return false;
    mp__link_look(&worker);
    return true;
}

static void take_value(mp__frame *frame)
{
    mp_bytes value;
    mp__fault fault;
    cr_assert_eq(mp__decode_result(mp__task_echo.output, frame, &value, &fault), MP_OK);
    told++;
    for (size_t i = 0; i < value.size; i++)
        if (((const unsigned char *)value.data)[i] != (unsigned char)told)
            cr_fatal("result %d, byte %zu", (int)told, i);
    mp_free(mp_bytes, &value, 1);
}

/* What comes, until nothing does: results, each the next one and whole. Returns the event that is none; RESULT: there was none. */
static mp__event_kind take(from where)
{
    mp__event event;
    worker.budget = where == PIPE ? MP__READS : 0;
    if (where == BUFFER && !look())
        return MP__EV_RESULT;
    while (mp__link_next(&worker, &event)) {
        if (event.kind != MP__EV_RESULT)
            return event.kind;
        for (size_t i = 0; i < event.count; i++) {
            if (i)
                mp__frame_follow(event.frame);
            take_value(event.frame);
        }
    }
    return MP__EV_RESULT;
}

static bool nonsense_says(const char *what)
{
    return worker.distrusted && strstr(worker.error.message, what);
}

static uint32_t task_index(const mp_task *task)
{
    uint32_t index;
    cr_assert_eq(mp__task_table_find(&tasks, task, &index, NULL), MP_OK);
    return index;
}

/* A worker that has greeted, and has been sent so many items. */
static void open_worker(uint64_t items)
{
    mp_bytes value = {"", 0};
    mp__event event;
    cr_assert_eq(mp__task_table_take(&tasks), MP_OK);
    uint32_t task = task_index(&mp__task_echo);
    terms = (mp__terms){.tasks = &tasks, .hash = mp__task_table_hash(&tasks), .capture = captures};
    cr_assert(mp__link_open(&worker, &terms, (mp__life){0}, 1 << 20, theirs));
    buffer = (mp__buffer){.data = worker.shared->buffer, .capacity = sizeof worker.shared->buffer, .fixed = true};
    mp__hello hello = {.protocol = MP__PROTOCOL, .pid = 1, .hash = terms.hash, .tasks = tasks.count};
    strcpy(hello.version, mp_version());
    cr_assert(mp__frame_write_raw(&buffer, MP__HELLO, &hello, sizeof hello));
    commit();
    flush_results();
    worker.budget = MP__READS;
    cr_assert(mp__link_next(&worker, &event) && event.kind == MP__EV_READY);
    for (uint64_t i = 0; i < items; i++)
        mp__link_send(&worker,
                      &(mp__items){.count = 1, .attempt = 1, .job = &worker, .task = task, .index = i, .value = &value});
}

static void close_worker(void)
{
    mp__link_close(&worker);
    for (int i = 1; i < MP__CONTROL_FDS; i++)
        close(theirs[i]);
    mp__blobs_fini(&blobs);
    mp__task_table_fini(&tasks);
}

static void finish_items(int count, size_t size)
{
    while (count--)
        finish_item(size);
}

/* ---- what is sent ---- */

static mp_status negate(const int64_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = -*in;
    return MP_OK;
}
MP_TASK(negate, int64_t, int64_t);

enum { NUMBERS = 50000 };
static int64_t numbers[NUMBERS];
/* What waits to be written, frame by frame: a RUN, and numbers in their order. */
static void check_outbox(size_t count)
{
    const mp__buffer *bytes = &worker.outbox.bytes;
    size_t seen = 0, runs = 0;
    mp__frame frame = {.data = bytes->data + worker.outbox.sent}; /* an empty one: the first follows it */
    while (frame.data + frame.size < bytes->data + bytes->size) {
        int64_t number = -1;
        mp__frame_follow(&frame);
        mp__frame value = frame;
        unsigned what = frame.data[-MP__FRAME_SHORT] & 15;
        runs += what == MP__RUN;
        for (size_t left = what == MP__ITEMS ? mp__row_open(&value) : 0; left; left--, mp__frame_follow(&value))
            cr_assert(mp__row_read(&mp__type_int64_t, &value, 1, &number, 0) && number == numbers[seen++]);
    }
    cr_assert(seen == count && runs == 1, "%zu items, %zu runs", seen, runs);
}

CHECK(link, sent_many__takes_as_many_as_there_is_room_for_and_goes_on_from_there)
{
    open_worker(0);
    for (size_t i = 0; i < NUMBERS; i++)
        numbers[i] = (int64_t)(i * i);
    mp__items items = {.count = NUMBERS,
                       .job = &worker,
                       .task = task_index(&mp__task_negate),
                       .attempt = 1,
                       .value = numbers,
                       .value_step = sizeof *numbers};
    size_t sent = mp__link_send(&worker, &items), waiting = mp__outbox_waiting(&worker.outbox);
    cr_assert(sent > 1000 && sent < NUMBERS && worker.items == sent);
    cr_assert(waiting >= MP__OUTBOX_FULL && waiting < MP__OUTBOX_FULL + MP__ROW_HEAD + MP__ROW_MAX * sizeof *numbers);
    cr_assert_not(mp__link_has_room(&worker));
    check_outbox(sent);
    worker.outbox.sent = worker.outbox.bytes.size; /* all of that is written */
    cr_assert(mp__link_has_room(&worker));
    items.index = sent;
    items.value = numbers + sent;
    items.count = 10;
    cr_assert_eq(mp__link_send(&worker, &items), 10);
    cr_assert_eq(worker.items, sent + 10);
    worker.outbox.bytes.size = worker.outbox.sent = 0;
    items.index += 11; /* not the next one: said anew */
    items.value = numbers;
    cr_assert_eq(mp__link_send(&worker, &items), 10);
    check_outbox(10);
    close_worker();
}

/* ---- what is looked at, and when ---- */

CHECK(link, looked_at__shows_what_is_committed_and_the_pipe_brings_it_for_nothing)
{
    open_worker(20);
    cr_assert_not(mp__link_has_more(&worker));
    finish_items(5, 100);
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 0, "it has said nothing");
    cr_assert(mp__link_has_in_buffer(&worker));
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert(told == 5 && !mp__link_has_more(&worker));
    flush_results();
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert(told == 5 && !mp__link_has_more(&worker));
    finish_items(2, 100);
    flush_results();
    cr_assert(mp__link_has_more(&worker) && !mp__link_has_in_buffer(&worker), "it is in the pipe alone");
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert(told == 7 && !mp__link_has_more(&worker));
    close_worker();
}

CHECK(link, looked_at_again__shows_only_what_is_new)
{
    open_worker(20);
    for (uint64_t i = 1; i <= 10; i++) {
        finish_item(1000);
        cr_assert_eq(take(BUFFER), MP__EV_RESULT);
        cr_assert_eq(take(BUFFER), MP__EV_RESULT);
        cr_assert_eq(told, (uint64_t)i);
    }
    flush_results();
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 10);
    close_worker();
}

CHECK(link, looked_at_in_the_middle_of_a_frame__goes_on_where_the_pipe_left_off)
{
    open_worker(20);
    finish_items(5, 1000);
    announce();
    for (size_t cut = 0, more; cut < buffer.size; cut += more) { /* at every place in a frame, and some looks in between */
        more = cut % 977 + 1 < buffer.size - cut ? cut % 977 + 1 : buffer.size - cut;
        write_bytes(buffer.data + cut, more);
        cr_assert_eq(take(PIPE), MP__EV_RESULT);
        if (cut > 2500)
            cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    }
    begin_buffer(base + buffer.size);
    cr_assert_eq(told, 5);
    finish_items(3, 0);
    flush_results();
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 8);
    close_worker();
}

CHECK(link, looked_at_before_the_pipe_was_read__waits_for_that)
{
    open_worker(20);
    finish_items(3, 100);
    flush_results();
    finish_items(3, 100);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert_eq(told, 0, "what comes before it is in the pipe");
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 3);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert_eq(told, 6);
    close_worker();
}

CHECK(link, looked_at_with_a_single_item_left__is_not)
{
    open_worker(3);
    finish_items(2, 10);
    cr_assert(look());
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert_eq(told, 2);
    cr_assert_not(look());
    close_worker();
}

CHECK(link, more_than_the_reader_holds__comes_in_one_look)
{
    open_worker(20);
    finish_items(15, 16000);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert_eq(told, 15);
    flush_results();
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 15);
    close_worker();
}

/* A result that goes past the buffer: it is in the pipe in part, and in the buffer is nothing of it. */
CHECK(link, large_result_on_its_way__is_not_looked_for)
{
    static unsigned char large[100000];
    open_worker(20);
    finish_items(2, 100);
    flush_results();
    uint64_t sizes[2] = {sizeof large, sizeof large}; /* all of it control part */
    uint32_t header = (uint32_t)MP__VALUE | (uint32_t)MP__SIZE_IS_LONG << 4;
    memcpy(large, "\xc6\x00\x01\x86\x9b", 5); /* msgpack: bin, of the other bytes */
    memset(large + 5, 3, sizeof large - 5);
    begun++;
    result_count++;
    atomic_store(&worker.shared->claim, begun);
    atomic_store(&worker.shared->announced, base + 20 + sizeof large);
    atomic_store(&worker.shared->results, result_count);
    write_bytes(&header, 4);
    write_bytes(sizes, 16);
    write_bytes(large, 50000);
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert_eq(told, 2);
    write_bytes(large + 50000, 50000);
    begin_buffer(base + 20 + sizeof large);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert_eq(told, 2);
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 3);
    close_worker();
}

/* The worker's turn comes in the middle of the parent's copy, which runs into a page that it may not read yet. */
static void begin_again(int signal)
{
    (void)signal;
    cr_assert_eq(mprotect(worker.shared->buffer, sizeof worker.shared->buffer, PROT_READ | PROT_WRITE), 0);
    flush_results();
    finish_items(12, 900);
}

CHECK(link, buffer_that_begins_again_while_it_is_copied__does_not_count)
{
    struct sigaction before, during = {.sa_handler = begin_again};
    open_worker(30);
    finish_items(10, 1000);
    cr_assert_eq(sigaction(SIGSEGV, &during, &before), 0);
    cr_assert_eq(mprotect(worker.shared->buffer + 4096, 4096, PROT_NONE), 0);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    sigaction(SIGSEGV, &before, NULL);
    cr_assert_eq(begun, 22, "it was copied");
    cr_assert_eq(told, 0);
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 10);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert_eq(told, 22);
    close_worker();
}

/* ---- deaths ---- */

/* Killed while it wrote: what it has committed is there, wherever it was looked at. */
CHECK(link, killed_after_a_look__nothing_is_lost_or_twice)
{
    mp__event event;
    open_worker(20);
    finish_items(3, 500);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    finish_items(4, 500);
    announce();
    write_bytes(buffer.data, 700); /* in the middle of the second result, before where we are */
    finish_item(500);
    begun++; /* the one that it died of */
    atomic_store(&worker.shared->claim, begun);
    worker.state = MP__LINK_DEAD;
    close(theirs[1]);
    theirs[1] = dup(theirs[0]); /* to be closed in its place */
    cr_assert_eq(take(PIPE), MP__EV_LOST);
    cr_assert_eq(told, 8);
    cr_assert_not(mp__link_next(&worker, &event));
    close_worker();
}

/* ---- what cannot be ---- */

CHECK(link, base_that_is_ahead__is_waited_for)
{
    open_worker(20);
    finish_items(3, 100);
    atomic_store(&worker.shared->base, base + 1);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    cr_assert_eq(told, 0);
    flush_results();
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 3);
    close_worker();
}

CHECK(link, committed_beyond_the_buffer__is_not_believed)
{
    open_worker(20);
    finish_items(3, 100);
    for (int shift = 0; shift < 64; shift++) {
        atomic_store(&worker.shared->committed, base + MP__SHARED_BUFFER + (1ull << shift));
        cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    }
    cr_assert_eq(told, 0);
    flush_results();
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    cr_assert_eq(told, 3);
    close_worker();
}

CHECK(link, committed_that_goes_back__is_nonsense)
{
    open_worker(20);
    finish_items(3, 100);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    atomic_store(&worker.shared->committed, base + 100);
    cr_assert_eq(take(BUFFER), MP__EV_NONSENSE);
    cr_assert(nonsense_says("fewer bytes than it had committed"), "%s", worker.error.message);
    close_worker();
}

/* Frames that are whole, but of a life of the buffer before this one. */
CHECK(link, committed_over_old_results__is_nonsense)
{
    open_worker(20);
    finish_items(8, 100);
    flush_results();
    cr_assert_eq(take(PIPE), MP__EV_RESULT);
    finish_items(2, 100); /* over the first two */
    size_t frame = buffer.size / 2;
    atomic_store(&worker.shared->committed, base + 5 * frame);
    mp__event event;
    size_t results = 0;
    cr_assert(look());
    while (mp__link_next(&worker, &event) && event.kind == MP__EV_RESULT)
        results += event.count;
    cr_assert_eq(results, 2);
    cr_assert(nonsense_says("has not begun"), "%s", worker.error.message);
    close_worker();
}

CHECK(link, more_in_the_pipe_than_it_announced__is_nonsense_also_behind_a_look)
{
    open_worker(20);
    finish_items(3, 100);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    write_bytes("x", 1); /* a task's */
    cr_assert_eq(take(PIPE), MP__EV_NONSENSE);
    cr_assert(nonsense_says("more bytes than it announced"), "%s", worker.error.message);
    close_worker();
}

CHECK(link, fewer_results_than_it_announced__is_nonsense_also_behind_a_look)
{
    open_worker(20);
    finish_items(3, 100);
    cr_assert_eq(take(BUFFER), MP__EV_RESULT);
    result_count++;
    flush_results();
    cr_assert_eq(take(PIPE), MP__EV_NONSENSE);
    cr_assert(nonsense_says("fewer whole frames"), "%s", worker.error.message);
    close_worker();
}

/* What who reads a stream would take for its end, what says nothing, and what is no failure. */
CHECK(link, failure_that_no_task_can_have__is_nonsense)
{
    static const mp__refusal refusals[] = {{MP_END, true, {"text", 4}, 0, 0},
                                           {MP_ETIMEDOUT, true, {"text", 4}, 0, 0},
                                           {MP_OK, true, {"text", 4}, 0, 0},
                                           {MP_EUSER, true, {"", 0}, 0, 0},
                                           {MP_EUSER, true, {"\0text", 5}, 0, 0}};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        mp__fault fault = {0};
        result_count = begun = told = 0;
        open_worker(20);
        begun++;
        atomic_store(&worker.shared->claim, begun);
        cr_assert_eq(mp__frame_write(&buffer, MP__FAILURE, &mp__refusal_type, &refusals[i], &blobs, &fault), MP_OK);
        commit();
        flush_results();
        cr_assert_eq(take(PIPE), MP__EV_NONSENSE, "refusal %zu", i);
        cr_assert(nonsense_says("a failure that is none"), "%s", worker.error.message);
        close_worker();
        blobs = (mp__blobs){0};
        base = 0;
    }
}

static mp__event_kind print_on(uint32_t which)
{
    mp__printed printed = {.which = which, .text = "text"};
    cr_assert(mp__frame_write_raw(&buffer, MP__OUTPUT, &printed, MP__PRINTED_HEAD + 4));
    commit();
    flush_results();
    return take(PIPE);
}

/* What is printed waits in the program: an item that never ended its output would fill its memory. */
CHECK(link, output_that_comes_again_before_its_result__is_nonsense)
{
    captures = true;
    open_worker(20);
    for (int item = 0; item < 3; item++) {
        cr_assert_eq(print_on(0), MP__EV_OUTPUT);
        cr_assert_eq(print_on(1), MP__EV_OUTPUT);
        finish_item(10);
        flush_results();
        cr_assert_eq(take(PIPE), MP__EV_RESULT);
    }
    cr_assert_eq(told, 3);
    cr_assert_eq(print_on(1), MP__EV_OUTPUT);
    cr_assert_eq(print_on(1), MP__EV_NONSENSE);
    cr_assert(nonsense_says("more output than an item has"), "%s", worker.error.message);
    close_worker();
    captures = false;
}

/* ---- a worker that does not wait ---- */

enum { RACE = 100000, RUN = 500 };

static size_t size_of(uint64_t item)
{
    return item * 2654435761u >> 7 & 4095;
}

/* As a worker does it, another process: it writes, and begins its buffer again and again, while it is looked at. */
_Noreturn static void race(int items)
{
    for (int i = 0; i < items; i++) {
        finish_item(size_of((uint64_t)i));
        if (buffer.size < MP__FLUSH_AT)
            continue;
        announce();
        for (size_t done = 0; done < buffer.size;) {
            ssize_t written = write(theirs[1], buffer.data + done, buffer.size - done);
            if (written <= 0)
                _exit(1);
            done += (size_t)written;
        }
        begin_buffer(base + buffer.size);
    }
    announce();
    _exit(write(theirs[1], buffer.data, buffer.size) != (ssize_t)buffer.size);
}

/* Looks at any moment, and reads the pipe now and then: `take` sees that each result is the next one and whole. */
CHECK(link, looked_at_all_the_time__gives_each_result_once_and_whole)
{
    uint64_t items = ROUNDS(RACE);
    int status;
    open_worker(items + 2);
    pid_t child = proc_fork();
    if (!child)
        race((int)items);
    for (unsigned turn = 0; told < items && !worker.distrusted; turn++) {
        cr_assert_eq(take(turn % 2 ? BUFFER : PIPE), MP__EV_RESULT, "%s", worker.error.message);
        for (volatile unsigned idle = 0; idle < turn * 2654435761u % RUN;)
            idle++;
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(exited(status, 0));
    cr_assert_eq(told, items);
    close_worker();
}
