/* Records: how they are made, where they are kept, how they read. */
#include "pool/failure.h"
#include "pool/record.h"
#include "serial/memory.h"
#include "tests/lib/check.h"
#include "tests/lib/until.h"
#include <fcntl.h>
#include <inttypes.h>
#include <millpond.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(record, .timeout = 60);

typedef struct {
    int32_t steps;
    mp_str name;
    mp_bytes data;
} job_input;
MP_TYPE(job_input, steps, name, data);

static mp_status run_job(const job_input *in, double *out, mp_call *call)
{
    (void)in, (void)out;
    return mp_fail(call, MP_EFAILED, "no");
}
MP_TASK(run_job, job_input, double);

static mp_status run_pointer(const mp_ptr *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}
MP_TASK(run_pointer, mp_ptr, mp_none);

static mp_status run_nothing(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}
MP_TASK(run_nothing, mp_none, mp_none);

static mp_error an_error(const char *task)
{
    mp_error error;
    (void)mp__failure(&error, MP_EFAILED, "it went wrong");
    error.item = 17;
    error.worker = 3;
    error.pid = 4711;
    error.attempt = 2;
    strcpy(error.task, task);
    return error;
}

static const job_input an_input = {.steps = -3, .name = {"caf\xc3\xa9", 5}, .data = {"\x01\x02", 2}};

static const mp_record *keep(const mp__evidence *evidence)
{
    mp_error error = an_error("run_job");
    mp__record_keep(&error, &mp__task_run_job, &an_input, evidence);
    const mp_record *record = mp_error_record(&error);
    cr_assert(ne(ptr, (void *)record, NULL));
    return record;
}

/* ---- what is kept ---- */

CHECK(record, keep__with_evidence__has_all_of_it)
{
    const char frames[] = "0x10 /nowhere+0x5\n";
    mp__evidence evidence = {.address = 0x18,
                             .has_address = true,
                             .by_oom = true,
                             .cpu_ns = 1500000000,
                             .rss_bytes = 1 << 20,
                             .ran_ns = 2500000000,
                             .frames = frames,
                             .frames_size = sizeof frames - 1,
                             .out = "said",
                             .out_size = 4,
                             .err = "cried\n",
                             .err_size = 6,
                             .err_cut = true};
    const mp_record *record = keep(&evidence);
    cr_assert(eq(sz, record->error.item, 17));
    cr_assert(eq(int, record->error.attempt, 2));
    cr_assert_eq(record->address, 0x18);
    cr_assert(record->has_address && record->by_oom && !record->output_cut && record->errors_cut);
    cr_assert(eq(dbl, record->ran, 2.5));
    cr_assert(eq(dbl, record->cpu, 1.5));
    cr_assert(eq(u64, record->rss, 1 << 20));
    cr_assert(eq(str, (char *)record->output, "said"));
    cr_assert(eq(str, (char *)record->errors, "cried\n"));
    cr_assert(eq(int, record->input_status, MP_OK));
    cr_assert(eq(u64, record->input_size, 12));
    cr_assert_eq(memcmp(record->input,
                        "\x93\xfd\xa5"
                        "caf\xc3\xa9\xc4\x02\x01\x02",
                        13),
                 0);
    cr_assert(record->when.tv_sec > 1600000000);
    char host[256] = "", program[4096] = "";
    gethostname(host, sizeof host);
    cr_assert(ge(long, readlink("/proc/self/exe", program, sizeof program - 1), 1));
    cr_assert(eq(str, (char *)record->host, host));
    cr_assert(eq(str, (char *)record->program, program));
    cr_assert(eq(str, (char *)mp_record_backtrace(record), "#0 /nowhere+0x5\n"));
    cr_assert_eq(mp_record_backtrace(record), mp_record_backtrace(record));
    mp_record_free(&record);
    cr_assert(eq(ptr, (void *)record, NULL));
}

