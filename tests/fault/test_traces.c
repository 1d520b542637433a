/* What a crash leaves to be known: the fault's address, and who called whom, as places in the test program's own file, which is the
 * same for workers that are forked and for those that are executed. */
#include "pool/process/remains.h"
#include "tests/fault/process_rig.h"
#include "tests/lib/board.h"
#include "tests/lib/methods.h"
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

TestSuite(traces, .timeout = 60);

enum { FAULT = 0x128, CODE = 1024 /* bytes for each function that is looked for */ };

typedef enum deed {
    WRITE,
    BUS,
    DIVIDE,
    ABORT,
    CALL,
    OVERFLOW,
    RAISE,
    BLOCKED_ABORT,
    IN_HANDLER,
    IN_THREAD,
    IN_CHILD,
    SMASH,
    HANG
} deed;

#define APART __attribute__((noinline, aligned(CODE), no_sanitize("undefined")))
static volatile int sink, nought;

APART static void write_astray(void)
{
    volatile uintptr_t nowhere = FAULT;
    *(volatile int *)nowhere = 1;
    sink++;
}

APART static void write_behind_file(void)
{
    int fd = memfd_create("short", MFD_CLOEXEC);
    volatile char *page = ftruncate(fd, 0) < 0 ? NULL : mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0);
    *page = 1;
    sink++;
}

APART static void divide(void)
{
    volatile int number = 100;
    sink = number / nought;
}

APART static void give_up(void)
{
    void (*volatile end)(void) = abort; /* a compiler that knew would put the call elsewhere */
    end();
    sink++;
}

APART static void call_astray(void)
{
    void (*volatile nothing)(void) = NULL;
    nothing();
    sink++;
}

APART static int overflow(volatile int *from, int depth)
{
    volatile int frame[1024];
    if (depth < 0)
        return 0;
    frame[depth % 1024] = *from + depth;
    return overflow(frame, depth + 1) + frame[(depth + 1) % 1024];
}

APART static void overflow_stack(void)
{
    sink = overflow(&sink, 0);
}

static void *write_astray_there(void *unused)
{
    write_astray();
    return unused;
}

APART static void crash_in_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, write_astray_there, NULL);
    pthread_join(thread, NULL);
    sink++;
}

/* Nothing of the child's death may be taken for the worker's. */
APART static void crash_in_child(void)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        write_astray();
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
}

static void crash_again(int number)
{
    (void)number;
    write_astray();
}

APART static void crash_in_handler(void)
{
    signal(SIGUSR1, crash_again);
    raise(SIGUSR1);
    sink++;
}

APART static void abort_blocked(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    give_up();
}

/* Returns to nowhere, and whoever goes up the stack reads what is not there. */
APART static void smash_stack(void)
{
    uintptr_t *frame = __builtin_frame_address(0);
    for (int i = 0; i < 64; i++)
        ((volatile uintptr_t *)frame)[i] = FAULT;
    sink++;
}

APART static void hang(void)
{
    the_board()->begun++;
    for (;;)
        pause();
}

typedef struct order {
    int deed, number;
} order;
MP_TYPE(order, deed, number);

APART static mp_status crash(const order *in, int *out, mp_call *call)
{
    (void)call;
    switch ((deed)in->deed) {
    case WRITE: write_astray(); break;
    case BUS: write_behind_file(); break;
    case DIVIDE: divide(); break;
    case ABORT: give_up(); break;
    case CALL: call_astray(); break;
    case OVERFLOW: overflow_stack(); break;
    case RAISE: raise(in->number); break;
    case BLOCKED_ABORT: abort_blocked(); break;
    case IN_HANDLER: crash_in_handler(); break;
    case IN_THREAD: crash_in_thread(); break;
    case IN_CHILD: crash_in_child(); break;
    case SMASH: smash_stack(); break;
    case HANG: hang(); break;
    }
    *out = sink;
    return MP_OK;
}
MP_TASK(crash, order, int);

/* ---- frames ---- */

typedef struct place {
    char module[512];
    uint64_t offset;
} place;

