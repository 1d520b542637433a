/* What workers print, captured: whole, in one piece for each item, once; whatever the item does and however it ends. Seen from
 * outside: a program's standard output is a pipe of the test's. */
#include "tests/lib/program.h"
#include "tests/lib/stuck.h"
#include <fcntl.h>
#include <millpond/record.h>
#include <poll.h>
#include <sys/wait.h>

TestSuite(captured, .timeout = 60);
TestSuite(record, .timeout = 60);

enum { MIB = 1 << 20, ROOM = 8 * MIB, N = 40 };
static char *printed;
static size_t length;
static int got;

/* All that a program prints, to its end. */
static void run_and_read(void (*program)(void))
{
    int ends[2];
    printed = malloc(ROOM);
    length = 0;
    cr_assert(zero(int, pipe2(ends, O_CLOEXEC)));
    pid_t child = program_begin(program, ends[1]);
    close(ends[1]);
    ssize_t size;
    double deadline = seconds_now() + PROMPT;
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    while (length < ROOM - 1 && seconds_now() < deadline)
        if (poll(&fd, 1, 1000) > 0) {
            if ((size = read(ends[0], printed + length, ROOM - 1 - length)) <= 0)
                break;
            length += (size_t)size;
        }
    printed[length] = 0;
    close(ends[0]);
    int status = program_end(child);
    cr_assert(exited(status, 0), "status %x: %.2000s", status, printed);
}

static void end_reading(void)
{
    free(printed);
}