CHECK(record, keep__without_evidence__has_what_is_known)
{
    const mp_record *record = keep(NULL);
    cr_assert(eq(str, (char *)mp_record_backtrace(record), ""));
    cr_assert(eq(sz, record->output_size, 0));
    cr_assert(eq(str, (char *)record->output, ""));
    cr_assert(record->has_address == false && !record->by_oom);
    mp_record_free(&record);
}

static mp_record *keep_input(const mp_task *task, const void *input)
{
    mp_error error = an_error(task->name);
    mp__record_keep(&error, task, input, NULL);
    return (mp_record *)(uintptr_t)mp_error_record(&error);
}

#define KEPT(task, input) const mp_record *record = keep_input(&mp__task_##task, input)

CHECK(record, keep__input_of_the_limit__is_kept_and_one_byte_more_is_not)
{
    static char bytes[MP_RECORD_INPUT_MAX];
    const size_t most = MP_RECORD_INPUT_MAX - 6; /* array, number, empty text, bytes of a two-byte length */
    {
        job_input input = {.steps = 1, .data = {bytes, most}};
        KEPT(run_job, &input);
        cr_assert(eq(int, record->input_status, MP_OK));
        cr_assert(eq(u64, record->input_size, MP_RECORD_INPUT_MAX));
        mp_record_free(&record);
    }
    {
        job_input input = {.steps = 1, .data = {bytes, most + 1}};
        KEPT(run_job, &input);
        cr_assert(eq(int, record->input_status, MP_ELIMIT));
        cr_assert(eq(ptr, (void *)record->input, NULL));
        cr_assert_gt(record->input_size, MP_RECORD_INPUT_MAX - 1);
        mp_record_free(&record);
    }
}

CHECK(record, keep__input_without_a_value__says_why)
{
    mp_ptr pointer = {&pointer};
    job_input bad = {.name = {"\xff", 1}};
    {
        KEPT(run_pointer, &pointer);
        cr_assert(eq(int, record->input_status, MP_ETYPE));
        mp_record_free(&record);
    }
    {
        KEPT(run_job, &bad);
        cr_assert(eq(int, record->input_status, MP_EENCODING));
        mp_record_free(&record);
    }
    {
        KEPT(run_job, NULL);
        cr_assert(eq(int, record->input_status, MP_EINVAL));
        mp_record_free(&record);
    }
    {
        KEPT(run_nothing, NULL);
        cr_assert(eq(int, record->input_status, MP_OK));
        cr_assert_eq(memcmp(record->input, "\xc0", 1), 0);
        mp_record_free(&record);
    }
}

CHECK(record, keep__much_output__has_its_end)
{
    size_t size = MP__RECORD_OUTPUT_MAX + 10;
    char *much = malloc(size);
    memset(much, 'a', size);
    much[size - 1] = 'z';
    const mp_record *record = keep(&(mp__evidence){.out = much, .out_size = size});
    cr_assert(eq(sz, record->output_size, MP__RECORD_OUTPUT_MAX));
    cr_assert_eq(record->output[record->output_size - 1], 'z');
    cr_assert(record->output_cut && !record->errors_cut);
    mp_record_free(&record);
    free(much);
}

/* ---- the store ---- */

CHECK(record, store__no_record__is_null)
{
    mp_error error = {0};
    cr_assert(eq(ptr, (void *)mp_error_record(NULL), NULL));
    cr_assert(eq(ptr, (void *)mp_error_record(&error), NULL));
    error.record = UINT64_MAX;
    cr_assert(eq(ptr, (void *)mp_error_record(&error), NULL));
    const mp_record *none = NULL;
    mp_record_free(&none);
    mp_record_free(NULL);
}