/* Where this program's file has what is at this address. */
static place place_of(uintptr_t address)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[1024];
    uint64_t begin, end, offset;
    place found = {"", 0};
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %511[^\n]", &begin, &end, &offset,
                   found.module) >= 3 &&
            address >= begin && address < end) {
            found.offset = address - begin + offset;
            break;
        }
    fclose(maps);
    return found;
}

static bool take_frame(const char **at, uint64_t *address, place *frame)
{
    int used = 0;
    if (sscanf(*at, "0x%" SCNx64 " %511[^+]+0x%" SCNx64 "\n%n", address, frame->module, &frame->offset, &used) != 3)
        return false;
    *at += used;
    return true;
}

/* Which frame is in this function; -1: none. */
static int find_frame(const mp__evidence *evidence, uintptr_t function)
{
    place wanted = place_of(function), frame;
    uint64_t address;
    const char *at = evidence->frames;
    for (int i = 0; at && take_frame(&at, &address, &frame); i++) {
        uint64_t within = frame.offset - (i > 0); /* where it returns to may be behind the function */
        if (!strcmp(frame.module, wanted.module) && within >= wanted.offset && within - wanted.offset < CODE)
            return i;
    }
    return -1;
}

static int count_frames(const mp__evidence *evidence)
{
    uint64_t address;
    place frame;
    const char *at = evidence->frames;
    int count = 0;
    while (at && take_frame(&at, &address, &frame))
        count++;
    return count;
}

#define FUNCTION(name) ((uintptr_t)(name))
#define EXPECT_FRAME(index, function)                                                                                      \
    cr_assert_eq(find_frame(lost.evidence, FUNCTION(function)), index, "%s in\n%s", #function,                             \
                 lost.evidence->frames ? lost.evidence->frames : "(nothing)")

/* ThreadSanitizer runs handlers when and where it likes, if a signal was sent or came in a handler: there only the death is as usual. */
enum { HANDLERS_ARE_OURS = !CHECK_TSAN };

/* ---- crashes ---- */

static rig r;

static mp__event crash_by(mp_start_method method, deed how, int number)
{
    static order item;
    item = (order){how, number};
    rig_open(&r, method, (mp__backend_config){0});
    rig_start(&r);
    rig_run(&r, &mp__task_crash, &item);
    if (how != HANG)
        return rig_await_kind(&r, MP__EV_LOST);
    cr_assert(SOON(board_here->begun));
    kind->kill(r.workers, 0, false);
    return rig_await_kind(&r, MP__EV_LOST);
}

static void expect_death(const mp__event *lost, int number)
{
    char text[32];
    snprintf(text, sizeof text, "by SIG%s", sigabbrev_np(number));
    cr_assert_eq(lost->error->signal, number, "%s", lost->error->message);
    cr_assert(says(lost->error, text), "%s", lost->error->message);
    cr_assert_eq(lost->started, 1);
}

CHECK_METHODS(traces, write_to_no_memory__is_told_with_address_and_callers)
{
    mp__event lost = crash_by(method, WRITE, 0);
    expect_death(&lost, SIGSEGV);
    cr_assert(lost.evidence->has_address);
    cr_assert_eq(lost.evidence->address, FAULT);
    cr_assert(says(lost.error, "(Segmentation fault) at address 0x128"), "%s", lost.error->message);
    EXPECT_FRAME(0, write_astray);
    EXPECT_FRAME(1, crash);
    rig_close(&r);
}

CHECK_METHODS(traces, memory_behind_its_file__is_told_with_callers)
{
    mp__event lost = crash_by(method, BUS, 0);
    expect_death(&lost, SIGBUS);
    cr_assert(lost.evidence->has_address);
    EXPECT_FRAME(0, write_behind_file);
    EXPECT_FRAME(1, crash);
    rig_close(&r);
}

CHECK_METHODS(traces, division_by_zero__is_told_with_the_instruction)
{
    mp__event lost = crash_by(method, DIVIDE, 0);
    expect_death(&lost, SIGFPE);
    cr_assert(lost.evidence->has_address);
    if (method == MP_FORK)
        cr_assert(lost.evidence->address - FUNCTION(divide) < CODE);
    EXPECT_FRAME(0, divide);
    EXPECT_FRAME(1, crash);
    rig_close(&r);
}

