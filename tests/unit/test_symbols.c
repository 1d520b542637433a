/* Backtraces: raw lines become functions and lines of source, and end with the task. */
#include "pool/call.h"
#include "pool/forks.h"
#include "pool/symbols.h"
#include "tests/lib/check.h"
#include "tests/lib/rounds.h"
#include <execinfo.h>
#include <inttypes.h>
#include <millpond.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(symbols, .timeout = 60);

/* ---- raw lines of this very process, as a worker's signal handler writes them ---- */

typedef struct raw {
    char text[32768];
    size_t size;
} raw;

static void add_line(raw *to, uintptr_t address, const char *module, size_t offset)
{
    to->size += (size_t)snprintf(to->text + to->size, sizeof to->text - to->size, "0x%" PRIxPTR " %s+0x%zx\n", address,
                                 module, offset);
}

static void add_address(raw *to, uintptr_t address)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[4600], path[4400];
    uintptr_t begin, end;
    size_t offset;
    while (maps && fgets(line, sizeof line, maps)) {
        path[0] = 0;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %zx %*s %*s %4399[^\n]", &begin, &end, &offset, path) >= 3 &&
            address >= begin && address < end) {
            add_line(to, address, path, address - begin + offset);
            break;
        }
    }
    if (maps)
        fclose(maps);
}

static raw *wanted;
static int line_of_sum, line_of_take, line_of_call;

/* The frame of its caller is the first, as if that had been interrupted. */
__attribute__((noinline)) static void take_frames(void)
{
    void *addresses[64];
    int count = backtrace(addresses, 64), first = 0;
    while (first < count && addresses[first] != __builtin_return_address(0)) /* ours, and a sanitizer's */
        first++;
    for (int i = first; i < count; i++)
        add_address(wanted, (uintptr_t)addresses[i] - (i == first)); /* that of the call */
}

/* Inlined, as compilers do. */
__attribute__((always_inline)) static inline void find_the_sum(int *value)
{
    line_of_sum = __LINE__ + 1;
    take_frames();
    *value += 1;
}

__attribute__((noinline)) static void find_the_mean(int *value)
{
    line_of_take = __LINE__ + 1;
    find_the_sum(value);
    *value += 1;
}

static mp_status survey(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    line_of_call = __LINE__ + 1;
    find_the_mean(out);
    *out *= 2;
    return MP_OK;
}
MP_TASK(survey, int, int);

static void run_survey(raw *into)
{
    int in = 1, out = 0;
    mp_call call = {0};
    *into = (raw){.size = 0};
    wanted = into;
    mp__call_begin(&call, 0, 1, 1);
    cr_assert(eq(int, mp__call_run(&call, &mp__task_survey, &in, &out), MP_OK));
    mp__call_fini(&call);
}

static char *symbols_of(const raw *from)
{
    char *text = mp__symbols_text(from->text, from->size);
    cr_assert(ne(ptr, text, NULL));
    return text;
}

/* ---- what becomes of them ---- */

CHECK(symbols, frames_of_a_task__with_debugging_information__are_its_functions_and_lines)
{
    static raw lines;
    char expected[256], path[256] = "";
    cr_assert_gt(readlink("/proc/self/exe", path, sizeof path - 1), 0);
    const char *name = strrchr(path, '/') + 1;
    run_survey(&lines);
    char *text = symbols_of(&lines);
    snprintf(expected, sizeof expected,
             "#0 find_the_sum at test_symbols.c:%d (%s)\n#1 find_the_mean at test_symbols.c:%d (%s)\n"
             "#2 survey at test_symbols.c:%d (%s)\n",
             line_of_sum, name, line_of_take, name, line_of_call, name);
    cr_assert(eq(str, text, expected));
    free(text);
}

CHECK(symbols, frames_below_no_task__all__are_shown)
{
    static raw lines;
    lines = (raw){.size = 0};
    int value = 0;
    wanted = &lines;
    find_the_mean(&value);
    char *text = symbols_of(&lines);
    cr_assert(strstr(text, "#0 find_the_sum at test_symbols.c:") == text, "%s", text);
    cr_assert(strstr(text, " _start") != NULL, "%s", text);
    free(text);
}

static int take_in_compare(const void *a, const void *b)
{
    (void)a, (void)b;
    if (wanted->size == 0)
        take_frames();
    return 0;
}

CHECK(symbols, frame_in_a_stripped_library__exported__is_a_function_and_an_offset)
{
    static raw lines;
    int numbers[3] = {1, 2, 3};
    lines = (raw){.size = 0};
    wanted = &lines;
    qsort(numbers, 3, sizeof *numbers, take_in_compare);
    char *text = symbols_of(&lines);
    cr_assert(strstr(text, "#0 take_in_compare at test_symbols.c:") == text, "%s", text);
    cr_assert(strstr(text, "qsort") != NULL, "%s", text);
    free(text);
}

static const char *read_lines(const char *lines)
{
    static char kept[16384];
    char *text = mp__symbols_text(lines, strlen(lines));
    cr_assert(ne(ptr, text, NULL));
    snprintf(kept, sizeof kept, "%s", text);
    free(text);
    return kept;
}