CHECK(record, store__more_than_it_holds__has_the_newest)
{
    enum { MORE = 100 };
    static mp_error errors[MP__RECORDS_MAX + MORE];
    const mp_record *first = NULL;
    for (size_t i = 0; i < MP__RECORDS_MAX + MORE; i++) {
        errors[i] = an_error("run_nothing");
        errors[i].item = i;
        mp__record_keep(&errors[i], &mp__task_run_nothing, NULL, NULL);
        if (i == 0)
            first = mp_error_record(&errors[0]);
    }
    size_t wrong = 0;
    for (size_t i = 0; i < MP__RECORDS_MAX + MORE; i++) {
        const mp_record *record = mp_error_record(&errors[i]);
        wrong += i < MORE ? record != NULL : !record || record->error.item != i;
        mp_record_free(&record);
    }
    cr_assert(eq(sz, wrong, 0));
    cr_assert(eq(sz, first->error.item, 0)); /* it left the store, and is still whole */
    mp_record_free(&first);
}

CHECK(record, store__large_records__take_no_more_than_the_limit)
{
    static char much[MP__RECORD_OUTPUT_MAX];
    static mp_error errors[200];
    mp__evidence evidence = {.out = much, .out_size = sizeof much, .err = much, .err_size = sizeof much};
    for (size_t i = 0; i < 200; i++) {
        errors[i] = an_error("run_nothing");
        mp__record_keep(&errors[i], &mp__task_run_nothing, NULL, &evidence);
    }
    size_t there = 0;
    for (size_t i = 0; i < 200; i++) {
        const mp_record *record = mp_error_record(&errors[i]);
        there += record != NULL;
        cr_assert(record != NULL || there == 0); /* the newest, without a gap */
        mp_record_free(&record);
    }
    cr_assert(there >= 50 && there * sizeof much * 2 <= MP__RECORDS_BYTES, "%zu", there);
}

static void *no_memory(size_t count, size_t size)
{
    (void)count, (void)size;
    return NULL;
}

CHECK(record, keep__no_memory__is_no_record_and_no_failure)
{
    mp_error error = an_error("run_job");
    error.record = 5;
    mp__memory_calls usual = mp__memory;
    mp__memory.calloc = no_memory;
    mp__record_keep(&error, &mp__task_run_job, &an_input, NULL);
    mp__memory = usual;
    cr_assert(eq(u64, error.record, 0));
    cr_assert(eq(int, error.status, MP_EFAILED));
}

static void *keep_and_look(void *unused)
{
    for (int i = 0; i < 3000; i++) {
        mp_error error = an_error("run_job");
        error.item = (size_t)i;
        mp__record_keep(&error, &mp__task_run_job, &an_input, &(mp__evidence){.frames = "0x1 /a+0x2\n", .frames_size = 11});
        const mp_record *record = mp_error_record(&error);
        if (record && (record->error.item != (size_t)i || (i % 100 == 0 && !*mp_record_backtrace(record))))
            return unused;
        mp_record_free(&record);
    }
    return NULL;
}

CHECK(record, store__many_threads__find_their_own)
{
    pthread_t threads[4];
    char wrong;
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, pthread_create(&threads[i], NULL, keep_and_look, &wrong), 0));
    for (int i = 0; i < 4; i++) {
        void *answer = &wrong;
        pthread_join(threads[i], &answer);
        cr_assert(eq(ptr, answer, NULL));
    }
}

/* The oracle: a child that was forked while another thread is in the store can use it. */
static _Atomic bool enough;
static void *keep_on(void *unused)
{
    while (!enough) {
        mp_error error = an_error("run_job");
        mp__record_keep(&error, &mp__task_run_job, &an_input, NULL);
    }
    return unused;
}

CHECK(record, store__forked_at_any_moment__works_in_the_child)
{
    pthread_t thread;
    enough = false;
    cr_assert(eq(int, pthread_create(&thread, NULL, keep_on, NULL), 0));
    int failed = 0;
    for (int i = 0; i < 50; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            alarm(10);
            mp_error error = an_error("run_job");
            mp__record_keep(&error, &mp__task_run_job, &an_input, NULL);
            const mp_record *record = mp_error_record(&error);
            _exit(record ? 0 : 1);
        }
        waitpid(child, &status, 0);
        failed += !exited(status, 0);
    }
    enough = true;
    pthread_join(thread, NULL);
    cr_assert(eq(int, failed, 0));
}

