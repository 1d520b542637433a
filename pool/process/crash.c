/* A worker's last words: the signal handler that writes down where it was, and nothing else than what runs in it.
 *
 * It runs on a stack of its own, at any moment, whatever locks the thread holds: only system calls, arithmetic, and the unwinder,
 * which finds unwind tables without a lock (_dl_find_object) and was called once before, so that nothing is bound or loaded here. It
 * never returns: the signal gets its default action again and is sent again, so that the death is the same as without us, core
 * file included.
 *
 *     NOTHING -> UNWINDING -> WRITING -> dies
 *                    `-----------^                 what goes wrong in the unwinder, on a stack that a wild task has written over say,
 *                                                  comes here again, and the frames that were found are written
 *
 * Another crash while it writes ends the process at once; another thread's waits, for it ends with the process. */
#include "pool/process/crash.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

typedef enum stage { NOTHING, UNWINDING, WRITING } stage;

typedef struct frame {
    uintptr_t address;  /* where it goes on; where it was, for one that was interrupted */
    bool interrupted;   /* by a signal */
    uint64_t offset;    /* in the module's file */
    const char *module; /* NULL: none */
} frame;

/* One mapping: a line of /proc/self/maps. */
typedef struct mapping {
    uintptr_t begin, end;
    uint64_t offset;
    const char *path;
} mapping;

mp__crash *mp__crash_area;
pid_t mp__crash_process;

static _Atomic pid_t crashing; /* the thread that writes */
static stage now;
static int first_number; /* of the signal that it dies of */
static frame frames[MP__CRASH_FRAMES];
static unsigned frame_count;
static unsigned frames_before; /* the interrupted one's: where a call went astray */
static bool found_interrupted;
static char line[PATH_MAX + 128]; /* of maps */
static char modules[MP__CRASH_SIZE];
static size_t modules_used;
static const char *last_module;

