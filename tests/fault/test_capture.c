/* What tasks print, where it is captured: each item's own comes before its result, that of a worker which dies comes with its death. */
#include "pool/process/capture.h"
#include "tests/fault/process_rig.h"
#include "tests/lib/board.h"
#include "tests/lib/methods.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(capture, .timeout = 60);

typedef enum deed { RETURN, FAIL, KILLED, EXIT, ABORT, BAD_RESULT, GRANDCHILD, CLOSE, ALONE } deed;

typedef struct order {
    int deed;
    mp_str out, err;
    int64_t times; /* how often `out` is printed */
} order;
MP_TYPE(order, deed, out, err, times);

static void print_in_child(const order *in)
{
    pid_t child = fork();
    if (child == 0) {
        ssize_t written = write(STDOUT_FILENO, in->out.data, in->out.size);
        _exit(written < 0);
    }
    waitpid(child, NULL, 0);
}

static mp_status print(const order *in, mp_str *out, mp_call *call)
{
    for (int64_t i = 0; i < in->times; i++)
        fwrite(in->out.data, 1, in->out.size, stdout);
    fwrite(in->err.data, 1, in->err.size, stderr);
    *out = (mp_str){"done", 4};
    switch ((deed)in->deed) {
    case RETURN: break;
    case FAIL: return mp_fail(call, MP_EFAILED, "as it should");
    case KILLED:
        fflush(stdout);
        raise(SIGKILL);
        break;
    case EXIT: exit(3);
    case ABORT: fflush(stdout); abort();
    case BAD_RESULT: *out = (mp_str){(const char *)16, 100}; break;
    case GRANDCHILD: print_in_child(in); break;
    case CLOSE:
        fflush(stdout);
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
        break;
    case ALONE: break;
    }
    return MP_OK;
}
MP_TASK(print, order, mp_str);

static mp_status print_first(const order *in, mp_none *out, mp_call *call)
{
    mp_str ignored;
    (void)out;
    return print(in, &ignored, call);
}
MP_TASK(print_first, order, mp_none);

static rig r;
static char out[2 * MP__CAPTURE_TEXT], err[2 * MP__CAPTURE_TEXT];
static size_t out_size, err_size;
static bool out_cut, err_cut;
static int events;

static void keep_output(const mp__evidence *evidence)
{
    cr_assert_lt(out_size + evidence->out_size, sizeof out);
    cr_assert_lt(err_size + evidence->err_size, sizeof err);
    if (evidence->out_size)
        memcpy(out + out_size, evidence->out, evidence->out_size);
    if (evidence->err_size)
        memcpy(err + err_size, evidence->err, evidence->err_size);
    out_size += evidence->out_size;
    err_size += evidence->err_size;
    out[out_size] = err[err_size] = 0;
    out_cut |= evidence->out_cut;
    err_cut |= evidence->err_cut;
}

/* The next event that is no OUTPUT; what was printed before it is in `out` and `err`. */
static mp__event await_after_output(void)
{
    out_size = err_size = 0;
    out[0] = err[0] = 0;
    out_cut = err_cut = false;
    for (events = 0;; events++) {
        mp__event event = rig_await(&r);
        if (event.kind != MP__EV_OUTPUT)
            return event;
        keep_output(event.evidence);
    }
}

static order order_of(deed how, const char *to_out, const char *to_err)
{
    return (order){how, {to_out, strlen(to_out)}, {to_err, strlen(to_err)}, 1};
}

static void open_captured(mp_start_method method)
{
    rig_open(&r, method, (mp__backend_config){.capture = true});
    rig_start(&r);
}

static void expect_result(const order *item, const char *to_out, const char *to_err)
{
    rig_run(&r, &mp__task_print, item);
    mp__event event = await_after_output();
    cr_assert_eq(event.kind, MP__EV_RESULT);
    cr_assert_str_eq(out, to_out);
    cr_assert_str_eq(err, to_err);
}