/* ---- how it reads ---- */

static char text[200 * 1024];

static bool has(const char *all, const char *part)
{
    return strstr(all, part) != NULL;
}

static const char *perror_text(const mp_error *error)
{
    int ends[2], old = dup(2);
    cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
    cr_assert_gt(fcntl(ends[1], F_SETPIPE_SZ, 1 << 18), 0);
    dup2(ends[1], 2);
    mp_perror(error);
    dup2(old, 2);
    close(old);
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], text + length, sizeof text - 1 - length)) > 0;)
        length += (size_t)got;
    text[length] = 0;
    close(ends[0]);
    return text;
}

CHECK(record, perror__no_record__is_one_line)
{
    mp_error error = an_error("run_job");
    cr_assert(eq(str, (char *)perror_text(&error), "run_job: item 17: it went wrong (worker 3)\n"));
}

CHECK(record, perror__with_a_record__says_what_is_known)
{
    mp_error error = an_error("run_job");
    mp__evidence evidence = {.err = "one\ntwo\n\x1b[31mthree",
                             .err_size = 18,
                             .ran_ns = 1230000000,
                             .cpu_ns = 900000000,
                             .rss_bytes = 12 << 20,
                             .address = 8,
                             .has_address = true,
                             .frames = "0x10 /no/where+0x5\n",
                             .frames_size = 19};
    mp__record_keep(&error, &mp__task_run_job, &an_input, &evidence);
    const char *said = perror_text(&error);
    const char *parts[] = {
        "run_job: item 17: it went wrong (worker 3)\n    input: [-3, \"caf\xc3\xa9\", <2 bytes: 01 02>] (12 bytes)\n",
        "process 4711, attempt 2, ",
        " UTC, after 1.23 s\n",
        "    its worker had used 0.9 s of CPU and 12.0 MiB of memory\n",
        "    it crashed over the address 0x8\n",
        "    #0 /no/where+0x5\n",
        "    its standard error:\n    | one\n    | two\n    | ?[31mthree\n",
        "    again: mp_record_save it to a FILE, then run: millpond-replay --gdb FILE\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        cr_expect(has(said, parts[i]), "'%s' is not in:\n%s", parts[i], said);
}

CHECK(record, perror__long_output__shows_its_last_lines)
{
    char lines[4000] = "";
    for (int i = 0; i < 300; i++)
        sprintf(lines + strlen(lines), "line %d\n", i);
    mp_error error = an_error("run_job");
    mp__record_keep(&error, &mp__task_run_job, &an_input, &(mp__evidence){.err = lines, .err_size = strlen(lines)});
    const char *said = perror_text(&error);
    cr_assert(has(said, "    the end of its standard error:\n    | line 290\n"), "%s", said);
    cr_assert(has(said, "    | line 299\n"), "%s", said);
    const mp_record *record = mp_error_record(&error);
    size_t size = mp_record_format(record, text, sizeof text);
    cr_assert(eq(sz, size, strlen(text)));
    cr_assert(has(text, "    its standard error:\n    | line 0\n"), "%s", text);
    cr_assert(has(text, "    | line 299\n"), "%s", text);
    mp_record_free(&record);
}

CHECK(record, format__any_room__is_cut_and_says_how_long_it_is)
{
    const mp_record *record = keep(NULL);
    size_t size = mp_record_format(record, NULL, 0);
    char *whole = malloc(size + 1), *few = malloc(size + 1);
    cr_assert(eq(sz, mp_record_format(record, whole, size + 1), size));
    cr_assert(eq(sz, strlen(whole), size));
    for (size_t room = 1; room <= size; room++) {
        memset(few, 'x', size + 1);
        cr_assert(eq(sz, mp_record_format(record, few, room), size));
        cr_assert_leq(strlen(few), room - 1);
        cr_assert_eq(few[room], 'x');
        cr_assert_eq(memcmp(few, whole, strlen(few)), 0);
    }
    free(whole);
    free(few);
    mp_record_free(&record);
}