CHECK_METHODS(traces, abort__is_told_with_callers)
{
    mp__event lost = crash_by(method, ABORT, 0);
    expect_death(&lost, SIGABRT);
    cr_assert_not(lost.evidence->has_address);
    int at = find_frame(lost.evidence, FUNCTION(give_up));
    cr_assert_gt(at, 0, "behind raise and abort");
    EXPECT_FRAME(at + 1, crash);
    rig_close(&r);
}

CHECK_METHODS(traces, call_of_a_null_pointer__is_told_with_who_called)
{
    mp__event lost = crash_by(method, CALL, 0);
    expect_death(&lost, SIGSEGV);
    cr_assert(lost.evidence->has_address);
    cr_assert_eq(lost.evidence->address, 0);
    cr_assert_eq(strncmp(lost.evidence->frames, "0x0 ?+0x0\n", 10), 0, "%s", lost.evidence->frames);
    EXPECT_FRAME(1, call_astray);
    EXPECT_FRAME(2, crash);
    rig_close(&r);
}

CHECK_METHODS(traces, stack_that_ran_out__is_told_with_the_function)
{
    mp__event lost = crash_by(method, OVERFLOW, 0);
    expect_death(&lost, SIGSEGV);
    cr_assert(lost.evidence->has_address);
    EXPECT_FRAME(0, overflow);
    cr_assert_gt(count_frames(lost.evidence), MP__CRASH_FRAMES / 2, "as many as there is room for");
    rig_close(&r);
}

CHECK_METHODS(traces, signals_that_are_sent__have_no_address)
{
    static const int sent[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP, SIGXCPU, SIGTERM};
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        mp__event lost = crash_by(method, RAISE, sent[i]);
        expect_death(&lost, sent[i]);
        cr_assert_not(lost.evidence->has_address);
        cr_assert_not(says(lost.error, "address"), "%s", lost.error->message);
        if (HANDLERS_ARE_OURS)
            cr_assert_gt(find_frame(lost.evidence, FUNCTION(crash)), 0, "%s", lost.evidence->frames);
        rig_close(&r);
    }
}

CHECK_METHODS(traces, sigkill_and_signals_nobody_watches__leave_nothing)
{
    for (int i = 0; i < 2; i++) {
        int number = i ? SIGKILL : SIGUSR2;
        mp__event lost = crash_by(method, RAISE, number);
        expect_death(&lost, number);
        cr_assert_not(lost.evidence->has_address);
        cr_assert_null(lost.evidence->frames);
        rig_close(&r);
    }
}

CHECK_METHODS(traces, task_that_hangs_and_is_ended__shows_where)
{
    board_open();
    mp__event lost = crash_by(method, HANG, 0);
    expect_death(&lost, SIGTERM);
    int at = find_frame(lost.evidence, FUNCTION(crash));
    if (HANDLERS_ARE_OURS) {
        cr_assert_gt(at, 0, "%s", lost.evidence->frames);
        EXPECT_FRAME(at - 1, hang);
    }
    rig_close(&r);
    board_close();
}

CHECK_METHODS(traces, abort_with_all_signals_blocked__is_told)
{
    mp__event lost = crash_by(method, BLOCKED_ABORT, 0);
    expect_death(&lost, SIGABRT);
    cr_assert_gt(find_frame(lost.evidence, FUNCTION(crash)), 0);
    rig_close(&r);
}

CHECK_METHODS(traces, crash_in_a_handler_of_the_task__shows_both_sides)
{
    mp__event lost = crash_by(method, IN_HANDLER, 0);
    expect_death(&lost, SIGSEGV);
    if (HANDLERS_ARE_OURS) {
        EXPECT_FRAME(0, write_astray);
        cr_assert_gt(find_frame(lost.evidence, FUNCTION(crash_in_handler)), 1);
    }
    rig_close(&r);
}