CHECK(symbols, frame_in_no_file_or_none_that_is_there__any__is_an_offset_or_an_address)
{
    cr_expect_str_eq(read_lines("0x8 ?+0x0\n"), "#0 0x8 (no code is there)\n");
    cr_expect_str_eq(read_lines("0x1 /no/such file+1+0x20\n0x2 [vdso]+0x3\n"), "#0 /no/such file+1+0x20\n#1 [vdso]+0x3\n");
    cr_expect_str_eq(read_lines("0x1 /dev/null+0x20\n0x1 /etc/passwd+0x20\n0x1 /+0x20\n"),
                     "#0 /dev/null+0x20\n#1 /etc/passwd+0x20\n#2 /+0x20\n");
    char self[4200];
    snprintf(self, sizeof self, "0x1 /proc/self/exe+0xffffffff\n0x1 /proc/self/exe+0xffffffffffffffff\n");
    cr_expect_str_eq(read_lines(self), "#0 /proc/self/exe+0xffffffff\n#1 /proc/self/exe+0xffffffffffffffff\n");
}

CHECK(symbols, lines_that_make_no_sense__any__are_left_out)
{
    cr_expect_str_eq(read_lines(""), "");
    cr_expect_str_eq(read_lines("\n\n"), "");
    cr_expect_str_eq(read_lines("0x1 /a\n/a+0x1\nzz /a+0x2\n0x1 +0x2\n0x1 /a+\n0x1 /a+zz\n 0x1\n0x1 /b+0x7\n"),
                     "#0 /b+0x7\n");
    cr_expect_str_eq(read_lines("0x1 /b+0x7"), ""); /* a crash in the middle of writing it */
    static char longest[9000];
    memset(longest, 'a', sizeof longest - 1);
    memcpy(longest, "0x1 /", 5);
    memcpy(longest + sizeof longest - 6, "+0x1\n", 5);
    cr_expect_str_eq(read_lines(longest), "");
}

CHECK(symbols, frames_of_a_stripped_library_of_ours__at_the_end__are_left_out)
{
    cr_expect_str_eq(read_lines("0x1 /a+0x1\n0x1 /x/libmillpond.so.0+0x1\n0x2 /x/libmillpond.so.0+0x1\n0x3 /c+0x1\n"),
                     "#0 /a+0x1\n");
    cr_expect_str_eq(read_lines("0x1 /x/libmillpond.so.0+0x1\n0x1 /a+0x1\n0x2 /x/libmillpond.so.0+0x1\n0x3 /c+0x1\n"),
                     "#0 /x/libmillpond.so.0+0x1\n#1 /a+0x1\n"); /* a task that calls us */
    cr_expect_str_eq(read_lines("0x2 /x/libmillpond.so.0+0x1\n0x3 /c+0x1\n"),
                     "#0 /x/libmillpond.so.0+0x1\n#1 /c+0x1\n"); /* then better all than none */
}

CHECK(symbols, random_lines__any__end_in_a_text)
{
    static const char pieces[][20] = {"0x1", " ", "/proc/self/exe",    "+", "0x1000", "\n", "?",
                                      "zz",  "/", "0xffffffffffffffff"};
    unsigned seed = 3;
    for (int round = 0; round < 300; round++) {
        char lines[512] = "";
        for (int i = 0; i < 24; i++)
            strcat(lines, pieces[(seed = seed * 1103515245 + 12345) >> 16 & 7]);
        free(mp__symbols_text(lines, strlen(lines)));
    }
}

static void *make_text(void *lines)
{
    const raw *from = lines;
    return mp__symbols_text(from->text, from->size);
}

CHECK(symbols, several_threads__at_the_same_time__get_the_same)
{
    static raw lines;
    pthread_t threads[4];
    run_survey(&lines);
    char *expected = symbols_of(&lines);
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, pthread_create(&threads[i], NULL, make_text, &lines), 0));
    for (int i = 0; i < 4; i++) {
        void *text = NULL;
        pthread_join(threads[i], &text);
        cr_assert(eq(str, text, expected));
        free(text);
    }
    free(expected);
}

static _Atomic bool enough;
static void *keep_on(void *lines)
{
    while (!enough)
        free(make_text(lines));
    return NULL;
}

/* Not with a sanitizer: its allocator's lock may be another thread's when the program forks, and stays so in the child. */
CHECK(symbols, forked_while_another_thread_is_at_it__any__works_in_the_child)
{
    if (ROUNDS_SLOWER > 1)
        return;
    static raw lines;
    pthread_t thread;
    int failed = 0;
    run_survey(&lines);
    enough = false;
    cr_assert(eq(int, pthread_create(&thread, NULL, keep_on, &lines), 0));
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            alarm(10);
            _exit(make_text(&lines) ? 0 : 1);
        }
        waitpid(child, &status, 0);
        failed += !exited(status, 0);
    }
    enough = true;
    pthread_join(thread, NULL);
    cr_assert(eq(int, failed, 0));
}

/* Who loads a library may be in a constructor that forks, or be waited for by who does. */
CHECK(symbols, forked_while_a_library_is_loaded_that_waits_for_the_fork__goes_on)
{
    static raw lines;
    int status;
    run_survey(&lines);
    pthread_mutex_lock(&mp__forks.loader);
    pid_t child = fork();
    if (child == 0) {
        alarm(30);
        _exit(make_text(&lines) ? 0 : 1);
    }
    pthread_mutex_unlock(&mp__forks.loader);
    waitpid(child, &status, 0);
    cr_assert(exited(status, 0));
}