CHECK_METHODS(capture, items_that_print__each_has_its_own)
{
    open_captured(method);
    order items[] = {order_of(RETURN, "one\n", ""), order_of(RETURN, "", "two\n"), order_of(RETURN, "", ""),
                     order_of(FAIL, "no newline", "at all"), order_of(RETURN, "five", "")};
    size_t count = sizeof items / sizeof *items;
    for (size_t i = 0; i < count; i++)
        rig_send(&r, &mp__task_print, i, 1, &items[i]);
    kind->flush(r.workers, 0);
    for (size_t i = 0; i < count; i++) {
        mp__event event = await_after_output();
        cr_assert_eq(event.kind, MP__EV_RESULT);
        cr_assert_eq(event.error->status, items[i].deed == FAIL ? MP_EFAILED : MP_OK);
        cr_assert_eq(out_size, items[i].out.size);
        cr_assert_eq(err_size, items[i].err.size);
        cr_assert_eq(memcmp(out, items[i].out.data, out_size), 0);
        cr_assert_eq(memcmp(err, items[i].err.data, err_size), 0);
        cr_assert_eq(events, (out_size > 0) + (err_size > 0));
    }
    rig_close(&r);
}

CHECK_METHODS(capture, worker_that_dies__leaves_what_it_had_printed)
{
    open_captured(method);
    for (deed how = KILLED; how <= BAD_RESULT; how++) {
        order before = order_of(RETURN, "before", "before"), item = order_of(how, "last words", "alas");
        expect_result(&before, "before", "before");
        rig_run(&r, &mp__task_print, &item);
        mp__event lost = await_after_output();
        cr_assert_eq(lost.kind, MP__EV_LOST);
        cr_assert_eq(lost.started, 2);
        out_size = err_size = 0;
        keep_output(lost.evidence);
        cr_assert_str_eq(out, "last words", "deed %d", how);
        cr_assert_str_eq(err, "alas", "deed %d", how);
        rig_start(&r);
    }
    rig_close(&r);
}

CHECK_METHODS(capture, child_of_a_task__prints_there_too)
{
    open_captured(method);
    order item = order_of(GRANDCHILD, "twice", "");
    item.times = 0;
    expect_result(&item, "twice", "");
    rig_close(&r);
}

static char big[1000];

static order print_bytes(int64_t thousands)
{
    memset(big, 'x', sizeof big);
    return (order){RETURN, {big, sizeof big}, {"", 0}, thousands};
}

CHECK_METHODS(capture, more_than_a_frame_takes__keeps_head_and_tail)
{
    open_captured(method);
    order item = print_bytes(65), small = order_of(RETURN, "small", "");
    rig_run(&r, &mp__task_print, &item);
    cr_assert_eq(await_after_output().kind, MP__EV_RESULT);
    cr_assert_eq(out_size, 65000);
    cr_assert_not(out_cut);
    item.times = 1000;
    rig_run(&r, &mp__task_print, &item);
    cr_assert_eq(await_after_output().kind, MP__EV_RESULT);
    cr_assert(out_cut);
    cr_assert_leq(out_size, MP__CAPTURE_TEXT);
    cr_assert_eq(strspn(out, "x"), MP__CAPTURE_HEAD);
    cr_assert_not_null(strstr(out, "x\n... 934464 bytes cut ...\nx"));
    cr_assert_eq(strlen(strrchr(out, '\n') + 1), MP__CAPTURE_TAIL);
    expect_result(&small, "small", "");
    rig_close(&r);
}

CHECK_METHODS(capture, more_than_there_is_room_for__is_dropped_and_said)
{
    open_captured(method);
    order item = print_bytes(3000), small = order_of(RETURN, "small", "");
    rig_run(&r, &mp__task_print, &item);
    mp__event event = await_after_output();
    cr_assert_eq(event.kind, MP__EV_RESULT);
    cr_assert_eq(event.error->status, MP_OK);
    cr_assert(out_cut);
    cr_assert_not_null(strstr(out, "\n... what was printed behind 1048576 bytes is dropped ...\n"));
    expect_result(&small, "small", "");
    rig_close(&r);
}

CHECK_METHODS(capture, task_that_closes_its_output__costs_only_what_it_prints_then)
{
    open_captured(method);
    order item = order_of(CLOSE, "before", ""), empty = order_of(RETURN, "", "");
    expect_result(&item, "before", "");
    expect_result(&empty, "", "");
    rig_close(&r);
}