/* "<item 7: 0 1 2 ... 19 >", in pieces, each written at once and some time after the other. */
static mp_status print_in_pieces(const int *in, int *out, mp_call *call)
{
    (void)call;
    the_board()->begun++;
    printf("<item %d: ", *in);
    for (int i = 0; i < 20; i++) {
        printf("%d ", i);
        if (i % 3)
            fflush(stdout);
        nap_us(*in * 7 % 50);
    }
    printf(">\n");
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(print_in_pieces, int, int);

/* Items are printed whole, once, and nothing between them. */
static void expect_whole_items(void)
{
    static const char pieces[] = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 >\n";
    bool seen[N] = {false};
    const char *at = printed;
    while (*at) {
        int item = -1, used = 0;
        cr_assert(eq(int, sscanf(at, "<item %d: %n", &item, &used), 1), "at %zd: %.80s", at - printed, at);
        cr_assert(item >= 0 && item < N && !seen[item], "item %d", item);
        seen[item] = true;
        at += used;
        cr_assert(zero(int, strncmp(at, pieces, strlen(pieces))), "item %d: %.80s", item, at);
        at += strlen(pieces);
    }
    for (int i = 0; i < N; i++)
        cr_assert(seen[i], "item %d", i);
}

static mp_pool *open_capturing(int processes)
{
    mp_pool *pool = NULL;
    MUST(mp_pool_open(&pool, OPTIONS, .processes = processes, .output = MP_OUTPUT_CAPTURE) == MP_OK);
    return pool;
}

static void prints_in_pieces(void)
{
    mp_pool *pool = open_capturing(3);
    static int in[N], out[N];
    fill(in, N);
    MUST(mp_pool_map(pool, print_in_pieces, in, N, out, .chunksize = 2) == MP_OK);
    MUST(find_wrong(out, N) == N);
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(captured, lines_in_pieces_of_several_workers__do_not_mix)
{
    run_and_read(prints_in_pieces);
    expect_whole_items();
    end_reading();
}

/* Past stdio, to both, from a child, without an end of line. */
static mp_status print_otherwise(const int *in, int *out, mp_call *call)
{
    (void)call;
    char text[64];
    int size = snprintf(text, sizeof text, "[raw %d]", *in);
    printf("[stdio %d]", *in); /* and not flushed */
    if (write(1, text, (size_t)size) != size)
        return MP_ESYSTEM;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        size = snprintf(text, sizeof text, "[child %d]", *in);
        _exit(write(1, text, (size_t)size) != size);
    }
    waitpid(child, NULL, 0);
    printf("[last %d]", *in);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(print_otherwise, int, int);

static void prints_otherwise(void)
{
    mp_pool *pool = open_capturing(2);
    static int in[N], out[N];
    fill(in, N);
    MUST(mp_pool_map(pool, print_otherwise, in, N, out, .chunksize = 5) == MP_OK);
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(captured, whichever_way_it_was_written__is_in_one_piece)
{
    run_and_read(prints_otherwise);
    for (int i = 0; i < N; i++) {
        char text[128];
        snprintf(text, sizeof text, "[raw %d][stdio %d][child %d][last %d]", i, i, i, i);
        cr_assert(ne(ptr, strstr(printed, text), NULL), "item %d: %s", i, printed);
    }
    end_reading();
}

static mp_status close_output(const int *in, int *out, mp_call *call)
{
    (void)call;
    close(1);
    close(2);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(close_output, int, int);

static void closes_output(void)
{
    mp_pool *pool = open_capturing(1);
    static int in[N], out[N];
    fill(in, N);
    for (int i = 0; i < 5; i++)
        MUST(mp_pool_apply(pool, close_output, &i, &got) == MP_OK && got == i + 1);
    MUST(mp_pool_map(pool, print_in_pieces, in, N, out) == MP_OK);
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(captured, after_a_task_that_closed_its_output__the_pool_works)
{
    run_and_read(closes_output);
    end_reading();
}

/* ---- in the record ---- */

static mp_status print_and_fail(const int *in, int *out, mp_call *call)
{
    the_board()->begun++;
    printf("last words %d\n", *in % NUMBERS);
    fprintf(stderr, "and errors %d\n", *in % NUMBERS);
    if (*in / NUMBERS == CRASHES)
        raise(SIGSEGV);
    return behave_so((manner)(*in / NUMBERS), *in % NUMBERS, out, call);
}
MP_TASK(print_and_fail, int, int);

static void expect_last_words(const mp_error *error, int number)
{
    char text[64];
    const mp_record *record = mp_error_record(error);
    MUST(record);
    snprintf(text, sizeof text, "last words %d\n", number);
    MUST(strcmp(record->output, text) == 0 && record->output_size == strlen(text) && !record->output_cut);
    snprintf(text, sizeof text, "and errors %d\n", number);
    MUST(strcmp(record->errors, text) == 0 && !record->errors_cut);
    mp_record_free(&record);
}

static void fails_in_every_manner(void)
{
    mp_pool *pool = open_capturing(1);
    trial_begin(4);
    dup2(1, 2);
    one_is(1, FAILS);
    one_is(2, HANGS);
    t.status = mp_pool_map(pool, print_and_fail, t.items, 4, t.results, .statuses = t.statuses, .errors = t.errors,
                           .timeout = TIME_UP, .chunksize = 4);
    MUST(t.statuses[0] == MP_OK && t.statuses[1] == MP_EUSER + 1 && t.statuses[2] == MP_ETIMEDOUT &&
         t.statuses[3] == MP_OK);
    expect_last_words(&t.errors[1], 1);
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(record, of_an_item_that_fails__has_what_it_printed)
{
    run_and_read(fails_in_every_manner);
    cr_assert(ne(ptr, strstr(printed, "last words 0\n"), NULL));
    cr_assert(ne(ptr, strstr(printed, "last words 1\n"), NULL));
    cr_assert(ne(ptr, strstr(printed, "last words 3\n"), NULL));
    end_reading();
}

/* Flushed, for what stdio still has dies with the worker. */
static mp_status flush_and_end(const int *in, int *out, mp_call *call)
{
    printf("last words %d\n", *in % NUMBERS);
    fflush(stdout);
    fprintf(stderr, "and errors %d\n", *in % NUMBERS);
    return behave_so((manner)(*in / NUMBERS), *in % NUMBERS, out, call);
}
MP_TASK(flush_and_end, int, int);

static void ends_in_every_manner(void)
{
    mp_pool *pool = open_capturing(1);
    trial_begin(5);
    dup2(1, 2);
    one_is(1, CRASHES);
    one_is(2, HANGS);
    t.status = mp_pool_map(pool, flush_and_end, t.items, 5, t.results, .statuses = t.statuses, .errors = t.errors,
                           .timeout = TIME_UP, .chunksize = 5);
    MUST(t.statuses[1] == MP_ECRASHED && t.statuses[2] == MP_ETIMEDOUT && t.statuses[4] == MP_OK);
    expect_last_words(&t.errors[1], 1);
    expect_last_words(&t.errors[2], 2);
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(record, of_an_item_that_dies__has_what_it_printed)
{
    run_and_read(ends_in_every_manner);
    for (int i = 0; i < 5; i++) {
        char text[64];
        snprintf(text, sizeof text, "last words %d\n", i);
        char *first = strstr(printed, text);
        cr_assert(ne(ptr, first, NULL), "%s", text);
        cr_assert(eq(ptr, strstr(first + 1, text), NULL), "%s twice", text);
    }
    end_reading();
}