_Noreturn static void die(int number)
{
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigset_t set;
    sigaction(number, &by_default, NULL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
    for (;;) /* not reached: each of these signals ends a process */
        _exit(128 + number);
}

/* --- unwinding ------------------------------------------------------------------------------------------------------------- */

/* The frames above the one that was interrupted are our own: forgotten when that comes. */
static _Unwind_Reason_Code take_frame(struct _Unwind_Context *unwound, void *unused)
{
    int before = 0;
    uintptr_t address = _Unwind_GetIPInfo(unwound, &before);
    (void)unused;
    if (before && !found_interrupted) {
        frame_count = frames_before;
        found_interrupted = true;
    }
    if (frame_count == MP__CRASH_FRAMES)
        return _URC_NORMAL_STOP;
    if (address)
        frames[frame_count++] = (frame){.address = address, .interrupted = before};
    return _URC_NO_REASON;
}

/* A call through a pointer that points to no code: that place has no unwind table, its caller has. */
static void unwind(const siginfo_t *info, void *context)
{
    uintptr_t place = mp__context_place(context);
    bool astray = info->si_signo == SIGSEGV && info->si_code > 0 && (uintptr_t)info->si_addr == place;
    ucontext_t *interrupted = context;
    mcontext_t saved = interrupted->uc_mcontext;
    if (astray && mp__context_return(context)) {
        frames[0] = (frame){.address = place, .interrupted = true};
        frame_count = frames_before = 1;
    }
    _Unwind_Backtrace(take_frame, NULL);
    interrupted->uc_mcontext = saved; /* for who reads the core file */
}

/* --- modules --------------------------------------------------------------------------------------------------------------- */

static const char *take_hex(const char *at, uint64_t *number)
{
    for (*number = 0;; at++) {
        unsigned digit = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
                         : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a') + 10
                                                    : 16;
        if (digit == 16)
            return at;
        *number = *number * 16 + digit;
    }
}

static const char *pass_field(const char *at)
{
    while (*at && *at != ' ')
        at++;
    while (*at == ' ')
        at++;
    return at;
}

/* "BEGIN-END rwxp OFFSET DEVICE INODE   PATH" */
static mapping read_mapping(const char *at)
{
    uint64_t begin, end, offset;
    at = take_hex(at, &begin);
    at = take_hex(*at ? at + 1 : at, &end);
    at = pass_field(*at ? at + 1 : at);
    at = pass_field(take_hex(at, &offset));
    return (mapping){(uintptr_t)begin, (uintptr_t)end, offset, pass_field(pass_field(at))};
}

/* Neighbouring lines have the same path. NULL: no room. */
static const char *keep_module(const char *path)
{
    size_t size = strlen(path) + 1;
    if (last_module && !strcmp(last_module, path))
        return last_module;
    if (size == 1 || size > sizeof modules - modules_used)
        return NULL;
    last_module = memcpy(modules + modules_used, path, size);
    modules_used += size;
    return last_module;
}

/* A return address may be the first byte behind its function, and its module: what counts is the call before it. */
static void match(const char *text)
{
    mapping found = read_mapping(text);
    for (unsigned i = 0; i < frame_count; i++) {
        uintptr_t within = frames[i].address - !frames[i].interrupted;
        if (within < found.begin || within >= found.end || frames[i].module)
            continue;
        frames[i].module = keep_module(found.path);
        frames[i].offset = frames[i].address - found.begin + found.offset;
    }
}

static void find_modules(void)
{
    char bytes[1024];
    size_t used = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && ((got = read(fd, bytes, sizeof bytes)) > 0 || (got < 0 && errno == EINTR)))
        for (ssize_t i = 0; i < got; i++) {
            if (bytes[i] != '\n') {
                if (used < sizeof line - 1)
                    line[used++] = bytes[i];
                continue;
            }
            line[used] = 0;
            match(line);
            used = 0;
        }
    if (fd >= 0)
        close(fd);
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

static char *put_hex(char *at, uint64_t number)
{
    int digits = 1;
    while (digits < 16 && number >> 4 * digits)
        digits++;
    *at++ = '0';
    *at++ = 'x';
    while (digits--)
        *at++ = "0123456789abcdef"[number >> 4 * digits & 15];
    return at;
}

/* "ADDRESS MODULE+OFFSET\n". False: no room. */
static bool put_frame(const frame *taken)
{
    mp__crash *area = mp__crash_area;
    const char *module = taken->module ? taken->module : "?";
    uint32_t size = atomic_load_explicit(&area->size, memory_order_relaxed);
    size_t length = strlen(module);
    enum { NUMBER = 18 };
    if (size > sizeof area->frames || sizeof area->frames - size < 2 * NUMBER + 3 + length)
        return false;
    char *at = put_hex(area->frames + size, taken->address);
    *at++ = ' ';
    memcpy(at, module, length);
    at += length;
    *at++ = '+';
    at = put_hex(at, taken->module ? taken->offset : 0);
    *at++ = '\n';
    atomic_store_explicit(&area->size, (uint32_t)(at - area->frames), memory_order_release);
    return true;
}

static void write_frames(void)
{
    find_modules();
    for (unsigned i = 0; i < frame_count; i++)
        if (!put_frame(&frames[i]))
            return;
}

/* The kernel's own, and it knows where: not what somebody has sent, nor an address that the processor does not have. */
static bool has_address(const siginfo_t *info)
{
    int number = info->si_signo;
    return info->si_code > 0 && info->si_code != SI_KERNEL &&
           (number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL);
}

static void write_signal(const siginfo_t *info)
{
    mp__crash *area = mp__crash_area;
    area->code = info->si_code;
    area->has_address = has_address(info);
    area->address = area->has_address ? (uintptr_t)info->si_addr : 0;
    atomic_store_explicit(&area->size, 0, memory_order_relaxed);
    atomic_store_explicit(&area->signal, info->si_signo, memory_order_release);
}

_Noreturn void mp__crash_note(int number, siginfo_t *info, void *context)
{
    pid_t self = (pid_t)syscall(SYS_gettid), nobody = 0;
    if (getpid() != mp__crash_process)
        die(number); /* a child of the worker's: the area is not its own */
    if (!atomic_compare_exchange_strong(&crashing, &nobody, self) && nobody != self)
        for (;;)
            pause();
    if (now == NOTHING) {
        now = UNWINDING;
        first_number = number;
        write_signal(info);
        unwind(info, context);
    }
    if (now == UNWINDING) {
        now = WRITING;
        write_frames();
    }
    die(first_number);
}