CHECK_METHODS(traces, crash_in_a_thread_of_the_task__is_told)
{
    mp__event lost = crash_by(method, IN_THREAD, 0);
    expect_death(&lost, SIGSEGV);
    cr_assert_eq(lost.evidence->address, FAULT);
    EXPECT_FRAME(0, write_astray);
    rig_close(&r);
}

CHECK_METHODS(traces, crash_of_a_child__is_not_the_workers)
{
    mp__event lost = crash_by(method, IN_CHILD, 0);
    expect_death(&lost, SIGSEGV);
    cr_assert_not(lost.evidence->has_address);
    EXPECT_FRAME(-1, write_astray);
    cr_assert_geq(find_frame(lost.evidence, FUNCTION(crash_in_child)), 0);
    rig_close(&r);
}

CHECK_METHODS(traces, stack_that_was_written_over__is_told_as_far_as_it_goes)
{
    mp__event lost = crash_by(method, SMASH, 0);
    expect_death(&lost, lost.error->signal);
    cr_assert(lost.error->signal == SIGSEGV || lost.error->signal == SIGABRT, "%s", lost.error->message);
    if (HANDLERS_ARE_OURS)
        cr_assert_geq(count_frames(lost.evidence), 1);
    rig_close(&r);
}

CHECK_METHODS(traces, life_after_a_crash__begins_with_nothing_known)
{
    static order item = {RAISE, SIGKILL};
    mp__event lost = crash_by(method, WRITE, 0);
    cr_assert_not_null(lost.evidence->frames);
    rig_start(&r);
    rig_run(&r, &mp__task_crash, &item);
    lost = rig_await_kind(&r, MP__EV_LOST);
    expect_death(&lost, SIGKILL);
    cr_assert_not(lost.evidence->has_address);
    cr_assert_null(lost.evidence->frames);
    rig_close(&r);
}

/* ---- what a wild task writes there ---- */

static mp__crash wild;

static mp__evidence read_wild(int signal)
{
    static mp__remains remains;
    static char kept[MP__CRASH_SIZE];
    mp__evidence evidence = {0};
    mp__remains_of_crash(&remains, &wild, signal, &evidence);
    if (evidence.frames)
        evidence.frames = memcpy(kept, evidence.frames, evidence.frames_size + 1);
    mp__remains_fini(&remains);
    return evidence;
}

CHECK(traces, area_of_another_signal__is_not_looked_at)
{
    wild = (mp__crash){.signal = SIGSEGV, .has_address = 1, .address = 5, .size = 4, .frames = "0x1\n"};
    mp__evidence evidence = read_wild(SIGBUS);
    cr_assert(is_zero(&evidence, sizeof evidence));
    evidence = read_wild(0);
    cr_assert(is_zero(&evidence, sizeof evidence));
    evidence = read_wild(SIGSEGV);
    cr_assert(evidence.has_address && evidence.address == 5);
    cr_assert_str_eq(evidence.frames, "0x1\n");
}

CHECK(traces, area_that_says_it_is_larger__has_no_frames)
{
    wild = (mp__crash){.signal = SIGSEGV, .has_address = 7, .address = 5, .size = UINT32_MAX};
    mp__evidence evidence = read_wild(SIGSEGV);
    cr_assert_null(evidence.frames);
    cr_assert_not(evidence.has_address);
    wild.size = sizeof wild.frames + 1;
    cr_assert_null(read_wild(SIGSEGV).frames);
    wild.size = sizeof wild.frames;
    cr_assert_eq(read_wild(SIGSEGV).frames_size, sizeof wild.frames);
}

CHECK(traces, area_with_control_characters__can_be_shown)
{
    static const char text[] = "a\0b\x1b[2J\nc\x7f\xc2\x9b"
                               "d\xc3\xa4\n";
    wild = (mp__crash){.signal = SIGSEGV, .size = sizeof text - 1};
    memcpy(wild.frames, text, sizeof text - 1);
    cr_assert_str_eq(read_wild(SIGSEGV).frames, "a?b?[2J\nc?\xc2?d\xc3\xa4\n");
}