CHECK_METHODS(capture, initializer__prints_before_it_is_ready)
{
    order item = order_of(RETURN, "good morning", "");
    rig_open(&r, method,
             (mp__backend_config){.capture = true, .initializer = {.task = &mp__task_print_first, .value = &item}});
    rig_begin(&r);
    rig_await_kind(&r, MP__EV_GREETED);
    cr_assert_eq(await_after_output().kind, MP__EV_READY);
    cr_assert_str_eq(out, "good morning");
    order next = order_of(RETURN, "work", "");
    expect_result(&next, "work", "");
    rig_close(&r);
}

CHECK_METHODS(capture, initializer_that_crashes__has_printed)
{
    order item = order_of(ABORT, "oh", "no");
    rig_open(&r, method,
             (mp__backend_config){.capture = true, .initializer = {.task = &mp__task_print_first, .value = &item}});
    rig_begin(&r);
    rig_await_kind(&r, MP__EV_GREETED);
    mp__event lost = await_after_output();
    cr_assert_eq(lost.kind, MP__EV_LOST);
    keep_output(lost.evidence);
    cr_assert_str_eq(out, "oh");
    cr_assert_str_eq(err, "no");
    rig_close(&r);
}

CHECK_METHODS(capture, finalizer__prints_before_the_end)
{
    order item = order_of(RETURN, "good night", "");
    rig_open(&r, method,
             (mp__backend_config){.capture = true, .finalizer = {.task = &mp__task_print_first, .value = &item}});
    rig_start(&r);
    kind->stop(r.workers, 0);
    mp__event lost = await_after_output();
    cr_assert_eq(lost.kind, MP__EV_LOST);
    cr_assert_str_eq(out, "good night");
    cr_assert_eq(lost.evidence->out_size, 0);
    rig_close(&r);
}

CHECK_METHODS(capture, not_asked_for__nothing_is_captured)
{
    rig_open(&r, method, (mp__backend_config){0});
    rig_start(&r);
    order item = order_of(RETURN, "", "");
    expect_result(&item, "", "");
    cr_assert_eq(events, 0);
    kind->stop(r.workers, 0);
    cr_assert_null(rig_await_kind(&r, MP__EV_LOST).evidence->out);
    rig_close(&r);
}

/* ---- the file ---- */

CHECK(capture, position_that_was_moved__is_no_more_than_the_file)
{
    static mp__printed printed;
    int fd = mp__capture_make();
    cr_assert_geq(fd, 0);
    cr_assert_eq(mp__capture_read(fd, &printed), 0);
    lseek(fd, 1ll << 40, SEEK_SET);
    size_t size = mp__capture_read(fd, &printed);
    cr_assert_leq(size, MP__CAPTURE_TEXT);
    cr_assert_eq(printed.cut, 1);
    mp__capture_forget((int[]){fd, fd});
    cr_assert_eq(mp__capture_read(fd, &printed), 0);
    cr_assert_eq(ftruncate(fd, 0), -1, "it keeps its size");
    cr_assert_eq(ftruncate(fd, 1 << 24), -1);
    close(fd);
}

CHECK(capture, each_size__is_whole_or_says_that_it_is_not)
{
    static mp__printed printed;
    static char bytes[MP__CAPTURE_SIZE + 10];
    static const int sizes[] = {1, 65535, 65536, 65537, MP__CAPTURE_SIZE - 1, MP__CAPTURE_SIZE, MP__CAPTURE_SIZE + 10};
    int fd = mp__capture_make();
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('a' + i % 26);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = (size_t)sizes[i], there = size < MP__CAPTURE_SIZE ? size : MP__CAPTURE_SIZE;
        cr_assert_eq(write(fd, bytes, size), (ssize_t)there);
        size_t got = mp__capture_read(fd, &printed);
        cr_assert_eq(printed.cut, size > 65536);
        if (size <= 65536)
            cr_assert(got == size && !memcmp(printed.text, bytes, size));
        else
            cr_assert_not_null(memmem(printed.text, got, bytes + there - MP__CAPTURE_TAIL, MP__CAPTURE_TAIL));
        mp__capture_forget((int[]){fd, fd});
    }
    close(fd);
}
